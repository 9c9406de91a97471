"""The machine: GPUs round, switches square, a colour for links that are alike, with bandwidth and latency."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.collections import EllipseCollection, LineCollection, PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from simcore.plot._canvas import INK, WIDTH, Boxes, new_figure, put_title, save
from simcore.plot._places import HEIGHT, SIDE, Picture, Point, gpus_of, picture
from simcore.units import RATE, TIME, short

if TYPE_CHECKING:
    import networkx

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B00"]
"""Okabe and Ito's colours, safe for colour-blind readers, the palest left out."""
FAILED = "failed"
MOST_CLASSES = 14
"""Classes of links in the legend; the rest is counted."""
LEFT = 110
"""Pixels left of the picture, for the names of rows."""

Kind = tuple[str, int, int, str]
"""A class of links: its ends, bandwidth (B/s), latency (ps), how the directions share, or that they have failed."""


def topology(graph: "networkx.DiGraph[Any]", path: Path, *, title: str = "") -> Path:
    """Draw the machine by its family: a circle, a grid, layers, rails, groups; one line for two equal directions, one
    colour for equal links; return ``path``."""
    drawn = picture(graph)
    figure = new_figure(900)
    axes = Boxes(figure, LEFT, WIDTH - LEFT - int(SIDE)).add(70, int(HEIGHT))
    axes.set_xlim(0, SIDE)
    axes.set_ylim(0, HEIGHT)
    axes.set_axis_off()
    kinds = link_kinds(graph)
    colours = {kind: PALETTE[i % len(PALETTE)] for i, kind in enumerate(sorted(kinds, key=_rank))}
    handles: list[Any] = []
    for kind, colour in colours.items():
        inside = all(graph.edges[pair]["inside"] for pair in kinds[kind]) and bool(graph.graph["network"])
        handles.append(_handle(kind, len(kinds[kind]), colour, inside and not drawn.shows_inside))
        if not inside or drawn.shows_inside:
            _draw_links(axes, drawn, kind, kinds[kind], colour)
    _draw_boxes(axes, drawn)
    gpus = gpus_of(graph)
    shown = [name for name in graph if name in drawn.places]
    _draw_gpus(axes, drawn, gpus)
    _draw_switches(axes, drawn, [name for name in shown if graph.nodes[name]["kind"] == "switch"])
    for height, text in drawn.rows:
        axes.text(-14, height, text, ha="right", va="center", fontsize=10, color="#555555")
    more = len(handles) - MOST_CLASSES
    if more > 0:
        handles[MOST_CLASSES:] = [Patch(alpha=0, label=f"and {more} more kinds of links")]
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=10.5, labelspacing=0.9,
        handlelength=1.6,
    )  # fmt: skip
    switches = graph.number_of_nodes() - len(gpus)
    nodes = f" in {_counted(graph.graph['nodes'], 'node')}" if graph.graph["network"] else ""
    about = f"{_counted(len(gpus), 'GPU')}{nodes}" + (f", {_counted(switches, 'switch')}" if switches else "")
    covers = " or ".join(_COVERS[kind] for kind in graph.graph["latency_is"])
    put_title(figure, title, f"{about}; bandwidth and latency ({covers}) of one link{drawn.remark}")
    return save(figure, path)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun.endswith("ch") else "s")


def link_kinds(graph: "networkx.DiGraph[Any]") -> dict[Kind, list[tuple[str, str]]]:
    """Return the links of each class, once where both directions are alike."""
    kinds: dict[Kind, list[tuple[str, str]]] = {}
    done: set[tuple[str, str]] = set()
    for tail, head, link in graph.edges(data=True):
        if (head, tail) in done:
            continue
        back = graph.get_edge_data(head, tail)
        alike = back is not None and all(back[key] == link[key] for key in ("bandwidth", "latency", "failed"))
        if alike:
            done.add((tail, head))
        shares = "one way" if not alike else "both ways shared" if back["server"] == link["server"] else "each way"
        ends = sorted((_role(graph, tail, link), _role(graph, head, link)), key=_LAYERS.index)
        kind = (" - ".join(ends), link["bandwidth"], link["latency"], FAILED if link["failed"] else shares)
        kinds.setdefault(kind, []).append((tail, head))
    return kinds


_COVERS = {"wire": "wire and switch", "store": "store to visible flag", "step": "step of a library"}
_LAYERS = ["GPU", "NIC", "switch", "router", "leaf", "rail switch", "spine", "core"]


def _role(graph: "networkx.DiGraph[Any]", name: str, link: Mapping[str, Any]) -> str:
    role: str = graph.nodes[name]["role"]
    if role == "gpu":
        return "GPU" if link["inside"] else "NIC"
    return {"rail": "rail switch"}.get(role, role)


def _rank(kind: Kind) -> Any:
    ends, bandwidth, latency, shares = kind
    return [_LAYERS.index(end) for end in ends.split(" - ")], shares == FAILED, -bandwidth, latency, shares


def _handle(kind: Kind, count: int, colour: str, hidden: bool) -> Any:
    ends, bandwidth, latency, shares = kind
    where = "\ninside the nodes, not drawn" if hidden else ""
    text = f"{ends}: {_counted(count, 'link')}\n{short(bandwidth, RATE)} {shares}, {short(latency, TIME)}{where}"
    if shares == FAILED:
        return Line2D([], [], color=INK, ls=":", lw=1.6, marker="x", label=f"{ends}: {count} failed")
    return Patch(facecolor="white" if hidden else colour, edgecolor=colour, label=text)


