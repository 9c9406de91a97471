"""MoE rebalance: kernels against slow twins and finite differences, their work against the formulas, and a layer over
every plan against one rank that does it all."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.moe_rebalance import cost, kernel
from simcore.models.moe_rebalance.layer import Weights, backward, count, forward
from simcore.models.moe_rebalance.placement import Group, Plan, check, shares
from simcore.models.moe_rebalance.policies import POLICIES

from simcore import Virtual

SEED = 7
COUNT, HIDDEN, WIDTH, EXPERTS, TOP = 13, 6, 5, 8, 3
PLANNED = [name for name in POLICIES if name != "ideal"]  # plans for other counts, as static does


def tensors(*shapes: tuple[int, ...], seed: int = SEED) -> list[Any]:
    draw = np.random.default_rng(seed)
    return [draw.standard_normal(shape) for shape in shapes]


# Kernels


def one_token(token: Any, router: Any, gate: Any, up: Any, down: Any, top: int) -> tuple[list[int], list[float], Any]:
    """Return choice, weights and output of a token, sum by sum; all experts have the same matrices, times 1 + e."""
    logits = [sum(float(a) * float(b) for a, b in zip(token, row, strict=True)) for row in router]
    chosen = sorted(range(len(router)), key=lambda e: (-logits[e], e))[:top]
    powers = [np.exp(logits[e]) for e in chosen]
    found = np.zeros(len(token))
    for e, power in zip(chosen, powers, strict=True):
        for f in range(len(gate)):
            left, right = float(token @ gate[f]), float(token @ up[f])
            found += (1 + e) * power / sum(powers) * left / (1 + np.exp(-left)) * right * down[:, f]
    return chosen, [power / sum(powers) for power in powers], found


def test_route_expert_and_combine_are_the_sums_of_a_token() -> None:
    tokens, router, gate, up, down = tensors(
        (COUNT, HIDDEN), (EXPERTS, HIDDEN), (WIDTH, HIDDEN), (WIDTH, HIDDEN), (HIDDEN, WIDTH)
    )
    (choice, weights), _ = kernel.route(tokens, router, TOP)
    made = [kernel.expert(tokens, gate, up, (1 + e) * down)[0][0] for e in range(EXPERTS)]
    served = np.stack([[made[e][t] for e in choice[t]] for t in range(COUNT)])
    outputs, _ = kernel.combine(served, weights)

    for t in range(COUNT):
        chosen, shares_of, found = one_token(tokens[t], router, gate, up, down, TOP)
        assert choice[t].tolist() == chosen
        assert np.allclose(weights[t], shares_of, rtol=1e-12)
        assert np.allclose(outputs[t], found, rtol=1e-10)


def test_of_equal_logits_the_first_experts_are_taken() -> None:
    (choice, weights), _ = kernel.route(np.ones((2, 3)), np.ones((5, 3)), 2)

    assert choice.tolist() == [[0, 1], [0, 1]]
    assert np.allclose(weights, 0.5)


def test_replay_keeps_the_choice_and_weighs_by_the_logits_of_now() -> None:
    tokens, router, later = tensors((COUNT, HIDDEN), (EXPERTS, HIDDEN), (EXPERTS, HIDDEN))
    (choice, weights), _ = kernel.route(tokens, router, TOP)

    assert np.array_equal(kernel.replay(tokens, router, choice)[0], weights)
    again, _ = kernel.replay(tokens, later, choice)
    logits = tokens @ later.T
    for t in range(COUNT):
        powers = np.exp(logits[t, choice[t]])
        assert np.allclose(again[t], powers / powers.sum())


def test_an_expert_does_not_overflow() -> None:
    found, _ = kernel.expert(np.array([[1000.0], [-1000.0]]), np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)))

    assert found[0].ravel().tolist() == [1e6, 0]


def slope(of: Callable[[], float], array: Any, place: tuple[int, ...]) -> float:
    """Return the derivative of ``of`` by an element of ``array``, by a central difference."""
    step, before = 1e-6, array[place]
    array[place] = before + step
    high = of()
    array[place] = before - step
    low = of()
    array[place] = before
    return (high - low) / (2 * step)


def test_gradients_of_the_kernels_are_finite_differences() -> None:
    tokens, router, gate, up, down, outer = tensors(
        (COUNT, HIDDEN), (EXPERTS, HIDDEN), (WIDTH, HIDDEN), (WIDTH, HIDDEN), (HIDDEN, WIDTH), (COUNT, HIDDEN)
    )
    served, of_weights = tensors((COUNT, TOP, HIDDEN), (COUNT, TOP), seed=SEED + 1)
    (choice, weights), _ = kernel.route(tokens, router, TOP)
    (_, left, right), _ = kernel.expert(tokens, gate, up, down)
    places = [(0, 0), (1, 2), (4, 3)]

    found, _ = kernel.expert_gradients(tokens, left, right, gate, up, down, outer)
    for array, gradient in zip((tokens, gate, up, down), found, strict=True):
        for place in places:
            value = slope(lambda: float((kernel.expert(tokens, gate, up, down)[0][0] * outer).sum()), array, place)
            assert gradient[place] == pytest.approx(value, rel=1e-5, abs=1e-7)

    found, _ = kernel.replay_gradients(tokens, router, choice, weights, of_weights)
    for array, gradient in zip((tokens, router), found, strict=True):
        for place in places:
            value = slope(lambda: float((kernel.replay(tokens, router, choice)[0] * of_weights).sum()), array, place)
            assert gradient[place] == pytest.approx(value, rel=1e-5, abs=1e-7)

    found, _ = kernel.combine_gradients(served, weights, outer)
    for array, gradient, somewhere in ((served, found[0], (2, 1, 4)), (weights, found[1], (3, 2))):
        value = slope(lambda: float((kernel.combine(served, weights)[0] * outer).sum()), array, somewhere)
        assert gradient[somewhere] == pytest.approx(value, rel=1e-5, abs=1e-7)


def calls(xp: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Return every kernel with arguments of the library."""
    made = tensors(
        (COUNT, HIDDEN), (EXPERTS, HIDDEN), (WIDTH, HIDDEN), (WIDTH, HIDDEN), (HIDDEN, WIDTH), (COUNT, HIDDEN),
        (COUNT, TOP, HIDDEN), (COUNT, TOP), (COUNT, WIDTH), (COUNT, WIDTH),
    )  # fmt: skip
    (choice, _), _ = kernel.route(made[0], made[1], TOP)
    tokens, router, gate, up, down, outer, served, weights, left, right = map(xp.asarray, made)
    return [
        ("route", (tokens, router, TOP)),
        ("replay", (tokens, router, choice)),
        ("replay_gradients", (tokens, router, choice, weights, weights)),
        ("dispatch", (tokens, np.array([3, 3, 0]))),
        ("expert", (tokens, gate, up, down)),
        ("expert_gradients", (tokens, left, right, gate, up, down, outer)),
        ("combine", (served, weights)),
        ("combine_gradients", (served, weights, outer)),
    ]


