"""How every loop of the data plane is compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(function: Loop) -> Loop:
    """Compile ``function`` and keep the machine code on disk.

    Without numba's run time (``_nrt``): the loops own no array, and counting references to those that they are given
    would take longer than what they do. Division as in C, because no divisor is ever zero.
    """
    options: Any = {"cache": True, "error_model": "numpy", "_nrt": False}
    return cast(Loop, njit(**options)(function))