def _draw_links(axes: Any, drawn: Picture, kind: Kind, pairs: Sequence[tuple[str, str]], colour: str) -> None:
    count = len(pairs)
    lines = [line for pair in pairs for line in _lines(drawn, *pair)]
    failed, one_way = kind[3] == FAILED, kind[3] == "one way"
    if one_way:
        lines = [_aside(line) for line in lines]
    axes.add_collection(
        LineCollection(
            lines, colors=INK if failed else colour, linestyles=":" if failed else "-",
            lw=1.6 if failed else max(0.35, min(2.2, 60 / math.sqrt(count + 600))),
            alpha=1 if count < 100 or failed else max(0.12, 0.7 - count / 3000), zorder=1.5 if failed else 1,
        )
    )  # fmt: skip
    if failed and count <= 200:
        middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, *_, b in lines]
        axes.scatter(*zip(*middles, strict=True), marker="x", color=INK, s=40, zorder=1.6)
    if one_way and count <= 200:
        for start, *_, stop in lines:
            tip, back = (tuple(t * b + (1 - t) * a for a, b in zip(start, stop, strict=True)) for t in (0.56, 0.5))
            axes.annotate("", tip, back, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2})


def _aside(line: list[Point]) -> list[Point]:
    """Return the line moved to the right of its direction, so that two opposite ones do not cover each other."""
    (x, y), (u, v) = line[0], line[-1]
    length = math.hypot(u - x, v - y) or 1.0
    return [(a + 4 * (v - y) / length, b - 4 * (u - x) / length) for a, b in line]


def _lines(drawn: Picture, tail: str, head: str) -> list[list[Point]]:
    return [[drawn.places[tail], drawn.places[head]]] if drawn.lines is None else drawn.lines(tail, head)


def _draw_boxes(axes: Any, drawn: Picture) -> None:
    for left, bottom, width, height, _ in drawn.boxes:
        corner = f"round,pad=0,rounding_size={min(4.0, width / 4, height / 4)}"
        axes.add_patch(
            FancyBboxPatch(
                (left, bottom), width, height, boxstyle=corner, facecolor="#F4F4F4", edgecolor="#999999",
                lw=0.8 if min(width, height) > 12 else 0.3, zorder=0.5,
            )
        )  # fmt: skip
    if not drawn.boxes:
        return
    (left, bottom, width, height, _), names = drawn.boxes[0], [box[4] for box in drawn.boxes]
    if width < height or len({box[1] for box in drawn.boxes}) == 1:
        every = max(1, math.ceil((7 * len(names[-1]) + 10) / (SIDE / len(names))))
        for left, bottom, width, _, name in drawn.boxes[::every]:
            axes.text(left + width / 2, bottom - 11, name, ha="center", va="center", fontsize=8, color=INK)
    else:
        every = max(1, math.ceil(15 / height))
        for left, bottom, _, height, name in drawn.boxes[::every]:
            axes.text(left - 8, bottom + height / 2, name, ha="right", va="center", fontsize=8.5, color=INK)


def _draw_gpus(axes: Any, drawn: Picture, names: Sequence[str]) -> None:
    places, size = [drawn.places[name] for name in names], 2 * max(drawn.radius, 1.2)
    axes.add_collection(
        EllipseCollection(
            [size] * len(names), [size] * len(names), [0] * len(names), units="xy", offsets=places,
            offset_transform=axes.transData, facecolors="white" if drawn.radius > 3 else INK, edgecolors=INK,
            linewidths=1.2 if drawn.radius > 5 else 0.4, zorder=2,
        )
    )  # fmt: skip
    if _label(axes, drawn.places, names, 1.8 * drawn.radius, 1.6 * drawn.radius, INK) or drawn.middle is None:
        return
    x, y = drawn.middle
    radius = math.dist(places[0], drawn.middle)
    for i in range(0, len(names), max(1, math.ceil(34 * len(names) / (2 * math.pi * radius)))):
        far = 1 + (drawn.radius + 15) / radius
        where = (x + far * (places[i][0] - x), y + far * (places[i][1] - y))
        axes.text(*where, _number(names[i]), ha="center", va="center", fontsize=8, color=INK)


def _draw_switches(axes: Any, drawn: Picture, names: Sequence[str]) -> None:
    width, height = drawn.switch
    corners = [(drawn.places[name][0] - width / 2, drawn.places[name][1] - height / 2) for name in names]
    squares = [Rectangle(corner, width, height) for corner in corners]
    axes.add_collection(PatchCollection(squares, facecolor="#444444", edgecolor=INK, linewidths=0.6, zorder=2))
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.rstrip("0123456789"), []).append(name)
    for group in alike.values():
        _label(axes, drawn.places, group, width - 4, height, "white")


def _label(axes: Any, places: Mapping[str, Point], names: Sequence[str], width: float, height: float, ink: str) -> bool:
    """Write all names, or all their last parts or numbers, in the largest type in which the longest fits; return
    whether one is legible."""
    for text_of in (str, _last, _number):
        longest = max((len(text_of(name)) for name in names), default=0)
        size = min(9.5, width / (0.93 * longest), height / 1.6) if longest else 0
        if size >= (6.5 if text_of is str else 5.4):
            for name in names:
                axes.text(
                    *places[name], text_of(name), ha="center", va="center_baseline", fontsize=size, color=ink, zorder=3
                )
            return True
    return False


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _number(name: str) -> str:
    return name[len(name.rstrip("0123456789")) :]
