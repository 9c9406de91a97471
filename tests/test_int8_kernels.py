"""int8 manifold: implementations of a recall agree bit for bit, with slow twins too; writing, damage, images,
frames."""

import itertools
import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.int8_manifold import cost, damage, forms, frames, images, kernel, loops, storing
from simcore.models.int8_manifold.fetch import Fetch
from simcore.models.int8_manifold.kernel import Rule
from simcore.models.int8_manifold.ledger import counted
from simcore.models.int8_manifold.reference import charge

from simcore import Virtual

SEED = 8
EXACT: tuple[forms.Method, ...] = ("events", "row_planes", "planes", "adds", "int8", "float16", "float32")
MANY = settings(max_examples=60, deadline=None)


@st.composite
def recalls(draw: Any) -> tuple[Any, Any]:
    """Weights of which many stand at their bounds, and a code."""
    nodes, outputs = draw(st.integers(1, 150)), draw(st.integers(1, 140))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    weights = np.clip(rng.integers(-200, 201, (nodes, outputs)), -127, 127).astype(np.int8)
    weights[rng.random(weights.shape) < draw(st.sampled_from([0.0, 0.5]))] = draw(
        st.sampled_from([-2, -1, 0, 1, 2, 127])
    )
    code = rng.choice(np.array([-1, 0, 1], np.int8), nodes, p=draw(st.sampled_from([(0.5, 0, 0.5), (0.1, 0.8, 0.1)])))
    return weights, code


def recalled(method: forms.Method, rule: Rule, weights: Any, code: Any) -> Any:
    """Return the charges by one implementation, through its own form of weights and code."""
    events = int(np.count_nonzero(code))
    made, _ = forms.reading(method, events).run(code)
    adder, _ = forms.adding(method, rule, *weights.shape, events, Fetch(), True)
    return adder.run(*forms.code_of(method, code, made, forms.form(weights, method, rule)))[0]


def charge_twin(weights: Any, code: Any, rule: Rule) -> list[int]:
    """Return the charges weight by weight, in Python's own integers."""
    found = []
    for j in range(weights.shape[1]):
        total = 0
        for i, sign in enumerate(code.tolist()):
            weight = int(weights[i, j])
            if rule.arithmetic == "sums":
                total += sign * weight
            elif weight >= rule.cut:
                total += sign
            elif weight <= -rule.cut:
                total -= sign
        found.append(max(-rule.most, min(rule.most, total)))
    return found


@MANY
@given(recalls(), st.sampled_from(["int8", "int16", "int32"]), st.integers(1, 127))
def test_votes_are_the_same_bit_by_bit_however_they_are_counted(case: Any, accumulator: Any, cut: int) -> None:
    rule = Rule("votes", cut, accumulator)
    expected = charge_twin(*case, rule)

    for method in EXACT:
        found = recalled(method, rule, *case)
        assert found.dtype == accumulator, method
        assert found.tolist() == expected, method


@MANY
@given(recalls(), st.sampled_from(["int8", "int16", "int32"]))
def test_sums_are_the_same_bit_by_bit_and_saturate_alike(case: Any, accumulator: Any) -> None:
    rule = Rule("sums", 2, accumulator)
    expected = charge_twin(*case, rule)

    for method in (each for each in EXACT if each != "row_planes"):
        assert recalled(method, rule, *case).tolist() == expected, method


def test_charges_do_saturate_in_both_directions() -> None:
    weights = np.array([[127, -127]] * 300, np.int8)
    code = np.ones(300, np.int8)

    for method in ("events", "planes", "int8", "float32"):
        assert recalled(method, Rule("sums", 2, "int16"), weights, code).tolist() == [32767, -32767]
        assert recalled(method, Rule("votes", 2, "int8"), weights, code).tolist() == [127, -127]


@MANY
@given(recalls())
def test_one_bit_counts_equal_signs_less_unequal_ones(case: Any) -> None:
    weights, code = case
    found = recalled("binary", Rule("votes", 2, "int32"), weights, code)

    assert found.tolist() == [
        sum(1 if (w >= 0) == (s > 0) else -1 for w, s in zip(column.tolist(), code.tolist(), strict=True))
        for column in weights.T
    ]


