"""Commands on the user's own machine: fit, topo import, calibrate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from simcore.cli._console import print_files, say
from simcore.errors import InputError

if TYPE_CHECKING:
    from simcore.fit import Fit, Selection

MOST_SHOWN = 8
"""Rows of a kind that are named one by one."""


class DrawUnlessTold(TyperGroup):
    """`simcore topo SCENARIO` draws; only a first word that is a command of its own is one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `draw` before whatever is no command and no call for help."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["draw", *args]
        return super().parse_args(ctx, args)


Out = Annotated[Path, typer.Option("-o", "--out", metavar="SHEET", help="The hardware sheet to write (YAML).")]
Base = Annotated[
    str | None,
    typer.Option("--base", metavar="PRESET", help="The preset that lends the sheet its GPU; default by the device."),
]


def fit(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Outputs of nccl-tests or rccl-tests, text or JSON (-J).")
    ],
    out: Out,
    algorithm: Annotated[
        str | None,
        typer.Option(metavar="ring|direct|nvls", help="The algorithm that was measured; default ring, or direct."),
    ] = None,
    operation: Annotated[
        str | None, typer.Option(metavar="NAME", help="The collective, where the files hold several or do not say.")
    ] = None,
    base: Base = None,
    smallest: Annotated[
        str, typer.Option("--from", metavar="SIZE", help="Leave out smaller sizes, e.g. '1 MiB'.")
    ] = "0 B",
    largest: Annotated[str | None, typer.Option("--to", metavar="SIZE", help="Leave out larger sizes.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Fit the in-place times instead.")] = False,
) -> None:
    """Fit the links of your own machine to collectives measured on it, and write a hardware sheet."""
    from simcore import fit as fitting
    from simcore.formats import nccl_tests
    from simcore.units import SIZE, parse

    try:
        limits = parse(smallest, SIZE), 2**62 if largest is None else parse(largest, SIZE)
    except ValueError as error:
        raise InputError(f"--from/--to: {error}") from None
    if operation is not None and operation not in nccl_tests.OPERATIONS:
        raise InputError(f"--operation {operation}: expected one of {', '.join(nccl_tests.OPERATIONS)}")
    outputs = [nccl_tests.read(path, operation=operation or "") for path in files]
    for path, output in zip(files, outputs, strict=True):
        if not output.finished:
            say(f"{path}: the run did not end (no average at its end); its rows are used all the same")
    chosen = fitting.selected(
        outputs, operation=operation or "", smallest=limits[0], largest=limits[1], in_place=in_place
    )
    told = sorted({output.algorithm for output in outputs} - {""})
    default = "direct" if chosen.operation in ("alltoall", "sendrecv") else told[0] if len(told) == 1 else "ring"
    preset = base or fitting.preset_of(chosen.device)
    found = fitting.of_machine(chosen, algorithm or default, preset, out.parent)
    _print_fit(found, chosen)
    print(f"base      {preset}, for the GPU itself and whatever else was not fitted")
    with _writing(out):
        print_files([fitting.write_sheet(found, out, base=preset, device=chosen.device, launch_mode=chosen.launch)])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise InputError(f"{error.filename or path}: cannot be written: {reason}") from None


def _print_fit(found: "Fit", chosen: "Selection") -> None:
    from simcore import fit as fitting
    from simcore.units import RATE, SIZE, TIME, short

    points = found.points
    sizes, ranks = sorted(point.size for point in points), sorted({point.ranks for point in points})
    print(
        f"{chosen.operation} by {found.algorithm} on {chosen.device or 'an unnamed device'}, {chosen.launch}: "
        f"{len(points)} points, {', '.join(map(str, ranks))} ranks, {short(sizes[0], SIZE)} to {short(sizes[-1], SIZE)}"
    )
    values = found.parameters
    held = " (held at the preset's, for one number of ranks does not tell it)" if "latency" in found.held else ""
    print(f"launch    {short(values.launch, TIME)}")
    print(f"latency   {short(values.latency, TIME)} a step{held}")
    print(f"bandwidth {short(values.bandwidth, RATE)} a GPU and direction")
    print(f"fill      {short(values.fill, TIME)}: 2 sqrt(fill x) is added where the bytes alone take x")
    far = [(p, r) for p, r in zip(points, found.residuals, strict=True) if abs(r) > fitting.FAR_OFF]
    print(f"error     {found.error:.1%} = exp(mean |ln simulated/measured|) - 1 over the fitted points")
    for point, residual in far[:MOST_SHOWN]:
        print(f"far off   {point.where}: {short(point.size, SIZE)} in {short(point.time, TIME)}, ln {residual:+.2f}")
    if len(far) > MOST_SHOWN:
        print(f"far off   ... and {len(far) - MOST_SHOWN} more")
    reasons: dict[str, list[str]] = {}
    for where, reason in chosen.left_out:
        reasons.setdefault(reason, []).append(where)
    for reason, places in sorted(reasons.items()):
        shown = ", ".join(places[:2]) + (", ..." if len(places) > 2 else "")
        print(f"left out  {len(places)} rows: {reason} ({shown})")


