"""The battery: every bundled model passes it, and every check fails on a model with the defect that it is there for."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from simcore import InputError, cli, registry, scaffold, source, verify
from simcore.testing import CHECKS, folder, judge
from simcore.testing.subject import Sheet, Subject
from simcore.testing.witness import counted

BUNDLED = sorted(path.parent.name for path in source.bundle("models").glob("[!_]*/__init__.py"))


@dataclass(frozen=True)
class Defect:
    """Edits of the scaffold's files, (file, what stands there, what is put instead, or None to delete the file), that
    ``check`` must see, and a part of what it says."""

    check: str
    edits: list[tuple[str, str, str | None]]
    says: str


GIVE = "        rank.give(total)\n"
PROGRAM = "    def program(self, rank"
OFFER = """    def kernels(self, rng):
        import numpy as np

        from simcore import Kernel, Virtual, Work

        def work(rows):
            return Work({"float64": RIGHT * rows * 5}, {}, {"hbm": 40 * rows})

        def run(left, right):
            return np.exp(left) @ right, work(len(left))

        def cost(left, right):
            return Virtual((left.shape[0], 5), left.dtype), work(left.shape[0] + MORE)

        yield Kernel("tried", run, cost, counts="products"), (rng.random((3, 4)), rng.random((4, 5)))

