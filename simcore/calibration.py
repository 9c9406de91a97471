"""This machine's own numbers: products of matrices, copies, launches and the kernels of the models, measured with torch
or NumPy and written as a hardware sheet."""

import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from simcore import hardware, registry, source
from simcore.errors import InputError
from simcore.units import PS_PER_S, RATE, SIZE, THROUGHPUT, TIME, text
from simcore.work import Roofline, Work

Tensor = Callable[[tuple[int, ...], str], Any]
"""Makes a tensor of a shape and a dtype, of normal random numbers, on the device."""
OWN = "benchmarks"
"""The module, and its function, in which a model offers kernels to be measured."""
LEAST, MOST = 3, 50
"""Repetitions of a measurement."""
LONG = 1.0
"""Seconds after which it is repeated no more than need be."""


@dataclass(frozen=True)
class Benchmark:
    """A kernel of a model to be measured: its name, its shape in words, the call, and the work that the call does."""

    name: str
    shape: str
    run: Callable[[], object]
    work: Work


@dataclass(frozen=True)
class Sizes:
    """Side of the matrices, bytes copied, and launches in a row."""

    side: int
    copied: int
    launches: int


QUICK = Sizes(256, 4 * 2**20, 100)
FULL: Mapping[str, Sizes] = {"cpu": Sizes(2048, 256 * 2**20, 1000), "cuda": Sizes(8192, 2**31, 1000)}


@dataclass(frozen=True)
class Machine:
    """What was measured: operations a second by dtype, bytes a second that a copy reads and writes, ps a launch; the
    memory in bytes; and on what, with what, when."""

    device: str
    name: str
    library: str
    throughput: Mapping[str, float]
    bandwidth: float
    launch: float
    memory: int
    sizes: Sizes
    on: date = field(default_factory=date.today)

    @property
    def basis(self) -> str:
        """The source of every value: device, versions, date."""
        versions = f"{self.library}, Python {platform.python_version()}, simcore {version('simcore')}"
        return f"measured on {self.name} with {versions}, {self.on}"


@dataclass(frozen=True)
class Timed:
    """A kernel of a model, and its median time in ps over ``times`` runs."""

    model: str
    benchmark: Benchmark
    duration: int
    times: int


