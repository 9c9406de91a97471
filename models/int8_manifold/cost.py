"""The work of the kernels from shapes alone; each equals what its namesake in ``kernel`` counts."""

from simcore import Virtual, Work

from .kernel import Rule


def spatial(image: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the spatial code of an image, and the work: three operations a pixel."""
    pixels = image.nbytes
    code = Virtual((2 * pixels,), "int8")
    return code, Work({"vote": 3 * pixels}, {"sram": 2 * pixels}, {"sram": 2 * pixels}, launches=1)


def structural(image: Virtual, filters: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of the structural code of an image, and the work: two operations a tap, of every filter at every
    second pixel of every second row; a quarter of the responses are nodes."""
    orientations, phases, high, wide = filters.shape
    responses = image.nbytes // 4 * orientations * phases
    code = Virtual((responses // 4,), "int8")
    read = {"sram": image.nbytes + filters.nbytes}
    return code, Work({"int8": 2 * responses * high * wide}, read, {"sram": code.nbytes}, launches=1)


def compact(code: Virtual, events: int) -> tuple[tuple[Virtual, Virtual], Work]:
    """Return the shapes of ``events`` events, which the plan counted, and the work: 3 B written each."""
    index, sign = Virtual((events,), "uint16"), Virtual((events,), "int8")
    return (index, sign), Work({"vote": code.shape[0]}, {"sram": code.nbytes}, {"sram": 3 * events}, launches=1)


def mask(code: Virtual) -> tuple[tuple[Virtual, Virtual], Work]:
    """Return the shapes of the masks, and the work: two bits a node, whole words."""
    (nodes,) = code.shape
    one = Virtual((-(-nodes // 64),), "uint64")
    return (one, one), Work({"vote": nodes}, {"sram": nodes}, {"sram": 2 * one.nbytes}, launches=1)


def add_events(weights: Virtual, index: Virtual, sign: Virtual, rule: Rule) -> tuple[Virtual, Work]:
    """Return the shape of the charges, and the work: events x outputs additions."""
    events, outputs = index.shape[0], weights.shape[1]
    return _row_by_row("vote", events, outputs, outputs, 3 * events, rule.accumulator)


def add_row_planes(
    positive: Virtual, negative: Virtual, index: Virtual, sign: Virtual, outputs: int, rule: Rule
) -> tuple[Virtual, Work]:
    """Return the shape of the charges, and the work: events x outputs additions, 16 B for 64 outputs."""
    events = index.shape[0]
    return _row_by_row("vote", events, outputs, 16 * positive.shape[1], 3 * events, rule.accumulator)


def count_planes(plus: Virtual, minus: Virtual, *planes: Virtual, rule: Rule) -> tuple[Virtual, Work]:
    """Return the shape of the charges, and the work: two words for every word of a plane."""
    outputs, words = planes[0].shape
    charge, read = Virtual((outputs,), rule.accumulator), 8 * outputs * words * len(planes)
    work = Work(
        {"word": 2 * outputs * words * len(planes)}, {"weights": read, "sram": read + 16 * words},
        {"sram": read + charge.nbytes}, launches=1,
    )  # fmt: skip
    return charge, work


def add_all(weights: Virtual, code: Virtual, rule: Rule) -> tuple[Virtual, Work]:
    """Return the shape of the charges, and the work: an addition a weight."""
    nodes, outputs = weights.shape
    return _row_by_row("vote", nodes, outputs, outputs, nodes, rule.accumulator)


def multiply_all(weights: Virtual, code: Virtual, rule: Rule, dtype: str) -> tuple[Virtual, Work]:
    """Return the shape of the charges, and the work: two operations a weight of ``dtype``."""
    nodes, outputs = weights.shape
    width = {"int8": 1, "float16": 2, "float32": 4}[dtype]
    return _row_by_row(dtype, nodes, outputs, width * outputs, nodes, rule.accumulator, each=2)


def count_equal(plus: Virtual, positive: Virtual, nodes: int, rule: Rule) -> tuple[Virtual, Work]:
    """Return the shape of the charges, and the work: a word for every word of the plane."""
    outputs, words = positive.shape
    charge, read = Virtual((outputs,), rule.accumulator), 8 * outputs * words
    work = Work(
        {"word": outputs * words},
        {"weights": read, "sram": read + 8 * words},
        {"sram": read + charge.nbytes},
        launches=1,
    )
    return charge, work


def decide(charge: Virtual, reject: int) -> tuple[Virtual, Work]:
    """Return the shape of the answer, and the work: a byte an output."""
    answer = Virtual(charge.shape, "int8")
    work = Work({"vote": charge.shape[0]}, {"sram": charge.nbytes}, {"sram": answer.nbytes}, launches=1)
    return answer, work


def scale(charge: Virtual, factor: int) -> tuple[Virtual, Work]:
    """Return the shape of the scaled charges, and the work: an operation an output."""
    found = Virtual(charge.shape, "int32")
    return found, Work({"int8": charge.shape[0]}, {"sram": charge.nbytes}, {"sram": found.nbytes}, launches=1)


def add_charges(charge: Virtual, other: Virtual, rule: Rule) -> tuple[Virtual, Work]:
    """Return the shape of the sum, and the work: an addition an output."""
    size = charge.nbytes
    return charge, Work({"vote": charge.shape[0]}, {"sram": 2 * size}, {"sram": size}, launches=1)


def spread(weights: Virtual, item: Virtual) -> tuple[Virtual, Work]:
    """Return the shape of what the nodes are worth, and the work: two operations a weight."""
    nodes, inputs = weights.shape
    size = nodes * inputs
    work = Work({"int8": 2 * size}, {"weights": size, "sram": size + inputs}, {"sram": size + 4 * nodes}, launches=1)
    return Virtual((nodes,), "int32"), work


def gather(weights: Virtual, code: Virtual, events: int) -> tuple[Virtual, Work]:
    """Return the shape of the estimate, and the work: two operations an input of the ``events`` rows that count."""
    inputs = weights.shape[1]
    return _row_by_row("int8", events, inputs, inputs, code.nbytes, "float64", each=2)


def low_pass(estimate: Virtual, harmonics: int) -> tuple[Virtual, Work]:
    """Return the shape of the filtered estimate, and the work: 10 n ceil(log2 n) operations."""
    (inputs,) = estimate.shape
    found = Virtual((inputs,), "float64")
    count = 10 * inputs * (inputs - 1).bit_length()
    return found, Work({"float32": count}, {"sram": estimate.nbytes}, {"sram": found.nbytes}, launches=1)


def refine(weights: Virtual, code: Virtual, alive: Virtual, steps: int, rows: int) -> tuple[Virtual, Work]:
    """Return the shape of the estimate, and the work: 2 steps + 1 products with the ``rows`` that are alive."""
    inputs = weights.shape[1]
    return _row_by_row("float32", rows * (2 * steps + 1), inputs, inputs, code.nbytes, "float64", each=2)


def _row_by_row(
    kind: str, rows: int, outputs: int, row: int, code: int, accumulator: str, each: int = 1
) -> tuple[Virtual, Work]:
    charge = Virtual((outputs,), accumulator)
    size = rows * (row + charge.nbytes)
    work = Work({kind: each * rows * outputs}, {"weights": rows * row, "sram": size + code}, {"sram": size}, launches=1)
    return charge, work