def flat(found: Any) -> list[Any]:
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("place", range(8))
def test_the_formula_says_what_a_kernel_returns_and_counts(place: int) -> None:
    name, arguments = calls(np)[place]
    shapes = [Virtual(each.shape, str(each.dtype)) if hasattr(each, "shape") else each for each in arguments]

    found, work = getattr(kernel, name)(*arguments)
    stated, formula = getattr(cost, name)(*shapes)

    assert work == formula
    assert [Virtual(each.shape, str(each.dtype)) for each in flat(found)] == flat(stated)


def test_operations_are_those_of_the_matrices() -> None:
    """Two operations for each of the three matrices of an expert and each token, twice as many back."""
    work = {name: getattr(kernel, name)(*arguments)[1] for name, arguments in calls(np)}

    assert work["expert"].operations == {"float64": 2 * 3 * COUNT * HIDDEN * WIDTH}
    assert work["expert_gradients"].operations == {"float64": 2 * 6 * COUNT * HIDDEN * WIDTH}
    assert work["route"].operations == {"float64": 2 * COUNT * HIDDEN * EXPERTS}
    assert work["combine"].operations == {"float64": 2 * COUNT * TOP * HIDDEN}


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("place", range(8))
def test_torch_does_what_numpy_does(place: int) -> None:
    import torch

    (name, ours), (_, theirs) = calls(np)[place], calls(torch)[place]
    found, work = getattr(kernel, name)(*ours)
    other, counted = getattr(kernel, name)(*theirs)

    assert counted == work
    for a, b in zip(flat(found), flat(other), strict=True):
        assert np.allclose(a, np.asarray(b), rtol=1e-12, atol=1e-12)


# A layer over any plan


def weights_of(experts: int) -> Weights:
    return Weights(*tensors((experts, HIDDEN), (experts, WIDTH, HIDDEN), (experts, WIDTH, HIDDEN),
                            (experts, HIDDEN, WIDTH), seed=SEED + 2))  # fmt: skip


