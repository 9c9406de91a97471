"""Checks of whole runs: the same every time and everywhere, right whatever the links, and explained to the end."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

from simcore import source, units
from simcore.errors import InputError
from simcore.reads import Reads
from simcore.scenario import Scenario
from simcore.testing.subject import Inapplicable, Seen, Subject, Unmet

SPEEDS = (1, 2, 8, 64)
"""How many times faster than in the scenario the links are made."""
PROGRAM = "import sys; from simcore.testing import subject; print('\\n'.join(subject.fingerprints(sys.argv[1])))"
TIME_LIMIT = 120
"""Seconds for the cases in another process."""


def check_scenario(subject: Subject) -> str:
    """The model's scenario runs, and a careful reader has no question about it."""
    seen = subject.run("scenario")
    if seen.result.warnings:
        raise Unmet(f"scenario.yaml runs with a warning: {seen.result.warnings[0]}")
    for case in subject.cases[1:]:
        subject.run(case)
    makespan = units.short(seen.result.metrics["makespan_ps"], units.TIME)
    return f"{makespan} simulated" + (f", and {len(subject.cases) - 1} more cases" if len(subject.cases) > 1 else "")


def check_repeatable(subject: Subject) -> str:
    """The same scenario run again in this process gives the same tables and results."""
    for case in subject.cases:
        real = subject.real(case)
        if subject.run(case, *real).fingerprint != subject.run(case, *real, fresh=True).fingerprint:
            raise Unmet(f"case {case}: two runs of one scenario differ; what is kept between runs?")
    return _cases(subject)


