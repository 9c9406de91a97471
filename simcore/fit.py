"""From measured collectives to the few numbers of a machine: launch, latency a step, bandwidth a GPU, and fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore.errors import InputError
from simcore.formats.nccl_tests import Output
from simcore.schedule import Schedule
from simcore.units import PS_PER_S, RATE, SIZE, TIME, short, text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOSS_SCALE = 0.05
"""Residual (natural logarithm) from which a point pulls with its sign rather than its size: about 5 %."""
FAR_OFF = 0.25
"""Residual beyond which a point is named as one that the fit does not describe."""
FREE = ("launch", "latency", "bandwidth")

BASES = {
    "V100": "dgx-1-v100",
    "A100": "dgx-a100",
    "H100": "hgx-h100",
    "H800": "hgx-h800",
    "H200": "hgx-h200",
    "GB200": "gb200-nvl72",
    "B200": "hgx-b200",
    "MI300X": "mi300x-8",
}
"""Presets that lend a fitted sheet the values of the GPU itself, by a part of the device's name."""


@dataclass(frozen=True)
class Point:
    """One measurement as a fit sees it: ``size`` bytes (as nccl-tests counts), ``time`` ps, and where it stands."""

    operation: str
    ranks: int
    size: int
    time: int
    where: str = ""


@dataclass(frozen=True)
class Parameters:
    """What a fit finds: ps to launch, ps a step, B/s that a GPU sends, and the time constant of the fill, ps."""

    launch: float
    latency: float
    bandwidth: float
    fill: float = 0.0


@dataclass(frozen=True)
class Fit:
    """Parameters, the algorithm that they hold for, the points used, and the residual of each (ln simulated/measured);
    ``held`` names what was given rather than fitted."""

    parameters: Parameters
    algorithm: str
    points: tuple[Point, ...]
    residuals: tuple[float, ...]
    held: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """exp(mean |ln simulated/measured|) - 1 over the fitted points."""
        import math

        return math.expm1(sum(map(abs, self.residuals)) / len(self.residuals))


def shape(operation: str, algorithm: str, ranks: int) -> tuple[float, float]:
    """Return the steps that follow one another and the bytes that each GPU sends for each byte of size.

    A step is a message from a GPU to another. These are of the schedules that simcore plays: a ring in n - 1 or
    2 (n - 1) steps, an all-to-all in one step with all peers at once, an all-reduce in the switch in n chunks, each of
    which crosses one link up while the one before it comes down. Raises ``InputError`` for others.
    """
    n = ranks
    if algorithm == "ring" and operation == "all_reduce":
        return 2.0 * (n - 1), 2 * (n - 1) / n
    if algorithm == "ring" and operation in ("all_gather", "reduce_scatter"):
        return n - 1.0, (n - 1) / n
    if algorithm == "direct" and operation == "alltoall":
        return 1.0, (n - 1) / n
    if algorithm == "direct" and operation == "sendrecv":
        return 1.0, 1.0
    if algorithm == "nvls" and operation == "all_reduce":
        return (n + 1) / 2, 1 + 1 / n
    raise InputError(
        f"{operation} by {algorithm} is not fitted; ring: all_reduce, all_gather, reduce_scatter; "
        "direct: alltoall, sendrecv; nvls: all_reduce"
    )


def predicted(parameters: Parameters, algorithm: str, points: Sequence[Point]) -> "Floats":
    """Return the time of each point in ps, float64: launch + steps * latency + x + 2 sqrt(fill * x), x = bytes sent /
    bandwidth."""
    return _times(parameters, *_columns(algorithm, points))


def _columns(algorithm: str, points: Sequence[Point]) -> "tuple[Floats, Floats]":
    import numpy as np

    shapes = [shape(point.operation, algorithm, point.ranks) for point in points]
    steps = np.array([steps for steps, _ in shapes], np.float64)
    return steps, np.array([each * point.size for (_, each), point in zip(shapes, points, strict=True)], np.float64)