"""
SKEW = "        yield from rank.spend(rank.index * plan.params.skew"
DEFECTS = {
    "no_citation": Defect("citation", [("__init__.py", '"""', "# "), ("__init__.py", ')."""', ").")], "no docstring"),
    "behind_the_facade": Defect(
        "facade",
        [("program.py", "from . import", "from simcore.fabric import Fabric\n\nfrom . import")],
        "program.py:9 imports simcore.fabric.Fabric",
    ),
    "another_model": Defect(
        "facade", [("program.py", "from . import", "from ..other import x\n\nfrom . import")], "outside its folder"
    ),
    "no_limits": Defect("card", [("README.md", "not modelled", "the rest")], "does not say what is not modelled"),
    "no_card": Defect("card", [("README.md", "", None)], "no README.md"),
    "no_place": Defect("claims", [("claims.yaml", '"cost.py: 4 ranks x rows x rows x 4 B"', '""')], "claim A1"),
    "no_grade": Defect("claims", [("claims.yaml", "    grade: derived\n", "")], "grade: is missing"),
    "no_source": Defect(
        "claims", [("params.yaml", '"an example: as many as rows"', '""')], "params.inner has no source"
    ),
    "another_default": Defect("claims", [("params.yaml", "value: 2 us", "value: 3 us")], "params.skew is 3 us"),
    "strange_constant": Defect("claims", [("params.yaml", "  inner:", "  iner:")], "did you mean 'inner'"),
    "thawed": Defect("parameters", [("program.py", "(frozen=True)\nclass Parameters", "\nclass Parameters")], "frozen"),
    "no_default": Defect("parameters", [("program.py", "    rows: int = 256", "    rows: int")], "rows has no default"),
    "unexplained": Defect(
        "parameters", [("program.py", "    inner: int", "    colour: int = 1\n    inner: int")], "says what colour is"
    ),
    "warned_of": Defect(
        "scenario", [("scenario.yaml", "    params:", "    ranks: 2\n    params:")], "2 GPUs take no part"
    ),
    "no_scenario": Defect("scenario", [("scenario.yaml", "", None)], "no scenario.yaml"),
    "no_flag": Defect("scenario", [("program.py", ', sets="tile is there"', "")], "rank0 waits for tile of rank3"),
    "kept_between_runs": Defect(
        "repeatable",
        [
            ("program.py", "FLAG =", "RUNS: list[int] = []\nFLAG ="),
            (
                "program.py",
                GIVE,
                GIVE + "        RUNS.append(1)\n        yield from rank.spend(len(RUNS), 'idle', '')\n",
            ),
        ],
        "two runs of one scenario differ",
    ),
    "hashed": Defect(
        "other process",
        [("program.py", GIVE, GIVE + "        yield from rank.spend(hash('tile') % 10**9, 'idle', 'x')\n")],
        "another process finds something else",
    ),
    "never_read": Defect(
        "parameters read", [("program.py", SKEW, SKEW.replace("plan.params.skew", "2"))], "reads skew"
    ),
    "unchecked": Defect("wrong parameters", [("program.py", '("rows", "inner")', '("inner",)')], "rows=-1 ends in"),
    "gap": Defect(
        "spans",
        [("program.py", GIVE, "        yield rank.at(rank.now + 5)\n" + SKEW + ", 'idle', 'x')\n")],
        "is at nothing from",
    ),
    "no_reason": Defect("spans", [("program.py", 'f"tile of rank{before}")', '"")')], "without a reason"),
    "wrong_neighbour": Defect("reference", [("program.py", "products[index - 1]", "products[index - 2]")], "away from"),
    "nothing_given": Defect("reference", [("program.py", GIVE, "")], "give 0 results, the reference 4"),
    "wrong_shape": Defect("reference", [("program.py", GIVE, "        rank.give(total.T[:1])\n")], "result 0 is [1, "),
    "clock_in_result": Defect(
        "results ignore time",
        [("program.py", GIVE, "        rank.give(total + rank.now)\n")],
        "the results are others",
    ),
    "only_real": Defect(
        "virtual",
        [
            (
                "program.py",
                GIVE,
                GIVE
                + "        for _ in range(plan.params.payload == 'real'):\n            rank.put(after, FLAG, 'x')\n",
            )
        ],
        "real and with virtual payloads differ",
    ),
    "late_when_fast": Defect(
        "faster links",
        [("program.py", GIVE, "        yield from rank.spend(max(0, 10**9 - 9 * rank.now), 'idle', 'x')\n" + GIVE)],
        "times as fast",
    ),
    "half_the_formula": Defect("formula", [("cost.py", "2 * rows * inner", "rows * inner")], "but its formula says"),
    "another_shape": Defect(
        "formula", [("cost.py", "Virtual((rows, columns)", "Virtual((columns, rows, 1)")], "returns"
    ),
    "both_wrong": Defect(
        "counted work",
        [("cost.py", "2 * rows", "3 * rows"), ("kernel.py", "2 * left", "3 * left")],
        "operations, but does",
    ),
    "offered_with_another_formula": Defect(
        "formula",
        [("program.py", PROGRAM, OFFER.replace("RIGHT", "8").replace("MORE", "1") + PROGRAM)],
        "tried(float64[3, 4], float64[4, 5]) counts",
    ),
    "more_than_products": Defect(
        "counted work",
        [("program.py", PROGRAM, OFFER.replace("RIGHT", "9").replace("MORE", "0") + PROGRAM)],
        "counts 135 operations, but does 120",
    ),
    "nothing_written": Defect(
        "counted work",
        [("cost.py", '{"hbm": own.nbytes}', "{}"), ("kernel.py", '{"hbm": total.nbytes}', "{}")],
        "counts 0 B written",
    ),
    "in_place": Defect(
        "inputs kept",
        [("kernel.py", "total = own + received", "own += received\n    total = own")],
        "changes its payload 0",
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The scaffold as it is written, and once with each defect, all installed as models."""
    packages, site = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("site")
    for name, defect in {"sound": Defect("", [], ""), **DEFECTS}.items():
        scaffold.write(name, packages)
        home = (packages / name / name).rename(site / name)
        for file, there, instead in defect.edits:
            text = (home / file).read_text(encoding="utf-8")
            assert there in text
            if instead is None:
                (home / file).unlink()
            else:
                (home / file).write_text(text.replace(there, instead, 1), encoding="utf-8")
    install(site, ["sound", *DEFECTS])
    sys.path.insert(0, str(site))
    registry._outside.cache_clear()
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(site))
    registry._outside.cache_clear()


def install(site: Path, names: list[str]) -> None:
    about = site / "defects-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: defects\nVersion: 1\n", encoding="utf-8")
    points = "".join(f"{name} = {name}\n" for name in names)
    (about / "entry_points.txt").write_text(f"[simcore.models]\n{points}", encoding="utf-8")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_passes_every_check(name: str) -> None:
    outcomes = list(verify(name))

    assert [str(outcome) for outcome in outcomes if not outcome.ok] == []
    assert [outcome.check for outcome in outcomes] == list(CHECKS)
    if (registry.folder(name) / "claims.yaml").is_file():
        # A paper is passed over by none, but that nobody counts what a compiled loop does.
        passed_over = {outcome.check for outcome in outcomes if outcome.verdict == "-"}
        assert passed_over <= {"counted work"}
        assert not passed_over or name == "int8_manifold"