def topo_import(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="NCCL topology XML, or what nvidia-smi topo -m printed.")
    ],
    out: Out,
    base: Base = None,
    nvlink: Annotated[
        str | None, typer.Option("--nvlink", metavar="RATE", help="Of one NVLink and direction, e.g. '25 GB/s'.")
    ] = None,
    pcie: Annotated[
        str | None, typer.Option("--pcie", metavar="RATE", help="Of one PCIe link and direction, e.g. '48 GB/s'.")
    ] = None,
) -> None:
    """Turn the topology that NCCL or nvidia-smi saw on your machine into a hardware sheet with its edges."""
    from simcore import fit as fitting
    from simcore.formats import nvidia_topology
    from simcore.units import RATE, parse

    rates = {}
    for option, given in (("nvlink", nvlink), ("pcie", pcie)):
        try:
            rates[option] = None if given is None else parse(given, RATE, positive=True)
        except ValueError as error:
            raise InputError(f"--{option}: {error}") from None
    wiring = nvidia_topology.read(file, nvlink=rates["nvlink"], pcie=rates["pcie"])
    preset = base or fitting.preset_of_capability(wiring.capability)
    print(f"{file}: {wiring.gpus} GPUs, {len(wiring.cables)} links, {len(wiring.nics)} NICs; GPU of {preset}")
    for sentence in wiring.inferred:
        print(f"inferred  {sentence}")
    with _writing(out):
        print_files([nvidia_topology.write_sheet(wiring, out, base=preset, seen_in=file.name)])


def calibrate(
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="PATH",
            help="Where validation.md and validation.png go, default: validation; with --device the sheet to write.",
        ),
    ] = None,
    fits: Annotated[
        Path | None, typer.Option("--fits", metavar="FILE", help="The fitted values; default DIR/fits.yaml.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="cpu|cuda", help="Measure this machine instead, and write a hardware sheet."),
    ] = None,
    models: Annotated[
        list[str], typer.Option("--model", metavar="NAME", help="Measure the kernels of this model only; repeatable.")
    ] = [],  # noqa: B006 typer copies it
    base: Base = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, for a trial; rates are too low.")] = False,
) -> None:  # fmt: skip
    """Fit and score the bundled measured curves anew; or, with --device, measure this machine: products of matrices,
    copies, launches, and the kernels of the models."""
    if device is not None:
        if fits is not None:
            raise InputError("--fits goes with the bundled curves, not with --device")
        _calibrate_machine(device, out, models, base, quick)
        return
    if models or base or quick:
        raise InputError("--model, --base and --quick go with --device cpu or --device cuda")
    from simcore import validation
    from simcore.validation import page

    folder = out or Path("validation")
    studies = validation.evaluated()
    with _writing(folder):
        print_files(page.write(studies, folder, fits or folder / "fits.yaml"))


def _calibrate_machine(device: str, out: Path | None, models: list[str], base: str | None, quick: bool) -> None:
    """Measure, print each number as it comes, and write the sheet and the kernels' times."""
    path = out or Path(f"{device}.yaml")
    if path.suffix not in (".yaml", ".yml") or not path.parent.is_dir():
        raise InputError(f"--out {path}: expected a YAML file in a folder that exists")

    from simcore import calibration, fit, hardware
    from simcore.units import RATE, THROUGHPUT, TIME, short

    calibration.require_benchmarks(models)
    by = calibration.library(device)
    # A preset that is missing is better known before the minutes of measuring than after them.
    under = base or ("common/assumed" if device == "cpu" else fit.preset_of(by.device))
    hardware.find(under, path.parent)
    found = calibration.machine(by, device, calibration.QUICK if quick else calibration.FULL[device])
    print(f"{found.name}, {found.library}")
    for dtype, rate in found.throughput.items():
        print(f"{dtype:9} {short(rate, THROUGHPUT)}")
    print(f"copy      {short(found.bandwidth, RATE)} read and written")
    print(f"launch    {short(found.launch, TIME)}")
    with _writing(path):
        print_files([calibration.write_sheet(found, path, under)])
    timed = []
    for each in calibration.kernels(by, device, quick, models):
        timed.append(each)
        print(f"{each.model}  {each.benchmark.name}  {short(each.duration, TIME)}  ({each.benchmark.shape})")
    if timed:
        with _writing(path):
            print_files([calibration.write_kernels(timed, path)])
