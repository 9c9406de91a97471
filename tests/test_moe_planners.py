"""MoE rebalance: the routing that is drawn, placements against slow twins and published examples, laws of all plans."""

import itertools
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.moe_rebalance import bases, eplb, matching, quotas, rivals, routing, splits
from simcore.models.moe_rebalance.paces import Pace, Paces
from simcore.models.moe_rebalance.placement import NONE, OPTIMIZER, Group, Plan, StepPlan, check, flows, imbalance
from simcore.models.moe_rebalance.policies import POLICIES, PerMicroStep, PerStep, at_home, balanced
from simcore.models.moe_rebalance.routing import PRESETS, Synthetic, generate

from simcore import InputError, SimulationError

PLACED = [name for name, policy in POLICIES.items() if isinstance(policy, PerStep)]
ADJUSTED = [name for name, policy in POLICIES.items() if isinstance(policy, PerMicroStep)]


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Group, Any, Any]:
    """Return a group, counts [L, M, R, E] and a past [2, L, E]: sizes that do not divide, experts without tokens."""
    ranks = draw(st.integers(1, 6))
    group = Group(ranks, draw(st.integers(1, ranks)), draw(st.integers(ranks, 12)), draw(st.integers(0, 2)))
    rng = drawn(draw(st.integers(0, 999)))
    scale = draw(st.sampled_from([0, 1, 30]))
    weights = rng.lognormal(0, 1.5, (3, 1, 1, group.experts))
    counts = np.floor(scale * weights[:1] * rng.random((1, 3, ranks, group.experts))).astype(np.int64)
    return group, counts, np.floor(10 * weights[1:, 0]).astype(np.int64)


# Plans


@pytest.mark.parametrize("name", POLICIES)
@given(case=cases())
@settings(max_examples=25, deadline=None)
def test_every_plan_is_valid_and_its_tokens_arrive(name: str, case: tuple[Group, Any, Any]) -> None:
    group, counts, past = case

    found = POLICIES[name].plan(counts, group, past)

    assert np.array_equal(found.counts, balanced(counts) if name == "ideal" else counts)
    for plan, here in zip(found.plans[0], found.counts[0], strict=True):
        check(plan, here, group)
        sent = flows(plan, here, group)
        assert np.array_equal(sent.sum(axis=1), here.sum(axis=1))
        assert np.array_equal(sent.sum(axis=0), plan.loads)
    assert len(found.effort) == 1


def largest(found: StepPlan) -> int:
    return sum(int(plan.loads.max()) for plans in found.plans for plan in plans)