@settings(max_examples=30, deadline=None)
@given(recalls(), st.sampled_from([*EXACT, "binary"]), st.sampled_from(["votes", "sums"]))
def test_the_formula_counts_what_the_kernel_does(case: Any, method: Any, arithmetic: Any) -> None:
    weights, code = case
    rule = Rule("votes" if method in ("row_planes", "binary") else arithmetic, 2, "int16")
    events = int(np.count_nonzero(code))
    reader, held = forms.reading(method, events), forms.form(weights, method, rule)
    made, work = reader.run(code)
    assert work == counted(reader, (code,))
    adder, tiles = forms.adding(method, rule, *weights.shape, events, Fetch(), True)
    given_to = forms.code_of(method, code, made, held)

    found, work = adder.run(*given_to)

    assert work == counted(adder, given_to)
    shapes = forms.form(Virtual(weights.shape, "int8"), method, rule)
    assert [each.shape for each in shapes] == [each.shape for each in held]
    assert sum(each.nbytes for each in shapes) == sum(each.nbytes for each in held)
    # Every tile is as large as the others, and has as many operations.
    assert work.bytes_read["weights"] == tiles.tiles * (work.bytes_read["weights"] // max(1, tiles.tiles))
    assert sum(work.operations.values()) % max(1, tiles.tiles) == 0
    assert found.shape == (weights.shape[1],)


def test_a_recall_of_full_size_by_events_takes_less_than_10_ms() -> None:
    rng = np.random.default_rng(SEED)
    weights = rng.integers(-127, 128, (8192, 4096), np.int8)
    index, sign = np.sort(rng.permutation(8192)[:655]).astype(np.uint16), rng.choice(np.array([-1, 1], np.int8), 655)
    rule = Rule()
    kernel.add_events(weights, index, sign, rule)

    def once() -> float:
        begin = time.perf_counter()
        kernel.add_events(weights, index, sign, rule)
        return time.perf_counter() - begin

    assert min(once() for _ in range(10)) < 0.010


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=40), st.integers(0, 9))
def test_decisions_leave_small_charges_open(charges: list[int], reject: int) -> None:
    found, _ = kernel.decide(np.array(charges, np.int16), reject)

    assert found.tolist() == [0 if abs(c) < reject or c == 0 else c // abs(c) for c in charges]


# Writing


def written_twin(inputs: Any, outputs: Any, noise: int, states: list[int]) -> list[list[int]]:
    """Return the weights, one after another in Python's own integers."""
    nodes, count = inputs.shape[1], outputs.shape[1]
    weights = [[0] * count for _ in range(nodes)]
    for given_, wanted in zip(inputs.tolist(), outputs.tolist(), strict=True):
        for i, drive in enumerate(given_):
            for j, target in enumerate(wanted if drive else []):
                x = states[j]
                x ^= x << 13 & 0xFFFFFFFF
                x ^= x >> 17
                x ^= x << 5 & 0xFFFFFFFF
                states[j] = x
                drawn = ((x >> 16) * (2 * noise + 1) >> 16) - noise
                weights[i][j] = max(-127, min(127, weights[i][j] + drive * target + drawn))
    return weights


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(0, 40),
    st.integers(0, 127),
    st.integers(0, 99),
)
def test_pairs_are_written_saturating(nodes: int, outputs: int, pairs: int, noise: int, gain: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = gain * rng.integers(-1, 2, (pairs, nodes))
    targets = rng.integers(-1, 2, (pairs, outputs))

    found = storing.write_pairs(inputs, targets, noise, np.random.default_rng(seed))

    states = np.random.default_rng(seed).integers(1, 2**32, outputs, np.uint32).tolist()
    assert found.tolist() == written_twin(inputs, targets, noise, states)
    assert abs(found.astype(int)).max() <= 127


def test_noise_is_even_and_the_bounds_are_reached() -> None:
    one = np.ones((1, 4096), np.int64)
    found = storing.write_pairs(one[:, :256], 0 * one, 1, np.random.default_rng(SEED))
    shares = [(found == value).mean() for value in (-1, 0, 1)]

    assert sum(shares) == 1
    assert all(abs(share - 1 / 3) < 0.002 for share in shares)
    full = storing.write_pairs(np.full((9, 3), 16), np.array([[1, -1]] * 9), 0, np.random.default_rng(SEED))
    assert full.tolist() == [[127, -127]] * 3


@given(st.integers(1, 5), st.integers(1, 200), st.integers(0, 99))
def test_planes_hold_every_bit(rows: int, columns: int, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(-127, 128, (rows, columns), np.int8)
    rebuilt = np.zeros(weights.shape, int)

    for bit, (positive, negative) in enumerate(storing.magnitudes(weights)):
        for plane, sign in ((positive, 1), (negative, -1)):
            bits = np.array([[int(word) >> b & 1 for word in row for b in range(64)] for row in plane])
            assert not bits[:, columns:].any()
            rebuilt += sign * (bits[:, :columns] << bit)

    assert (rebuilt == weights).all()


# Damage


@given(st.integers(1, 300), st.floats(0, 1), st.sampled_from(["top", "random"]), st.integers(0, 99))
def test_truncation_keeps_as_many_as_it_says_the_largest_first(size: int, share: float, how: Any, seed: int) -> None:
    code = np.random.default_rng(seed).integers(-20, 21, size)
    count = round(share * np.count_nonzero(code))

    left = damage.kept(code, count, how, np.random.default_rng(seed))

    assert left.sum() == count
    assert not left[code == 0].any()
    if how == "top" and 0 < count < np.count_nonzero(code):
        assert abs(code[left]).min() >= abs(code[~left]).max()


def test_more_damage_is_more_of_the_same() -> None:
    code = np.ones(500, np.int8)

    def left(count: int) -> Any:
        return damage.kept(code, count, "top", np.random.default_rng(SEED))

    dead = [damage.killed(500, share, np.random.default_rng(SEED)) for share in (0.0, 0.2, 0.5, 1.0)]
    assert [each.sum() for each in dead] == [0, 100, 250, 500]
    assert all((b | ~a).all() for a, b in itertools.pairwise(dead))
    assert (left(50) <= left(100)).all()


def test_weights_are_pruned_flipped_and_stuck() -> None:
    rng = np.random.default_rng(SEED)
    weights = rng.integers(-127, 128, (40, 50), np.int8)

    pruned = damage.pruned(weights, 0.9)
    assert (pruned == 0).sum() >= 1800
    assert abs(pruned[pruned != 0].astype(int)).min() >= abs(weights[pruned == 0].astype(int)).max()
    flipped = damage.flipped(weights, 0.1, rng)
    changed = (weights.view(np.uint8) ^ flipped.view(np.uint8))[weights != flipped]
    assert 190 <= len(changed) <= 200  # a flip of the sign of 0 gives -128, which becomes -127
    assert flipped.min() >= -127
    assert (damage.stuck(weights, 0.1, 7, rng) == 7).sum() >= 200
    assert weights.tolist() != flipped.tolist()


# Images


def test_the_codes_of_images_have_the_sizes_of_the_paper() -> None:
    filters = images.taps()
    rng = np.random.default_rng(SEED)

    assert (images.SPATIAL, images.STRUCTURAL) == (8192, 4096)
    assert filters.dtype == np.int8
    assert not filters.astype(int).sum((2, 3)).any()  # a flat image has no response
    for kind in ("white", "pink", "shapes"):
        image = images.draw(kind, rng)  # type: ignore[arg-type]
        (spatial, pixels), (structural, work) = images.spatial(image), images.structural(image, filters)
        shape = Virtual((64, 64), "int8")
        assert cost.spatial(shape) == (Virtual((8192,), "int8"), pixels)
        assert cost.structural(shape, Virtual(filters.shape, "int8")) == (Virtual((4096,), "int8"), work)
        assert spatial.shape == (8192,)
        assert set(spatial.tolist()) == {0, 1}
        assert not (spatial[:4096] & spatial[4096:]).any()
        assert set(structural.tolist()) == {-1, 0, 1}
        assert structural.shape == (4096,)
        assert work.operations == {"int8": 2 * 32 * 32 * 16 * 81}
        assert not images.structural(0 * image, filters)[0].any()


def test_the_structural_code_is_that_of_every_response_by_itself() -> None:
    filters = images.taps()
    image = images.draw("pink", np.random.default_rng(SEED))
    padded = np.pad(image.astype(int), 4, mode="edge")
    responses = np.zeros((32, 32, 8, 2), int)
    for row in range(32):
        for column in range(32):
            window = padded[2 * row : 2 * row + 9, 2 * column : 2 * column + 9]
            for k in range(8):
                for phase in range(2):
                    responses[row, column, k, phase] = (window * filters[k, phase]).sum()

    code = images.structural(image, filters)[0].reshape(16, 16, 8, 2)

    most = 0
    pooled = np.zeros(code.shape, int)
    for place in np.ndindex(16, 16, 8, 2):
        row, column, k, phase = place
        four = [responses[2 * row + a, 2 * column + b, k, phase] for a in range(2) for b in range(2)]
        pooled[place] = max(four, key=abs)
        most = max(most, abs(pooled[place]))
    assert (code == np.where(4 * abs(pooled) >= most, np.sign(pooled), 0)).all()


@given(st.lists(st.integers(0, 1), min_size=1, max_size=50), st.integers(1, 16))
def test_what_is_written_of_an_image_has_no_mean(code: list[int], gain: int) -> None:
    found = images.centred(np.array(code, np.int8), gain)

    mean = sum(code) / len(code)
    assert all(abs(f - gain * (c - mean)) <= 0.5 for f, c in zip(found.tolist(), code, strict=True))


# Frames


def test_hadamard_columns_are_orthogonal() -> None:
    weights = frames.frame("hadamard", 1024, 1023, np.random.default_rng(SEED)).astype(np.float32)

    assert (weights.T @ weights == 1024 * np.eye(1023)).all()
    assert set(weights.ravel().tolist()) == {-1, 1}


@pytest.mark.parametrize("kind", ["sign", "uniform", "gaussian"])
def test_frames_stay_in_bounds(kind: Any) -> None:
    weights = frames.frame(kind, 300, 40, np.random.default_rng(SEED))

    assert weights.dtype == np.int8
    assert abs(weights.astype(int)).max() <= 127
    assert abs(weights.astype(float).mean()) < 0.05 * weights.astype(float).std()


def test_the_law_of_frames_at_a_small_size() -> None:
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(40):
        weights, item = frames.frame("uniform", 1024, 64, rng), frames.white(64, rng)
        spread, work = kernel.spread(weights, item)
        assert work == cost.spread(Virtual((1024, 64), "int8"), Virtual((64,), "int8"))[1]
        code = frames.coded(spread, "ternary")
        code[~damage.kept(spread, 102, "top", rng) | damage.killed(1024, 0.2, rng)] = 0
        estimate = code @ weights.astype(int)
        found.append(float(item @ estimate / np.linalg.norm(item) / np.linalg.norm(estimate)))

    assert np.mean(found) == pytest.approx(frames.law(64, 82, frames.GAIN["top", "ternary"]), abs=0.01)


def test_a_low_pass_keeps_what_is_a_wave_and_conjugate_gradients_solve() -> None:
    rng = np.random.default_rng(SEED)
    turns = 2 * np.pi * np.arange(50) / 50
    wave = 3 * np.cos(2 * turns + 1) - np.sin(turns)

    assert frames.low_pass(wave, 2) == pytest.approx(wave)
    assert abs(frames.low_pass(wave + 5, 1) - (-np.sin(turns))).max() < 1e-9
    weights, item = frames.frame("uniform", 90, 20, rng), frames.white(20, rng).astype(float)
    alive = ~damage.killed(90, 0.2, rng)
    solved = frames.conjugate_gradients(weights, np.where(alive, weights.astype(int) @ item, 0).astype(int), alive, 20)
    assert solved == pytest.approx(item, rel=1e-3, abs=1e-2)


def test_waves_have_the_amplitude_they_are_asked_for() -> None:
    wave = frames.wave(128, 4, 100, np.random.default_rng(SEED))
    spectrum = abs(np.fft.rfft(wave.astype(float)))

    assert abs(wave.astype(int)).max() == 100
    assert spectrum[5:].max() < 0.05 * spectrum[1:5].max()
    assert math.isclose(spectrum[0], abs(int(wave.sum())))


def test_the_plain_charge_is_what_the_loops_multiply() -> None:
    rng = np.random.default_rng(SEED)
    weights, code = rng.integers(-127, 128, (30, 20), np.int8), rng.integers(-1, 2, 30).astype(np.int32)
    found = np.zeros(20, np.int32)

    loops.multiply(np.ascontiguousarray(weights.T), code, found)

    from simcore.models.int8_manifold.program import Params

    assert found.tolist() == charge(Params(rule=Rule("sums")), weights, code).tolist()
