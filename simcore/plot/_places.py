"""Where the GPUs and switches of a machine stand in its picture, family by family, in pixels from the lower left."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simcore.trace import natural

if TYPE_CHECKING:
    import networkx

Point = tuple[float, float]
Line = list[Point]

SIDE = 880.0
"""Pixels of the picture's width."""
HEIGHT = 780.0
SEARCHED = 150
"""Nodes up to which distances along links are turned into places; of more, rows by distance from the GPUs."""


@dataclass
class Picture:
    """Places of nodes, how large they are drawn, boxes around nodes of a cluster, and links that are not straight."""

    places: dict[str, Point]
    radius: float
    """Of a GPU, pixels."""
    switch: Point = (44.0, 26.0)
    """Width and height of a switch, pixels."""
    boxes: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    """Left, bottom, width and height of each box, and what is written below it."""
    rows: list[tuple[float, str]] = field(default_factory=list)
    """Height of each layer, and what it is called."""
    lines: Callable[[str, str], list[Line]] | None = None
    """The lines of a link; None: one from end to end."""
    middle: Point | None = None
    """Middle of the circle of GPUs, outside which names may stand."""
    remark: str = ""
    """What a reader must know of the lines."""
    shows_inside: bool = True
    """Whether links inside the nodes of a cluster are drawn."""


def picture(graph: "networkx.DiGraph[Any]") -> Picture:
    """Return the picture of a machine by its family, and by its network's where it has one."""
    about, gpus = graph.graph, gpus_of(graph)
    if about["network"] in ("fat_tree", "switch"):
        return _layers(graph)
    if about["network"] == "rail_optimised":
        return _rails(graph)
    if "dragonfly" in (about["network"], about["family"]):
        return _groups(graph)
    if about["family"] == "fat_tree":
        return _layers(graph)
    if about["family"] == "hybrid_cube_mesh":
        return _cube(gpus)
    axes = len(graph.nodes[gpus[0]].get("at", ()))
    if axes in (2, 3):
        return _grid(graph, gpus)
    switches = _with(graph, "kind", "switch")
    if axes > 3 or len(switches) <= 1:
        return _circle(gpus, switches)
    return _spread(graph, gpus) if len(graph) <= SEARCHED else _distances(graph, gpus)


def gpus_of(graph: "networkx.DiGraph[Any]") -> list[str]:
    """Return the names of the GPUs in order."""
    return _with(graph, "kind", "gpu")


def _with(graph: "networkx.DiGraph[Any]", key: str, value: str) -> list[str]:
    return [name for name, about in graph.nodes(data=True) if about[key] == value]


def _circle(gpus: Sequence[str], switches: Sequence[str]) -> Picture:
    round_ = _around((SIDE / 2, HEIGHT / 2), 340, gpus)
    room = 2 * math.pi * 340 / max(1, len(gpus))
    places = round_ | dict.fromkeys(switches, (SIDE / 2, HEIGHT / 2))
    return Picture(places, min(27, 0.4 * room), (62, 34), middle=(SIDE / 2, HEIGHT / 2))


def _around(middle: Point, radius: float, names: Sequence[str], first: float = 0, part: float = 1) -> dict[str, Point]:
    """Return places clockwise on a part of a circle, from the angle ``first`` (0: the top) on."""
    turn = 2 * math.pi * part / max(1, len(names))
    angles = [first + turn * i for i in range(len(names))]
    return {
        name: (middle[0] + radius * math.sin(a), middle[1] + radius * math.cos(a))
        for name, a in zip(names, angles, strict=True)
    }