class Library(Protocol):
    """What measures: NumPy or torch."""

    title: str
    device: str
    memory: int
    dtypes: Sequence[str]

    def tensor(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return normal random numbers."""
        ...

    def multiply(self, a: Any, b: Any, to: Any) -> object:
        """Multiply two matrices into a third."""
        ...

    def copy(self, a: Any, to: Any) -> object:
        """Copy a tensor into another."""
        ...

    def seconds(self, call: Callable[[], object]) -> float:
        """Return how long ``call`` takes on the device."""
        ...


class Numpy:
    """NumPy on the CPU."""

    dtypes: Sequence[str] = ("float32", "float64")

    def __init__(self) -> None:
        import numpy as np

        self.title = f"NumPy {np.__version__}"
        self.device, self.memory = _processor(), _memory()
        self._rng = np.random.default_rng(0)

    def tensor(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return normal random numbers."""
        return self._rng.standard_normal(shape, dtype=dtype)  # type: ignore[call-overload]

    def multiply(self, a: Any, b: Any, to: Any) -> object:
        """Multiply two matrices into a third."""
        import numpy as np

        return np.matmul(a, b, out=to)

    def copy(self, a: Any, to: Any) -> object:
        """Copy an array into another."""
        import numpy as np

        np.copyto(to, a)
        return to

    def seconds(self, call: Callable[[], object]) -> float:
        """Return how long ``call`` takes."""
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin


class Torch:
    """Torch on the CPU or on the first GPU; a GPU's caches are swept before each measurement."""

    def __init__(self, device: str) -> None:
        self._torch: Any = import_module("torch")
        self._device = device
        self.title = f"torch {self._torch.__version__}"
        self.dtypes: Sequence[str] = ("float32", "float64", "bfloat16")
        if device == "cpu":
            self.device, self.memory = _processor(), _memory()
        else:
            found = self._torch.cuda.get_device_properties(0)
            self.device, self.memory = found.name, found.total_memory
            self.dtypes = (*self.dtypes, "float16")
            self._swept = self._torch.empty(2**28, dtype=self._torch.int8, device=device)

    def tensor(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return normal random numbers."""
        return self._torch.randn(shape, device=self._device).to(getattr(self._torch, dtype))

    def multiply(self, a: Any, b: Any, to: Any) -> object:
        """Multiply two matrices into a third."""
        return self._torch.matmul(a, b, out=to)

    def copy(self, a: Any, to: Any) -> object:
        """Copy a tensor into another."""
        return to.copy_(a)

    def seconds(self, call: Callable[[], object]) -> float:
        """Return how long ``call`` takes on the device."""
        if self._device == "cpu":
            begin = time.perf_counter()
            call()
            return time.perf_counter() - begin
        first, last = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._swept.zero_()
        first.record()
        call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000


def library(device: str) -> Library:
    """Return what measures on ``device``: torch where it is installed, else NumPy; raises ``InputError`` where there is
    no such device."""
    if device not in FULL:
        raise InputError(f"--device {device}: expected {' or '.join(FULL)}")
    if find_spec("torch") is None:
        if device == "cuda":
            raise InputError("--device cuda needs torch: pip install 'simcore[torch]'")
        return Numpy()
    if device == "cuda" and not import_module("torch").cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU; is this a build for the CPU, or a machine without one?")
    return Torch(device)


def machine(by: Library, device: str, sizes: Sizes) -> Machine:
    """Return the roofline of this machine: of several runs the best, for whatever else runs only slows it."""

    def best(call: Callable[[], object]) -> float:
        return min(_repeated(by, call))

    rates = {}
    for dtype in by.dtypes:
        a, b, to = (by.tensor((sizes.side, sizes.side), dtype) for _ in range(3))
        rates[dtype] = 2 * sizes.side**3 / best(partial(by.multiply, a, b, to))
    here, there = (by.tensor((sizes.copied // 4,), "float32") for _ in range(2))
    bandwidth = 2 * (sizes.copied // 4 * 4) / best(partial(by.copy, here, there))
    one, other = (by.tensor((1,), "float32") for _ in range(2))

    def launch() -> None:
        for _ in range(sizes.launches):
            by.copy(one, other)

    launched = best(launch) / sizes.launches * PS_PER_S
    return Machine(device, by.device, by.title, rates, bandwidth, launched, by.memory, sizes)


def kernels(by: Library, device: str, quick: bool, models: Sequence[str] = ()) -> Iterator[Timed]:
    """Yield the kernels of ``models``, or of all that offer some, each measured."""
    for model, folder in registry.folders().items():
        if (models and model not in models) or not (folder / f"{OWN}.py").is_file():
            continue
        for each in registry.part(model, OWN, OWN)(by.tensor, device, quick):
            found = _repeated(by, each.run)
            yield Timed(model, each, round(statistics.median(found) * PS_PER_S), len(found))


def _repeated(by: Library, call: Callable[[], object]) -> list[float]:
    """Return how long ``call`` took in seconds, run by run; a first one is not counted."""
    by.seconds(call)
    found: list[float] = []
    while len(found) < LEAST or (sum(found) < LONG and len(found) < MOST):
        found.append(by.seconds(call))
    return found


def require_benchmarks(models: Sequence[str]) -> None:
    """Raise ``InputError`` where one of ``models`` is unknown or offers no kernels."""
    for model in models:
        if model not in registry.folders():
            raise InputError(source.unknown("model", model, list(registry.folders())))
        if not (registry.folders()[model] / f"{OWN}.py").is_file():
            raise InputError(f"the model {model!r} has no {OWN}.py, in which {OWN!r} would stand")


def write_sheet(found: Machine, path: Path, base: str) -> Path:
    """Write the machine as a hardware sheet, called as the file, over the preset ``base``; return ``path``.

    Model: what was measured is what is reached, so rates are below the peaks of data sheets; a launch is that of one of
    many in a row.
    """
    import yaml

    sizes, cpu = found.sizes, found.device == "cpu"
    gemm = f"product of two matrices of {sizes.side} x {sizes.side}, best of several"
    copy = f"copy of {text(sizes.copied, SIZE)}, read and written, best of several"
    row = f"{sizes.launches} copies of one element in a row, best of several"

    def leaf(value: Any, note: str, kind: str = "measured") -> dict[str, Any]:
        origin = found.basis if kind == "measured" else "not measured"
        return {"value": value, "source": origin, "kind": kind, "note": note}

    bandwidth = text(round(found.bandwidth / 10**6) * 10**6, RATE)
    sheet: dict[str, Any] = {
        "base": base,
        "name": path.stem,
        "description": f"{found.name}, measured {found.on}",
        "gpu": {
            "memory_size": leaf(text(found.memory, SIZE), "as the system states it"),
            "memory_bandwidth": leaf(bandwidth, copy),
            "throughput": {
                dtype: leaf(text(round(rate / 10**6) * 10**6, THROUGHPUT), gemm)
                for dtype, rate in found.throughput.items()
            },
            "launch": leaf(text(round(found.launch / 1000) * 1000, TIME), row),
        },
    }
    if cpu:
        sheet["gpus"] = leaf(1, "the processor as one GPU", "assumed")
        sheet["topology"] = leaf("switch", "of one GPU nothing crosses it", "assumed")
        sheet["gpu"]["clock"] = leaf("1 GHz", "only polls and monitors count its cycles", "assumed")
        sheet["gpu"]["memory_line"] = leaf("64 B", "only the traffic of polls depends on it", "assumed")
        # A poll goes out and comes back in 316 cycles of 1 ns, and its line takes what it takes.
        cycles = max(340, 317 + round(64 * 10**9 / found.bandwidth))
        sheet["gpu"]["poll_period"] = leaf(f"{cycles} cycles", "a poll with its line", "assumed")
        sheet["link"] = {
            "bandwidth": leaf(bandwidth, "of one GPU nothing crosses it; that of the memory", "assumed"),
            "latency": leaf("1 us", "of one GPU nothing crosses it", "assumed"),
        }
    body = yaml.safe_dump(sheet, sort_keys=False, width=120, allow_unicode=True)
    path.write_text(f"# Written by `simcore calibrate --device {found.device}`.\n{body}", encoding="utf-8")
    return path


def write_kernels(timed: Sequence[Timed], sheet: Path) -> Path:
    """Write the kernels' times as CSV beside ``sheet``, with the time that its roofline gives and the share of it that
    was reached; return the path."""
    gpu = hardware.Sheet.read(sheet).spec().gpu
    path = sheet.with_suffix(".kernels.csv")
    head = ["model", "kernel", "shape", "time_ps", "runs", "operations", "bytes", "roofline_ps", "share"]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(head)
        for each in timed:
            work = each.benchmark.work
            moved = work.bytes_read.get("hbm", 0) + work.bytes_written.get("hbm", 0)
            roofline = Roofline().duration(work, gpu)
            rows.writerow([
                each.model, each.benchmark.name, each.benchmark.shape, each.duration, each.times,
                sum(work.operations.values()), moved, roofline, f"{roofline / each.duration:.4f}",
            ])  # fmt: skip
    return path


def _processor() -> str:
    """Return the name of the processor, with the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if source.is_file(information):
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores} cores"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
