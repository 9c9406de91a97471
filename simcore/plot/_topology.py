"""The machine: GPUs round, switches square, a colour for links that are alike, with bandwidth and latency."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.collections import EllipseCollection, LineCollection, PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from simcore.plot._canvas import EDGE, Drawing, Sheet, sheet_of
from simcore.plot._places import HEIGHT, SIDE, Picture, Point, gpus_of, picture
from simcore.plot._style import DASHES, FAINT, INK
from simcore.plot._style import PALETTE as COLOURS
from simcore.units import RATE, TIME, short

if TYPE_CHECKING:
    import networkx

PALETTE = (*COLOURS[:-1], "#7A4B00")
"""Of the links; the last of all colours is that of the GPUs."""
FAILED = "failed"
ROOM = 64.0
"""Pixels above and below a picture, for the names of what stands at its edge."""
MOST_CLASSES = 14
"""Classes of links in the legend; the rest is counted."""

Kind = tuple[str, int, int, str]
"""A class of links: its ends, bandwidth (B/s), latency (ps), how the directions share, or that they have failed."""


def topology(graph: "networkx.DiGraph[Any]", *, title: str = "", width: str = "screen") -> Drawing:
    """Return a figure of the machine by its family: a circle, a grid, layers, rails, groups; one line for two equal
    directions, one colour for equal links."""
    with sheet_of(width) as sheet:
        return _topology(sheet, graph, title)


def _topology(sheet: Sheet, graph: "networkx.DiGraph[Any]", title: str) -> Drawing:
    drawn, kinds = picture(graph), link_kinds(graph)
    said = _about(graph) + drawn.remark
    hidden = {
        kind
        for kind, pairs in kinds.items()
        if graph.graph["network"] and not drawn.shows_inside and all(graph.edges[pair]["inside"] for pair in pairs)
    }
    ordered = sorted(kinds, key=_rank)
    handles = [_handle(kind, len(kinds[kind]), i, kind in hidden) for i, kind in enumerate(ordered)]
    more = len(handles) - MOST_CLASSES
    if more > 0:
        handles[MOST_CLASSES:] = [Patch(alpha=0, label=f"and {more} more kinds of links")]
    labels = [str(handle.get_label()) for handle in handles]
    columns, legend = sheet.legend_room(labels, 1 if sheet.wide else sheet.width - 2 * EDGE)
    # On paper a line has what is beside it below it too.
    rows = [(height, text if sheet.wide else text.replace("\n", " ")) for height, text in drawn.rows]
    left = max([EDGE, *(30 + sheet.measure(text) for _, text in rows)])
    beside = max(map(sheet.measure, labels), default=0.0) + 70
    room = sheet.width - left - (beside if sheet.wide else EDGE)
    left += max(0, (room - SIDE) / 2) * (not sheet.wide)
    ratio = min(1.0, room / SIDE)
    low, high = _extent(drawn)
    top = sheet.head(title, said)
    below = top + ratio * (high - low) + 20
    sheet.begin(max(below, top + legend + 12) if sheet.wide else below + legend + 12, title, said)
    axes = sheet.axes(left, top, ratio * SIDE, ratio * (high - low))
    axes.set_xlim(0, SIDE)
    axes.set_ylim(low, high)
    axes.set_axis_off()
    view = View(axes, drawn, ratio * sheet.scale, sheet.scale)
    for i, kind in enumerate(ordered):
        if kind not in hidden:
            _draw_links(view, kind, kinds[kind], i)
    _draw_boxes(view)
    _draw_gpus(view, gpus_of(graph))
    shown = [name for name in graph if name in drawn.places]
    _draw_switches(view, [name for name in shown if graph.nodes[name]["kind"] == "switch"])
    for height, text in rows:
        axes.text(-14, height, text, ha="right", va="center" if sheet.wide else "bottom", color=FAINT)
    sheet.legend(
        axes, handles, (left + ratio * SIDE + 8, top) if sheet.wide else (EDGE, below), 1 if sheet.wide else columns
    )
    return sheet.figure


def _extent(drawn: Picture) -> tuple[float, float]:
    """Return the lowest and the highest pixel of a picture, with room for the names around it."""
    heights = [y for _, y in drawn.places.values()] + [height for height, _ in drawn.rows]
    heights += [edge for _, bottom, _, height, _ in drawn.boxes for edge in (bottom, bottom + height)]
    return max(0.0, min(heights) - ROOM), min(HEIGHT, max(heights) + ROOM)


@dataclass(frozen=True)
class View:
    """A picture on its axes: ``ratio`` of its pixels to those of a screen, and ``scale`` of what has a size of its
    own."""

    axes: Any
    drawn: Picture
    ratio: float
    scale: float


def _about(graph: "networkx.DiGraph[Any]") -> str:
    gpus = len(gpus_of(graph))
    switches = graph.number_of_nodes() - gpus
    nodes = f" in {_counted(graph.graph['nodes'], 'node')}" if graph.graph["network"] else ""
    about = f"{_counted(gpus, 'GPU')}{nodes}" + (f", {_counted(switches, 'switch')}" if switches else "")
    covers = " or ".join(_COVERS[kind] for kind in graph.graph["latency_is"])
    return f"{about}; bandwidth and latency ({covers}) of one link"


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


def _handle(kind: Kind, count: int, number: int, hidden: bool) -> Any:
    ends, bandwidth, latency, shares = kind
    colour, dashes = _look(number)
    where = "\ninside the nodes, not drawn" if hidden else ""
    text = f"{ends}: {_counted(count, 'link')}\n{short(bandwidth, RATE)} {shares}, {short(latency, TIME)}{where}"
    if shares == FAILED:
        return Line2D([], [], color=INK, ls=":", marker="x", label=f"{ends}: {count} failed")
    return Patch(facecolor="white" if hidden else colour, edgecolor=colour, ls=dashes, label=text)


def _look(number: int) -> tuple[str, str]:
    """Return colour and dashes of the class of links with a number."""
    return PALETTE[number % len(PALETTE)], DASHES[number // len(PALETTE) % len(DASHES)]


def _draw_links(view: View, kind: Kind, pairs: Sequence[tuple[str, str]], number: int) -> None:
    count = len(pairs)
    lines = [line for pair in pairs for line in _lines(view.drawn, *pair)]
    failed, one_way = kind[3] == FAILED, kind[3] == "one way"
    colour, dashes = (INK, ":") if failed else _look(number)
    if one_way:
        lines = [_aside(line) for line in lines]
    wide = 1.6 if failed else max(0.35, min(2.2, 60 / math.sqrt(count + 600)))
    view.axes.add_collection(
        LineCollection(
            lines, colors=colour, linestyles=dashes, lw=math.sqrt(view.scale * view.ratio) * wide,
            alpha=1 if count < 100 or failed else max(0.12, 0.7 - count / 3000), zorder=1.5 if failed else 1,
        )
    )  # fmt: skip
    if failed and count <= 200:
        middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, *_, b in lines]
        view.axes.scatter(*zip(*middles, strict=True), marker="x", color=INK, s=40 * view.scale**2, zorder=1.6)
    if one_way and count <= 200:
        for start, *_, stop in lines:
            tip, back = (tuple(t * b + (1 - t) * a for a, b in zip(start, stop, strict=True)) for t in (0.56, 0.5))
            style = {"arrowstyle": "-|>", "color": colour, "lw": 1.2 * view.scale, "mutation_scale": 10 * view.scale}
            view.axes.annotate("", tip, back, arrowprops=style)


def _aside(line: list[Point]) -> list[Point]:
    """Return the line moved to the right of its direction, so that two opposite ones do not cover each other."""
    (x, y), (u, v) = line[0], line[-1]
    length = math.hypot(u - x, v - y) or 1.0
    return [(a + 4 * (v - y) / length, b - 4 * (u - x) / length) for a, b in line]


def _lines(drawn: Picture, tail: str, head: str) -> list[list[Point]]:
    return [[drawn.places[tail], drawn.places[head]]] if drawn.lines is None else drawn.lines(tail, head)


def _draw_boxes(view: View) -> None:
    boxes = view.drawn.boxes
    for left, bottom, width, height, _ in boxes:
        corner = f"round,pad=0,rounding_size={min(4.0, width / 4, height / 4)}"
        view.axes.add_patch(
            FancyBboxPatch(
                (left, bottom), width, height, boxstyle=corner, facecolor="#F4F4F4", edgecolor="#999999",
                lw=view.scale * (0.8 if min(width, height) > 12 else 0.3), zorder=0.5,
            )
        )  # fmt: skip
    if not boxes:
        return
    (left, bottom, width, height, _), names = boxes[0], [box[4] for box in boxes]
    size = max(5.4, 8.5 * view.scale)
    # Pixels of the picture that a letter of this size takes.
    letter = size / 8.5 / view.ratio
    if width < height or len({box[1] for box in boxes}) == 1:
        every = max(1, math.ceil((7.2 * letter * len(names[-1]) + 10) / (SIDE / len(names))))
        for left, bottom, width, _, name in boxes[::every]:
            middle = (left + width / 2, bottom - 11 * letter)
            view.axes.text(*middle, name, ha="center", va="center", fontsize=size, color=INK)
    else:
        every = max(1, math.ceil(15 * letter / height))
        # Not the first of many, above which stands what the row of switches is.
        for left, bottom, _, height, name in boxes[every - 1 :: every]:
            view.axes.text(left - 8, bottom + height / 2, name, ha="right", va="center", fontsize=size, color=INK)


def _draw_gpus(view: View, names: Sequence[str]) -> None:
    drawn, axes = view.drawn, view.axes
    places, size = [drawn.places[name] for name in names], 2 * max(drawn.radius, 1.2)
    axes.add_collection(
        EllipseCollection(
            [size] * len(names), [size] * len(names), [0] * len(names), units="xy", offsets=places,
            offset_transform=axes.transData, facecolors="white" if drawn.radius > 3 else INK, edgecolors=INK,
            linewidths=view.scale * (1.2 if drawn.radius > 5 else 0.4), zorder=2,
        )
    )  # fmt: skip
    if _label(view, names, 1.8 * drawn.radius, 1.6 * drawn.radius, INK) or drawn.middle is None:
        return
    x, y = drawn.middle
    radius, size = math.dist(places[0], drawn.middle), max(5.4, 8 * view.scale)
    letter = size / 8 / view.ratio
    every = max(1, math.ceil(34 * letter * len(names) / (2 * math.pi * radius)))
    # The last label has the first one beside it.
    for i in range(0, max(1, len(names) - every + 1), every):
        far = 1 + (drawn.radius + 15 * letter) / radius
        where = (x + far * (places[i][0] - x), y + far * (places[i][1] - y))
        axes.text(*where, _number(names[i]), ha="center", va="center", fontsize=size, color=INK)


def _draw_switches(view: View, names: Sequence[str]) -> None:
    (width, height), places = view.drawn.switch, view.drawn.places
    squares = [Rectangle((places[name][0] - width / 2, places[name][1] - height / 2), width, height) for name in names]
    view.axes.add_collection(
        PatchCollection(squares, facecolor="#444444", edgecolor=INK, linewidths=0.6 * view.scale, zorder=2)
    )
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.rstrip("0123456789"), []).append(name)
    for group in alike.values():
        _label(view, group, width - 4, height, "white")


def _label(view: View, names: Sequence[str], width: float, height: float, ink: str) -> bool:
    """Write all names, or all their last parts or numbers, in the largest type in which the longest fits; return
    whether one is legible."""
    for text_of in (str, _last, _number):
        longest = max((len(text_of(name)) for name in names), default=0)
        fits = view.ratio * min(width / (0.93 * longest), height / 1.6) if longest else 0
        size = min(9.5 * view.scale, fits)
        if size >= (6.5 if text_of is str else 5.4):
            for name in names:
                view.axes.text(
                    *view.drawn.places[name], text_of(name), ha="center", va="center_baseline", fontsize=size,
                    color=ink, zorder=3,
                )  # fmt: skip
            return True
    return False


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _number(name: str) -> str:
    return name[len(name.rstrip("0123456789")) :]
