"""What the claims want to know of a run beside its metrics: reads of waits that slept, and when work-groups end."""

import numpy as np

from simcore import Result


def most_reads_asleep(result: Result) -> int:
    """Return the most reads of a wait that slept, 0 where none did."""
    return int(_reads(result, asleep=True).max(initial=0))


def fewest_reads_asleep(result: Result) -> int:
    """Return the fewest reads of a wait that slept, 0 where none did."""
    reads = _reads(result, asleep=True)
    return int(reads.min()) if len(reads) else 0


def most_reads_awake(result: Result) -> int:
    """Return the most reads of a wait that did not sleep, 0 where all did."""
    return int(_reads(result, asleep=False).max(initial=0))


def asleep(result: Result) -> float:
    """Return the share of the waits of work-groups that slept."""
    flags = result.tables["flags"].to_pydict()
    of_groups = ["." in where for where in flags["location"]]
    slept = [wakeups > 0 for wakeups, of_group in zip(flags["wakeups"], of_groups, strict=True) if of_group]
    return sum(slept) / len(slept) if slept else 0.0


def finish_spread(result: Result) -> float:
    """Return how far apart the first and the last work-group end, us."""
    ends = work_group_ends(result)
    return float(ends.max() - ends.min()) / 1e6


def flag_spread(result: Result) -> float:
    """Return how far apart the last flags are set that the first and the last work-group wait for, us."""
    flags = result.tables["flags"].to_pydict()
    last: dict[str, int] = {}
    for where, instant in zip(flags["location"], flags["set_ps"], strict=True):
        if "." in where:
            last[where] = max(last.get(where, 0), instant)
    return (max(last.values()) - min(last.values())) / 1e6


def work_group_ends(result: Result) -> "np.ndarray":
    """Return when each work-group of the target ended, ps, sorted."""
    spans = result.tables["spans"].to_pydict()
    ends: dict[str, int] = {}
    for where, end in zip(spans["location"], spans["t1_ps"], strict=True):
        if "." in where:
            ends[where] = max(ends.get(where, 0), end)
    return np.array(sorted(ends.values()), np.int64)


def _reads(result: Result, *, asleep: bool) -> "np.ndarray":
    flags = result.tables["flags"]
    reads, wakeups = flags["flag_reads"].to_numpy(), flags["wakeups"].to_numpy()
    return reads[(wakeups > 0) == asleep]
