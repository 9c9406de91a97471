"""Oscillator attention as a system: tiles, durations and energies written out, keys, constants."""

import math
from fractions import Fraction

import numpy as np
import pytest
import yaml
from simcore.models.oscillator_attention import drives, figures, layer, measures, settling, substrates, tensors, tiles
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
    placed = tiles.tiles(params)
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
    drawn = tensors.draw(params.shape, np.random.default_rng(1))
    pulls = tensors.wanted(params.shape, drawn)
    slowest = settling.settle_times(drawn.starts, pulls, 0.01).max(axis=1)
    np.testing.assert_allclose(plan.times[0], slowest, rtol=1e-8)


def test_states_that_are_kept_come_from_the_tile_before():
    params = Params(
        shape=Shape(tokens=8, heads=1), arrays=1, array=Array(oscillators=3, anchors=8),
        reading=layer.Reading(start="kept"),
    )  # fmt: skip
    drawn = tensors.draw(params.shape, np.random.default_rng(1))
    pulls = tensors.wanted(params.shape, drawn)
    starts = tiles.beginnings(params, tiles.tiles(params), pulls, drawn.starts)
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


def test_what_is_sampled_decides_behind_a_slow_link():
    """States are two numbers a token, products as many as couplings: at 49 tokens faster and slower than softmax."""
    softmax = run(gpus=1, means="softmax", **EDGE).metrics["makespan_ps"]
    states, products = (run(gpus=2, **RINGS | {"means": means, "reading.time": 226}) for means in layer.PHYSICAL)
    assert softmax / states.metrics["makespan_ps"] == pytest.approx(1.07, abs=0.005)
    assert softmax / products.metrics["makespan_ps"] == pytest.approx(0.958, abs=0.005)
    # Couplings, 2,499 B a tile, and 98 samples of two bytes in place of 2,401.
    assert measures.link_us(states) == pytest.approx(2 * (2499 + 2 * 98) * 0.02, abs=5)


def test_a_crossing_lies_between_its_points_on_logarithms():
    softmax, slower, faster = ([{"tokens": n, "us": us} for n in (8, 32, 128)] for us in (10, 20, 5))
    falling = [{"tokens": n, "us": us} for n, us in ((8, 20), (32, 20), (128, 5))]
    assert figures.crossing(softmax, falling, "us") == pytest.approx(64)
    assert figures.crossing(softmax, slower, "us") is None
    assert figures.crossing(softmax, faster, "us") is None
    said = figures._less({"middle": 64.2, "best": None, "worst": None}, {"middle": True, "best": True, "worst": False})
    assert said == "below softmax from 64 tokens (best always, worst never)"


def test_what_is_left_if_attention_costs_nothing():
    """354,368 multiplications and additions on 0.96 GOP/s, 20 pJ each; below whatever attends."""
    for means in ("softmax", "clipped"):
        result = run(gpus=1, means=means, **EDGE)
        assert measures.rest_us(result) == pytest.approx(2 * 354_368 / 960)
        assert measures.rest_uj(result) == pytest.approx(354_368 * 20e-6)
        assert measures.rest_us(result) < result.metrics["makespan_ps"] / 1e6
        assert measures.rest_uj(result) < found_of(result)["energy_fj"] / 1e9


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
    "ensemble.integrated": (1001, "0 to 1000"), "learned.examples": (4001, "0 .all. to 4000 of agreement"),
    "learned.device.coupling_bits": (30, "0 \\(exact\\) to 24"), "learned.device.noise": (-1, "0 or more"),
}  # fmt: skip


TOGETHER = [
    ({"learned.device.mismatch": 20}, "up to 5"),
    ({"learned.device.phase_noise": 0.1, "learned.device.read": 5}, "without detuning alone"),
    ({"learned.device.phase_noise": 0.1, "learned.device.detuning": 0.1}, "without detuning alone"),
    ({"learned.device.phase_noise": 0.1, "learned.dimension": 4, "learned.task": "stories"}, "dimension 2 alone"),
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


@pytest.mark.parametrize(("name", "mode", "key"), [("ensemble", "settling", "horizon"), ("learned", "learned", "seed")])
def test_what_another_mode_would_read_is_refused(name, mode, key):
    for other in {"layer", "settling", "learned"} - {mode}:
        with pytest.raises(InputError, match=f"{name} is of mode: {mode}, not of mode: {other}"):
            run(mode=other, **{f"{name}.{key}": 3})


@pytest.mark.parametrize(("changes", "said"), TOGETHER)
def test_what_would_be_ignored_is_refused_in_a_line(changes, said):
    mode = "learned" if next(iter(changes)).startswith("learned") else "layer"
    with pytest.raises(InputError, match=said):
        run(mode=mode, **changes)


def test_energy_of_45_nm_is_that_of_the_numbers():
    one, other = (found_of(run(digital="cmos45", dtype=dtype))["project_fj"] for dtype in ("int8", "float32"))
    assert other == 20 * one == 49 * 32 * 96 * 4_600


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
