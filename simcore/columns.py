"""What a column measures, by its name: the unit that the name ends in."""

from simcore import units
from simcore.units import Dimension

SUFFIX = {
    "time": "ps",
    "size": "bytes",
    "bandwidth": "bytes_per_s",
    "frequency": "hertz",
    "throughput": "op_per_s",
    "number of clock cycles": "cycles",
    "quantity of energy": "fj",
    "power": "nw",
}
"""What the names of columns end in, by the dimension of their values."""
_DIMENSIONS = {f"_{SUFFIX[dimension.name]}": dimension for dimension in units.DIMENSIONS}


def dimension_of(column: str) -> Dimension | None:
    """Return what a column measures; None for a count or words."""
    found = _ending(column)
    return None if found is None else _DIMENSIONS[found[1]]


def label_of(column: str) -> str:
    """Return a column's name without the unit that it ends in.

    >>> label_of("queue_delay_ps.mean"), label_of("machine.link.bandwidth_bytes_per_s"), label_of("ranks")
    ('queue_delay.mean', 'machine.link.bandwidth', 'ranks')
    """
    found = _ending(column)
    if found is None:
        return column
    parts, (place, ending) = column.split("."), found
    parts[place] = parts[place].removesuffix(ending)
    return ".".join(parts)


def _ending(column: str) -> tuple[int, str] | None:
    """Return the last part of a name, by its place between the dots, that ends in a unit, and that ending."""
    for place, part in reversed(list(enumerate(column.split(".")))):
        for ending in _DIMENSIONS:
            if part.endswith(ending):
                return place, ending
    return None
