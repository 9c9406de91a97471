"""The battery: what every model must pass, wherever it is kept. Each check is one sentence, and no model is named."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from simcore.errors import SimcoreError, printable
from simcore.testing import folder, kernels, runs
from simcore.testing.subject import Inapplicable, Subject, Unmet, read_sheet

CHECKS: dict[str, Callable[[Subject], str]] = {
    "citation": folder.check_citation,
    "facade": folder.check_imports,
    "card": folder.check_card,
    "claims": folder.check_claims,
    "parameters": folder.check_parameters,
    "scenario": runs.check_scenario,
    "repeatable": runs.check_repeatable,
    "other process": runs.check_other_process,
    "parameters read": runs.check_parameters_read,
    "wrong parameters": runs.check_wrong_parameters,
    "spans": runs.check_spans,
    "reference": runs.check_reference,
    "results ignore time": runs.check_results_ignore_time,
    "virtual": runs.check_virtual,
    "faster links": runs.check_faster_links,
    "formula": kernels.check_formula,
    "counted work": kernels.check_counted_work,
    "inputs kept": kernels.check_inputs_kept,
}
"""The checks by name, in the order in which they are made; each returns what it looked at."""

Verdict = Literal["ok", "failed", "known", "-"]
"""Passed; failed; failed as the model's folder says it does; nothing there to check."""


@dataclass(frozen=True)
class Outcome:
    """What one check found of a model, in a sentence."""

    model: str
    check: str
    verdict: Verdict
    says: str

    @property
    def ok(self) -> bool:
        """Whether the model may stay as it is."""
        return self.verdict != "failed"

    def __str__(self) -> str:
        return f"{self.model:20} {self.check:20} {self.verdict:7} {self.says}"


def verify(model: str) -> Iterator[Outcome]:
    """Yield the outcome of every check of ``model``, one after the other; raises ``InputError`` for a model that there
    is not, or a ``verify.yaml`` that cannot be read."""
    sheet = read_sheet(model, list(CHECKS))
    subject = Subject(model, sheet)
    for name, check in CHECKS.items():
        verdict, says = judge(check, subject)
        if name in sheet.known:
            says = f"{sheet.known[name]}: {says}" if verdict == "failed" else "passes; strike it from `known`"
            verdict = "known" if verdict == "failed" else "failed"
        yield Outcome(model, name, verdict, printable(says, 300))


def judge(check: Callable[[Subject], str], subject: Subject) -> tuple[Verdict, str]:
    """Return what ``check`` finds of a model; whatever the model's own code raises is a failure with its place."""
    try:
        return "ok", check(subject)
    except Inapplicable as nothing:
        return "-", str(nothing)
    except (Unmet, SimcoreError) as unmet:
        return "failed", str(unmet)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return "failed", f"{type(error).__name__}: {error} ({where})"
