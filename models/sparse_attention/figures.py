"""Figures of the paper whose lines are quotients of runs, dense over sparse."""

from collections.abc import Mapping
from typing import Any

from simcore import Curve, CurvePanel, curves

Row = Mapping[str, Any]


def prefill(title: str, measured: Any, bound: Any, width: str) -> Any:
    """Return the figure of the speed-up of a whole prompt over its length, beside those that operations and the pure
    roofline would give."""
    lines = [
        _quotient("operations, dense over sparse", measured.rows, "operations"),
        _quotient("pure roofline: every share 1, nothing fixed", bound.rows, "all_ms"),
        _quotient("H800, fitted to the paper's 14.2", measured.rows, "all_ms"),
    ]
    panel = CurvePanel(
        curves=lines, x_label="tokens of the prompt (Ki)", y_label="times faster than dense", log="x", height=420,
        from_zero=True, lines=[("as fast as dense", 1, 0), ("paper, at 1,024 Ki", 14.2, 0)],
    )  # fmt: skip
    return curves([panel], title=title, subtitle="one layer on one GPU", width=width)


def decode(title: str, shared: Any, remedies: Any, width: str) -> Any:
    """Return the figure of the speed-up of decode over the context, by tensor-parallel degree, and with four GPUs that
    share the index as well."""
    degrees = list(dict.fromkeys(row["gpus"] for row in shared.rows))
    by_degree = [_quotient(_count(n), [row for row in shared.rows if row["gpus"] == n], "all_ms") for n in degrees]
    dense = [row for row in shared.rows if row["gpus"] == 4 and row["attention"] == "dense"]
    # Heads come last: the third line is that of four GPUs above as well.
    names = {"data": "sequences", "context": "heads and index blocks", "tensor": "heads"}
    by_remedy = [
        _quotient(f"share {names[how]}", [*dense, *_chosen(remedies.rows, "across", how)], "makespan_ms")
        for how in names
    ]
    most = {n: _last(shared.rows, n) for n in degrees}
    bounds = [(f"bytes at 1,024 Ki, {_count(n)}: {bound:.1f}", bound, 0.0) for n, bound in most.items()]
    panels = [
        CurvePanel(
            curves=lines, x_label="tokens of each sequence (Ki)", y_label="times faster than dense", log="x",
            from_zero=True, title=above, lines=below, height=height,
        )
        for lines, above, below, height in (
            (by_degree, "GPUs share heads; each scores all index keys", bounds, 360),
            (by_remedy, "four GPUs, by what they share; dense attention shares heads", [], 300),
        )
    ]  # fmt: skip
    return curves(panels, title=title, subtitle="one layer on H800, 32 sequences, one token each", width=width)


def stages(title: str, measured: Any, width: str) -> Any:
    """Return the figure of the time of each stage of prefill over the length, beside dense attention."""
    sparse = _chosen(measured.rows, "attention", "sparse")
    dense = _chosen(measured.rows, "attention", "dense")
    named = {
        "index_ms": "index", "choice_ms": "choice of blocks", "lists_ms": "reverse index", "blocks_ms": "kept blocks",
        "combine_ms": "combination",
    }  # fmt: skip
    lines = [Curve("dense, all", _lengths(dense), [row["all_ms"] for row in dense])]
    lines.append(Curve("sparse, all", _lengths(sparse), [row["all_ms"] for row in sparse]))
    lines += [Curve(name, _lengths(sparse), [row[key] for row in sparse]) for key, name in named.items()]
    panel = CurvePanel(
        curves=lines, x_label="tokens of the prompt (Ki)", y_label="time in one layer (ms)", log="xy", height=460
    )
    return curves([panel], title=title, subtitle="whole prompts on one H800", width=width)


def _quotient(label: str, rows: list[Row], column: str) -> Curve:
    sparse = _chosen(rows, "attention", "sparse")
    dense = {row["tokens"]: row[column] for row in _chosen(rows, "attention", "dense")}
    return Curve(label, _lengths(sparse), [dense[row["tokens"]] / row[column] for row in sparse])


def _count(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}"


def _last(rows: list[Row], gpus: int) -> float:
    """Return the quotient of bytes at the greatest length."""
    longest = max(row["tokens"] for row in rows)
    at = {row["attention"]: row["traffic"] for row in rows if (row["gpus"], row["tokens"]) == (gpus, longest)}
    return float(at["dense"] / at["sparse"])


def _chosen(rows: list[Row], column: str, value: str) -> list[Row]:
    return [row for row in rows if row[column] == value]


def _lengths(rows: list[Row]) -> list[float]:
    return [row["tokens"] / 1024 for row in rows]
