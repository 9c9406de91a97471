"""Checks of kernels, on the payloads that the model's own cases call them with, and on those that it offers."""

from collections.abc import Iterator
from typing import Any

from simcore.testing.subject import Inapplicable, Subject, Unmet
from simcore.testing.witness import Call, counted, virtual
from simcore.work import Virtual


def check_formula(subject: Subject) -> str:
    """The formula says of the shapes alone what the kernel returns and counts."""
    calls = _calls(subject)
    for call in calls:
        outputs, work = call.kernel.run(*_copies(call))
        shapes, stated = call.kernel.cost(*[virtual(each) for each in call.payloads])
        if work != stated:
            raise Unmet(f"{call} counts {work}, but its formula says {stated}")
        for output, shape in zip(_parts(outputs), _parts(shapes), strict=True):
            if isinstance(shape, Virtual) and shape != virtual(output):
                raise Unmet(f"{call} returns {virtual(output)}, but its formula says {shape}")
    return _looked_at(calls)


def check_counted_work(subject: Subject) -> str:
    """What a kernel counts is the arithmetic that it was seen to do, and it writes no less than it returns."""
    calls, unseen = _calls(subject), set()
    for call in calls:
        count = counted(call.kernel.run, call.payloads)
        outputs, work = call.kernel.run(*_copies(call))
        stated, written = sum(work.operations.values()), sum(work.bytes_written.values())
        returned = sum(each.nbytes for each in _parts(outputs))
        if written < returned:
            raise Unmet(f"{call} counts {written} B written, but returns {returned} B")
        products = call.kernel.counts == "products"
        unknown = count.hidden or ("" if products else count.unknown)
        least, most = (count.products, count.products) if products else (count.least, count.most)
        if unknown or (stated and not most):
            unseen.add(f"{call.kernel.name} computes with {unknown or 'something'} that cannot be counted")
        elif not least <= stated <= most:
            raise Unmet(f"{call} counts {stated} operations, but does {least}")
    if len(unseen) == len({call.kernel.name for call in calls}):
        raise Inapplicable(min(unseen))
    return _looked_at(calls) + "".join(f"; {sentence}" for sentence in sorted(unseen))


def check_inputs_kept(subject: Subject) -> str:
    """A kernel does not change what it is given."""
    import numpy as np

    calls = _calls(subject)
    for call in calls:
        copies = _copies(call)
        call.kernel.run(*copies)
        for place, (before, after) in enumerate(zip(call.payloads, copies, strict=True)):
            if not np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
                raise Unmet(f"{call} changes its payload {place}")
    return _looked_at(calls)


def _calls(subject: Subject) -> list[Call]:
    found: dict[str, Call] = {}
    for case in subject.cases:
        for call in subject.run(case, *subject.real(case)).calls:
            if call.is_real:
                found.setdefault(str(call), call)
    for call in subject.offered:
        found.setdefault(str(call), call)
    if not found:
        raise Inapplicable("it has no kernels, or none that compute on real payloads")
    return list(found.values())


def _looked_at(calls: list[Call]) -> str:
    names = sorted({call.kernel.name for call in calls})
    return f"{', '.join(names)} in {len(calls)} shapes"


def _copies(call: Call) -> list[Any]:
    return [each.copy() for each in call.payloads]


def _parts(outputs: Any) -> Iterator[Any]:
    if isinstance(outputs, tuple | list):
        for part in outputs:
            yield from _parts(part)
    elif outputs is not None:
        yield outputs
