"""Oscillator attention: kernels against their fast twin, counted work, how oscillators settle, tables of operations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special
from simcore.models.oscillator_attention import attention, cost, drives, kernel, settling
from simcore.models.oscillator_attention.attention import Built, Device
from simcore.models.oscillator_attention.kernel import Tile

from simcore import InputError, Virtual

SEED = 2606


def tensors(tokens, width, dimension, seed=SEED):
    rng = np.random.default_rng(seed)
    query, key, value = rng.standard_normal((3, tokens, width))
    return query, key, value, settling.uniform((tokens, dimension), rng)


def mask(tokens, causal):
    return np.tri(tokens, dtype=bool) if causal else np.ones((tokens, tokens), bool)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 5), st.integers(2, 6), st.booleans(), st.booleans(), st.integers(1, 4),
    st.sampled_from(["softplus", "relu", "elu"]), st.data(),
)  # fmt: skip
def test_tiles_make_what_whole_batches_make(tokens, width, dimension, causal, normalised, power, kind, data):
    query, key, value, anchors = tensors(tokens, width, dimension)
    first = data.draw(st.integers(0, tokens - 1))
    last = data.draw(st.integers(first + 1, tokens))
    tile = Tile(first, tokens, causal)
    seen = mask(tokens, causal)[first:last]
    found, counted = kernel.couple(query[first:last], key, tile, kind, normalised)
    wanted = attention.couplings(query[first:last] @ key.T * width**-0.5, seen, kind, normalised)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    states, _ = kernel.settle(found, anchors, tile)
    np.testing.assert_allclose(states, attention.states(wanted, anchors)[0], rtol=1e-9, atol=1e-12)
    mixed, work = kernel.mix_states(states, anchors, value, tile, power)
    shares = attention.shares(states, anchors, seen, power)
    np.testing.assert_allclose(mixed, shares @ value, rtol=1e-9, atol=1e-12)
    again, less = kernel.mix_products(states @ anchors.T, value, tile, power)
    np.testing.assert_allclose(again, mixed, rtol=1e-9, atol=1e-12)
    pairs = int(seen.sum())
    assert cost.pairs(tile, last - first) == pairs
    assert work.operations["float64"] - less.operations["float64"] == 2 * dimension * pairs
    shapes = [Virtual(each.shape, "float64") for each in (query[first:last], key)]
    assert cost.couple(*shapes, tile, kind, normalised)[1] == counted


@pytest.mark.parametrize("causal", [True, False])
def test_softmax_and_what_replaces_its_exponential(causal):
    query, key, value, _ = tensors(12, 5, 2)
    tile, seen = Tile(0, 12, causal), mask(12, causal)
    exact, work = kernel.attend_softly(query, key, value, tile)
    scores = query @ key.T * 5**-0.5
    np.testing.assert_allclose(exact, attention.softmax(scores, seen) @ value, rtol=1e-12)
    table, less = kernel.attend_softly(query, key, value, tile, "lut")
    # A step is 1/32 wide, its middle half of that away.
    assert 0 < np.abs(table - exact).max() < 0.04
    clipped, _ = kernel.attend_softly(query, key, value, tile, "clipped")
    weights = np.where(seen, np.maximum(1 + scores, 0), 0)
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), settling.TINY)
    np.testing.assert_allclose(clipped, shares @ value, rtol=1e-12)
    assert work.operations["exponential"] == seen.sum()
    assert "exponential" not in less.operations


def test_places_that_fill_up_take_part_in_the_read_out_where_asked():
    """The trap of the published code: kept from the couplings, not from the read-out."""
    rng = np.random.default_rng(SEED)
    anchors, scores = settling.uniform((6, 2), rng), rng.standard_normal((6, 6))
    seen = np.arange(6) < 4
    states, _ = attention.states(attention.couplings(scores, seen[None]), anchors)
    fixed = attention.shares(states, anchors, seen[None])
    trapped = attention.shares(states, anchors, np.ones((1, 6), bool))
    assert (fixed[:, 4:] == 0).all()
    assert (trapped[:, 4:] > 0).any()
    np.testing.assert_allclose(fixed.sum(axis=1), 1)


def test_anchors_off_the_sphere_still_give_states_on_it():
    """The other trap: anchors are normalised before training alone."""
    rng = np.random.default_rng(SEED)
    anchors = 2.5 * settling.uniform((6, 3), rng)
    states, _ = attention.states(rng.random((6, 6)), anchors)
    np.testing.assert_allclose(settling.norms(states), 1)
    shares = attention.shares(states, anchors, np.ones((6, 6), bool))
    assert (shares >= 0).all()
    assert (shares == 0).any()  # products below -1 are cut off


@pytest.mark.parametrize("dimension", [2, 3, 8, 32])
def test_equilibrium_closed_form_euler_and_runge_kutta_agree(dimension):
    rng = np.random.default_rng([SEED, dimension])
    for _ in range(3):
        drive, start = 2 * rng.standard_normal(dimension), settling.uniform((dimension,), rng)
        length = settling.norms(drive)
        late, _ = settling.runge_kutta(start, drive, 35 / length)
        assert settling.norms(late - settling.fixed_points(drive)) < 1e-8
        for time in (0.2, 1.5, 6.0):
            found = settling.trajectory(start, drive, time / length)
            exact, _ = settling.runge_kutta(start, drive, time / length)
            assert settling.norms(found - exact) < 1e-8
        # Of first order: a hundredth of the step, a hundredth of the error.
        coarse, fine = (
            settling.norms(
                settling.euler(start, drive, 1 / (n * length), n) - settling.trajectory(start, drive, 1 / length)
            )
            for n in (20, 2000)
        )
        assert fine < coarse / 50
        assert fine < 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 32), st.integers(0, 10**6), st.floats(1e-3, 0.5))
def test_a_settled_oscillator_is_as_near_as_it_should_be(dimension, seed, within):
    rng = np.random.default_rng(seed)
    drive, start = 5 * rng.standard_normal((4, dimension)), settling.uniform((4, dimension), rng)
    times = settling.settle_times(start, drive, within)
    found = settling.trajectory(start, drive, times)
    errors = settling.norms(found - settling.fixed_points(drive))
    at_once = times == 0
    np.testing.assert_allclose(errors[~at_once], within, rtol=1e-6)
    assert (errors[at_once] <= within).all()
    np.testing.assert_allclose(settling.norms(found), 1, rtol=1e-9)


def test_without_drive_nothing_moves():
    start = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(settling.trajectory(start, np.zeros((2, 2)), 5.0), start)
    assert np.isinf(settling.settle_times(start, np.zeros((2, 2)), 0.01)).all()


@pytest.mark.parametrize("dimension", [2, 8, 32])
def test_random_starts_all_find_the_one_equilibrium(dimension):
    rng = np.random.default_rng(SEED)
    starts = settling.uniform((20_000, dimension), rng)
    drive = np.zeros(dimension)
    drive[0] = 1.0
    found = settling.trajectory(starts, np.broadcast_to(drive, starts.shape), 60.0)
    assert settling.norms(found - drive).max() < 1e-8


PUBLISHED = {
    2: (0.125, 1 / 6, 0.25), 8: (1.86e-4, 1.27e-3, 1.66e-2), 32: (9.0e-15, 3.8e-11, 2.1e-6),
}  # fmt: skip


@pytest.mark.parametrize(("dimension", "place"), list(product(PUBLISHED, range(3))))
def test_caps_have_their_published_probability_and_share_of_starts(dimension, place):
    angle = np.radians((22.5, 30, 45)[place])
    share = settling.cap(angle, dimension)
    assert share == pytest.approx(PUBLISHED[dimension][place], rel=0.01)
    starts = settling.uniform((100_000, dimension), np.random.default_rng(SEED))
    inside = int((starts[:, 0] < -np.cos(angle)).sum())
    assert abs(inside - 100_000 * share) <= 3 * np.sqrt(100_000 * share * (1 - share)) + 1e-3
    tangents = drives.tangents(100_000, dimension, np.random.default_rng(SEED))
    again = int((np.pi - 2 * np.arctan(tangents) < angle).sum())
    assert abs(again - 100_000 * share) <= 3 * np.sqrt(100_000 * share * (1 - share)) + 1e-3


def test_the_share_unsettled_is_what_is_counted():
    rng = np.random.default_rng(SEED)
    lengths = settling.lengths_drawn(100_000, *drives.TAIL, rng)
    for dimension, horizon in ((2, 30.0), (8, 3.0)):
        times = settling.times_from(drives.tangents(len(lengths), dimension, rng), lengths, 0.01)
        expected = settling.unsettled(lengths, horizon, 0.01, dimension).mean()
        assert (times > horizon).mean() == pytest.approx(expected, abs=3 * np.sqrt(expected / len(lengths)))


def test_slow_tokens_of_the_authors_fit_one_rate():
    """120.74, 116.17 and 106.49 degrees after 30, 60 and 120: the closed form with |h| = 0.003026."""
    halves = np.tan(np.radians([120.74, 116.17, 106.49]) / 2)
    rates = np.log(halves[:-1] / halves[1:]) / np.diff([30, 60, 120])
    np.testing.assert_allclose(rates, 0.003026, rtol=0.01)


def test_euler_swings_above_two():
    assert settling.orbit_angle(78.75) == pytest.approx(44.48, abs=0.005)
    drive, start = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    for strength in (2.2, 5.0, 78.75):
        state = settling.euler(start, drive, strength, 3000)
        assert np.degrees(np.arccos(state[0])) == pytest.approx(settling.orbit_angle(strength), abs=1e-4)
    assert settling.orbit_angle(2) == 0
    assert settling.norms(settling.euler(start, drive, 1.9, 3000) - drive) < 1e-9


def test_frequencies_apart_lag_as_adler_says():
    assert settling.lag(np.array(0.5), np.array(1.0)) == pytest.approx(np.pi / 6)
    assert np.isnan(settling.lag(np.array(1.1), np.array(1.0)))
    # The equation itself, integrated: dtheta/dt = offset - |h| sin(theta).
    theta = 0.0
    for _ in range(4000):
        theta += 0.01 * (0.7 * 2 - 2 * np.sin(theta))
    assert theta == pytest.approx(float(settling.lag(np.array(1.4), np.array(2.0))), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([-2.5, -0.4, 0, 0.7, 1.3, 6]), st.floats(0.01, 12))
def test_detuned_oscillators_go_where_an_integrator_goes(start, goal, offset, time):
    """Locked, at the edge, turning; the sphere's equation with the frequency added, by RK45."""
    drive = 1.3 * np.array([np.cos(goal), np.sin(goal)])
    begin = np.array([np.cos(start), np.sin(start)])

    def right(_, z):
        return drive - (z @ drive) * z + offset * np.array([-z[1], z[0]])

    exact = integrate.solve_ivp(right, (0, time), begin, method="RK45", rtol=1e-10, atol=1e-10).y[:, -1]
    found = settling.detuned(begin, drive, np.array(offset), time)
    assert settling.norms(found - exact) < 1e-7
    if offset == 0:
        np.testing.assert_allclose(found, settling.trajectory(begin, drive, time), atol=1e-9)


