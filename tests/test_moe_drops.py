"""MoE rebalance, replicas that are not worth their wait: who serves instead, which are dropped, what a step gains."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from simcore.models.moe_rebalance.chunks import Chunk, Frame, Load, Visit
from simcore.models.moe_rebalance.drops import Serving, shared, unworthy
from simcore.models.moe_rebalance.loads import Loads
from simcore.models.moe_rebalance.placement import Group, Plan, StepPlan, check
from simcore.models.moe_rebalance.planned import Planned
from simcore.models.moe_rebalance.policies import POLICIES
from simcore.models.moe_rebalance.prefetch import Prefetch
from simcore.models.moe_rebalance.tensors import Operands
from simcore.models.moe_rebalance.timing import Exchange, Shape
from simcore.models.moe_rebalance.transfers import Paths, Speeds, Transfers

from simcore import run
from simcore.fabric import Fabric
from simcore.hardware import LinkSpec
from simcore.simulation import Simulation
from simcore.topology import Topology

KEY = "workloads.0.params."
JOB = "moe_rebalance"
RECORDED = "models/moe_rebalance/recorded.yaml"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 60))
def test_tokens_are_shared_as_if_one_after_another_went_to_the_least(loads: list[int], tokens: int) -> None:
    gains = [0] * len(loads)
    for _ in range(tokens):
        gains[min(range(len(loads)), key=lambda place: loads[place] + gains[place])] += 1

    assert shared(loads, tokens) == gains


@st.composite
def layers(draw: st.DrawFn) -> tuple[Group, Any, StepPlan]:
    """Return a group, counts [1, 1, R, E], and what a policy makes of them; or any replicas with any quotas."""
    ranks = draw(st.integers(2, 4))
    group = Group(ranks, draw(st.sampled_from([1, ranks])), 2 * ranks, 2)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    scale = draw(st.sampled_from([3, 40]))
    # Two choices a token: any counts that are even in each source.
    counts = 2 * np.floor(scale * rng.lognormal(0, 1.2, (1, 1, ranks, group.experts))).astype(np.int64)
    if draw(st.booleans()):
        return group, counts, POLICIES["foremoe_adjust"].plan(counts, group, counts[:, 0].sum(axis=1)[None])
    home = np.arange(group.experts) // 2
    resident = home[:, None] == np.arange(ranks)
    resident[rng.integers(group.experts, size=2 * ranks), np.repeat(np.arange(ranks), 2)] = True
    quota = np.array([
        rng.multinomial(total, here / here.sum())
        for total, here in zip(counts.sum(axis=(0, 1, 2)), resident, strict=True)
    ])  # fmt: skip
    experts, to = np.nonzero(resident & (home[:, None] != np.arange(ranks)))
    moves = np.stack([experts, home[experts], to], axis=1)
    none = np.zeros((0, 4), np.int64)
    return group, counts, StepPlan([[Plan(home, resident, quota, moves)]], counts, none, none, [])


def took(tokens: int, active: int) -> int:
    """Return how long experts take in the tests, ps."""
    return 7 * tokens + 90 * active


class Stub:
    """Durations of a layer."""

    def attention(self, tokens: int) -> int:
        return tokens

    def experts(self, tokens: int, active: int) -> int:
        return took(tokens, active)


def loads_of(group: Group, plan: StepPlan) -> tuple[Planned, Loads]:
    shape = Shape(hidden=1, width=1, experts=group.experts, top=2)
    planned = Planned.of(plan, group, shape)
    return planned, Loads(planned, Stub(), group, shape)  # type: ignore[arg-type]


def dropped_plainly(plan: Plan, gone: list[int]) -> Plan:
    """Return ``plan`` without some of its moves, token by token."""
    quota, resident = plan.quota.copy(), plan.resident.copy()
    for move in gone:
        expert, home, target = plan.moves[move].tolist()
        resident[expert, target] = False
        tokens, quota[expert, target] = int(quota[expert, target]), 0
        others = [home, *(rank for rank in np.flatnonzero(resident[expert]).tolist() if rank != home)]
        for _ in range(tokens):
            loads = quota.sum(axis=0)
            quota[expert, min(others, key=lambda rank: loads[rank])] += 1
    return Plan(plan.home, resident, quota, np.delete(plan.moves, gone, axis=0))


def longest(plan: Plan) -> int:
    active = (plan.quota > 0).sum(axis=0)
    return max(took(*each) for each in zip(plan.loads.tolist(), active.tolist(), strict=True))


def searched(plan: Plan, passes: int, waits: Any) -> tuple[int, list[int], tuple[int, int]]:
    """Return how long experts and waits take at best, which moves are dropped for it, and how long with all, with
    none."""
    candidates: list[tuple[int, list[int]]] = []
    gone: list[int] = []
    for _ in range(len(plan.moves) + 1):
        rest = [move for move in range(len(plan.moves)) if move not in gone]
        wait, last = waits(rest) if rest else (0, 0)
        candidates.append((passes * longest(dropped_plainly(plan, gone)) + wait, list(gone)))
        gone.append(last)
    best, gone = min(candidates, key=lambda each: (each[0], len(each[1])))
    return best, gone, (candidates[0][0], candidates[-1][0])


@given(layers(), st.sampled_from([0, 100, 700]), st.sampled_from(["dual", "cpu", "gpu"]), st.sampled_from([1, 4]))
@settings(max_examples=60, deadline=None)
def test_what_is_dropped_is_what_a_plain_search_drops(
    case: tuple[Group, Any, StepPlan], window: int, path: Any, passes: int
) -> None:
    """Always the replica that comes last; as many as make the layer shortest. So it is never longer than with all of
    them, nor than with none; the plan that is left is one, whose tokens are all served."""
    group, counts, step = case
    (((plan,),),) = [step.plans]
    assume(len(plan.moves) > 0)
    paths = Paths(Transfers(path), group.ranks, group.per_node, [-1 - each for each in range(group.ranks)],
        Speeds(near=150, far=400, host=260, memory=20))  # fmt: skip
    ways = paths.ways(plan.moves, "update")

    def waits(left: list[int]) -> tuple[int, int]:
        choice = paths.choose(ways.only(left), window)
        return max(0, choice.latest - window), left[max(range(len(left)), key=lambda one: (choice.ends[one], one))]

    planned, loads = loads_of(group, step)
    left = loads.without(0, 0, passes, waits)

    best, gone, ends = searched(plan, passes, waits)
    assert best <= min(ends)
    if left is None:
        assert gone == []
        return
    expected = dropped_plainly(plan, gone)
    check(expected, counts[0, 0], group)
    assert left.dropped == len(gone) > 0
    assert plan.moves[left.kept].tolist() == expected.moves.tolist()
    assert left.load.experts.tolist() == [
        took(*each) for each in zip(expected.loads.tolist(), (expected.quota > 0).sum(axis=0).tolist(), strict=True)
    ]
    assert left.uneven[:2] == [counts.sum(), expected.loads.max()]
    serving = Serving(plan.moves, planned.served[0][0], counts.sum(axis=(0, 1, 2)), plan.loads, planned.active[0, 0])
    for move in gone:
        serving.take_away(move)
    found = serving.plan(plan.home, counts.sum(axis=(0, 1, 2)), group.ranks)
    for name in ("quota", "resident", "moves"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@given(layers(), st.integers(0, 3), st.sampled_from([1, 2, 3]), st.sampled_from([0, 2]), st.sampled_from([0, 300]),
    st.sampled_from(["cpu", "gpu"]), st.integers(1, 40))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_the_update_counts_the_way_back_and_that_of_gradients(
    case: tuple[Group, Any, StepPlan], layer: int, buffers: int, gradient: int, window: int, path: Any, slow: int
) -> None:
    """Four layers, all alike. Weights come again on the way back but for the last layers, after the gradients of the
    layer that had their buffer are home, by GPU; both are hidden by the layers of the other buffers, thrice as long as
    there, and gradients by what their own layer has left to do, attention, twice as long."""
    group, counts, step = case
    (((plan,),),) = [step.plans]
    step = StepPlan([[plan]] * 4, np.repeat(counts, 4, axis=0), step.relocated, step.copied, step.effort)
    _, loads = loads_of(group, step)
    about = Transfers(path, buffers=buffers, gradient=gradient)
    speeds = Speeds(near=15 * slow, far=40 * slow, host=26 * slow, memory=2 * slow)
    paths = Paths(about, group.ranks, group.per_node, [-1 - each for each in range(group.ranks)], speeds)
    prefetch = Prefetch(about, paths, loads, 4)
    found = prefetch.weights("update", layer, 0, window, drops=True)

    attention = int(counts[0, 0].sum(axis=-1).max() // 2)
    least, rest = 3 * (attention + longest(plan)), 2 * attention
    direct = Paths(Transfers("gpu"), group.ranks, group.per_node, [], speeds)

    def home(moves: Any) -> int:
        return gradient * direct.choose(direct.ways(moves, "update"), 0).latest

    def waits(left: list[int]) -> tuple[int, int]:
        moves = plan.moves[left]
        choice = paths.choose(paths.ways(moves, "update"), window)
        total = max(0, choice.latest - window)
        if layer + buffers < 4:
            total += max(0, home(plan.moves) - rest + choice.latest - (buffers - 1) * least)
        if gradient:
            after = all_come if layer >= buffers else 0
            hidden = rest + min(buffers - 1, layer) * least
            total += max(0, home(moves) + after - hidden) - max(0, after - hidden)
        return total, left[max(range(len(left)), key=lambda one: (choice.ends[one], one))]

    all_come = paths.choose(paths.ways(plan.moves, "update"), window).latest
    late = all_come > window or home(plan.moves) > rest + min(buffers - 1, layer) * least
    _, gone, _ = searched(plan, 4, waits) if late else (0, [], (0, 0))
    kept = np.delete(plan.moves, gone, axis=0)
    assert found.tolist() == paths.choose(paths.ways(kept, "update"), window).messages.tolist()
    assert prefetch.uneven("update", layer, 0)[1] == len(gone)
    assert prefetch.gradients("update", layer, 0).tolist() == kept[:, :0:-1].tolist()
    assert prefetch.load("recompute", layer, 0) is loads.of(layer, 0)


def test_a_home_that_served_nothing_has_one_more_expert_when_tokens_come_back() -> None:
    serving = Serving(
        np.array([[0, 0, 1]]), np.array([5]), np.array([5, 2]), np.array([2, 5]), np.array([1, 1])
    )  # fmt: skip

    assert serving.take_away(0) == [1, 0]
    assert (serving.loads, serving.active) == ([7, 0], [2, 0])


def test_what_was_decided_stays() -> None:
    """Of the first layers of a micro-step weights come in the one before, and what is known then decides."""
    group, home = Group(2, 2, 4, 2), np.arange(4) // 2
    resident = home[:, None] == np.arange(2)
    resident[0, 1] = True
    plan = Plan(home, resident, np.array([[2, 2], [4, 0], [0, 4], [0, 4]]), np.array([[0, 0, 1]]))
    counts = np.full((1, 1, 2, 4), 2)
    none = np.zeros((0, 4), np.int64)
    paths = Paths(Transfers("gpu"), 2, 2, [], Speeds(near=1200, far=1200, host=0, memory=0))

    for first, kept in ((1200, 1), (0, 0)):
        _, loads = loads_of(group, StepPlan([[plan]], counts, none, none, []))
        prefetch = Prefetch(Transfers("gpu"), paths, loads, 1)
        for window in (first, 0, 1200):
            assert len(prefetch.weights("recompute", 0, 0, window, drops=True)) == kept


def alone(window: int, experts: Any, weights: Any) -> int:
    """Return when a layer ends that computes so, on four GPUs of a node with nothing else on the links, whose weights
    come meanwhile the layer before computes for ``window`` ps; links of 1 B/ps, weights of 1200 B."""
    simulation = Simulation()
    fabric = Fabric(simulation, Topology("switch", 4, LinkSpec(10**12, 0)), "fair", None, range(4))
    nothing = np.zeros(4, np.int64)
    exchange = Exchange(4, 4)
    sizes = np.zeros(len(exchange.pairs[0]), np.int64)
    visits = [
        Visit("forward", Load(nothing, np.full(4, window), sizes), [], [], 0),
        Visit("forward", Load(nothing, experts, sizes), weights, [], 0),
    ]
    made = Chunk(Frame(exchange, 1), visits, [], buffers=2, loaded=0, tensor_bytes=0, weights=1200, gradients=0)
    ended = fabric.play(made.schedule, range(4), "chunk", timed=True)
    simulation.run(ended)
    return int(made.told(0, ended.value[1]).end)


@given(st.lists(st.integers(1, 400), min_size=8, max_size=8), st.integers(1, 6000), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_layer_that_drops_is_never_later_than_with_all_replicas_nor_with_none(
    totals: list[int], window: int, hot: int
) -> None:
    """Where estimates are exact: all replicas come from one GPU, and nothing else is on the links."""
    group, home = Group(4, 4, 8, 2), np.arange(8) // 2
    totals[0] += 200 * hot
    quota = np.zeros((8, 4), np.int64)
    quota[np.arange(8), home] = totals
    moves = np.array([(expert, 0, to) for expert in (0, 1) for to in (1, 2, 3)])
    for expert, _, to in moves:
        quota[expert, to] = totals[expert] // 4
        quota[expert, 0] -= totals[expert] // 4
    resident = home[:, None] == np.arange(4)
    resident[moves[:, 0], moves[:, 2]] = True
    counts = np.zeros((1, 1, 4, 8), np.int64)
    counts[0, 0, 1] = totals
    counts[0, 0, 1, 7] += sum(totals) % 2
    quota[7, 3] += sum(totals) % 2
    plan = Plan(home, resident, quota, moves)
    none = np.zeros((0, 4), np.int64)
    _, loads = loads_of(group, StepPlan([[plan]], counts, none, none, []))
    paths = Paths(Transfers("gpu"), 4, 4, [], Speeds(near=1200, far=1200, host=0, memory=0))
    prefetch = Prefetch(Transfers("gpu"), paths, loads, 1)

    weights = prefetch.weights("recompute", 0, 0, window, drops=True)
    found = alone(window, prefetch.load("recompute", 0, 0).experts, weights)

    late = window < 6 * 1200
    assert late or prefetch.uneven("recompute", 0, 0)[1] == 0
    assert found <= alone(window, loads.of(0, 0).experts, moves[:, 1:])
    if late:
        at_home = dropped_plainly(plan, list(range(6)))
        active = (at_home.quota > 0).sum(axis=0)
        unmoved = [took(*each) for each in zip(at_home.loads.tolist(), active.tolist(), strict=True)]
        assert found <= alone(window, np.array(unmoved), [])


def test_real_tensors_give_the_same_where_replicas_are_dropped() -> None:
    """Outputs and gradients equal those of one rank that has all experts."""
    group = Group(4, 2, 8, 2)
    rng = np.random.default_rng(7)
    # Every token of a source chose two neighbours: counts that tokens can have made.
    counts = rng.integers(0, 5, (4, 4)).repeat(2, axis=1)
    counts[:, :2] += 20
    (plan,) = POLICIES["foremoe_adjust"].plan(counts[None, None], group, counts.sum(axis=0)[None, None]).plans[0]
    serving = Serving(
        plan.moves, plan.quota[plan.moves[:, 0], plan.moves[:, 2]], counts.sum(axis=0), plan.loads,
        (plan.quota > 0).sum(axis=0),
    )  # fmt: skip
    gone = unworthy(serving, len(plan.moves), 1, took, lambda left: (500 * len(left), left[-1]))
    assert len(gone) > 0
    without = dropped_plainly(plan, gone)
    drawn = Operands.draw(counts, 2, without, group, rng)

    for found, plain in zip(drawn.served, drawn.plain(), strict=True):
        for one, other in zip(found, plain, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)


# ---- whole steps


def rows(result: Any) -> list[dict[str, Any]]:
    return list(result.tables["layers"].to_pylist())


def test_few_tokens_a_gpu_are_not_slower_than_static_by_more_than_what_is_exposed() -> None:
    """72 tokens a GPU: weights take longer than what is computed. Without dropping replicas, training is 1.6 times as
    long as static."""
    found = {
        name: run(RECORDED, {KEY + "policy": policy, KEY + "transfers.drop": drop})
        for name, policy, drop in (("static", "static", True), ("waits", "foremoe", False), ("drops", "foremoe", True))
    }
    took = {name: sum(row["end_ps"] - row["begin_ps"] for row in rows(each)) for name, each in found.items()}
    exposed = sum(row["weights_ps"] + row["plan_ps"] for row in rows(found["drops"]))

    assert took["drops"] <= took["static"] + exposed
    assert took["waits"] > 1.5 * took["static"]
    assert {row["dropped"] for row in rows(found["waits"])} == {0}


@pytest.mark.parametrize("transfers", [{"path": "dual"}, {"path": "cpu", "copies": "home"}, {"path": "gpu"},
    {"path": "split", "buffers": 1}, {"path": "gpu", "fan_out": False, "gradient": 0}])  # fmt: skip
def test_both_ways_of_a_micro_step_do_without_the_same_replicas(transfers: dict[str, Any]) -> None:
    """Weights that come and what is dropped are together what is planned; tokens are all served."""
    changes = {KEY + "micro": 2, KEY + "layers": 3}
    all_rows, some_rows = (
        rows(run(RECORDED, {**changes, KEY + "transfers": {**transfers, "drop": drop}})) for drop in (False, True)
    )
    names, ways = ("group", "stage", "micro", "layer", "kind"), ("from_hosts", "from_near", "from_far")
    of, planned = ({tuple(row[name] for name in names): row for row in each} for each in (some_rows, all_rows))

    assert of.keys() == planned.keys()
    for (*place, kind), some in of.items():
        every, there = planned[*place, kind], of[*place, "forward"]
        assert every["tokens"] == some["tokens"]
        if kind == "forward":
            assert sum(some[way] for way in ways) + some["dropped"] == sum(every[way] for way in ways)
        else:
            assert some["dropped"] == there["dropped"]
            assert some["most"] == there["most"]
            assert some["gradients"] + (some["dropped"] if every["gradients"] else 0) == every["gradients"]
    metrics = run(RECORDED, {**changes, KEY + "transfers": transfers}).metrics["jobs"][JOB]["transfers"]
    assert metrics["dropped"] == sum(row["dropped"] for row in some_rows if row["kind"] == "forward") > 0


def test_a_layer_that_exposes_nothing_is_left_as_it_is() -> None:
    """With room and time enough only the first layer of each stage can be late."""
    result = run(JOB, {KEY + "layers": 3, KEY + "micro": 2, KEY + "gpus": 8, "machine.nodes": 1, KEY + "history": 1,
        KEY + "transfers.path": "cpu"})  # fmt: skip

    assert all(row["dropped"] == 0 for row in rows(result) if (row["micro"], row["layer"]) != (0, 0))