def _times(parameters: Parameters, steps: "Floats", sent: "Floats") -> "Floats":
    import numpy as np

    drain = sent * PS_PER_S / parameters.bandwidth
    times: Floats = parameters.launch + steps * parameters.latency + drain + 2 * np.sqrt(parameters.fill * drain)
    return times


def fitted(
    points: Sequence[Point], algorithm: str, *, hold: Mapping[str, float] | None = None, fill: bool = False
) -> Fit:
    """Return the parameters that come nearest to ``points`` in the logarithm of time, outliers damped (soft L1).

    ``hold`` fixes parameters by name. ``fill`` adds the fourth, 2 sqrt(fill * x) where x is the time that the bytes
    alone take: what filling a pipeline of ever larger chunks costs. Raises ``InputError`` where the points cannot tell
    the parameters apart.
    """
    import numpy as np
    from scipy.optimize import least_squares

    held = dict(hold or {}) | ({} if fill else {"fill": 0.0})
    names = [name for name in (*FREE, "fill") if name not in held]
    _require_enough(points, names)
    steps, sent = _columns(algorithm, points)
    measured = np.log([float(point.time) for point in points])
    start = _start(points, steps, sent)

    def parameters(logs: "Floats") -> Parameters:
        return Parameters(**(held | dict(zip(names, map(float, np.exp(logs)), strict=True))))

    def residuals(logs: "Floats") -> "Floats":
        difference: Floats = np.log(_times(parameters(logs), steps, sent)) - measured
        return difference

    found = least_squares(
        residuals, np.log([start[name] for name in names]), loss="soft_l1", f_scale=LOSS_SCALE, xtol=1e-12, ftol=1e-12,
        gtol=1e-12,
    )  # fmt: skip
    given = tuple(name for name in held if name != "fill")
    left = tuple(float(residual) for residual in residuals(found.x))
    return Fit(parameters(found.x), algorithm, tuple(points), left, given)


def _require_enough(points: Sequence[Point], names: Sequence[str]) -> None:
    if len(points) <= len(names):
        raise InputError(f"{len(points)} points do not fit {len(names)} parameters ({', '.join(names)}); give more")
    if len({(point.ranks, point.size) for point in points}) <= len(names):
        raise InputError(f"the points are of too few sizes for {len(names)} parameters ({', '.join(names)})")
    if "latency" in names and len({point.ranks for point in points}) == 1:
        raise InputError("points of one number of ranks cannot tell the latency of a step from the launch; hold one")


def _start(points: Sequence[Point], steps: "Floats", sent: "Floats") -> dict[str, float]:
    """Return where the search begins: the quickest point, and the rate of the fastest."""
    floor = float(min(point.time for point in points))
    rates = [each * PS_PER_S / point.time for each, point in zip(sent, points, strict=True)]
    return {
        "launch": floor / 2,
        "latency": floor / 4 / float(max(steps)),
        "bandwidth": float(max(rates)) * 1.1,
        "fill": floor / 10,
    }


def simulated(parameters: Parameters, algorithm: str, point: Point) -> int:
    """Return the time in ps that the data plane takes for a point: every rank launches, then the collective is played
    over a switch with fair shares.

    Model: the machine is one switch that gives every GPU the fitted bandwidth in each direction, whatever cables,
    channels and nodes are behind it; the fill is spent before the first byte leaves.
    """
    from simcore.collectives.library import launched
    from simcore.collectives.timing import duration
    from simcore.hardware import LinkSpec
    from simcore.shapes import Switch
    from simcore.topology import Topology

    bandwidth, half = round(parameters.bandwidth), round(parameters.latency / 2)
    drain = shape(point.operation, algorithm, point.ranks)[1] * point.size * PS_PER_S / parameters.bandwidth
    begin = round(parameters.launch + 2 * (parameters.fill * drain) ** 0.5)
    topology = Topology(Switch(in_switch_reduction=algorithm == "nvls"), point.ranks, LinkSpec(bandwidth, half))
    schedule = launched(_schedule(point.operation, algorithm, point.ranks, point.size), point.ranks, begin)
    return duration(schedule, topology, "fair", range(point.ranks))


