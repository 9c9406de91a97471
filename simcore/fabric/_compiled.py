"""How every loop of the data plane is compiled, and how it reaches the tables of the state."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

_SOURCES = tuple(
    (path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(Path(__file__).parent.glob("*.py"))
)

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(function: Loop) -> Loop:
    """Compile ``function`` and keep the machine code on disk.

    Without numba's run time (``_nrt``): the loops own no array, and counting references to those that they are given
    would take longer than what they do. Division as in C, because no divisor is ever zero.
    """
    options: Any = {"cache": True, "error_model": "numpy", "_nrt": False}
    made = njit(**options)(function)
    # numba takes stored code for current while the function's own file is unchanged, but much of it comes from the
    # files beside that one. Without this stamp a change there would run old code on new tables.
    stored = getattr(made._cache, "_cache_file", None)
    if stored is not None:
        stored._source_stamp = _SOURCES
    return cast(Loop, made)


def _reader(word: Any, dimensions: int) -> Any:
    """Return a function (state, number) -> array of ``word`` in ``dimensions``, for use in compiled loops.

    ``state`` has a row (address, lengths) for each table. One argument instead of thirty: handing an array to a loop
    costs 50 ns, and a loop may have little to do.
    """

    def typed(_: Any, state: Any, number: Any) -> Any:
        array = types.Array(word, dimensions, "C")

        def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = context.cast(builder, arguments[1], signature.args[1], types.int64)
            row = builder.mul(place, context.get_constant(types.int64, STATE_COLUMNS))
            data = make_array(signature.args[0])(context, builder, arguments[0]).data

            def entry(column: int) -> Any:
                there = builder.add(row, context.get_constant(types.int64, column))
                return builder.load(builder.gep(data, [there]))

            made = make_array(array)(context, builder)
            shape = [entry(1 + axis) for axis in range(dimensions)]
            strides = [context.get_constant(types.intp, WORD_BYTES)]
            for length in reversed(shape[1:]):
                strides.insert(0, builder.mul(strides[0], length))
            populate_array(
                made,
                data=builder.inttoptr(entry(0), context.get_data_type(word).as_pointer()),
                shape=cgutils.pack_array(builder, shape),
                strides=cgutils.pack_array(builder, strides),
                itemsize=context.get_constant(types.intp, WORD_BYTES),
                meminfo=None,
            )
            return made._getvalue()

        return array(state, number), lowered

    return intrinsic(typed)


STATE_COLUMNS = 4
WORD_BYTES = 8

column, table, cube = (_reader(types.int64, dimensions) for dimensions in (1, 2, 3))
amount_column, amounts = (_reader(types.float64, dimensions) for dimensions in (1, 2))