def check_other_process(subject: Subject) -> str:
    """Another process, in which Python's hashes are others, finds the same."""
    ours = [subject.run(case, *subject.real(case)).fingerprint for case in subject.cases]
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, subject.name], env=environment, capture_output=True, text=True,
        timeout=TIME_LIMIT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Unmet(f"another process fails: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    for case, here, there in zip(subject.cases, ours, done.stdout.split(), strict=True):
        if here != there:
            raise Unmet(f"case {case}: another process finds something else; does an order depend on a set or a hash?")
    return _cases(subject)


def check_parameters_read(subject: Subject) -> str:
    """Every parameter decides something in one of the cases."""
    read = set().union(*(_read(subject, case) for case in subject.cases))
    idle = [each.name for each in subject.fields if each.name not in read]
    if idle:
        raise Unmet(f"nothing reads {', '.join(idle)}; take it out, or give a case in verify.yaml that needs it")
    return f"{len(read)} parameters in {_cases(subject)}"


def check_wrong_parameters(subject: Subject) -> str:
    """What no parameter can be is refused in one line: a name that there is not, a number below what makes sense."""
    case, tried = subject.cases[-1], 0
    for each in subject.fields:
        wrong = each.name[:-2] + each.name[-1] if len(each.name) > 3 else each.name + "x"
        try:
            subject.asked(case, f"{subject.key(case, wrong)}=1")
        except InputError as error:
            if f"did you mean {each.name!r}" not in str(error):
                raise Unmet(f"params.{wrong} is refused, but the nearest spelling is not named: {error}") from None
        else:
            raise Unmet(f"params.{wrong} is no parameter, and is taken for one")
        break
    for case, name, text in _extremes(subject):
        tried += 1
        override = f"{subject.key(case, name)}={text}"
        try:
            subject.run(case, *subject.real(case), override, fresh=True)
        except InputError:
            continue
        except Exception as error:
            raise Unmet(
                f"case {case}: {name}={text} ends in {type(error).__name__}: {error}; `world` or `plan` raises "
                "InputError for what cannot be"
            ) from error
    return f"{tried} numbers at the edge and a misspelt name"


def _extremes(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Yield every number among the parameters with 0 and, where its type allows that, -1, in the last case that reads
    it: those of the sheet are the small ones."""
    hints = source.type_hints(subject.workload.Params)
    for each in subject.fields:
        hint = hints[each.name]
        marks = getattr(hint, "__metadata__", ())
        quantity = next((mark for mark in marks if isinstance(mark, units.Quantity)), None)
        number = int in (hint, *get_args(hint)) and get_origin(hint) is not Literal
        values = [f"0 {quantity.dimension.base}"] if quantity else ["0", "-1"] if number else []
        cases = [case for case in subject.cases if each.name in _read(subject, case)]
        for value in values if cases else []:
            yield cases[-1], each.name, value


def _read(subject: Subject, case: str) -> set[str]:
    """Return the parameters that decide something in a case."""
    seen, whole = subject.run(case), ("workloads", subject.job(case), "params")
    asked = Reads()
    subject.workload.world(asked.lend(seen.params))
    keys = {*asked.seen, *(read[3:] for read in seen.result.read if read[:3] == whole)}
    return {each.name for each in subject.fields if () in keys or any(key[0] == each.name for key in keys if key)}


def check_spans(subject: Subject) -> str:
    """The spans of every rank follow each other from the start, and every wait has its reason."""
    waits = 0
    for case in subject.cases:
        seen = subject.run(case)
        number = subject.job(case)
        job = seen.asked.workloads[number]
        rows = seen.result.tables["spans"].to_pylist()
        prefix = f"{job.name}." if len(seen.asked.workloads) > 1 else ""
        for rank in range(job.ranks or 0):
            life = sorted((r for r in rows if r["location"] == f"{prefix}rank{rank}"), key=lambda r: r["t0_ps"])
            ends = [0, *(row["t1_ps"] for row in life)]
            for end, row in zip(ends, life, strict=False):
                if row["t0_ps"] != end:
                    raise Unmet(f"case {case}: rank {rank} is at nothing from {end} to {row['t0_ps']} ps")
                if row["activity"] == "wait" and not row["reason"]:
                    raise Unmet(f"case {case}: rank {rank} waits at {end} ps without a reason ({row['what']})")
                waits += row["activity"] == "wait"
    return f"{_cases(subject)}, {waits} waits"


def check_reference(subject: Subject) -> str:
    """On real payloads, whatever the number of ranks, the results are those computed the plain way."""
    compared = runs = 0
    for case in subject.cases:
        for world in ((), *subject.worlds(case)):
            try:
                seen = subject.run(case, *subject.real(case), *world)
            except InputError:
                if not world:
                    raise
                # The model says in one line that it has no such number of ranks.
                continue
            compared += _compare(subject, f"case {case}{''.join(f', {each}' for each in world)}", seen)
            runs += 1
    if not compared:
        raise Inapplicable("its programs give no results, and none are expected")
    return f"{compared} results of {runs} runs"


def _compare(subject: Subject, where: str, seen: Seen) -> int:
    """Raise ``Unmet`` unless each result is within half the digits of its dtype of the expected one, the largest number
    in that being 1; integers are equal."""
    import numpy as np

    expected = subject.workload.reference(seen.params, seen.plan)
    if len(seen.results) != len(expected):
        raise Unmet(f"{where}: the ranks give {len(seen.results)} results, the reference {len(expected)}")
    for place, (found, wanted) in enumerate(zip(seen.results, expected, strict=True)):
        found, wanted = np.asarray(found), np.asarray(wanted)
        if found.shape != wanted.shape:
            raise Unmet(f"{where}: result {place} is {list(found.shape)}, the reference {list(wanted.shape)}")
        if found.dtype.kind not in "fc":
            worst, allowed = (0.0 if np.array_equal(found, wanted) else 1.0), 0.0
        else:
            worst = float(np.abs(found - wanted).max(initial=0))
            allowed = float(np.sqrt(np.finfo(found.dtype).eps)) * float(np.abs(wanted).max(initial=0))
        if not worst <= allowed:
            raise Unmet(
                f"{where}: result {place} is {worst:.3g} away from the reference, at most {allowed:.3g} allowed"
            )
    return len(expected)


def check_results_ignore_time(subject: Subject) -> str:
    """Results are the same, bit by bit, on links that are much faster or much slower."""
    compared = 0
    for case in subject.cases:
        usual = subject.run(case, *subject.real(case))
        for factor in (64, 1 / 64):
            other = subject.run_scenario(_at_speed(usual.asked, factor), subject.job(case))
            if [_bytes(each) for each in other.results] != [_bytes(each) for each in usual.results]:
                raise Unmet(f"case {case}: on links {factor:g} times as fast the results are others")
        compared += len(usual.results)
    if not compared:
        raise Inapplicable("its programs give no results")
    return f"{compared} results on links 64 times faster and slower"


def check_virtual(subject: Subject) -> str:
    """A run without data has the tables of the run with data."""
    if not subject.can_be_real:
        raise Inapplicable('no parameter `payload` that may be "real"')
    for case in subject.cases:
        real = subject.run(case, *subject.real(case)).result
        shapes = subject.run(case, f"{subject.key(case, 'payload')}=virtual").result
        if (real.digest, real.metrics) != (shapes.digest, shapes.metrics):
            raise Unmet(f"case {case}: tables with real and with virtual payloads differ")
    return _cases(subject)


def check_faster_links(subject: Subject) -> str:
    """Faster links never make a run longer."""
    for case in subject.cases:
        usual, number = subject.run(case), subject.job(case)
        spans = [
            subject.run_scenario(_at_speed(usual.asked, factor), number).result.metrics["makespan_ps"]
            for factor in SPEEDS
        ]
        for (slow, before), (fast, after) in itertools.pairwise(zip(SPEEDS, spans, strict=True)):
            if after > before:
                raise Unmet(f"case {case}: {before} ps on links {slow} times as fast, {after} ps {fast} times")
    return f"{_cases(subject)}, links up to {SPEEDS[-1]} times faster"


def _at_speed(asked: Scenario, factor: float) -> Scenario:
    """Return the scenario with links of ``factor`` times the bandwidth."""
    machine = asked.machine
    link = replace(machine.link, bandwidth=max(1, int(machine.link.bandwidth * factor)))
    network = machine.network
    if network is not None:
        wire = replace(network.link, bandwidth=max(1, int(network.link.bandwidth * factor)))
        network = replace(network, link=wire)
    return replace(asked, machine=replace(machine, link=link, network=network))


def _bytes(found: Any) -> bytes:
    import numpy as np

    return np.ascontiguousarray(found).tobytes()


def _cases(subject: Subject) -> str:
    return "1 case" if len(subject.cases) == 1 else f"{len(subject.cases)} cases"