@pytest.mark.parametrize("name", DEFECTS)
def test_a_check_fails_on_its_own_defect(name: str, models: None) -> None:
    defect = DEFECTS[name]

    verdict, says = judge(CHECKS[defect.check], Subject(name, Sheet()))

    assert (verdict, defect.says in says) == ("failed", True), says


def test_every_check_has_a_defect_and_passes_without_one(models: None) -> None:
    assert {defect.check for defect in DEFECTS.values()} == set(CHECKS)
    assert [(outcome.check, outcome.verdict) for outcome in verify("sound")] == [(check, "ok") for check in CHECKS]


def test_a_defect_fails_the_command_and_the_sheet_may_own_up_to_it(
    models: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(CHECKS, "other process")  # which takes a second
    monkeypatch.setattr("sys.argv", ["simcore", "verify", "half_the_formula"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    shown = capsys.readouterr()
    assert ended.value.code == 1
    assert len(shown.out.splitlines()) == len(CHECKS)
    assert shown.err.endswith("failed: half_the_formula virtual, half_the_formula formula\n")

    sheet = registry.folder("half_the_formula") / "verify.yaml"
    sheet.write_text("known: {formula: halved on purpose, card: nothing}\n", encoding="utf-8")
    verdicts = {outcome.check: outcome for outcome in verify("half_the_formula")}
    assert verdicts["formula"].verdict == "known"
    assert verdicts["formula"].says.startswith("halved on purpose: multiply(")
    assert verdicts["card"].verdict == "failed"
    assert "strike it from `known`" in verdicts["card"].says

    sheet.write_text("known: {formla: halved on purpose}\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"verify.yaml:1:9: known.formla: unknown check 'formla'; did you mean 'formula'"
    ):
        list(verify("half_the_formula"))


def test_an_exception_of_the_models_own_is_a_failure_with_its_place(
    models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(CHECKS, "other process")
    (program,) = registry.folder("no_reason").glob("program.py")
    text = program.read_text(encoding="utf-8")
    program.write_text(text.replace("        shapes = (", "        1 / 0\n        shapes = ("), encoding="utf-8")
    sys.modules.pop("no_reason.program", None)
    sys.modules.pop("no_reason", None)

    (outcome,) = (each for each in verify("no_reason") if each.check == "scenario")

    assert (outcome.verdict, outcome.says[:18]) == ("failed", "ZeroDivisionError:")
    assert "(program.py:" in outcome.says


@pytest.mark.parametrize("line", ["import simcore.units", "from simcore import fabric", "from ..other import x"])
def test_what_a_model_may_not_import_is_seen_in_a_folder_below_too(line: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(f"from simcore import Rank\nfrom . import x\n{line}", encoding="utf-8")
    assert len(folder.strangers(tmp_path)) == 1

    (tmp_path / "program.py").rename(tmp_path / "moved.txt")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "part.py").write_text("from ..program import x", encoding="utf-8")
    assert folder.strangers(tmp_path) == []


def test_the_witness_counts_what_it_sees() -> None:
    left, right = np.ones((3, 4)), np.ones((4, 5))

    product = counted(lambda a, b: a @ b, [left, right])
    assert (product.least, product.most) == (2 * 60, 2 * 60)
    assert counted(np.dot, [left, right]).least == 120
    mean = counted(lambda a: np.sum(a * a, axis=0) / 3, [left])
    assert (mean.least, mean.most) == (12 + 8 + 4, 12 + 12 + 4)
    kept = counted(lambda a: np.concatenate([a[:1], -a]).T.copy(), [left])
    assert (kept.least, kept.most, kept.unknown) == (0, 0, "")
    assert counted(lambda a: np.einsum("ij->i", a), [left]).hidden == "einsum"
    both = counted(lambda a, b: np.cbrt(np.exp(a) @ b), [left, right])
    assert (both.least, both.products, both.unknown, both.hidden) == (12 + 120, 120, "cbrt", "")
    assert np.array_equal(left, np.ones((3, 4)))
