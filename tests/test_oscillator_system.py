"""Oscillator attention as a system: tiles, durations and energies written out, trained models, constants."""

import math
from fractions import Fraction

import numpy as np
import pytest
import yaml
from simcore.models.oscillator_attention import (
    attention,
    drives,
    form,
    layer,
    measures,
    settling,
    substrates,
    tasks,
    transformer,
)
from simcore.models.oscillator_attention.attention import Device
from simcore.models.oscillator_attention.program import Params
from simcore.models.oscillator_attention.substrates import Array
from simcore.models.oscillator_attention.tensors import Shape

import simcore
from simcore import InputError, hardware
from simcore.registry import folder

FOLDER = folder("oscillator_attention")
PARAMS = "workloads.0.params"


FAST = {"machine.gpu.throughput.int8": "20 TOP/s", "machine.link.bandwidth": "4 GB/s"}


def run(machine=(), gpus=3, **changes):
    asked = {f"{PARAMS}.{key}": value for key, value in changes.items()}
    return simcore.run("oscillator_attention", asked | dict(machine) | {"machine.gpus": gpus})


def rows_of(result, stage):
    table = result.tables["oscillator_stages"].to_pylist()
    return [row for row in table if row["stage"] == stage]


def found_of(result, part="layer"):
    return result.metrics["jobs"]["oscillator_attention"][part]


def test_tiles_cover_every_row_once_and_count_couplings():
    shape = Shape(tokens=11, heads=3, causal=True)
    params = Params(shape=shape, arrays=2, array=Array(oscillators=4, anchors=11), means="pairwise")
    placed = layer.tiles(params)
    covered = sorted((tile.head, row) for tile in placed for row in range(tile.first, tile.last))
    assert covered == [(head, row) for head in range(3) for row in range(11)]
    pairs = 3 * 11 * 12 // 2
    assert sum(tile.samples for tile in placed) == pairs
    # An array loads the anchors of a head, 11 of two numbers, when it comes to one: the second head is split.
    assert sum(tile.writes for tile in placed) == pairs + 4 * 22
    assert [tile.array for tile in placed[:4]] == [0, 1, 0, 1]