def test_detuned_oscillators_end_at_their_lag_or_turn_in_their_period():
    rng = np.random.default_rng(SEED)
    drives, starts = 3 * settling.uniform((6, 2), rng), settling.uniform((6, 2), rng)
    goals = settling.turn(settling.fixed_points(drives), settling.lag(np.full(6, 1.2), np.full(6, 3.0)))
    np.testing.assert_allclose(settling.detuned(starts, drives, np.full(6, 1.2), 1e6), goals, atol=1e-9)
    period = 2 * np.pi / np.sqrt(5.0**2 - 3.0**2)
    np.testing.assert_allclose(settling.detuned(starts, drives, np.full(6, 5.0), period), starts, atol=1e-9)
    # Without drive they turn evenly.
    found = settling.detuned(starts, np.zeros((6, 2)), np.full(6, 0.5), 2.0)
    np.testing.assert_allclose(found, settling.turn(starts, 1.0), atol=1e-9)


def test_what_does_not_lock_is_found_where_it_is_slow():
    """Angles of density 1 / (offset - |h| sin theta): the mean sine is (offset - root(offset^2 - h^2)) / h."""
    weights, anchors = np.ones((40_000, 1)), np.array([[1.0, 0.0]])
    found, _ = attention.states(weights, anchors, Device(detuning=1), Built(1.0, np.full(40_000, 1.25)))
    assert found[:, 1].mean() == pytest.approx(1.25 - 0.75, abs=0.01)
    np.testing.assert_allclose(settling.norms(found), 1)