@pytest.mark.parametrize("name", [name for name in ADJUSTED if name != "stale"])
@given(case=cases())
@settings(max_examples=25, deadline=None)
def test_who_knows_the_loads_is_never_worse_than_static(name: str, case: tuple[Group, Any, Any]) -> None:
    group, counts, past = case

    found = POLICIES[name].plan(counts, group, past)

    assert largest(found) <= largest(POLICIES["static"].plan(counts, group, past))
    means = -(-counts.sum(axis=(2, 3)) // group.ranks)
    assert largest(found) >= means.sum()
    if group.experts % group.ranks == 0:
        assert largest(POLICIES["ideal"].plan(counts, group, past)) == means.sum()


@pytest.mark.parametrize("name", POLICIES)
@given(ranks=st.integers(1, 6), each=st.integers(1, 3), per_node=st.integers(1, 6), slots=st.integers(0, 2),
       tokens=st.sampled_from([0, 1, 7, 1000]))  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_equal_loads_of_experts_need_no_move(
    name: str, ranks: int, each: int, per_node: int, slots: int, tokens: int
) -> None:
    group = Group(ranks, min(per_node, ranks), ranks * each, slots)
    counts = np.full((2, 3, ranks, group.experts), tokens)

    found = POLICIES[name].plan(counts, group, np.full((2, 2, group.experts), 3 * ranks * tokens))

    assert all(len(plan.moves) == 0 for plans in found.plans for plan in plans)
    assert len(found.relocated) == len(found.copied) == 0


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("tokens", [0, 5])
def test_equal_loads_stay_equal_where_copies_divide(name: str, tokens: int) -> None:
    group, counts = Group(4, 2, 8, 2), np.full((2, 3, 4, 8), tokens)

    found = POLICIES[name].plan(counts, group, np.full((2, 2, 8), 12 * tokens))

    assert all(imbalance(plan.loads) == 1 for plans in found.plans for plan in plans)


@pytest.mark.parametrize("name", ADJUSTED)
@given(nodes=st.integers(1, 3), per_node=st.integers(1, 3), each=st.integers(1, 3), slots=st.integers(0, 2),
       seed=st.integers(0, 999))  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_equal_loads_of_ranks_need_no_move(
    name: str, nodes: int, per_node: int, each: int, slots: int, seed: int
) -> None:
    """Experts differ, and from one micro-step to the next; the sums of ranks do not."""
    ranks, rng = nodes * per_node, drawn(seed)
    group = Group(ranks, per_node, ranks * each, slots)
    values = rng.integers(0, 500, (5, 1, each)).repeat(ranks, axis=1)
    past, *loads = rng.permuted(values, axis=2).reshape(5, group.experts)
    counts = np.zeros((1, 4, ranks, group.experts), np.int64)
    counts[0, :, seed % ranks] = loads

    found = POLICIES[name].plan(counts, group, past[None, None])

    assert all(len(plan.moves) == 0 for plan in found.plans[0])
    assert len(found.relocated) == 0


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_balanced_counts_are_dealt_one_by_one(case: tuple[Group, Any, Any]) -> None:
    """To the first expert of every rank, then to the second, and on from where the source before ended."""
    group, counts, _ = case
    home = at_home(group).tolist()
    order = sorted(range(group.experts), key=lambda e: (home[:e].count(home[e]), home[e]))
    expected = np.zeros_like(counts)
    for m in range(counts.shape[1]):
        turn = itertools.cycle(order)
        for source in range(group.ranks):
            for _ in range(counts[0, m, source].sum()):
                expected[0, m, source, next(turn)] += 1

    found = balanced(counts)

    assert np.array_equal(found, expected)
    assert np.array_equal(balanced(found), found)


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_relocated_ends_at_the_homes_of_the_step(name: str) -> None:
    group, rng = Group(8, 4, 16, 1), drawn(3)
    past, counts = rng.integers(1, 400, (2, 2, 16)), rng.integers(0, 30, (2, 3, 8, 16))

    found = POLICIES[name].plan(counts, group, past)

    for layer, expert, source, target in found.relocated:
        assert source != target == found.plans[layer][0].home[expert]
    for layer, expert, _, target in found.copied:
        plan = found.plans[layer][0]
        assert plan.resident[expert, target]
        assert plan.home[expert] != target


@pytest.mark.parametrize("name", [*PLACED, *ADJUSTED])
def test_a_step_begins_with_what_the_one_before_left(name: str) -> None:
    group, rng = Group(8, 4, 16, 1), drawn(4)
    past, counts = rng.integers(1, 400, (3, 1, 16)), rng.integers(0, 30, (1, 1, 8, 16))
    whole = np.zeros((1, 1, 8, 16), np.int64)
    whole[0, 0, 0] = past[-1, 0]

    before = POLICIES[name].plan(whole, group, past[:-1]).plans[0][0]
    found = POLICIES[name].plan(counts, group, past)

    home, has = before.home.copy(), before.resident.copy()
    for _, expert, source, target in found.relocated:
        assert home[expert] == source
        home[expert], has[expert, target] = target, True
    for _, expert, _, target in found.copied:
        assert not has[expert, target]
        has[expert, target] = True
    assert np.array_equal(home, found.plans[0][0].home)
    if name in PLACED:
        assert (has >= found.plans[0][0].resident).all()
    if name not in ("foremoe_adjust", "flexmoe"):
        assert len(found.relocated) > 0


@pytest.mark.parametrize("name", PLACED)
def test_only_an_oracle_places_without_earlier_steps(name: str) -> None:
    group, counts = Group(2, 2, 4, 0), np.ones((1, 1, 2, 4), np.int64)
    if "oracle" in name:
        check(POLICIES[name].plan(counts, group, np.zeros((0, 1, 4), np.int64)).plans[0][0], counts[0, 0], group)
        return

    with pytest.raises(InputError, match=r"history must be 1 or more, not 0: [a-z]+ places experts by earlier steps"):
        POLICIES[name].plan(counts, group, np.zeros((0, 1, 4), np.int64))


def test_a_stale_plan_has_the_replicas_of_the_micro_step_before() -> None:
    group, rng = Group(4, 4, 8, 1), drawn(5)
    counts, past = rng.integers(0, 90, (1, 3, 4, 8)) ** 2, rng.integers(1, 90, (1, 1, 8))
    now, stale = (POLICIES[name].plan(counts, group, past).plans[0] for name in ("foremoe", "stale"))

    for m in (1, 2):
        assert np.array_equal(stale[m].resident, now[m - 1].resident)
        assert np.array_equal(stale[m].moves, now[m - 1].moves)
        assert stale[m].loads.max() == splits.by_flow(counts[0, m].sum(axis=0), stale[m].resident)[0].sum(axis=0).max()
    assert (stale[1].loads.max(), stale[2].loads.max()) > (now[1].loads.max(), now[2].loads.max())


GOOD = Plan(np.array([0, 0, 1]), np.array([[1, 1], [1, 0], [0, 1]], bool), np.array([[2, 3], [4, 0], [0, 6]]), NONE)
COUNTS = np.array([[5, 1, 2], [0, 3, 4]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"home": np.array([0, 0, 2])}, "expert 2 has no home among 2 ranks"),
        ({"home": np.array([0, 1, 1])}, "expert 1 is not resident at its home"),
        ({"resident": np.ones((3, 2), bool)}, "rank 0 holds 3 experts, it has room for 2"),
        ({"quota": np.array([[2, 3], [5, -1], [0, 6]])}, "a quota is negative"),
        ({"quota": np.array([[2, 3], [3, 1], [0, 6]])}, "rank 1 serves 1 tokens of expert 1, which is not there"),
        ({"quota": np.array([[2, 2], [4, 0], [0, 6]])}, "4 tokens of expert 0 are served, there are 5"),
        ({"moves": np.array([[1, 0, 1]])}, "expert 1 moves from rank 0 to rank 1, where it is not resident"),
        ({"moves": np.array([[0, 1, 1]])}, "expert 0 moves from rank 1 to rank 1"),
        ({"quota": np.zeros((2, 3), np.int64)}, r"quota is \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_a_plan_that_is_none_is_refused_with_what_is_wrong(wrong: dict[str, Any], words: str) -> None:
    group = Group(2, 2, 3, 0)
    check(GOOD, COUNTS, group)

    with pytest.raises(SimulationError, match=words):
        check(replace(GOOD, **wrong), COUNTS, group)


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_flows_are_those_of_tokens_one_by_one(case: tuple[Group, Any, Any]) -> None:
    """Own rank, own node, then anybody: every token takes the first rank that has room left."""
    group, counts, past = case
    plan, here = POLICIES["foremoe"].plan(counts, group, past).plans[0][0], counts[0, 0]
    found = np.zeros((group.ranks, group.ranks), np.int64)
    for expert in range(group.experts):
        room, left = plan.quota[expert].tolist(), here[:, expert].tolist()
        for near in (
            lambda a, b: a == b,
            lambda a, b: a // group.per_node == b // group.per_node,
            lambda a, b: True,
        ):
            for source, target in itertools.product(range(group.ranks), repeat=2):
                while near(source, target) and left[source] and room[target]:
                    left[source] -= 1
                    room[target] -= 1
                    found[source, target] += 1

    assert np.array_equal(flows(plan, here, group), found)


# Placements


def moved(copies: Any, home: Any, had: Any, groups: int = 1) -> Fraction:
    """Return what has to move to get there, in weights of an expert."""
    has = copies > 0
    lost = int((~has[np.arange(len(home)), home]).sum())
    return int((has & ~had).sum()) + Fraction(OPTIMIZER, groups) * lost


@given(case=cases(), by_node=st.booleans(), groups=st.integers(1, 8), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_matched_placements_are_the_same_with_the_least_that_moves(
    case: tuple[Group, Any, Any], by_node: bool, groups: int, seed: int
) -> None:
    """Of all orders of the ranks, or of equal nodes and of the ranks inside each."""
    group, _, past = case
    group = replace(group, ranks=min(group.ranks, 5), per_node=min(group.per_node, 5, group.ranks), groups=groups)
    rng, every = drawn(seed), at_home(group)
    home = rng.permutation(every)
    had = rng.random((group.experts, group.ranks)) < 0.3
    had[np.arange(group.experts), home] = True
    copies, _ = rivals.lay_out(past[0, 0], group)
    if by_node:
        nodes = [[r for r in range(group.ranks) if r // group.per_node == n] for n in range(group.nodes)]
        orders = [
            list(itertools.chain(*inside))
            for outer in itertools.permutations(nodes)
            if [len(n) for n in outer] == [len(n) for n in nodes]
            for inside in itertools.product(*(itertools.permutations(n) for n in outer))
        ]
    else:
        orders = [list(order) for order in itertools.permutations(range(group.ranks))]

    found, _ = matching.match(copies, home, had, group, by_node)

    assert any(np.array_equal(found, copies[:, order]) for order in orders)
    assert moved(found, home, had, groups) == min(moved(copies[:, order], home, had, groups) for order in orders)
    assert moved(found, home, had, groups) <= moved(copies, home, had, groups)


def test_a_home_stays_where_a_copy_does_and_else_goes_where_one_comes_new() -> None:
    resident = np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 0]], bool)
    had = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]], bool)

    assert matching.rehome(resident, np.zeros(4, np.int64), had).tolist() == [0, 2, 1, 1]
    # Of two ranks where a copy comes new, the one with fewer homes: the first expert has a copy at home, on rank 1.
    resident = np.array([[0, 1, 0], [0, 1, 1]], bool)
    assert matching.rehome(resident, np.array([1, 0]), np.zeros((2, 3), bool)).tolist() == [1, 2]


