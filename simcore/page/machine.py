"""The drawing of a run's machine: GPUs, switches, and links coloured by how busy they were."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simcore.page.markup import Markup, element, joined
from simcore.units import RATE, TIME, short

if TYPE_CHECKING:
    import networkx

    from simcore.plot import Picture

MOST_LINES = 6_000
"""Links that are drawn; of more, those that carried nothing are left out, and then the idlest."""
FEW = 64
"""Nodes up to which they are moved together where there is room between them."""
LARGEST, LEAST = 17.0, 10.0
"""Sizes of the names in nodes."""
LEVELS = 6
"""Shades of use."""


def drawing(graph: "networkx.DiGraph[Any]", used: Mapping[str, float]) -> Markup:
    """Return the machine as SVG; ``used`` is the mean utilisation of links by name, and a link's ends tell it on
    hover."""
    from simcore.plot import picture

    place = _closer(picture(graph))
    lines, hidden = _links(graph, place, used)
    boxes = [element("rect", {"x": f"{x:.1f}", "y": f"{-y - h:.1f}", "width": f"{w:.1f}", "height": f"{h:.1f}", "rx": 4,
                              "class": "box"})
             for x, y, w, h, _ in place.boxes]  # fmt: skip
    nodes = [_node(graph, place, name) for name in graph if name in place.places]
    left, top, wide, tall = _frame(place)
    rows = [
        element("text", {"x": left, "y": f"{5 - y:.1f}", "class": "row"}, text.replace("\n", " "))
        for y, text in place.rows
    ]
    switches = sum(graph.nodes[name]["kind"] == "switch" for name in graph)
    both = f"{len(graph) - switches:,} GPUs, {_count(switches, 'switch', 'switches')}"
    about = f"{both}, {graph.number_of_edges():,} directed links"
    picture_ = element(
        "svg",
        {"viewBox": f"{left:.0f} {top:.0f} {wide:.0f} {tall:.0f}", "role": "img",
         "class": "machine wide" if place.boxes else "machine", "aria-label": f"the machine: {about}"},
        boxes, lines, nodes, rows,
    )  # fmt: skip
    shades = [element("span", {"class": f"shade use{level}"}) for level in range(LEVELS + 1)]
    said = f"{about}{place.remark}" + (f"; {hidden:,} idle links are not drawn" if hidden else "")
    legend = element("p", {"class": "legend"}, "mean utilisation 0 % ", shades, f" 100 %; {said}")
    return joined(
        element("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "machine"}, picture_),
        legend,
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _closer(place: "Picture") -> "Picture":
    """Return a picture of few nodes and straight links with less room between them, so that they can be large."""
    points = list(place.places.values())
    if place.boxes or place.rows or place.lines or not 2 <= len(points) <= FEW:
        return place
    nearest = min(math.dist(a, b) for i, a in enumerate(points) for b in points[:i])
    scale = min(1.0, 7 * place.radius / max(nearest, 1e-9))
    return replace(place, places={name: (x * scale, y * scale) for name, (x, y) in place.places.items()})


def _frame(place: "Picture") -> tuple[float, float, float, float]:
    """Return left, top, width and height of what is drawn, y downwards."""
    across, up = max(place.radius, place.switch[0] / 2) + 6, max(place.radius, place.switch[1] / 2) + 6
    xs = [x + by for x, _ in place.places.values() for by in (-across, across)]
    ys = [y + by for _, y in place.places.values() for by in (-up, up)]
    xs += [x + by for x, _, w, _, _ in place.boxes for by in (-4, w + 4)]
    ys += [y + by for _, y, _, h, _ in place.boxes for by in (-4, h + 4)]
    named = 10 + 8.5 * max((len(text) for _, text in place.rows), default=-1)
    left = min(xs) - max(0.0, named)
    return left, -max(ys), max(xs) - left, max(ys) - min(ys)


def level(share: float) -> int:
    """Return the shade of a share of time: 0 for none at all, then 1 to ``LEVELS`` by its square root."""
    return min(LEVELS, 1 + int(LEVELS * math.sqrt(share))) if share > 0 else 0


def _links(graph: "networkx.DiGraph[Any]", place: "Picture", used: Mapping[str, float]) -> tuple[list[Markup], int]:
    both: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for tail, head in graph.edges:
        if tail in place.places and head in place.places:
            both.setdefault((min(tail, head), max(tail, head)), []).append((tail, head))
    shares = {pair: max(used.get(graph.edges[edge]["server"], 0.0) for edge in edges) for pair, edges in both.items()}
    inside = [
        pair
        for pair, edges in both.items()
        if place.shows_inside or not graph.edges[edges[0]]["inside"] or shares[pair]
    ]
    drawn = sorted(inside, key=lambda pair: -shares[pair])[:MOST_LINES]
    found = []
    # The busiest come last, above the others.
    for pair in reversed(drawn):
        text = "\n".join(_told(graph, tail, head, used) for tail, head in sorted(both[pair]))
        failed = any(graph.edges[edge]["failed"] for edge in both[pair])
        shade = "failed" if failed else f"use{level(shares[pair])}"
        found += [
            element("path", {"d": _path(line), "class": f"link {shade}", "data-tip": text})
            for line in _lines(place, *pair)
        ]
    return found, len(both) - len(drawn)


def _told(graph: "networkx.DiGraph[Any]", tail: str, head: str, used: Mapping[str, float]) -> str:
    link = graph.edges[tail, head]
    how = "failed" if link["failed"] else f"used {used.get(link['server'], 0.0):.1%}"
    return f"{tail} -> {head}: {short(link['bandwidth'], RATE)}, {short(link['latency'], TIME)}, {how}"


def _lines(place: "Picture", tail: str, head: str) -> list[list[tuple[float, float]]]:
    return [[place.places[tail], place.places[head]]] if place.lines is None else place.lines(tail, head)


def _path(line: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {-y:.1f}" for x, y in line)


def _node(graph: "networkx.DiGraph[Any]", place: "Picture", name: str) -> Markup:
    x, y = place.places[name]
    y = -y
    if graph.nodes[name]["kind"] == "gpu":
        radius = max(place.radius, 1.5)
        shape = element("circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius:.1f}", "class": "gpu"})
        room = 1.8 * place.radius
    else:
        w, h = place.switch
        shape = element(
            "rect",
            {"x": f"{x - w / 2:.1f}", "y": f"{y - h / 2:.1f}", "width": w, "height": h, "rx": 3, "class": "switch"},
        )
        room = w - 6
    return element("g", {"data-tip": name}, shape, _label(name, x, y, room))


def _label(name: str, x: float, y: float, room: float) -> Markup:
    """Return the name of a node, or what it ends in, as large as fits in ``room``; nothing where that is illegible."""
    whole = name.rpartition(".")[2]
    for text in (whole, whole.lstrip("abcdefghijklmnopqrstuvwxyz")):
        size = min(LARGEST, room / (0.62 * max(1, len(text))))
        if text and size >= LEAST:
            where = {"x": f"{x:.1f}", "y": f"{y + 0.36 * size:.1f}", "font-size": f"{size:.1f}", "class": "name"}
            return element("text", where, text)
    return Markup()