def test_white_noise_on_frequencies_leaves_von_mises():
    """Its mean cosine is a quotient of Bessel functions of |h| over the strength."""
    lengths = np.repeat([0.5, 3.0], 40_000)
    found, _ = attention.states(lengths[:, None], np.array([[1.0, 0.0]]), Device(phase_noise=0.4))
    for length in (0.5, 3.0):
        wanted = special.i1e(length / 0.4) / special.i0e(length / 0.4)
        assert found[lengths == length, 0].mean() == pytest.approx(wanted, abs=0.01)


def test_hardly_any_noise_on_frequencies_is_none():
    weights, anchors = np.ones((3, 1), np.float32), np.array([[1.0, 0.0]], np.float32)
    with np.errstate(all="raise"):
        found, _ = attention.states(weights, anchors, Device(phase_noise=1e-300))
    np.testing.assert_allclose(found, np.repeat(anchors, 3, axis=0), atol=1e-12)


def test_angles_spread_as_those_that_noise_pushes_step_by_step():
    """dtheta = -|h| sin(theta) dt + root(2 D dt) N(0, 1), 4,000 oscillators for 15 units of time."""
    length, strength, step, rng = 2.0, 0.6, 0.01, np.random.default_rng(SEED)
    angles = np.zeros(4000)
    for _ in range(1500):
        angles += -length * np.sin(angles) * step + np.sqrt(2 * strength * step) * rng.standard_normal(4000)
    pulls = np.full((40_000, 1), length)
    found, _ = attention.states(pulls, np.array([[1.0, 0.0]]), Device(phase_noise=strength))
    for moment in (1, 2):
        wanted = np.cos(moment * angles).mean()
        assert np.cos(moment * np.arctan2(found[:, 1], found[:, 0])).mean() == pytest.approx(wanted, abs=0.02)


