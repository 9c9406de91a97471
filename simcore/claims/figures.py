"""A figure of a paper from the tables of its experiments: declared, or drawn by a function of the paper's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simcore import plot, registry
from simcore.claims import statistics
from simcore.claims.experiments import Found
from simcore.claims.sheet import Chart, Own, Panel, Paper, Timelines
from simcore.claims.statistics import StatisticError
from simcore.errors import InputError
from simcore.plot import Curve, CurvePanel, Drawing

OWN = "figures"
"""The module of a paper whose functions return figures: ``NAME(title, found, ..., width)``, of the rows and tables of
the experiments that the figure lists, in their order."""


def draw(
    paper: Paper, name: str, found: Mapping[str, Found], folder: Path, formats: Sequence[str] = ("png",),
    width: str = "screen",
) -> list[Path]:  # fmt: skip
    """Draw the figure ``name`` into ``folder``, a file for each of ``formats``; return them."""
    drawn = _drawn(paper, name, found, width)
    return [plot.save(drawn, folder / f"{name}.{kind}") for kind in formats]


def _drawn(paper: Paper, name: str, found: Mapping[str, Found], width: str) -> Drawing:
    figure = paper.sheet.figures[name]
    if isinstance(figure, Own):
        try:
            function = registry.part(paper.name, OWN, name)
        except InputError as error:
            raise paper.document.error(("figures", name), str(error)) from None
        drawn = function(figure.title, *[found[each] for each in figure.experiments], width)
        if not isinstance(drawn, Drawing):
            raise paper.document.error(("figures", name), f"its function returns {type(drawn).__name__}, not a figure")
        return drawn
    if isinstance(figure, Timelines):
        return _timelines(paper, name, figure, found[figure.experiment], width)
    return _chart(paper, name, figure, found[figure.experiment], width)


def _timelines(paper: Paper, name: str, figure: Timelines, found: Found, width: str) -> Drawing:
    import pyarrow.compute as pc

    runs: dict[str, dict[str, Any]] = {}
    for group, rows in statistics.grouped(statistics.chosen(found.rows, figure.where), [figure.runs]):
        value = group[figure.runs]
        if len(rows) > 1:
            sentence = f"{len(rows)} points have {figure.runs} = {value}; a run is one, choose it by where"
            raise paper.document.error(("figures", name), sentence)
        tables = dict(found.tables)
        for axis in paper.sheet.experiments[figure.experiment].axes:
            tables = {kind: table.filter(pc.equal(table[axis], rows[0][axis])) for kind, table in tables.items()}
        runs[str(value)] = tables
    return plot.timelines(runs, title=figure.title, width=width)


def _chart(paper: Paper, name: str, figure: Chart, found: Found, width: str) -> Drawing:
    panels = []
    for number, panel in enumerate(figure.panels):
        try:
            panels.append(_panel(panel, found))
        except StatisticError as error:
            raise paper.document.error(("figures", name, "panels", number), str(error)) from None
    what = paper.sheet.experiments[figure.experiment].what
    return plot.curves(panels, title=figure.title, subtitle=what, width=width)


def _panel(panel: Panel, found: Found) -> CurvePanel:
    rows = statistics.chosen(found.rows, panel.where)
    return CurvePanel(
        curves=[_curve(panel, group, members) for group, members in statistics.grouped(rows, panel.series)],
        x_label=panel.x_label,
        y_label=panel.y_label,
        log=panel.log,
        from_zero=panel.from_zero,
        title=panel.title,
        lines=[(line.label, line.intercept, line.slope) for line in panel.lines],
        bars=[(bar.label, bar.x, bar.low, bar.high) for bar in panel.bars],
        height=panel.height,
    )


def _curve(panel: Panel, group: Mapping[str, Any], rows: statistics.Rows) -> Curve:
    points = sorted((float(statistics.number(row, panel.x)), float(statistics.number(row, panel.y))) for row in rows)
    x, y = [x for x, _ in points], [y for _, y in points]
    unit = 1.0
    if panel.over:
        unit = y[0] if panel.over == "first" else statistics.line(x, y).intercept
        if not unit:
            raise StatisticError(f"{panel.over} of {panel.y} is zero; nothing can be divided by it")
    y = [value / unit for value in y]
    fitted = None
    if panel.fit:
        line = statistics.line(x, y)
        fitted = (line.intercept, line.slope, line.r2)
    return Curve(", ".join(_said(key, value) for key, value in group.items()), x, y, fitted)


def _said(column: str, value: Any) -> str:
    """Return how a legend calls the value of a column: a number with its column, a word as it is."""
    return str(value) if isinstance(value, str) else f"{column.replace('_', ' ')} = {value:,}"
