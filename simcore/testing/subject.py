"""A model under the battery: its folder, its cases, and what was seen of their runs, each made once."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from simcore import assembly, registry, scenario, source
from simcore.assembly import Result
from simcore.scenario import Known, Scenario
from simcore.testing.witness import Call, Witness

SHEET = "verify.yaml"
"""File of a model's folder that says what the battery runs beside the model's own scenario."""


class Unmet(Exception):
    """A check failed; the text says what was found."""


class Inapplicable(Exception):
    """The model has nothing of what a check looks at; the text says what that is."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """``cases``: by name, what each changes in the model's scenario, by dotted key. ``known``: checks that this model
    is known to fail, each with the reason; one of them that passes is a failure."""

    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)


def read_sheet(model: str, checks: list[str]) -> Sheet:
    """Return what stands in ``verify.yaml`` of the model's folder, if there is one; raises ``InputError``."""
    path = registry.folder(model) / SHEET
    if not path.is_file():
        return Sheet()
    document = source.read(path, inherit=False)
    sheet = document.build(Sheet)
    for name in sheet.known:
        if name not in checks:
            raise document.error(("known", name), source.unknown("check", name, checks), of_key=True)
    return sheet


@dataclass(frozen=True, eq=False)
class Seen:
    """A run of the model: what was asked and what came out, its plan, the first call of every kernel with payloads of
    the same shapes, and the results of its ranks in their order."""

    asked: Scenario
    result: Result
    params: Any
    plan: Any
    calls: list[Call]
    results: list[Any]

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the run's digest and of the bytes of all results."""
        import numpy as np

        found = hashlib.sha256(self.result.digest.encode())
        for each in self.results:
            found.update(np.ascontiguousarray(each).tobytes())
        return found.hexdigest()


class Subject:
    """The model ``name`` as the battery sees it; raises whatever the model raises when it is first asked."""

    def __init__(self, name: str, sheet: Sheet) -> None:
        self.name, self.sheet = name, sheet
        self.folder = registry.folder(name)
        self._changes: dict[str, list[str]] = {"scenario": []}
        for case, changes in sheet.cases.items():
            self._changes[case] = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        self._seen: dict[Any, Seen] = {}
        self._jobs: dict[str, int] = {}
        self._known = Known()

    @property
    def cases(self) -> list[str]:
        """The names of the cases: the scenario as it stands, then those of the sheet."""
        return list(self._changes)

    @property
    def workload(self) -> Any:
        """The model's workload."""
        return registry.load(self.name)

    @property
    def fields(self) -> tuple[dataclasses.Field[Any], ...]:
        """The parameters of the model."""
        if not dataclasses.is_dataclass(self.workload.Params):
            raise Unmet("Params is no dataclass; decorate it with @dataclass(frozen=True)")
        return dataclasses.fields(self.workload.Params)

    @property
    def can_be_real(self) -> bool:
        """Whether a parameter ``payload`` may be "real"."""
        hint = source.type_hints(self.workload.Params).get("payload")
        return "real" in get_args(hint)

    @property
    def offered(self) -> list[Call]:
        """The kernels that the model offers to be tried, with their payloads."""
        import numpy as np

        offer = getattr(self.workload, "kernels", None)
        pairs = offer(np.random.default_rng(0)) if offer else ()
        return [Call(kernel, tuple(payloads)) for kernel, payloads in pairs]

    def asked(self, case: str, *overrides: str) -> Scenario:
        """Return the scenario of a case with ``overrides`` as for ``--set``; raises ``InputError``."""
        path = self.folder / "scenario.yaml"
        if not path.is_file():
            raise Unmet("the folder has no scenario.yaml, which the model's name would run")
        return scenario.read(path, [*self._changes[case], *overrides], known=self._known)

    def job(self, case: str) -> int:
        """Return which workload of the case's scenario is the model's."""
        if case not in self._jobs:
            jobs = [i for i, job in enumerate(self.asked(case).workloads) if job.model == self.name]
            if not jobs:
                raise Unmet(f"case {case}: no workload of the scenario is the model {self.name!r}")
            self._jobs[case] = jobs[0]
        return self._jobs[case]

    def key(self, case: str, name: str) -> str:
        """Return the dotted key of a parameter of the model in the case's scenario."""
        return f"workloads.{self.job(case)}.params.{name}"

    def real(self, case: str) -> list[str]:
        """Return the overrides that make payloads real."""
        return [f"{self.key(case, 'payload')}=real"] if self.can_be_real else []

    def run(self, case: str, *overrides: str, fresh: bool = False) -> Seen:
        """Return the run of a case with ``overrides``, made now or before; ``fresh`` makes it once more."""
        key = case, overrides
        if key not in self._seen or fresh:
            found = self.run_scenario(self.asked(case, *overrides), self.job(case))
            if fresh:
                return found
            self._seen[key] = found
        return self._seen[key]

    def run_scenario(self, asked: Scenario, number: int) -> Seen:
        """Return the run of any scenario whose workload ``number`` is the model's."""
        witness = Witness(self.workload)

        def load(model: str) -> Any:
            return witness if model == self.name else registry.load(model)

        result = assembly.run(asked, load=load)
        job = asked.workloads[number]
        prefix = f"{job.name}." if len(asked.workloads) > 1 else ""
        ranks = [f"{prefix}rank{index}" for index in range(job.ranks or 0)]
        results = [each for rank in ranks for each in result.results[rank]]
        return Seen(asked, result, job.params, witness.made, list(witness.calls.values()), results)

    def worlds(self, case: str) -> Iterator[tuple[str, ...]]:
        """Yield overrides that run a case with other numbers of ranks, as far as its model, machine and placement
        allow."""
        asked, number = self.asked(case), self.job(case)
        job = asked.workloads[number]
        if self.workload.world(job.params) is None and job.placement in ("block", "round_robin"):
            for world in (1, 2, 3, 4, 7):
                if world <= asked.machine.gpu_count and len(asked.workloads) == 1 and world != job.ranks:
                    yield (f"workloads.{number}.ranks={world}",)


def fingerprints(model: str) -> list[str]:
    """Return the fingerprint of every case, with real payloads where there are any."""
    subject = Subject(model, read_sheet(model, []))
    return [subject.run(case, *subject.real(case)).fingerprint for case in subject.cases]