@pytest.mark.parametrize(("preset", "share"), [("ep8_same_prompt", 0.92), ("ep64", 0.55)])
def test_eplb_moves_less_than_if_ranks_were_numbered_anew(preset: str, share: float) -> None:
    about = PRESETS[preset]
    group = Group(about.ep, 8, 128, 2)
    past = generate(about, 1, 1, about.ep, 128, 8, 2, drawn(0)).past[:, 0]
    home, laid = at_home(group), np.eye(group.ranks, dtype=np.int64)[at_home(group)]
    before, _ = POLICIES["eplb_previous"].place(home, laid, past[0], group)  # type: ignore[attr-defined]
    home = matching.rehome(before > 0, home, laid > 0)
    places, _ = eplb.place(past[1], group.room * group.ranks, 1, 1, group.ranks)
    anew = np.zeros_like(before)
    np.add.at(anew, (places, np.arange(len(places)) // group.room), 1)

    found, _ = POLICIES["eplb_previous"].place(home, before, past[1], group)  # type: ignore[attr-defined]

    share_of = moved(found, home, before > 0) / moved(anew, home, before > 0)
    assert float(share_of) == pytest.approx(share, rel=0.05)
    assert sorted(even_loads(past[1], found)) == sorted(even_loads(past[1], anew))


def test_eplb_places_its_published_example() -> None:
    """The example of the library's README: 12 experts, 16 places, 4 groups, 2 nodes, 8 GPUs; what a GPU has is
    compared, not in which order."""
    loads = [
        [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
        [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
    ]
    expected = [[5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1], [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1]]

    for load, places in zip(loads, expected, strict=True):
        found, _ = eplb.place(np.array(load), 16, 4, 2, 8)
        assert np.array_equal(np.sort(found.reshape(8, 2)), np.sort(np.reshape(places, (8, 2))))


@given(nodes=st.sampled_from([1, 2, 3]), ranks=st.integers(1, 3), each=st.integers(1, 3), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_eplb_is_its_three_steps_in_plain_words(nodes: int, ranks: int, each: int, seed: int) -> None:
    groups, places = 6, 6 * 2 + 6 * ranks * each
    if places % (nodes * ranks):
        places = 12 * nodes * ranks
    loads = drawn(seed).integers(0, 40, 12).astype(float)

    found, _ = eplb.place(loads, places, groups, nodes, nodes * ranks)

    sums = [sum(loads[2 * g : 2 * g + 2]) for g in range(groups)]
    expected = []
    for members in packed(sums, nodes):
        experts = [e for g in sorted(members) for e in (2 * g, 2 * g + 1)]
        copies = list(experts)
        while len(copies) < places // nodes:
            copies.append(max(experts, key=lambda e: (loads[e] / copies.count(e), -experts.index(e))))
        shares = [loads[e] / copies.count(e) for e in copies]
        expected += [copies[c] for members in packed(shares, ranks) for c in sorted(members)]
    assert found.tolist() == expected


def packed(weights: list[float], bins: int) -> list[list[int]]:
    """Return the items of every bin: the heaviest first, into the lightest bin with room."""
    found: list[list[int]] = [[] for _ in range(bins)]
    for item in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        room = [b for b in range(bins) if len(found[b]) < len(weights) // bins]
        found[min(room, key=lambda b: (sum(weights[i] for i in found[b]), b))].append(item)
    return found


@st.composite
def residences(draw: st.DrawFn) -> tuple[Any, Any]:
    """Return loads [E] and where experts are, [E, R]."""
    experts, ranks, rng = draw(st.integers(1, 7)), draw(st.integers(1, 5)), drawn(draw(st.integers(0, 999)))
    resident = rng.random((experts, ranks)) < draw(st.floats(0, 1))
    resident[np.arange(experts), rng.integers(0, ranks, experts)] = True
    return rng.integers(0, draw(st.sampled_from([1, 9, 10_000])) + 1, experts), resident


@given(case=residences())
@settings(max_examples=60, deadline=None)
def test_a_split_by_flow_is_the_best_that_any_set_of_experts_allows(case: tuple[Any, Any]) -> None:
    """The experts of a set have to be served by the ranks that have one of them: the least largest load is the largest
    of these means, rounded up."""
    load, resident = case
    sets = [s for k in range(len(load) + 1) for s in itertools.combinations(range(len(load)), k) if s]
    bound = max(-(-int(load[list(s)].sum()) // int(resident[list(s)].any(axis=0).sum())) for s in sets)

    quota, _ = splits.by_flow(load, resident)

    assert quota.min() >= 0
    assert not quota[~resident].any()
    assert np.array_equal(quota.sum(axis=1), load)
    assert quota.sum(axis=0).max() == bound


@given(case=residences())
@settings(max_examples=25, deadline=None)
def test_highs_splits_as_well_as_the_flow_but_for_rounding(case: tuple[Any, Any]) -> None:
    load, resident = case
    best = splits.by_flow(load, resident)[0].sum(axis=0).max()

    quota, _ = splits.by_programme(load, resident)

    assert quota.min() >= 0
    assert not quota[~resident].any()
    assert np.array_equal(quota.sum(axis=1), load)
    assert best <= quota.sum(axis=0).max() <= best + len(load)


@given(case=residences())
@settings(max_examples=25, deadline=None)
def test_an_even_split_gives_every_copy_as_much_within_a_token(case: tuple[Any, Any]) -> None:
    load, resident = case
    copies = resident * np.array([1, 2, 1, 3, 1])[: resident.shape[1]]

    quota = splits.evenly(load, copies)

    assert np.array_equal(quota.sum(axis=1), load)
    share = load[:, None] / copies.sum(axis=1, keepdims=True) * copies
    assert (np.abs(quota - share) < 1).all()


@given(case=cases(), anywhere=st.booleans())
@settings(max_examples=60, deadline=None)
def test_replicas_by_quota_are_those_of_plain_loops(case: tuple[Group, Any, Any], anywhere: bool) -> None:
    group, counts, _ = case
    load, home = counts[0, 0].sum(axis=0), at_home(group)
    served: Counter[tuple[int, int]] = Counter({(e, int(home[e])): int(n) for e, n in enumerate(load)})
    there = {(e, int(home[e])) for e in range(group.experts)}
    scopes = [list(range(group.ranks))] if anywhere else [
        [r for r in range(group.ranks) if r // group.per_node == n] for n in range(group.nodes)
    ]  # fmt: skip

    def of(rank: int) -> int:
        return sum(n for (_, r), n in served.items() if r == rank)

    goal = max(-(-sum(of(r) for r in scope) // len(scope)) for scope in scopes)
    while True:
        hot = max(range(group.ranks), key=lambda r: (of(r), -r))
        if of(hot) <= quotas.ENOUGH * goal:
            break
        scope = next(s for s in scopes if hot in s)
        options = []
        for e, r in itertools.product(range(group.experts), scope):
            full = sum(1 for _, other in there if other == r) >= group.room
            if r == hot or (full and (e, r) not in there):
                continue
            tokens = min(of(hot) - goal, goal - of(r), served[e, hot])
            near = 2 * ((e, r) in there) + (int(home[e]) // group.per_node == r // group.per_node)
            options.append((tokens, near, -e, -r))
        tokens, _, e, r = max(options, default=(0, 0, 0, 0))
        if tokens <= 0:
            break
        served[-e, hot] -= tokens
        served[-e, -r] += tokens
        there.add((-e, -r))
    largest = max(of(r) for r in range(group.ranks))

    found = quotas.replicate(home, load, group, anywhere)

    check(found, counts[0, 0], group)
    if largest <= quotas.ENOUGH * goal:
        assert {(e, r): n for (e, r), n in served.items() if n} == {
            (e, r): found.quota[e, r] for e, r in np.argwhere(found.quota).tolist()
        }
    else:
        assert found.loads.max() <= largest


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_the_adjuster_is_that_of_plain_loops(case: tuple[Group, Any, Any]) -> None:
    group, counts, _ = case
    load, home = counts[0, 0].sum(axis=0), at_home(group)
    at, held = home.copy(), Counter(home.tolist())
    loads = [int(load[home == r].sum()) for r in range(group.ranks)]
    mean, order = sum(loads) / group.ranks, sorted(range(group.ranks), key=lambda r: (-loads[r], r))
    for hot in [r for r in order if loads[r] > 1.1 * mean]:
        for e in sorted(np.flatnonzero(home == hot), key=lambda e: (-load[e], e)):
            if loads[hot] <= 1.1 * mean or load[e] == 0 or load[e] > 1.5 * (loads[hot] - mean):
                continue
            for cold in order[::-1]:
                fits = loads[cold] < 0.9 * mean and held[cold] < group.room and loads[cold] + load[e] < loads[hot]
                if fits and cold != hot:
                    loads[cold] += int(load[e])
                    loads[hot] -= int(load[e])
                    held[cold] += 1
                    at[e] = cold
                    break

    found = quotas.relocate(home, load, group)

    assert found.loads.tolist() == loads
    assert np.array_equal(found.quota.argmax(axis=1)[load > 0], at[load > 0])
    assert ((found.quota > 0).sum(axis=1) <= 1).all()


@given(case=cases())
@settings(max_examples=25, deadline=None)
def test_exchanges_are_the_best_of_all_pairs_each_time(case: tuple[Group, Any, Any]) -> None:
    group, counts, _ = case
    loads, home = counts[0].sum(axis=1), at_home(group)

    def total(of: Any, each: Any, bins: list[list[int]]) -> int:
        return sum(max(int(row[np.isin(of, ranks)].sum()) for ranks in bins) for row in each)

    def exchanged(of: Any, own: Any, each: Any, bins: list[list[int]]) -> None:
        for _ in range(len(own) // 2):
            before, best = total(of, each, bins), (0, 0, 0)
            for e, f in itertools.combinations(own.tolist(), 2):
                if next(b for b in bins if of[e] in b) == next(b for b in bins if of[f] in b):
                    continue
                other = of.copy()
                other[[e, f]] = of[[f, e]]
                gain = before - total(other, each, bins)
                best = max(best, (gain, -e, -f))
            if best[0] <= bases.WORTH * before:
                return
            of[[-best[1], -best[2]]] = of[[-best[2], -best[1]]]

    ranks = [[r for r in range(group.ranks) if r // group.per_node == n] for n in range(group.nodes)]
    expected, every = home.copy(), np.arange(group.experts)
    if group.nodes > 1:
        exchanged(expected, every, loads, ranks)
    for node in ranks:
        inside = np.isin(expected, node)
        exchanged(expected, every[inside], loads.sum(axis=0, keepdims=True) * inside, [[r] for r in node])

    assert np.array_equal(bases.exchange(home, loads, group)[0], expected)


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_placements_by_earlier_loads_have_room_and_every_expert(case: tuple[Group, Any, Any]) -> None:
    group, _, past = case
    home = at_home(group)
    laid = np.eye(group.ranks, dtype=np.int64)[home]
    shadow, _ = rivals.shadow(home, laid, past[0, 0], group)

    for copies in (shadow, rivals.lay_out(past[0, 0], group)[0], rivals.shadow(home, shadow, past[1, 0], group)[0]):
        assert copies.max() == 1
        assert (copies.sum(axis=1) >= 1).all()
        assert (copies.sum(axis=0) <= group.room).all()
    assert (shadow[np.arange(group.experts), home] == 1).all()


def even_loads(load: Any, copies: Any) -> list[Fraction]:
    shares = [Fraction(int(n), int(row.sum())) for n, row in zip(load, copies, strict=True)]
    return [sum((s * int(c) for s, c in zip(shares, column, strict=True)), Fraction()) for column in copies.T]


@given(case=cases())
@settings(max_examples=40, deadline=None)
def test_a_flexmoe_like_placement_is_that_of_plain_rounds(case: tuple[Group, Any, Any]) -> None:
    group, _, past = case
    home, load = at_home(group), past[0, 0]
    idle = np.zeros(group.experts, np.int64)
    start, _ = rivals.shadow(home, np.eye(group.ranks, dtype=np.int64)[home], idle, group)
    expected = start.copy()
    for _ in range(rivals.ROUNDS):
        now = even_loads(load, expected)
        each = [Fraction(int(n), int(row.sum())) for n, row in zip(load, expected, strict=True)]
        hot = max(range(group.experts), key=lambda e: (each[e], -e))
        replicated = [e for e in range(group.experts) if e != hot and expected[e].sum() > 1]
        if not replicated or max(now) == min(now):
            break
        cold, other = min(replicated, key=lambda e: (each[e], e)), expected.copy()
        for node in range(group.nodes):
            for rank in (r for r in range(group.ranks) if r // group.per_node == node):
                if other[cold, rank] and home[cold] != rank and not other[hot, rank]:
                    other[cold, rank], other[hot, rank] = 0, 1
                    break
        if max(even_loads(load, other)) > max(now):
            break
        expected = other

    found, _ = rivals.shadow(home, start, load, group)

    assert np.array_equal(found, expected)
    assert max(even_loads(load, found)) <= max(even_loads(load, start))


def test_a_laer_like_placement_copies_by_load_and_spreads_over_nodes() -> None:
    """Two nodes of two ranks with two experts and a slot each: the four copies more go to the heaviest."""
    group = Group(4, 2, 8, 1)

    copies, _ = rivals.lay_out(np.array([800, 400, 10, 10, 10, 10, 10, 10]), group)

    assert copies.sum(axis=1).tolist() == [4, 2, 1, 1, 1, 1, 1, 1]
    assert copies[1].reshape(2, 2).sum(axis=1).tolist() == [1, 1]


def test_near_splits_keep_tokens_on_their_node_where_a_copy_is() -> None:
    group = Group(4, 2, 2, 4)
    resident = np.array([[1, 1, 1, 0], [0, 0, 0, 1]], bool)

    quota = rivals.split_near(np.array([[9, 2], [4, 2], [5, 2], [6, 2]]), resident, group)

    assert quota.tolist() == [[7, 6, 11, 0], [0, 0, 0, 8]]


# Planner time


def test_planners_take_less_than_five_milliseconds_by_the_formula() -> None:
    """128 experts, 64 GPUs: per layer and micro-step; what is planned once a step is shared by 12 micro-steps."""
    found = generate(PRESETS["ep64"], 2, 4, 64, 128, 8, 2, drawn(1))
    counts, past = found.group(0)
    for name in POLICIES:
        policy = POLICIES[name]
        plan = policy.plan(counts, Group(64, 8, 128, 2), past)
        for layer in range(2):
            once = Paces().duration(policy.whole, plan.effort[layer])
            each = max(Paces().duration(policy.each, one.effort) for one in plan.plans[layer])
            assert once / 12 + each < 5 * 10**9


def test_the_time_of_a_planner_is_a_line() -> None:
    paces = Paces(eplb=Pace(7, 3))

    assert [paces.duration("eplb", effort) for effort in (0, 1, 10)] == [7, 10, 37]
    assert paces.duration("", 10) == 0


@pytest.mark.benchmark
def test_planners_take_less_than_five_milliseconds() -> None:
    found = generate(PRESETS["ep64"], 4, 12, 64, 128, 8, 2, drawn(1))
    counts, past = found.group(0)
    for name in POLICIES:
        POLICIES[name].plan(counts[:1], Group(64, 8, 128, 2), past[:, :1])
        begin = time.perf_counter()
        POLICIES[name].plan(counts, Group(64, 8, 128, 2), past)
        assert (time.perf_counter() - begin) / 48 < 5e-3


# Routing


@pytest.mark.parametrize(("preset", "static", "previous", "oracle"), [
    ("ep8_same_prompt", 1.70, 1.62, 1.60), ("ep16", 1.86, 1.52, 1.50), ("ep32", 2.20, 1.61, 1.57),
    ("ep64", 2.93, 1.59, 1.56), ("ep32_same_prompt", 3.75, 2.97, 2.54),
    ("mild_ep8", 1.31, 1.10, None), ("mild_ep16", 1.66, 1.10, None), ("mild_ep32", 2.11, 1.13, None),
    ("mild_ep64", 3.31, 1.16, None),
])  # fmt: skip
def test_presets_lie_in_their_bands(preset: str, static: float, previous: float, oracle: float | None) -> None:
    """Steps are alike, micro-steps are not: mean imbalance of a rank within 15 % of what each preset is meant to have;
    seed 0."""
    about = PRESETS[preset]
    found = generate(about, 6, 12, 64, 128, 8, 2, drawn(0))
    group = Group(about.ep, 8, 128, 2)

    assert found.similarity.min() > 0.98 - 0.002
    assert found.similarity.mean() > 0.98
    wanted = {"static": static, "eplb_previous": previous, "eplb_oracle": oracle, "foremoe": 1.02}
    for name, value in wanted.items():
        counts, past = found.group(0)
        plans = POLICIES[name].plan(counts, group, past).plans
        mean = np.mean([imbalance(plan.loads) for layer in plans for plan in layer])
        assert value is None or mean == pytest.approx(value, rel=0.15 if name != "foremoe" else 0.015)


SMALL = Synthetic(ep=4, sequences=3, prompts=6, responses=8, length=300, longest=900, drawn=16)


@given(
    same=st.booleans(),
    layers=st.integers(1, 3),
    micro=st.integers(1, 2),
    top=st.integers(1, 7),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_every_token_chooses_as_many_experts_and_sources_have_equal_shares(
    same: bool, layers: int, micro: int, top: int, seed: int
) -> None:
    about = replace(SMALL, same_prompt=same, sequences=2 if same else 3)
    found = generate(about, layers, micro, 8, 7, top, 1, drawn(seed))

    tokens = found.counts.sum(axis=-1)
    assert (tokens == top * found.tokens).all()
    assert (found.counts.min(), found.past.min()) >= (0, 0)
    parts = found.tokens.reshape(micro, 2, 4)
    assert (parts.max(axis=-1) - parts.min(axis=-1) <= 1).all()
    assert (found.whole >= found.counts.sum(axis=(1, 2))).all()
    assert found.past.shape == (1, layers, 7)
    # A token chooses an expert once: no expert has more tokens than there are.
    assert (found.whole * top <= found.whole.sum(axis=-1, keepdims=True) + 48 * top).all()


def test_more_layers_and_earlier_steps_leave_the_others_as_they_are() -> None:
    more, less = generate(SMALL, 3, 2, 8, 7, 2, 3, drawn(2)), generate(SMALL, 1, 2, 8, 7, 2, 1, drawn(2))

    assert np.array_equal(more.counts[:1], less.counts)
    assert np.array_equal(more.past[2:, :1], less.past)
    assert not np.array_equal(more.counts[0], more.counts[1])


@pytest.mark.parametrize("weights", [[1, 2, 3, 4, 5], [1e9, 1e9, 1, 2, 3], [1, 1, 1, 1, 1]])
def test_draws_are_those_without_replacement(weights: list[float]) -> None:
    """How often each expert is among the three of 40,000 tokens, against all orders in which three can be drawn; the
    second case is one in which most draws are of experts that the token has."""
    expected = np.zeros(5)
    for order in itertools.permutations(range(5), 3):
        chance, left = 1.0, sum(weights)
        for expert in order:
            chance *= weights[expert] / left
            left -= weights[expert]
        expected[list(order)] += chance

    found = routing.choose(np.array(weights, float), 40_000, 3, drawn(6))

    assert found.sum() == 3 * 40_000
    deviation = np.sqrt(40_000 * expected * np.maximum(1 - expected, 0)) + 1
    assert (np.abs(found - 40_000 * expected) < 4 * deviation).all()


@given(counts=st.lists(st.integers(0, 99), min_size=1, max_size=9), above=st.integers(0, 50), below=st.integers(1, 50))
@settings(deadline=None)
def test_scaled_counts_keep_their_sum(counts: list[int], above: int, below: int) -> None:
    found = routing._scaled(np.array(counts), above, below)

    assert found.sum() == sum(counts) * above // below
    assert all(abs(f - c * above / below) < 1 for f, c in zip(found.tolist(), counts, strict=True))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ep": 3}, "ep must divide the 8 GPUs, not 3"),
        ({"sequences": 0}, "must be 1 or more"),
        ({"same_prompt": True}, "responses, 8, must be a multiple of sequences, 3"),
        ({"prompts": 1}, "2 micro-steps of 2 EP groups take 12 sequences; a step has 1 prompts of 8 responses"),
        ({"prompt": 5}, "prompt must be from 0 to 4"),
        ({"drift": 1.5}, "drift must be from -1 to 1"),
        ({"length": 901}, "length must be from 1 to longest, 900"),
        ({"longest": 10**9}, "longest must be at most 67108864, not 1000000000"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        generate(replace(SMALL, **wrong), 1, 2, 8, 7, 2, 1, drawn(0))
    with pytest.raises(InputError, match="top must be from 1 to the 7 experts, not 8"):
        generate(SMALL, 1, 2, 8, 7, 8, 1, drawn(0))