def test_stages_last_as_written_out():
    """49 tokens, two heads, 64 oscillators: a tile a head, on an array each; 1 GHz, T = 5."""
    result = run()
    write, settle, sample = (rows_of(result, stage) for stage in ("write", "settle", "sample"))
    assert {row["duration_ps"] for row in write} == {-(-(49 * 49 + 49 * 2) // 16) * 10_000}
    assert {row["duration_ps"] for row in sample} == {-(-49 * 2 // 16) * 20_000}
    assert {row["energy_fj"] for row in write} == {(49 * 49 + 98) * 1_000}
    (time,) = {row["duration_ps"] for row in settle}
    assert {row["energy_fj"] for row in settle} == {-(-10_000 * 64 * time // 10**6)}
    (couple,) = {row["duration_ps"] for row in rows_of(result, "couple")}
    # Scores, softplus with an exponential and a logarithm of ten multiply-adds each, on 0.48 GFLOP/s, and the call.
    operations = 49 * 49 * (2 * 16 + 1 + 3 + 2 * 2 * 10)
    assert couple == math.ceil(Fraction(operations * 10**12, 480 * 10**6)) + 10**6
    (mac,) = {row["count"] for row in rows_of(result, "project")}
    assert mac == 49 * 32 * 96


def test_settling_takes_longest_drive_over_a_tenth_of_the_frequency():
    result = run(drives="one", **{"reading.time": 7})
    (time,) = {row["duration_ps"] for row in rows_of(result, "settle")}
    assert time == math.ceil(7 * 1e12 / (0.1 * 2 * math.pi * 1e9))
    twice = run(drives="one", substrate="lc", **{"reading.time": 7})
    assert rows_of(twice, "settle")[0]["duration_ps"] == pytest.approx(1000 * time, rel=1e-4)


def test_normalised_rows_need_no_look_at_the_data():
    seeds = [simcore.run("oscillator_attention", {f"{PARAMS}.shape.normalised": True, "seed": seed}) for seed in (1, 2)]
    assert len({rows_of(result, "settle")[0]["duration_ps"] for result in seeds}) == 1


def test_arrays_are_read_when_99_percent_have_settled():
    """The times in the claims are those, rounded, that the coupling which runs there needs at its length."""
    experiments = yaml.safe_load((FOLDER / "claims.yaml").read_text(encoding="utf-8"))["experiments"]
    along = experiments["lengths"]["axes"]["tokens"]["set"]
    times = dict(zip(along[f"{PARAMS}.shape.tokens"], along[f"{PARAMS}.reading.time"], strict=True))
    for name, tokens in (("substrates", 49), ("unknowns", 49), ("arrays", 128)):
        assert (
            times.setdefault(tokens, experiments[name]["set"][f"{PARAMS}.reading.time"])
            == (experiments[name]["set"][f"{PARAMS}.reading.time"])
        )
    common = {key.removeprefix(f"{PARAMS}."): value for key, value in experiments["waits"]["set"].items()}
    assert sorted(times) == experiments["waits"]["axes"]["tokens"]["values"]
    for tokens in (8, 49, 128):
        settled = found_of(run(gpus=1, mode="settling", **common, **{"shape.tokens": tokens}), "settling")
        assert times[tokens] == pytest.approx(settled["p99"], abs=0.6)


def test_completion_waits_for_the_slowest_of_a_tile():
    params = Params(shape=Shape(tokens=9), arrays=1, reading=layer.Reading(when="completion"))
    plan = layer.plan(params, np.random.default_rng(1))
    drawn = layer.draw(params.shape, np.random.default_rng(1))
    pulls = layer.wanted(params.shape, drawn)
    slowest = settling.settle_times(drawn.starts, pulls, 0.01).max(axis=1)
    np.testing.assert_allclose(plan.times[0], slowest, rtol=1e-8)


def test_states_that_are_kept_come_from_the_tile_before():
    params = Params(
        shape=Shape(tokens=8, heads=1), arrays=1, array=Array(oscillators=3, anchors=8),
        reading=layer.Reading(start="kept"),
    )  # fmt: skip
    drawn = layer.draw(params.shape, np.random.default_rng(1))
    pulls = layer.wanted(params.shape, drawn)
    starts = layer.beginnings(params, layer.tiles(params), pulls, drawn.starts)
    goals = settling.fixed_points(pulls)
    np.testing.assert_array_equal(starts[0, :3], drawn.starts[0, :3])
    np.testing.assert_allclose(starts[0, 3:], goals[0, :5])


def test_a_second_buffer_hides_writing():
    slow = {"array.oscillators": 16, "array.writers": 1, "reading.time": 2000, "arrays": 1, "drives": "one"}
    slow |= {"means": "pairwise", "dtype": "int8", "sequences": 4}
    one, two = (run(FAST, 2, **slow, **{"array.buffers": n}).metrics["makespan_ps"] for n in (1, 2))
    assert two < 0.9 * one


def test_more_arrays_are_faster_until_the_link_is_full():
    common = {"means": "pairwise", "drives": "one", "substrate": "lc", "dtype": "int8", "sequences": 4}
    common["reading.time"] = 226
    one, two = (run(FAST, n + 1, arrays=n, **common).metrics["makespan_ps"] for n in (1, 2))
    assert one / two > 1.8
    slow = FAST | {"machine.link.bandwidth": "2 MB/s"}
    one, two = (run(slow, n + 1, arrays=n, **common).metrics["makespan_ps"] for n in (1, 2))
    assert one / two < 1.1


def test_an_array_waits_for_the_last_byte_of_its_couplings():
    """2,499 B at 50 MB/s, half a microsecond of latency a link, two links; then they are written."""
    result = run(gpus=2, means="pairwise", arrays=1, drives="one")
    sent = [row for row in result.tables["transfers"].to_pylist() if row["what"] == "couplings"]
    spans = result.tables["spans"].to_pylist()
    written = sorted(row["t0_ps"] for row in spans if (row["location"], row["what"]) == ("rank1.wg0", "write"))
    assert sent[0]["arrived_ps"] - sent[0]["issued_ps"] >= 2499 * 20_000 + 1_000_000
    assert all(begin >= row["arrived_ps"] for begin, row in zip(written, sent, strict=True))


EDGE = {"arrays": 1, "dtype": "int8", "digital": "cortex_m7"}
RINGS = EDGE | {"means": "pairwise", "shape.normalised": True, "shape.coupling": "relu"}


def test_attention_alone_is_charged_for_its_link():
    """Two tiles of 2,499 B there and 4,802 B back at 50 MB/s: faster than softmax before the link, slower with it."""
    softmax = measures.stage_us(run(gpus=1, means="softmax", **EDGE))
    result = run(gpus=2, **RINGS)
    link = measures.link_us(result)
    assert link == pytest.approx(2 * (2499 + 4802) * 0.02, rel=0.02)
    assert measures.stage_us(result) - link < softmax < measures.stage_us(result)
    fast = run({"machine.link.bandwidth": "50 GB/s"}, gpus=2, **RINGS)
    assert measures.link_us(fast) < link / 20
    assert measures.link_us(run(gpus=1, means="softmax", **EDGE)) == 0


def test_energy_is_the_sum_of_its_stages():
    found = found_of(run())
    stages = ("project", "couple", "write", "settle", "sample", "attend", "mix", "output")
    assert found["energy_fj"] == sum(found[f"{stage}_fj"] for stage in stages) > 0
    assert found["macs"]["softmax"] == 48_216


WRONG = {
    "shape.dimension": (1, "2 or more"), "array.anchors": (48, "49 tokens pull"), "array.buffers": (3, "1, or 2"),
    "reading.within": (2, "between 0 and 1"), "shape.power": (17, "16 or less"), "arrays": (0, "1 or more"),
    "learned.seed": (11, "no trained model"), "learned.dimension": (3, "one of 2, 4"),
    "ensemble.cap": (91, "90 degrees"),
    "learned.device.coupling_bits": (30, "0 \\(exact\\) to 24"), "learned.device.noise": (-1, "0 or more"),
}  # fmt: skip


TOGETHER = [
    ({"learned.device.mismatch": 20}, "up to 5"),
    ({"learned.device.detuning": 0.1, "learned.device.read": 5}, "at the equilibrium alone"),
    ({"learned.device.start": "opposite"}, "give device.read a time"),
    ({"learned.device.start": "previous", "learned.device.read": 5}, "asks about one token"),
    ({"learned.attention": "softmax", "learned.device.noise": 0.1}, "softmax runs on none"),
    ({"learned.attention": "softmax", "learned.dimension": 4, "learned.task": "stories"}, "softmax has none"),
    ({"learned.device.detuning": 0.1, "learned.dimension": 4, "learned.task": "stories"}, "dimension 2 alone"),
    ({"learned.shuffled": True}, "of order alone"),
    ({"drives": "stories", "shape.normalised": True}, "not normalised"),
    ({"reading.within": "1/50"}, "reading.when: completion"),
    ({"reading.when": "completion", "reading.time": 6}, "reading.when: fixed"),
    ({"reading.start": "kept", "drives": "one"}, "needs the tensors"),
    ({"digital": "cmos45", "dtype": "bfloat16"}, "float32 and int8 alone"),
    ({"dtype": "bfloat16"}, "computes in float32, int8, not in bfloat16"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), TOGETHER)
def test_what_would_be_ignored_is_refused_in_a_line(changes, said):
    mode = "learned" if next(iter(changes)).startswith("learned") else "layer"
    with pytest.raises(InputError, match=said):
        run(mode=mode, **changes)


def test_energy_of_45_nm_is_that_of_the_numbers():
    one, other = (found_of(run(digital="cmos45", dtype=dtype))["project_fj"] for dtype in ("int8", "float32"))
    assert other == 20 * one == 49 * 32 * 96 * 4_600


def test_what_is_random_differs_between_models_layers_and_batches():
    weights, anchors = np.ones((4, 6)), settling.uniform((6, 2), np.random.default_rng(1))
    device = Device(mismatch=0.5)
    found = [
        attention.states(weights, anchors, device, place)[1] for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert len({each.tobytes() for each in found}) == 4
    again = attention.states(weights, anchors, device, (0, 0, 0))[1]
    np.testing.assert_array_equal(again, found[0])


def test_without_hard_sentences_nothing_is_said_of_them():
    told = found_of(run(gpus=1, mode="learned", **{"learned.task": "order", "learned.examples": 100}), "learned")
    assert "accuracy" in told
    assert not {"failures", "hard_accuracy", "hard_median", "hard_least"} & set(told)


@pytest.mark.parametrize("key", WRONG)
def test_what_cannot_be_is_refused_in_a_line(key):
    value, said = WRONG[key]
    mode = {"learned": "learned", "ensemble": "settling"}.get(key.partition(".")[0], "layer")
    with pytest.raises(InputError, match=said):
        run((), 3, mode=mode, **{key: value})


def test_real_tensors_are_of_random_drives_in_float32():
    for changes, said in (({"drives": "kws"}, "drives: drawn"), ({"dtype": "int8"}, "computes in float32")):
        with pytest.raises(InputError, match=said):
            run(payload="real", **changes)


def test_constants_are_those_of_the_sheet():
    stated = yaml.safe_load((FOLDER / "params.yaml").read_text(encoding="utf-8"))
    ranges = {
        f"{name}.{unknown}": list(values)
        for name, unknowns in substrates.RANGES.items()
        for unknown, values in unknowns.items()
    }
    assert {key: each["value"] for key, each in stated["substrates"].items()} == ranges
    assert {key: tuple(each["value"]) for key, each in stated["digital"].items()} == substrates.MAC
    assert stated["accounting"]["slow"]["value"] == substrates.SLOW
    assert {key: tuple(stated["drives"][key]["value"]) for key in drives.PUBLISHED} == drives.PUBLISHED
    assert tuple(stated["drives"]["tail"]["value"]) == drives.TAIL
    assert stated["drives"]["means"]["value"] == drives.MEANS


@pytest.mark.parametrize("name", ["arrays-cortex-m7", "arrays-ethos-u55", "arrays-orin-nano"])
def test_sheets_of_edge_devices_can_be_read(name):
    machine = hardware.Sheet.read(hardware.find(name, FOLDER)).spec()
    assert machine.gpu.throughput["int8"] >= machine.gpu.throughput["float32"] // 2


def hard(kind, task="agreement"):
    data = tasks.data(task, "test")
    scores = [transformer.score(*form.load(task, kind, 2, seed), data) for seed in range(10)]
    return np.array([each.hard_right / each.hard for each in scores])


def test_trained_oscillators_agree_better_than_softmax():
    """Ten named seeds, 0 to 9, unambiguous grammar, the sentences whose distractor disagrees."""
    oscillator, softmax = hard("oscillator"), hard("softmax")
    assert np.median(oscillator) >= 0.97
    assert oscillator.mean() > softmax.mean()
    assert (oscillator < 0.85).sum() <= (softmax < 0.85).sum()


def test_failures_are_counted_over_those_of_softmax():
    result = run(gpus=1, mode="learned", **{"learned.seeds": 10})
    assert measures.failures_over(result) == (hard("oscillator") < 0.85).sum() - (hard("softmax") < 0.85).sum()


def test_the_ambiguous_grammar_has_a_roof_of_98():
    oscillator, softmax = hard("oscillator", "ambiguous"), hard("softmax", "ambiguous")
    assert 0.96 < np.median(oscillator) < 0.99
    assert softmax.mean() < oscillator.mean()


def test_the_gap_of_stories_falls_with_the_dimension():
    data = tasks.data("stories", "test")

    def perplexity(kind, dimension):
        models = [form.load("stories", kind, dimension, seed) for seed in range(3)]
        return np.mean([np.exp(transformer.score(*model, data).nats) for model in models])

    softmax = perplexity("softmax", 2)
    gaps = [perplexity("oscillator", dimension) - softmax for dimension in form.DIMENSIONS]
    assert (np.diff(gaps) < 0).all()
    assert gaps[-1] > 0


def test_the_gap_has_its_spread_over_the_seeds():
    result = run(gpus=1, mode="learned", **{"learned.task": "stories", "learned.seeds": 3})
    data = tasks.data("stories", "test")
    gaps = []
    for seed in range(3):
        one, other = (form.load("stories", kind, 2, seed) for kind in ("oscillator", "softmax"))
        gaps.append(np.exp(transformer.score(*one, data).nats) - np.exp(transformer.score(*other, data).nats))
    assert measures.gap(result) == pytest.approx(np.mean(gaps))
    assert measures.gap_spread(result) == pytest.approx(np.std(gaps, ddof=1))


def test_softmax_without_positions_does_not_notice_their_order():
    data = tasks.data("order", "test")
    mixed = transformer.shuffled(data, 0)
    for seed in range(3):
        soft, swung = (form.load("order", attention, 2, seed) for attention in ("softmax", "oscillator"))
        assert transformer.score(*soft, data).right == transformer.score(*soft, mixed).right
        assert transformer.score(*swung, data).right > transformer.score(*swung, mixed).right + 200


def test_reading_late_is_reading_at_the_equilibrium():
    data = tasks.data("agreement", "test", 400)
    asked, weights = form.load("agreement", "oscillator", 2, 0)
    wanted = transformer.answers(asked, weights, data)
    found = transformer.answers(asked, weights, data, Device(read=200.0))
    np.testing.assert_allclose(found, wanted, atol=0.05)
    early = transformer.score(asked, weights, data, Device(read=0.25)).right
    assert early < transformer.score(asked, weights, data).right


def test_what_the_published_code_does_otherwise_can_be_had():
    data = tasks.data("agreement", "test", 300)
    asked, weights = form.load("agreement", "oscillator", 2, 0)
    wanted = transformer.answers(asked, weights, data)
    full = data.seen.all(axis=1)
    found = transformer.answers(asked, weights, data, Device(padding="published"))
    np.testing.assert_array_equal(found[full], wanted[full])
    assert np.abs(found[~full] - wanted[~full]).max() > 0.01
    anchors = weights["0.anchors"]
    sphere = dict(weights) | {"0.anchors": anchors / np.linalg.norm(anchors, axis=-1, keepdims=True)}
    found = transformer.answers(asked, weights, data, Device(anchors="normalised"))
    np.testing.assert_allclose(found, transformer.answers(asked, sphere, data), atol=1e-5)
    assert np.abs(found - wanted).max() > 0.01
    with pytest.raises(InputError, match="nothing fills up"):
        run(gpus=1, mode="learned", **{"learned.task": "stories", "learned.device.padding": "published"})


def test_grammar_is_as_described():
    data = tasks.data("agreement", "train")
    words = tasks.lexicon(0)
    longer = data.row == 6
    assert longer.mean() == pytest.approx(0.6, abs=0.01)
    assert data.hard.sum() / longer.sum() == pytest.approx(0.5, abs=0.02)
    assert data.targets.mean() == pytest.approx(0.5, abs=0.01)
    plural_subject = np.isin(data.inputs[:, 2], words.nouns[1])
    plural_verb = np.isin(data.inputs[np.arange(len(data)), data.row], words.verbs[1])
    np.testing.assert_array_equal(data.targets == 1, plural_subject == plural_verb)
    assert len(np.intersect1d(*tasks.lexicon(tasks.SHARED).nouns)) == 2


def test_training_computes_what_is_shipped_and_goes_on_where_it_was(tmp_path):
    torch = pytest.importorskip("torch")
    from simcore.models.oscillator_attention import training

    torch.set_num_threads(1)
    data = tasks.data("agreement", "test", 64)
    for kind in ("oscillator", "softmax"):
        asked, weights = form.load("agreement", kind, 2, 3)
        row = torch.cat([torch.from_numpy(weights[name]).flatten() for name in asked.shapes()])[None]
        parts = [torch.from_numpy(each)[None] for each in (data.inputs, data.seen, data.row)]
        found = training.outputs(asked, row, *parts)[0].numpy()
        np.testing.assert_allclose(found, transformer.answers(asked, weights, data), atol=2e-4)
    recipe = training.Recipe(range(2), 6, 16, 1e-3)
    asked = form.form("agreement", "oscillator")
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for path in (whole, halves):
        path.mkdir()
    training.train(asked, recipe, whole)

    class Stopped(Exception):
        pass

    def stop(done):
        if done == 5:
            raise Stopped

    training.KEPT, kept = 3, training.KEPT
    try:
        with pytest.raises(Stopped):
            training.train(asked, recipe, halves, stop)
        training.train(asked, recipe, halves)
    finally:
        training.KEPT = kept
    one, other = (np.load(path / asked.file)["weights"] for path in (whole, halves))
    np.testing.assert_array_equal(one, other)
    assert [path.name for path in halves.iterdir()] == [asked.file]
    # What is finished is left alone, and nothing goes on with another recipe.
    before = (halves / asked.file).stat().st_mtime_ns
    training.train(asked, recipe, halves)
    assert (halves / asked.file).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="other seeds"):
        training.train(asked, training.Recipe(range(3), 6, 16, 1e-3), halves)


def test_training_stops_and_refuses_in_a_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    from simcore.models.oscillator_attention import training

    monkeypatch.setitem(training.RECIPES, "agreement", training.Recipe(range(1), 4, 8, 1e-3))
    monkeypatch.setattr(training, "KEPT", 2)
    taken = tmp_path / "file"
    taken.write_text("")
    assert training.main(["agreement", "--out", str(taken)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    train = training.train

    def stopped(asked, recipe, out, show):
        def stop(done):
            if asked.attention == "oscillator" and done == 3:
                raise KeyboardInterrupt

        return train(asked, recipe, out, stop)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(training, "train", stopped)
        assert training.main(["agreement", "--out", str(out)]) == 130
    assert "goes on" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == ["agreement_oscillator2.progress.pt", "agreement_softmax.npz"]
    monkeypatch.setitem(training.RECIPES, "agreement", training.Recipe(range(1), 5, 8, 1e-3))
    assert training.main(["agreement", "--out", str(out)]) == 2
    assert "another recipe" in capsys.readouterr().err