def _schedule(operation: str, algorithm: str, ranks: int, size: int) -> Schedule:
    """Return simcore's own schedule of a collective of ``size`` bytes as nccl-tests counts them."""
    from simcore import collectives

    own = {"alltoall": "all_to_all", "sendrecv": "send_recv"}.get(operation, operation)
    if algorithm == "nvls":
        return collectives.build(own, ranks, size, "in_switch", chunks=ranks).schedule
    return collectives.build(own, ranks, size, algorithm).schedule


@dataclass(frozen=True)
class Selection:
    """The points of some outputs that one fit may use, and every other row with the reason why it was left out."""

    points: tuple[Point, ...]
    left_out: tuple[tuple[str, str], ...]
    operation: str
    launch: str
    device: str


def selected(
    outputs: Sequence[Output], *, operation: str = "", smallest: int = 0, largest: int = 2**62, in_place: bool = False
) -> Selection:
    """Return what one fit may use of ``outputs``; raises ``InputError`` where they mix launch modes or operations.

    Launch modes differ by tens of microseconds, so they never share a fit; neither do two operations, nor
    out-of-place and in-place times.
    """
    modes = sorted({output.launch for output in outputs})
    if len(modes) > 1:
        raise InputError(f"the files mix launch modes ({'; '.join(modes)}), which differ in launch; fit each apart")
    rows = [row for output in outputs for row in output.rows]
    operations = sorted({row.operation for row in rows})
    chosen = operation or (operations[0] if len(operations) == 1 else "")
    if chosen not in operations:
        raise InputError(
            f"the files measure {', '.join(operations)}"
            + (f", not {operation}" if operation else "; choose one with --operation")
        )
    points, left = [], []
    for row in rows:
        where = f"{row.file}:{row.line}"
        if row.operation != chosen:
            left.append((where, f"is of {row.operation}"))
        elif row.in_place != in_place:
            left.append((where, "in place" if row.in_place else "out of place"))
        elif row.wrong:
            left.append((where, "has wrong elements"))
        elif row.ranks < 2 or row.size == 0:
            left.append((where, "moves nothing between GPUs"))
        elif not smallest <= row.size <= largest:
            left.append((where, "has a size outside of what was asked for"))
        else:
            points.append(Point(row.operation, row.ranks, row.size, row.time, where))
    devices = sorted({output.device for output in outputs} - {""})
    return Selection(tuple(points), tuple(left), chosen, modes[0], ", ".join(devices))


def of_machine(chosen: Selection, algorithm: str, base: str, folder: Path) -> Fit:
    """Return the parameters of a machine, the fill among them where there are points enough; measurements at one number
    of ranks take the latency of a step from the preset ``base`` (a bundled one, or a sheet in ``folder``)."""
    if not chosen.points:
        raise InputError(f"no row is left to fit; {len(chosen.left_out)} were left out ({chosen.left_out[0][1]}, ...)")
    hold = {}
    if len({point.ranks for point in chosen.points}) == 1:
        from simcore import hardware

        spec = hardware.Sheet.read(hardware.find(base, folder)).spec()
        hold["latency"] = float(spec.link.latency * _crossed(spec.topology))
    told = len({(point.ranks, point.size) for point in chosen.points})
    return fitted(chosen.points, algorithm, hold=hold, fill=told > len(FREE) + 1 - len(hold))


def _crossed(topology: object) -> int:
    """Return how many links a message crosses between two GPUs of a preset: through a switch two."""
    return 2 if str(topology) == "switch" else 1


