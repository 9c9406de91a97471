"""What the claims want to know of a run beside its metrics: the time of recompute and update, histograms of loads."""

from simcore import Result

EDGES = (1.1, 1.3, 1.5, 2.0)
"""Of the bins of largest load over mean into which the layers and micro-steps fall."""


def layers_ms(result: Result) -> float:
    """Return the time of recompute and update of the slowest EP group, ms: what balance makes shorter; neither
    placement nor reduction of gradients is in it."""
    step = result.metrics["jobs"]["moe_rebalance"]["step"]
    return float(step["recompute_ps"] + step["update_ps"]) / 1e9


def shares(result: Result) -> list[float]:
    """Return the shares of layers and micro-steps, each once, whose largest load over the mean is in the bins between
    `EDGES`."""
    table = result.tables["layers"].to_pydict()
    found = [0] * (len(EDGES) + 1)
    for stage, most, tokens, ranks in zip(table["stage"], table["most"], table["tokens"], table["ranks"], strict=True):
        if stage == "recompute":
            found[sum(most * ranks >= edge * tokens for edge in EDGES)] += 1
    return [each / sum(found) for each in found]


def below_1_1(result: Result) -> float:
    """Return the share of layers and micro-steps whose largest load is below 1.1 times the mean."""
    return shares(result)[0]


def from_1_1(result: Result) -> float:
    """Return the share of those from 1.1 to below 1.3."""
    return shares(result)[1]


def from_1_3(result: Result) -> float:
    """Return the share of those from 1.3 to below 1.5."""
    return shares(result)[2]


def from_1_5(result: Result) -> float:
    """Return the share of those from 1.5 to below 2."""
    return shares(result)[3]


def from_2(result: Result) -> float:
    """Return the share of those from 2."""
    return shares(result)[4]
