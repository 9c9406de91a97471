"""What `claims.yaml` of a paper states: its experiments, what the paper claims of them, the figures that show them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from simcore.claims.statistics import Statistic, Where
from simcore.errors import FieldError
from simcore.source import Document, Tagged
from simcore.sweep import axes

Grade = Literal["paper", "docs", "2nd", "derived"]
"""Who says so: the paper itself; another primary source; a second-hand account, unconfirmed; our own deduction."""
Kind = Literal["spec", "measured", "fitted", "assumed"]
Kept = Literal["spans", "flags", "transfers", "links"]
Why = Literal["fitted", "wall time", "not comparable", "by construction", "not here", "cited"]
"""Why a claim is not scored: a constant was chosen by it; the time that a computer takes; the paper's number is one of
something else; ours follows from what was set, and can be no other; what it needs is not here; it is background."""


@dataclass(frozen=True)
class Axis(axes.Axis):
    """What an experiment varies: as an axis of a sweep, its values plain, so that they are columns and labels."""

    values: list[str | int | float | bool]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.values)) != len(self.values):
            raise FieldError("holds a value twice", "values")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs of one scenario: what is ``set`` in all of them, the product of the ``axes``, the last turning fastest, and
    what is collected of each.

    ``collect`` gives, by column, the path of a number in a run's metrics, ``digest``, ``cpu_s`` (the shortest of
    ``repeats``), or ``measures.NAME``, a function of the paper's module `measures`; a path may end in a unit
    (``makespan_ps in us``), and two make a quotient (``a / b``) or a sum (``a + b``). Of ``keep`` the whole tables are
    kept.
    """

    what: str
    collect: dict[str, str]
    scenario: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, Axis] = field(default_factory=dict)
    keep: list[Kept] = field(default_factory=list)
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise FieldError("is one or more", "repeats")
        twice = self.axes.keys() & self.collect.keys()
        if twice:
            raise FieldError("is an axis already", "collect", min(twice))

    @property
    def columns(self) -> list[str]:
        """The columns of its table."""
        return [*self.axes, *self.collect]


@dataclass(frozen=True)
class Range:
    """A value that the paper gives as a range, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class Criterion:
    """When a claim holds: every number that its statistic gives fulfils all that is stated here.

    ``within`` is the largest relative difference from the paper's value, ``within_absolute`` the largest absolute one.
    """

    at_least: float | None = None
    at_most: float | None = None
    equals: float | None = None
    within: float | None = None
    within_absolute: float | None = None

    def __post_init__(self) -> None:
        if all(value is None for value in vars(self).values()):
            raise FieldError(f"states nothing; allowed: {', '.join(vars(self))}")

    def __str__(self) -> str:
        said = {"at_least": ">= {:g}", "at_most": "<= {:g}", "equals": "= {:g}", "within": "+- {:.3g} %",
                "within_absolute": "+- {:g}"}  # fmt: skip
        return ", ".join(
            said[key].format(100 * value if key == "within" else value)
            for key, value in vars(self).items()
            if value is not None
        )


@dataclass(frozen=True)
class Unscored:
    """Why a claim is left out of the score, and the reason in words."""

    why: Why
    because: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the paper says, where, how well that is known, and when it holds of ours.

    ``paper`` is the paper's number, a range, a list with one number for each that the statistic gives, or words where
    it gives none. ``each`` lists the columns whose groups the statistic is taken of one by one. ``unscored`` says why a
    claim is not scored; one that has no experiment is always so. What is ``qualitative`` can be consistent with the
    paper, no more.
    """

    id: str
    what: str
    place: str
    grade: Grade
    paper: float | list[float] | Range | str
    experiment: str = ""
    statistic: Statistic | None = None
    where: Where = field(default_factory=dict)
    each: list[str] = field(default_factory=list)
    holds: Criterion | None = None
    unit: str = ""
    qualitative: bool = False
    unscored: Unscored | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.paper, Range) and self.paper.low > self.paper.high:
            raise FieldError(f"is above high, {self.paper.high:g}", "paper", "low")
        if not self.experiment:
            if self.unscored is None:
                raise FieldError("is missing: a claim has an experiment, or says why it is unscored", "experiment")
            return
        if self.statistic is None:
            raise FieldError("is missing", "statistic")
        if self.holds is None:
            if self.unscored is None:
                raise FieldError("is missing: a claim says when it holds, or why it is unscored", "holds")
        elif isinstance(self.paper, str | Range):
            for key in ("within", "within_absolute"):
                if getattr(self.holds, key) is not None:
                    raise FieldError("needs a number of the paper's to be near to", "holds", key)


@dataclass(frozen=True)
class Straight:
    """A line of reference: ``slope`` 0 is a level."""

    label: str
    intercept: float
    slope: float = 0.0


@dataclass(frozen=True)
class Bar:
    """A range of the paper's, drawn upright at ``x``."""

    label: str
    x: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes of a chart: ``y`` over ``x``, a line for each group that the columns of ``series`` make.

    ``over`` divides each series by its first value, or by the intercept of its line of least squares; ``fit`` draws
    that line.
    """

    x: str
    y: str
    x_label: str
    y_label: str
    series: list[str] = field(default_factory=list)
    where: Where = field(default_factory=dict)
    log: Literal["", "x", "y", "xy"] = ""
    over: Literal["", "first", "intercept"] = ""
    fit: bool = False
    from_zero: bool = False
    title: str = ""
    lines: list[Straight] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    height: int = 360


@dataclass(frozen=True)
class Chart:
    """Panels one below the other, of one experiment."""

    kind: Literal["chart"]
    title: str
    experiment: str
    panels: list[Panel]

    @property
    def experiments(self) -> list[str]:
        """The experiments that it shows."""
        return [self.experiment]


@dataclass(frozen=True)
class Own:
    """A figure that a function of the paper's module `figures` draws, called like the figure."""

    kind: Literal["own"]
    title: str
    experiments: list[str]


@dataclass(frozen=True)
class Timelines:
    """Runs of one experiment on one time axis, one below the other, each above the reads of flags over time.

    ``runs`` is the axis whose values are the runs; ``where`` chooses among what else varies.
    """

    kind: Literal["timelines"]
    title: str
    experiment: str
    runs: str
    where: Where = field(default_factory=dict)

    @property
    def experiments(self) -> list[str]:
        """The experiment that it shows."""
        return [self.experiment]


Figure = Annotated[Chart | Own | Timelines, Tagged("kind")]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All that a paper claims; ``basis`` says how well the paper itself is known."""

    basis: str
    claims: list[Claim]
    experiments: dict[str, Experiment] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A constant of the model: its value, its kind as in a hardware sheet, who says so, and where; ``fitted_on`` are
    the claims by whose numbers it was chosen, which leave the score."""

    value: Any
    kind: Kind
    grade: Grade
    source: str
    note: str = ""
    fitted_on: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (self.kind == "fitted") != bool(self.fitted_on):
            raise FieldError(
                "names the claims that a constant of kind 'fitted' was chosen by, and of no other", "fitted_on"
            )


@dataclass(frozen=True)
class Paper:
    """The claims of one paper as read, with the places of everything, and the constants of its model."""

    name: str
    folder: Path
    sheet: Sheet
    document: Document
    constants: dict[str, Constant]

    def fitted(self, claim: str) -> list[str]:
        """Return the constants that were chosen by the numbers of ``claim``."""
        return [name for name, constant in self.constants.items() if claim in constant.fitted_on]