def write_sheet(fit: Fit, path: Path, *, base: str, device: str, launch_mode: str) -> Path:
    """Write the machine as a hardware sheet over the preset ``base``, called as the file; return ``path``.

    Its GPUs are joined by a switch: the fitted bandwidth is a GPU's over all of its links, and a step crosses two
    links, each with half of its latency. What the preset says of its links' efficiency is not repeated.
    """
    import yaml

    from simcore import hardware

    points, found = fit.points, fit.parameters
    sizes = sorted(point.size for point in points)
    basis = (
        f"{len(points)} rows of {points[0].operation} by {fit.algorithm} on "
        f"{', '.join(map(str, sorted({point.ranks for point in points})))} GPUs, {short(sizes[0], SIZE)} to "
        f"{short(sizes[-1], SIZE)}, {launch_mode}"
    )
    held = "latency" in fit.held
    step = f"half of a step's {short(found.latency, TIME)}, which crosses two links"
    shape = hardware.Sheet.read(hardware.find(base, path.parent)).spec().topology
    switch = _leaf("switch", basis, "assumed", "the fitted bandwidth is a GPU's over all of its links")
    sheet = {
        "base": base,
        "name": path.stem,
        "description": f"{device or base}, fitted to measured collectives, error {fit.error:.1%}",
        "gpus": _leaf(max(point.ranks for point in points), basis, "measured", "the most ranks measured"),
        **({} if str(shape) == "switch" else {"topology": switch}),
        "link": {
            "bandwidth": _leaf(
                _grid(found.bandwidth, RATE, 10**6), basis, "fitted", "what a GPU reaches, not what its port could"
            ),
            "latency": _leaf(
                _grid(found.latency / 2, TIME, 1000),
                f"the preset {base}" if held else basis,
                "assumed" if held else "fitted",
                step + (", the preset's value: one number of ranks does not tell it" if held else ""),
            ),
            **({} if held else {"latency_is": _leaf("step", basis, "fitted", "what a step costs beside its bytes")}),
            "efficiency": _leaf([], basis, "fitted", "the bandwidth is one that is reached"),
        },
        "collective": {
            "launch": _leaf(_grid(found.launch, TIME, 1000), basis, "fitted", "gpu.launch is a kernel's, not that"),
            "fill": _leaf(
                _grid(found.fill, TIME, 1000), basis, "fitted", "2 sqrt(fill x) is added where the bytes alone take x"
            ),
        },
    }
    head = f"# Fitted on {basis}; error {fit.error:.1%} = exp(mean |ln simulated/measured|) - 1.\n"
    body = yaml.safe_dump(sheet, sort_keys=False, width=120, allow_unicode=True)
    path.write_text(head + body, encoding="utf-8")
    return path


def _leaf(value: Any, origin: str, kind: str, note: str) -> dict[str, Any]:
    return {"value": value, "source": origin, "kind": kind, "note": note}


def _grid(value: float, dimension: Any, step: int) -> str:
    return text(round(value / step) * step, dimension)


def preset_of(device: str) -> str:
    """Return the preset that lends its GPU to a sheet of ``device``; raises ``InputError`` where none is known."""
    from simcore import hardware

    there = hardware.names()
    for part, preset in BASES.items():
        if part in device and preset in there:
            return preset
    raise InputError(
        f"no preset is known for {device or 'a device without a name'!r}; name the one whose GPU is nearest with "
        f"--base, one of {', '.join(there)}"
    )


def preset_of_capability(capability: int | None) -> str:
    """Return the preset that lends its GPU to a machine of a compute capability; raises ``InputError`` where none is
    known."""
    from simcore import hardware

    preset = {70: "dgx-1-v100", 80: "dgx-a100", 90: "hgx-h100", 100: "hgx-b200"}.get(capability or 0)
    if preset in hardware.names():
        return str(preset)
    raise InputError(
        ("the file does not say which GPU it is" if capability is None else f"no preset has a GPU of sm {capability}")
        + f"; name the one whose GPU is nearest with --base, one of {', '.join(hardware.names())}"
    )
