"""The drawing of a run's machine: GPUs, switches, and links coloured by how busy they were."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcore.page.markup import Markup, element, joined
from simcore.units import RATE, TIME, short

if TYPE_CHECKING:
    import networkx

    from simcore.plot import Picture

MOST_LINES = 6_000
"""Links that are drawn; of more, those that carried nothing are left out, and then the idlest."""
LEVELS = 6
"""Shades of use."""


def drawing(graph: "networkx.DiGraph[Any]", used: Mapping[str, float]) -> Markup:
    """Return the machine as SVG; ``used`` is the mean utilisation of links by name, and a link's ends tell it on
    hover."""
    from simcore.plot import HEIGHT, SIDE, picture

    place = picture(graph)
    lines, hidden = _links(graph, place, used)
    parts = [element("rect", {"x": x, "y": HEIGHT - y - h, "width": w, "height": h, "rx": 4, "class": "box"})
             for x, y, w, h, _ in place.boxes]  # fmt: skip
    names = [name for name in graph if name in place.places]
    nodes = [_node(graph, place, name, HEIGHT) for name in names]
    rows = [
        element("text", {"x": 0, "y": HEIGHT - y, "class": "row"}, text.replace("\n", " ")) for y, text in place.rows
    ]
    left = 120 if place.rows else 10
    switches = sum(graph.nodes[name]["kind"] == "switch" for name in graph)
    about = f"{len(graph) - switches} GPUs, {switches} switches, {graph.number_of_edges()} directed links"
    shift = element("g", {"transform": f"translate({left} 0)"}, parts, lines, nodes)
    picture_ = element(
        "svg",
        {"viewBox": f"0 0 {SIDE + left + 10:.0f} {HEIGHT:.0f}", "class": "machine", "role": "img",
         "aria-label": f"the machine: {about}"},
        shift, rows,
    )  # fmt: skip
    shades = [element("span", {"class": f"shade use{level}"}) for level in range(LEVELS + 1)]
    said = f"{about}{place.remark}" + (f"; {hidden} idle links are not drawn" if hidden else "")
    legend = element("p", {"class": "legend"}, "mean utilisation 0 % ", shades, " 100 %; ", said)
    return joined(
        element("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "machine"}, picture_),
        legend,
    )


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
    from simcore.plot import HEIGHT

    return "M" + "L".join(f"{x:.1f} {HEIGHT - y:.1f}" for x, y in line)


def _node(graph: "networkx.DiGraph[Any]", place: "Picture", name: str, height: float) -> Markup:
    x, y = place.places[name]
    y = height - y
    if graph.nodes[name]["kind"] == "gpu":
        shape = element(
            "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{max(place.radius, 1.5):.1f}", "class": "gpu"}
        )
        room = 1.8 * place.radius
    else:
        w, h = place.switch
        shape = element(
            "rect",
            {"x": f"{x - w / 2:.1f}", "y": f"{y - h / 2:.1f}", "width": w, "height": h, "rx": 3, "class": "switch"},
        )
        room = w - 4
    short_name = name.rpartition(".")[2]
    text = next(
        (each for each in (short_name, short_name.lstrip("abcdefghijklmnopqrstuvwxyz")) if 6.6 * len(each) <= room), ""
    )
    label = element("text", {"x": f"{x:.1f}", "y": f"{y + 4:.1f}", "class": "name"}, text) if text else ""
    return element("g", {"data-tip": name}, shape, label)
