"""Who looks on while a model runs: at its plan and its kernels, and at the arithmetic that a kernel does on arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from simcore.work import Kernel, Virtual


@dataclass(frozen=True, eq=False)
class Call:
    """A kernel and copies of the payloads that it was called with."""

    kernel: Kernel
    payloads: tuple[Any, ...]

    @property
    def is_real(self) -> bool:
        """Whether every payload is an array of NumPy's."""
        import numpy as np

        return all(isinstance(each, np.ndarray) for each in self.payloads)

    def __str__(self) -> str:
        return f"{self.kernel.name}({', '.join(f'{each.dtype}{list(each.shape)}' for each in self.payloads)})"


class Witness:
    """A workload that does what another does, and remembers the plan and the first call of every kernel with payloads
    of the same shapes."""

    def __init__(self, workload: Any) -> None:
        self._workload = workload
        self.Params = workload.Params
        self.made: Any = None
        self.calls: dict[Any, Call] = {}

    def world(self, params: Any) -> int | None:
        """Return the number of ranks that ``params`` call for."""
        found: int | None = self._workload.world(params)
        return found

    def plan(self, params: Any, world: int, nodes: int, rng: Any) -> Any:
        """Return the plan, and remember it."""
        self.made = self._workload.plan(params, world, nodes, rng)
        return self.made

    def reference(self, params: Any, plan: Any) -> list[Any]:
        """Return the plain answer."""
        found: list[Any] = self._workload.reference(params, plan)
        return found

    def program(self, rank: Any, plan: Any) -> Any:
        """Run the life of one rank through doors that are looked at."""
        return self._workload.program(_Door(rank, self._remember), plan)

    def _remember(self, kernel: Kernel, payloads: tuple[Any, ...]) -> None:
        import numpy as np

        shapes = tuple((getattr(each, "shape", None), str(getattr(each, "dtype", ""))) for each in payloads)
        if (kernel.name, shapes) not in self.calls:
            copies = tuple(each.copy() if isinstance(each, np.ndarray) else each for each in payloads)
            self.calls[kernel.name, shapes] = Call(kernel, copies)


class _Door:
    """A rank, or a work-group of one, that tells of the kernels which it computes."""

    def __init__(self, rank: Any, tell: Callable[[Kernel, tuple[Any, ...]], None]) -> None:
        self._rank, self._tell = rank, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rank, name)

    def compute(self, kernel: Kernel, *payloads: Any, what: str = "") -> Any:
        self._tell(kernel, payloads)
        return self._rank.compute(kernel, *payloads, what=what)

    def groups(self, count: int) -> list["_Door"]:
        return [_Door(group, self._tell) for group in self._rank.groups(count)]


ELEMENTWISE = (
    "add", "subtract", "multiply", "divide", "floor_divide", "power", "square", "sqrt", "exp", "log", "tanh",
    "sin", "cos", "maximum", "minimum", "reciprocal",
)  # fmt: skip
"""Functions of NumPy that are one operation an element."""
FREE = ("negative", "positive", "absolute", "isfinite", "equal", "not_equal", "less", "less_equal", "greater",
        "greater_equal", "sign", "copyto")  # fmt: skip
"""Functions that are no operation of a GPU's peak: signs and comparisons."""


@dataclass
class Count:
    """Operations seen so far: ``least``, and ``most``, where the first element of a sum is an addition too; those of
    ``products`` of matrices among them. The first function that the witness could not count, or "", is ``unknown``, and
    ``hidden`` where it may multiply matrices."""

    least: int = 0
    most: int = 0
    products: int = 0
    unknown: str = ""
    hidden: str = ""

    def add(self, least: int, most: int | None = None) -> None:
        """Count operations, their number known or between two."""
        self.least += least
        self.most += least if most is None else most

    def multiply(self, found: Any, inner: int) -> None:
        """Count a product of matrices that gave ``found``, each element of so many terms."""
        import numpy as np

        operations = 2 * int(np.size(found)) * inner
        self.add(operations)
        self.products += operations


def counted(run: Callable[..., Any], payloads: Sequence[Any]) -> Count:
    """Return what ``run`` does to copies of ``payloads``, operation by operation, whatever it says itself: one an
    element of NumPy's arithmetic, two an element and inner dimension of a matrix product."""
    array, count = _counting(), Count()
    array.count = count
    run(*[each.copy().view(array) for each in payloads])
    return count


@cache
def _counting() -> Any:
    import numpy as np

    class Counting(np.ndarray):
        """An array that counts the arithmetic done with it, and passes that on to what comes out."""

        count = Count()

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **keywords: Any) -> Any:
            plain = [np.asarray(each) for each in inputs]
            if out is not None:
                keywords["out"] = tuple(None if each is None else np.asarray(each) for each in out)
            found = getattr(ufunc, method)(*plain, **keywords)
            _add(self.count, ufunc.__name__, method, plain, found)
            return found.view(Counting) if isinstance(found, np.ndarray | np.generic) and found.ndim else found

        def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
            # Those in Python call functions above; the others are compiled, and nobody sees what they do.
            if function.__name__ in _PRODUCTS:
                left, right = (np.asarray(each) for each in arguments[:2])
                found = function(left, right)
                self.count.multiply(found, left.shape[-1])
                return found.view(Counting) if np.ndim(found) else found
            if function.__name__ in _UNSEEN:
                self.count.unknown = self.count.unknown or function.__name__
                self.count.hidden = self.count.hidden or function.__name__
            return super().__array_function__(function, types, arguments, keywords)

    return Counting


_PRODUCTS = ("dot", "inner", "vdot")
_UNSEEN = ("einsum", "tensordot", "convolve", "correlate", "fft", "solve", "inv", "interp", "bincount")


def _add(count: Count, name: str, method: str, inputs: list[Any], found: Any) -> None:
    import numpy as np

    if name in ("matmul", "vecdot", "matvec", "vecmat"):
        count.multiply(found, inputs[0].shape[-1])
    elif name in ELEMENTWISE:
        size, read = int(np.size(found)), int(inputs[0].size)
        count.add(*((read - size, read) if method == "reduce" else (size,)))
    elif name not in FREE:
        count.unknown = count.unknown or name


def virtual(payload: Any) -> Virtual:
    """Return the shape and dtype of an array."""
    return Virtual(tuple(payload.shape), str(payload.dtype))