def test_a_device_is_built_once():
    device = Device(mismatch=0.3, detuning=0.5)
    one, other = (attention.build(device, 2, 5, number) for number in ((0, 0), (0, 1)))
    assert np.log(one.gains).std() == pytest.approx(0.3, rel=0.3)
    assert not (one.gains == other.gains).any()
    assert not (one.gains == attention.build(Device(0.3, draw=1), 2, 5, (0, 0)).gains).any()
    anchors = settling.uniform((5, 2), np.random.default_rng(SEED))
    seen = [attention.states(np.ones((3, 2, 5, 5)), anchors, device, one, (0, n))[1] for n in (0, 1)]
    np.testing.assert_array_equal(*seen)
    np.testing.assert_allclose(seen[0], np.broadcast_to(one.gains @ anchors, seen[0].shape), rtol=1e-6)


def test_levels_are_written_and_come_out_off():
    """A converter has even levels; what the array makes of them has none."""
    weights, anchors = np.array([[0.1, 0.6, 1.0]]), settling.uniform((3, 2), np.random.default_rng(SEED))
    gains = np.array([[1.1, 0.9, 1.2]])
    _, drives = attention.states(weights, anchors, Device(coupling_bits=1), Built(gains))
    np.testing.assert_allclose(drives, np.array([[0, 0.9, 1.2]]) @ anchors)


def test_levels_of_couplings():
    values = np.array([0.0, 0.1, 0.34, 0.6, 1.0])
    np.testing.assert_allclose(settling.quantised(values, 2, 1.0), [0, 0, 1 / 3, 2 / 3, 1])
    assert settling.quantised(values, 0, 1.0) is values


def test_published_laws_have_their_quantiles_and_means():
    for law, quantiles in drives.PUBLISHED.items():
        lengths = drives.published(law, 400_000, np.random.default_rng(SEED))
        assert np.quantile(lengths, 0.05) == pytest.approx(quantiles[2], rel=0.05)
        assert np.median(lengths) == pytest.approx(quantiles[3], rel=0.05)
        assert lengths.mean() == pytest.approx(drives.MEANS[law], rel=0.05)
        assert lengths.max() <= quantiles[4]


TABLE = {
    (49, 2, 16, 2, False): (48_216, 24_402, 14_602, 4_998, 354_368, 4_802),
    (9, 1, 32, 2, False): (828, 441, 261, 99, 42_048, 81),
    (128, 4, 32, 8, True): (331_264, 563_456, 298_240, 34_048, 10_502_144, 33_024),
}


@pytest.mark.parametrize("shape", TABLE)
def test_operations_are_those_of_the_paper(shape):
    assert tuple(vars(cost.operations(*shape, "relu")).values()) == TABLE[shape]
    trained = cost.operations(*shape, "softplus")
    assert trained.pairwise == trained.softmax


def test_warm_starts_are_nearer():
    rng = np.random.default_rng(SEED)
    anchors = settling.uniform((40, 2), rng)
    weights = np.cumsum(rng.random((40, 40)), axis=0) / 40  # neighbours pull alike
    goals, _ = attention.states(weights, anchors)
    error = {
        start: settling.norms(attention.states(weights, anchors, Device(read=1.0, start=start))[0] - goals).mean()
        for start in ("random", "previous", "opposite")
    }
    assert error["previous"] < error["random"] / 2
    assert error["opposite"] == pytest.approx(2)  # a saddle: nothing moves


def test_detuning_is_of_one_angle():
    for device in (Device(detuning=0.1), Device(phase_noise=0.1)):
        with pytest.raises(InputError, match="dimension 2 alone"):
            attention.states(np.ones((2, 2)), np.eye(2, 3), device)
