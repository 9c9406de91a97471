"""Every column and every metric that simcore writes: its name, its unit, where it stands, and what it says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from simcore import registry, source
from simcore.columns import dimension_of
from simcore.errors import InputError
from simcore.metrics import METRICS, Metric
from simcore.trace import SCHEMAS, Column
from simcore.units import RATE, SIZE, TIME

WRITTEN = {TIME.name: "ps", SIZE.name: "bytes", RATE.name: "bytes/s"}
"""How the page writes the base units of columns, by what they measure."""
SWEEP = {
    "point": "number of the point, from 0, in the order of the sweep; also what reports and studies call it",
    "AXIS": "the value of the point on an axis: quantities as integers in base units, which the name then ends in "
    "(`_ps`, `_bytes`, `_bytes_per_s`, `_hertz`, `_op_per_s`, `_cycles`)",
    "METRIC": "a metric of the run, by its key in metrics.json; of those of every rank `.mean` and `.max` of all",
    "digest": "digest of all tables of the run: equal where runs are",
    "failed": "why the point failed; empty where it did not",
}
"""Columns of the table of a sweep; names in capitals stand for several."""


@dataclass(frozen=True)
class Output:
    """A column or a metric: ``name`` (of a column with its table in front), ``file``, unit ("" for names), meaning, and
    how it is reckoned ("" where the meaning says it all)."""

    name: str
    file: str
    unit: str
    meaning: str
    reckoned: str = ""

    @property
    def group(self) -> str:
        """What it is listed under."""
        return self.name.partition(".")[0]


def unit_of(column: str) -> str:
    """Return the unit in which a column's name ends; "" where it is a count or a name."""
    dimension = dimension_of(column)
    return "" if dimension is None else WRITTEN.get(dimension.name, dimension.base)


@cache
def everything() -> tuple[Output, ...]:
    """Return all outputs of runs and sweeps: metrics, counters of models, columns."""
    found = [Output(each.key, "metrics.json", each.unit, each.meaning, each.reckoned) for each in METRICS]
    found += [
        Output(each.name, each.file, each.unit, f"{each.meaning} ({model})", each.reckoned)
        for model, each in of_models()
    ]
    for table, columns in SCHEMAS.items():
        found += [_column(table, column) for column in columns]
    return tuple(found) + tuple(Output(f"points.{name}", "points.parquet", "", said) for name, said in SWEEP.items())


def _column(table: str, column: Column) -> Output:
    return Output(f"{table}.{column.name}", f"{table}.parquet", unit_of(column.name), column.meaning)


def of_models() -> Iterator[tuple[str, Output]]:
    """Yield model and output of everything that single models write: what their programs count, their metrics, the
    columns of their tables."""
    for model in registry.folders():
        workload = registry.load(model)
        counters: Mapping[str, str] = getattr(workload, "counters", {})
        for name, meaning in counters.items():
            yield model, Output(f"ranks.rankN.{name}", "metrics.json", unit_of(name) or "counts", meaning)
        metrics: Sequence[Metric] = getattr(workload, "metrics", ())
        for each in metrics:
            yield model, Output(f"jobs.NAME.{each.key}", "metrics.json", each.unit, each.meaning, each.reckoned)
        for table, columns in registry.tables([model]).items():
            yield from ((model, _column(table, column)) for column in columns)


def pattern(key: str) -> str:
    """Return a metric's key with NAME, rankN and A->B for the names in it.

    >>> pattern("jobs.spread.ranks.rank3.compute_ps"), pattern("bytes_per_pair.0->1")
    ('ranks.rankN.compute_ps', 'bytes_per_pair.A->B')
    """
    parts = key.split(".")
    if len(parts) > 2 and parts[0] in ("jobs", "traffic"):
        # A job's ranks stand below it where there are several jobs; its name may hold points.
        if "ranks" in parts[2:]:
            return pattern(".".join(parts[parts.index("ranks", 2) :]))
        known = {each.name.split(".", 2)[2] for each in everything() if each.name.startswith(f"{parts[0]}.NAME.")}
        ending = next((".".join(parts[i:]) for i in range(2, len(parts)) if ".".join(parts[i:]) in known), "")
        return f"{parts[0]}.NAME.{ending}" if ending else key
    parts = ["rankN" if re.fullmatch(r"rank\d+", part) else "A->B" if "->" in part else part for part in parts]
    return ".".join(parts)


def find(name: str) -> list[Output]:
    """Return what ``name`` may mean: a metric by its key, a column by its name or with its table in front, a column of
    a sweep; raises ``InputError`` with the nearest spelling for anything else."""
    known = everything()
    for wanted in dict.fromkeys((name, pattern(name))):
        found = [each for each in known if each.name == wanted]
        if found:
            return found
    # Of the metrics of ranks, a sweep has mean and maximum over the ranks.
    parted = re.fullmatch(r"(?:jobs\..+\.)?ranks\.(\w+)\.(mean|max)", name)
    for one in (each for each in known if parted and each.name == f"ranks.rankN.{parted[1]}"):
        word = "mean" if name.endswith("mean") else "greatest"
        return [Output(name, "points.parquet", one.unit, f"{word} over the ranks of: {one.meaning}", one.reckoned)]
    found = [each for each in known if name in (each.name.partition(".")[2], each.name.removeprefix("ranks.rankN."))]
    if found:
        return found
    names = {each.name for each in known}
    raise InputError(
        source.unknown("metric or column", name, sorted(names | {each.rpartition(".")[2] for each in names}))
    )


def related(output: Output) -> list[str]:
    """Return the names of what is listed beside ``output``."""
    above = output.name.rpartition(".")[0]
    there = [each.name for each in everything() if each.file == output.file and each.name.rpartition(".")[0] == above]
    return [name for name in there if name != output.name]


def sections() -> dict[str, str]:
    """Return the generated parts of docs/outputs.md by name, each a table in Markdown."""
    made = {
        table: _table(("column", "type", "meaning"), [(f"`{c.name}`", c.type, c.meaning) for c in columns])
        for table, columns in SCHEMAS.items()
    }
    made["metrics"] = _table(
        ("key", "unit", "meaning", "reckoned"),
        [(f"`{m.key}`", m.unit, m.meaning, m.reckoned) for m in METRICS],
    )
    made["models"] = _table(
        ("model", "name", "stands in", "unit", "meaning"),
        [(f"`{model}`", f"`{each.name}`", f"`{each.file}`", each.unit, each.meaning) for model, each in of_models()],
    )
    made["points"] = _table(("column", "meaning"), [(f"`{name}`", said) for name, said in SWEEP.items()])
    return made


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_PART = re.compile(r"(<!-- generated: (\w+) -->\n)(?:\|.*\n)*")


def filled(page: str) -> str:
    """Return ``page`` with every table behind ``<!-- generated: NAME -->`` made anew; raises ``InputError`` for a name
    that is no part, and where a part is nowhere."""
    made = sections()
    there = [match[2] for match in _PART.finditer(page)]
    for name in there:
        if name not in made:
            raise InputError(source.unknown("generated part", name, list(made)))
    missing = [name for name in made if name not in there]
    if missing:
        raise InputError(f"lacks the line '<!-- generated: {missing[0]} -->', behind which its table goes")
    return _PART.sub(lambda match: match[1] + made[match[2]], page)