def alone(tokens: Any, weights: Weights, choice: Any, outer: Any) -> tuple[Any, Any, list[Any]]:
    """Return outputs, gradients of tokens, and gradients of router and experts of a layer on one rank, expert by expert
    with masks instead of permutations."""
    gates, _ = kernel.replay(tokens, weights.router, choice)
    found, to_tokens, to_gates = np.zeros_like(tokens), np.zeros_like(tokens), np.zeros_like(gates)
    sums = [np.zeros_like(each) for each in (weights.gate, weights.up, weights.down)]
    for e in range(len(weights.router)):
        here = choice == e
        share = (gates * here).sum(axis=1)[:, None]
        (made, left, right), _ = kernel.expert(tokens, *weights.expert(e))
        found += share * made
        to_gates += here * (made * outer).sum(axis=1)[:, None]
        (back, *own), _ = kernel.expert_gradients(tokens, left, right, *weights.expert(e), share * outer)
        to_tokens += back
        for total, each in zip(sums, own, strict=True):
            total[e] += each
    (direct, router), _ = kernel.replay_gradients(tokens, weights.router, choice, gates, to_gates)
    return found, to_tokens + direct, [router, *sums]


def compare(plan: Plan, group: Group, seed: int, each: int = 6) -> None:
    """Compare a layer over ``plan`` with one on one rank."""
    weights = weights_of(group.experts)
    tokens = tensors(*[(each + s % 3, HIDDEN) for s in range(group.ranks)], seed=seed)
    choices = [kernel.route(own, weights.router, TOP)[0][0] for own in tokens]
    outer = tensors(*[own.shape for own in tokens], seed=seed + 1)

    passed = forward(tokens, weights, choices, plan, group)
    gradients, replicas = backward(tokens, weights, passed, outer, plan, group)

    every = np.concatenate(tokens)
    found, to_tokens, of_weights = alone(every, weights, np.concatenate(choices), np.concatenate(outer))
    assert np.abs(np.concatenate(passed.outputs) - found).max() < 1e-12
    assert np.abs(np.concatenate(gradients.tokens) - to_tokens).max() < 1e-11
    ours = gradients.weights
    for a, b in zip((ours.router, ours.gate, ours.up, ours.down), of_weights, strict=True):
        assert np.abs(a - b).max() < 1e-11
    for e in range(group.experts):
        parts = [sums for (expert, _), sums in replicas.items() if expert == e]
        for k, whole in enumerate(of_weights[1:]):
            assert np.abs(sum((part[k] for part in parts), np.zeros_like(whole[e])) - whole[e]).max() < 1e-11
    operations = sum(done.operations["float64"] for done in passed.work)
    total = len(every)
    assert operations == total * (2 * HIDDEN * group.experts + TOP * 6 * HIDDEN * WIDTH + 2 * TOP * HIDDEN)


def drawn(group: Group, seed: int, each: int = 6) -> Any:
    """Return the counts [R, E] of the tokens of `compare`."""
    weights = weights_of(group.experts)
    tokens = tensors(*[(each + s % 3, HIDDEN) for s in range(group.ranks)], seed=seed)
    return count([kernel.route(own, weights.router, TOP)[0][0] for own in tokens], group.experts)


@pytest.mark.parametrize("name", PLANNED)
def test_every_policy_leaves_results_and_gradients_as_they_are(name: str) -> None:
    group = Group(4, 2, EXPERTS, 1)
    counts = drawn(group, SEED)
    past = np.random.default_rng(SEED).integers(0, 50, (2, 1, EXPERTS))
    plan = POLICIES[name].plan(counts[None, None], group, past).plans[0][0]

    check(plan, counts, group)
    compare(plan, group, SEED)


@given(data=st.data(), ranks=st.integers(1, 5), per_node=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_any_placement_with_replicas_and_splits_leaves_results_as_they_are(
    data: st.DataObject, ranks: int, per_node: int, seed: int
) -> None:
    """Any homes, replicas anywhere, tokens split at random among them."""
    group = Group(ranks, per_node, EXPERTS, EXPERTS)
    draw = np.random.default_rng(seed)
    counts = drawn(group, seed, each=3)
    home = draw.integers(0, ranks, EXPERTS)
    resident = draw.random((EXPERTS, ranks)) < data.draw(st.floats(0, 1))
    resident[np.arange(EXPERTS), home] = True
    quota = np.stack(
        [draw.multinomial(n, row / row.sum()) for n, row in zip(counts.sum(axis=0), resident, strict=True)]
    )
    plan = Plan(home, resident, quota, np.zeros((0, 3), np.int64))

    check(plan, counts, group)
    given_ = shares(plan, counts, group)
    assert np.array_equal(given_.sum(axis=1), quota)
    assert np.array_equal(given_.sum(axis=2).T, counts)
    compare(plan, group, seed, each=3)