def _cube(gpus: Sequence[str]) -> Picture:
    """Two squares of four, the second one moved up so that no link runs through a GPU."""
    places: dict[str, Point] = {}
    for i, name in enumerate(gpus):
        square, corner = divmod(i, 4)
        places[name] = (105 + 430 * square + 225 * (corner % 2), 530 + 130 * square - 330 * (corner // 2))
    return Picture(places, 27)


def _grid(graph: "networkx.DiGraph[Any]", gpus: Sequence[str]) -> Picture:
    at = {name: graph.nodes[name]["at"] for name in gpus}
    sizes = [1 + max(place[axis] for place in at.values()) for axis in range(len(at[gpus[0]]))]
    deep = sizes[2] if len(sizes) == 3 else 1
    pitch = min(110.0 if deep == 1 else 230.0, SIDE / (sizes[0] + 1.1), HEIGHT / (sizes[1] + 1.1))
    # A plane behind is moved right and up by less than a pitch, and by no simple part of it: nothing hides anything.
    shift = (0.77 * pitch / deep, 0.61 * pitch / deep) if deep > 1 else (0.0, 0.0)
    steps = ((pitch, 0.0), (0.0, -pitch), shift)
    left = (SIDE - (sizes[0] - 1) * pitch - (deep - 1) * shift[0]) / 2
    top = (HEIGHT + (sizes[1] - 1) * pitch - (deep - 1) * shift[1]) / 2
    places = {
        name: (
            left + sum(c * step[0] for c, step in zip(place, steps, strict=False)),
            top + sum(c * step[1] for c, step in zip(place, steps, strict=False)),
        )
        for name, place in at.items()
    }

    def lines(tail: str, head: str) -> list[Line]:
        """A link around the border is a stub at either end."""
        ends = (at[tail], at[head])
        axis = next(i for i in range(len(sizes)) if ends[0][i] != ends[1][i])
        if abs(ends[0][axis] - ends[1][axis]) == 1:
            return [[places[tail], places[head]]]
        stub = 0.36 if deep == 1 else 0.24 if axis < 2 else 0.62
        found = []
        for name, place in ((tail, ends[0]), (head, ends[1])):
            sign = stub if place[axis] else -stub
            x, y = places[name]
            found.append([(x, y), (x + sign * steps[axis][0], y + sign * steps[axis][1])])
        return found

    radius = min(24.0, 0.26 * pitch if deep == 1 else 0.3 * math.hypot(*shift))
    return Picture(places, radius, lines=lines, remark="; stubs at the border go around")


def _layers(graph: "networkx.DiGraph[Any]") -> Picture:
    """GPUs below, in boxes by node; above them leaves, spines and cores."""
    gpus, cluster = gpus_of(graph), bool(graph.graph["network"])
    levels: dict[int, list[str]] = {}
    for name, about in graph.nodes(data=True):
        if about["kind"] == "switch" and not (cluster and "node" in about):
            levels.setdefault(about["level"], []).append(name)
    places, boxes, radius, top = _boxed(graph, gpus) if cluster else _blocks(graph, gpus)
    heights = [top + (HEIGHT - 30 - top) * level / max(levels) for level in sorted(levels)]
    widest = max(map(len, levels.values()))
    picture_ = Picture(places, radius, (min(58.0, 0.8 * SIDE / widest), 26.0), boxes, shows_inside=False)
    for height, level in zip(heights, sorted(levels), strict=True):
        names = sorted(levels[level], key=natural)
        for i, name in enumerate(names):
            below = [places[end][0] for end in graph.predecessors(name) if graph.nodes[end]["kind"] == "gpu"]
            places[name] = (sum(below) / len(below) if below else (i + 0.5) * SIDE / len(names), height)
        role = graph.nodes[names[0]]["role"]
        several = {"leaf": "leaves", "switch": "switches"}.get(role, f"{role}s")
        picture_.rows.append((height, f"{len(names)} {role if len(names) == 1 else several}"))
    picture_.rows.append((max(top / 2, 44.0), f"{graph.graph['nodes']} nodes" if cluster else f"{len(gpus)} GPUs"))
    return picture_


Placed = tuple[dict[str, Point], list[tuple[float, float, float, float, str]], float, float]


def _boxed(graph: "networkx.DiGraph[Any]", gpus: Sequence[str]) -> Placed:
    """Return places of GPUs two abreast in one box a node, the boxes, the radius of a GPU, and the upper edge."""
    nodes = graph.graph["nodes"]
    per_node = len(gpus) // nodes
    width = min(56.0 * per_node, SIDE / nodes)
    abreast = max((n for n in (per_node, 8, 4, 2) if n <= per_node and 0.86 * width / n >= 40), default=0)
    abreast = abreast or max(
        (n for n in (8, 4, 2) if n <= per_node and 0.86 * width / n >= 22), default=min(2, per_node)
    )
    deep = -(-per_node // abreast)
    pitch = min(0.86 * width / abreast, 48.0, 240.0 / deep)
    first = (SIDE - nodes * width) / 2
    places: dict[str, Point] = {}
    boxes = []
    for i, name in enumerate(gpus):
        node, local = divmod(i, per_node)
        middle = first + (node + 0.5) * width
        x = middle + (local % abreast - (abreast - 1) / 2) * pitch
        places[name] = (x, 34 + (deep - local // abreast - 0.5) * pitch)
        if local == 0:
            wide = abreast * pitch + 0.06 * width
            boxes.append((middle - wide / 2, 30.0, wide, deep * pitch + 8, f"node{node}"))
    return places, boxes, 0.4 * pitch, 30 + deep * pitch + 8


def _blocks(graph: "networkx.DiGraph[Any]", gpus: Sequence[str]) -> Placed:
    """Return places of GPUs that hang on leaves: side by side, each leaf's in columns of up to eight."""
    blocks: dict[str, list[str]] = {}
    for name in gpus:
        blocks.setdefault(next(iter(graph.successors(name))), []).append(name)
    gaps = 0.5 * (len(blocks) - 1)
    for deep in (1, 2, 4, 8):
        columns = sum(-(-len(block) // deep) for block in blocks.values())
        pitch = min(64.0, SIDE / (columns + gaps))
        if pitch >= 24:
            break
    x = (SIDE - (columns + gaps) * pitch) / 2 + pitch / 2
    places: dict[str, Point] = {}
    for block in blocks.values():
        for column in _chunks(block, deep):
            for row, name in enumerate(column):
                places[name] = (x, 30 + (deep - row - 0.5) * pitch)
            x += pitch
        x += 0.5 * pitch
    return places, [], 0.4 * pitch, 30 + deep * pitch


def _chunks(names: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (names[i : i + count] for i in range(0, len(names), count))


def _rails(graph: "networkx.DiGraph[Any]") -> Picture:
    """A row a node, a column a rail with its leaves above its nodes, spines on top."""
    gpus, nodes = gpus_of(graph), graph.graph["nodes"]
    rails = len(gpus) // nodes
    leaves = {name: about for name, about in graph.nodes(data=True) if about["role"] == "rail"}
    spines = sorted(_with(graph, "role", "spine"), key=natural)
    blocks = 1 + max(about["block"] for about in leaves.values())
    top = HEIGHT - 20 - (110 if spines else 0)
    pitch = min(46.0, (top - 20) / (nodes + 1.6 * blocks))
    across = min(110.0, SIDE / (rails + 0.7))
    left = (SIDE - (rails - 1) * across) / 2
    per_block = -(-nodes // blocks)
    radius = min(0.42 * pitch, 0.3 * across, 20.0)
    switch = (min(64.0, 0.7 * across), min(26.0, 0.7 * pitch + 6))
    edge = 2 * radius if blocks == 1 else switch[0] / 2 + 12
    places: dict[str, Point] = {}
    boxes = []
    for i, name in enumerate(gpus):
        node, rail = divmod(i, rails)
        y = top - (node + 1.6 * (node // per_block + 1)) * pitch
        places[name] = (left + rail * across, y)
        if rail == 0:
            wide = (rails - 1) * across + 2 * edge
            boxes.append((left - edge, y - 0.46 * pitch, wide, 0.92 * pitch, f"node{node}"))
    for name, about in leaves.items():
        y = top - (per_block + 1.6) * about["block"] * pitch - 0.3 * pitch
        places[name] = (left + about["rail"] * across + 1.35 * radius, y)
    places |= {name: ((i + 0.5) * SIDE / len(spines), HEIGHT - 20) for i, name in enumerate(spines)}

    def lines(tail: str, head: str) -> list[Line]:
        """A NIC's link runs along its rail to the leaf, a leaf's left of its rail to the top, then to the spine."""
        low, high = sorted((tail, head), key=lambda name: (name not in gpu_names, name in spine_names))
        (x, y), (u, v) = places[low], places[high]
        if low in gpu_names:
            return [[(x, y), (u, y), (u, v)]]
        beside = x - switch[0] / 2 - 5
        return [
            [(x, y), (beside, y), (beside, top - 0.3 * pitch), (u, v)] if leaves[low]["block"] else [(x, y), (u, v)]
        ]

    gpu_names, spine_names = set(gpus), set(spines)
    rows = [(HEIGHT - 20, f"{len(spines)} spines")] if spines else []
    rows.append((top - 0.3 * pitch, f"{len(leaves)} rail\nswitches"))
    return Picture(places, radius, switch, boxes, rows, lines, shows_inside=False)


def _groups(graph: "networkx.DiGraph[Any]") -> Picture:
    """Groups on a circle, the routers of each on a circle of their own, hosts outside their router."""
    gpus = gpus_of(graph)
    routers = {name: about for name, about in graph.nodes(data=True) if about["role"] == "router"}
    groups = 1 + max(about["group"] for about in routers.values())
    each = 1 + max(about["router"] for about in routers.values())
    hosts: dict[str, list[str]] = {}
    for name in gpus:
        hosts.setdefault(next(a for a in graph.successors(name) if a in routers), []).append(name)
    # Circles of groups touch on their circle, and together they fill the picture.
    reach = math.sin(math.pi / groups) if groups > 1 else 1.0
    room = (380.0 * reach / (1 + reach) if groups > 1 else 340.0) - 6
    ring = 374.0 - room if groups > 1 else 0.0
    places: dict[str, Point] = {}
    most = max(map(len, hosts.values()))
    for group in range(groups):
        outwards = 2 * math.pi * group / groups
        middle = (SIDE / 2 + ring * math.sin(outwards), HEIGHT / 2 + ring * math.cos(outwards))
        names = [name for name, about in routers.items() if about["group"] == group]
        places |= _around(middle, 0.52 * room if each > 1 else 0, names, outwards)
        for i, name in enumerate(names):
            angle = outwards + 2 * math.pi * i / each
            sector = 0.86 / each * len(hosts.get(name, ())) / most
            first = angle - math.pi * sector * (1 - 1 / max(1, len(hosts.get(name, ()))))
            places |= _around(middle, 0.87 * room, hosts.get(name, []), first, sector)
    spacing = 2 * math.pi * 0.87 * room * 0.86 / (each * most)
    side = min(30.0, 0.25 * room, 0.6 * math.pi * room / each)
    return Picture(places, min(16.0, 0.38 * spacing, 0.13 * room), (side, min(side, 22.0)), shows_inside=False)


def _spread(graph: "networkx.DiGraph[Any]", gpus: Sequence[str]) -> Picture:
    """Nodes wherever distances along links put them."""
    import networkx

    found = networkx.kamada_kawai_layout(graph.to_undirected(), weight=None)
    xs, ys = [float(p[0]) for p in found.values()], [float(p[1]) for p in found.values()]
    scale = min((SIDE - 80) / max(1e-9, max(xs) - min(xs)), (HEIGHT - 80) / max(1e-9, max(ys) - min(ys)))
    places = {
        name: (
            SIDE / 2 + (float(p[0]) - (max(xs) + min(xs)) / 2) * scale,
            HEIGHT / 2 + (float(p[1]) - (max(ys) + min(ys)) / 2) * scale,
        )
        for name, p in found.items()
    }
    near = _nearest(list(places.values()))
    return Picture(places, min(27.0, 0.42 * near), (min(58.0, 0.84 * near), min(26.0, 0.5 * near)))


def _nearest(points: Sequence[Point]) -> float:
    return min((math.dist(a, b) for i, a in enumerate(points) for b in points[:i]), default=100.0)


def _distances(graph: "networkx.DiGraph[Any]", gpus: Sequence[str]) -> Picture:
    """Rows by distance from the GPUs, which stand in the lowest ones."""
    import networkx

    hops = networkx.multi_source_dijkstra_path_length(graph.to_undirected(), set(gpus), weight=None)
    rows: dict[int, list[str]] = {}
    for name in sorted(graph, key=natural):
        rows.setdefault(int(hops.get(name, 0)), []).append(name)
    places = {
        name: ((i + 0.5) * SIDE / len(names), 30 + (HEIGHT - 60) * row / max(1, max(rows)))
        for row, names in rows.items()
        for i, name in enumerate(names)
    }
    pitch = SIDE / max(map(len, rows.values()))
    return Picture(places, max(1.5, min(27.0, 0.4 * pitch)), (min(58.0, max(3.0, 0.8 * pitch)), 22.0))
