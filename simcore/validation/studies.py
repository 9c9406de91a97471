"""Which measured curves are fitted, and which are scored: a study for each machine, collective and algorithm."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NVLS_FROM = 2 * 2**20
"""Size from which NCCL reduces in the switch on the 8-GPU systems measured here (stated by the source for H100)."""
_SWITCHED = {"a100": "2.27.3", "h100": "2.29.2", "h200": "2.29.2", "b200": "2.29.2"}
_MACHINES = {"a100": "DGX A100", "h100": "HGX H100", "h200": "HGX H200", "b200": "HGX B200"}


@dataclass(frozen=True)
class Study:
    """One machine, collective and algorithm: which curves are fitted, what else is scored, and where the latency of a
    step comes from.

    ``curves`` are fitted and scored apart by size and count, ``others`` only scored (systems that the fit did not see).
    ``latency`` names the curves of the same GPU whose small messages tell a step's latency; ``hold`` states it in ps
    where there are none. ``spread`` is the group of independent systems to compare with;
    ``threshold`` marks the study that has one.
    """

    machine: str
    operation: str
    algorithm: str
    measured_as: str
    curves: tuple[str, ...]
    latency: tuple[str, ...] = ()
    hold: float = 0.0
    counts: tuple[int, ...] = ()
    smallest: int = 0
    others: tuple[str, ...] = ()
    spread: str = ""
    threshold: bool = False


def _aic(gpu: str, version: str, operation: str, counts: Sequence[int] = (2, 4, 8)) -> tuple[str, ...]:
    return tuple(f"aic_{gpu}_sxm_{version}_half_{count}_{operation}" for count in counts)


def _studies() -> Iterator[Study]:
    """Yield what is fitted and scored; rows of different algorithms, launch modes or placements never meet."""
    small = {gpu: _aic(gpu, version, "all_reduce") for gpu, version in _SWITCHED.items()}
    yield Study(
        "HGX H100", "all_reduce", "ring", "Ring, forced", tuple(f"astra_{n}gpus_hardware" for n in (2, 4, 8)),
        latency=small["h100"], spread="H100x8 1-node all_reduce Ring", threshold=True,
    )  # fmt: skip
    for gpu, version in _SWITCHED.items():
        machine, nvls = _MACHINES[gpu], gpu != "a100"
        yield Study(
            machine, "all_reduce", "ring", "auto, no NVLS" if nvls else "auto", small[gpu], latency=small[gpu],
            counts=(2, 4) if nvls else (2, 4, 8), spread="" if nvls else "A100x8 1-node all_reduce",
            others=(f"{gpu}_by_gpus_ring",) if gpu in ("h200", "b200") else (),
        )  # fmt: skip
        for operation, algorithm in (("all_gather", "ring"), ("reduce_scatter", "ring"), ("alltoall", "direct")):
            yield Study(machine, operation, algorithm, "auto", _aic(gpu, version, operation), latency=small[gpu])
    for gpu, others in (
        ("h100", ("h100x8_dgxc",)),
        ("h200", ("h200_by_gpus_nvls",)),
        ("b200", ("b200x8_ar", "b200_by_gpus_nvls")),
    ):
        yield Study(
            _MACHINES[gpu], "all_reduce", "nvls", "auto, NVLS", _aic(gpu, _SWITCHED[gpu], "all_reduce", (8,)),
            latency=small[gpu], smallest=NVLS_FROM, others=others,
            spread=f"{gpu.upper()}x8 1-node all_reduce auto" + ("" if gpu == "b200" else "(NVLS)"),
        )  # fmt: skip
    yield from _single_counts(small)


def _single_counts(small: dict[str, tuple[str, ...]]) -> Iterator[Study]:
    """Yield the studies of systems measured at one GPU count: scored on other sizes alone."""
    for curve, operation, algorithm in (
        ("b200x8_ag", "all_gather", "ring"),
        ("b200x8_rs", "reduce_scatter", "ring"),
        ("b200x8_a2a", "alltoall", "direct"),
        ("b200x16_ag", "all_gather", "ring"),
        ("b200x16_rs", "reduce_scatter", "ring"),
        ("b200x16_a2a", "alltoall", "direct"),
    ):
        machine = "HGX B200, second system" if "x8" in curve else "HGX B200, two nodes"
        yield Study(machine, operation, algorithm, "auto", (curve,), latency=small["b200"])
    yield Study("HGX H100, two nodes", "all_reduce", "ring", "Ring, forced", ("309g_h100x16_ring",), small["h100"])
    yield Study(
        "DGX A100, one process", "all_reduce", "ring", "auto", ("a100x8_stas",), small["a100"],
        spread="A100x8 1-node all_reduce",
    )  # fmt: skip
    yield Study("A100 40 GB x 4, mesh", "all_reduce", "ring", "auto", ("polaris_a100x4",), small["a100"])
    yield Study("MI300X x 8, mesh", "all_reduce", "ring", "auto", ("mi300x8_bm",), hold=500e3)


STUDIES = tuple(_studies())
