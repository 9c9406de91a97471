"""MoE rebalance, the system: exchanges and durations against plain loops, weights that come in time and late, spans and
tables that say the same."""

import heapq
import itertools
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from simcore.models.moe_rebalance import measures, records
from simcore.models.moe_rebalance.chunks import Chunk, Frame, Load, Visit
from simcore.models.moe_rebalance.planning import served
from simcore.models.moe_rebalance.program import MoeRebalance, Params
from simcore.models.moe_rebalance.routing import Synthetic
from simcore.models.moe_rebalance.timing import Exchange, Rates
from simcore.models.moe_rebalance.transfers import Paths, Speeds, Transfers, spread

from simcore import COMPUTE, DELAY, InputError, run
from simcore.fabric import Fabric
from simcore.hardware import Host, LinkSpec, Network
from simcore.scenario import fingerprint
from simcore.shapes import RailOptimised
from simcore.simulation import Simulation
from simcore.source import bundle
from simcore.topology import Topology

KEY = "workloads.0.params."
SMALL = {
    "machine.nodes": 2, "machine.gpus": 4, KEY + "gpus": 8, KEY + "layers": 3, KEY + "micro": 2, KEY + "tensor": 2,
    KEY + "tokens": 512, KEY + "history": 1, KEY + "preset": "",
    KEY + "routing": {"ep": 8, "sequences": 4, "prompts": 16, "responses": 4, "drawn": 32},
}  # fmt: skip
JOB = "moe_rebalance"


def step(**changes: Any) -> Any:
    """Return the run of a small step with some parameters changed."""
    return run(JOB, {**SMALL, **{KEY + name.replace("__", "."): value for name, value in changes.items()}})


def columns(result: Any, table: str) -> dict[str, list[Any]]:
    return result.tables[table].to_pydict()  # type: ignore[no-any-return]


# ---- the exchange of tokens


@given(st.data())
@settings(max_examples=30)
def test_messages_of_an_exchange_are_those_of_plain_loops(data: st.DataObject) -> None:
    """A token goes once to every other node, to its own place there, and on inside for every expert."""
    local, nodes, top = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    ranks = local * nodes
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    tokens = rng.integers(0, 50, ranks)
    flows = np.array([rng.multinomial(top * count, np.full(ranks, 1 / ranks)) for count in tokens])
    exchange = Exchange(ranks, local)
    found = dict(zip(zip(*(each.tolist() for each in exchange.pairs), strict=True),
        exchange.sizes(flows, tokens, top, 10).tolist(), strict=True))  # fmt: skip

    expected: dict[tuple[int, int], int] = {}
    for a in range(ranks):
        for b in range(ranks):
            if a == b:
                continue
            if a // local == b // local:
                expected[a, b] = 10 * sum(int(flows[d, b]) for d in range(ranks) if d % local == a % local)
            elif a % local == b % local:
                choices = sum(int(flows[a, r]) for r in range(ranks) if r // local == b // local)
                share = 1 - Fraction(choices, max(1, int(tokens[a]) * top))
                expected[a, b] = 10 * min(choices, round(float(int(tokens[a]) * (1 - share**top))))
    assert found == expected


def test_the_way_back_takes_as_long_as_the_way_there() -> None:
    layers = columns(step(policy="static", transfers__path="gpu"), "layers")

    assert layers["dispatch_ps"] == layers["combine_ps"]
    assert min(layers["dispatch_ps"]) > 0


def test_stages_of_a_layer_last_as_formulas_say() -> None:
    """Qwen3-30B-A3B on H800 (989.4 TFLOP/s, 3.35 TB/s) at half the peak, and 0.55 of it; NVLink at 160 GB/s."""
    result = step(policy="static", transfers__path="gpu", tensor=4)
    layers, counts = columns(result, "layers"), 512 * 8 * 8
    tokens = [row for row in layers["tokens"] if row]

    assert sum(tokens) / len(tokens) == pytest.approx(counts, rel=0.3)
    for row, total in enumerate(layers["tokens"]):
        if layers["kind"][row] == "forward" and layers["most"][row] * 8 > total:
            most = layers["most"][row]
            # Sixteen experts a rank, all of which have tokens here or nearly so.
            least = 6 * 2048 * 768 * (most + 12 * 160) / (0.55 * 989.4e12) * 1e12
            sorting = 6 * most * 4096 / 3.35e12 * 1e12
            assert least * 0.9 < layers["experts_ps"][row] - sorting < least * 1.5


def test_back_takes_three_times_the_computation_and_twice_the_exchange() -> None:
    layers = columns(step(policy="static", transfers__path="gpu"), "layers")
    rows = range(len(layers["stage"]))
    place = {(layers["stage"][i], layers["kind"][i], layers["micro"][i], layers["layer"][i]): i for i in rows}

    for (stage, kind, micro, layer), back in place.items():
        if kind == "backward":
            there = place[stage, "forward", micro, layer]
            for name, times in (("attention_ps", 3), ("experts_ps", 3), ("dispatch_ps", 2), ("tensor_ps", 2)):
                assert layers[name][back] == pytest.approx(times * layers[name][there], rel=1e-6)


# ---- weights of replicas


def cluster() -> tuple[Simulation, Fabric, list[int]]:
    """Return two nodes of two GPUs, and where their hosts stand in schedules; links of 1 B/ps inside, 1/2 between
    nodes, 1/4 to hosts."""
    simulation = Simulation()
    rails = RailOptimised(spines=1, cross_rail="spines")
    topology = Topology(
        "switch", 4, LinkSpec(10**12, 0), nodes=2, network=Network(LinkSpec(5 * 10**11, 0), rails),
        host=Host(LinkSpec(25 * 10**10, 0), 10**15),
    )  # fmt: skip
    fabric = Fabric(simulation, topology, "fair", None, range(4))
    return simulation, fabric, [-1 - (fabric.host_of(rank) or 0) for rank in range(4)]


def chunk(visits: list[Visit], ahead: list[Visit], **more: Any) -> Any:
    """Return what is told of a chunk of a group of four ranks: exchanges of nothing, weights of 1000 B."""
    simulation, fabric, _ = cluster()
    made = Chunk(
        Frame(Exchange(4, 2), 1), visits, ahead, tensor_bytes=0, weights=1000, gradients=4000,
        **{"buffers": 2, "loaded": 0} | more,
    )  # fmt: skip
    ended = fabric.play(made.schedule, range(4), "chunk", timed=True)
    simulation.run(ended)
    return made.told(0, ended.value[1])


def rows_one_by_one(visits: list[Visit], weights: int, gradients: int) -> list[tuple[Any, ...]]:
    """Return the rows of a chunk whose weights come at once (buffers for all): rank, peer, size, duration, stream, and
    which rows each is after."""
    src, dst = Exchange(4, 2).pairs
    rows: list[tuple[Any, ...]] = []
    gates, experts = [], []
    for each in visits:
        gates.append(len(rows))
        rows.append((0, 0, 0, 0, DELAY, []))
        for kind in ("forward", "backward")[: 1 + (each.kind == "backward")]:
            stages: list[tuple[str, Any]] = [("attention", each.load.attention), ("tensor", None),
                ("dispatch", (src, dst)), ("experts", each.load.experts), ("combine", (dst, src))]  # fmt: skip
            for name, what in stages if kind == "forward" else stages[::-1]:
                before, first = len(rows) - 1, len(rows)
                if name in ("attention", "experts"):
                    rows += [(rank, rank, 0, (1 + (kind == "backward")) * int(took), COMPUTE, [before])
                             for rank, took in enumerate(what)]  # fmt: skip
                elif what:
                    ends = what if kind == "forward" else what[::-1]
                    rows += [(int(a), int(b), int(size), 0, COMPUTE, [before])
                             for a, b, size in zip(*ends, each.load.sizes, strict=True)]  # fmt: skip
                rows.append((0, 0, 0, 0, DELAY, list(range(first, len(rows))) or [before]))
                if name == "experts":
                    last = len(rows) - 1
        experts.append(last)
    plans = {}
    for index, each in enumerate(visits):
        if each.planned:
            plans[index] = len(rows)
            rows.append((0, 0, 0, each.planned, DELAY, []))
    for index, each in enumerate(visits):
        rows += [(a, b, gradients, 0, COMPUTE, [experts[index]]) for a, b in each.gradients]
    for index, each in enumerate(visits):
        plan = [plans[index]] if index in plans else []
        come = list(range(len(rows), len(rows) + len(each.weights)))
        rows += [(a, b, weights, 0, COMPUTE, plan) for a, b in each.weights]
        rows[gates[index]] = (0, 0, 0, 0, DELAY, [*([gates[index] - 1] if index else []), *plan, *come])
    return rows


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2), st.integers(0, 2), st.sampled_from([0, 7])), min_size=1,
    max_size=4), st.integers(0, 4))  # fmt: skip
def test_rows_of_a_chunk_are_those_of_plain_loops(drawn: list[Any], forward: int) -> None:
    visits = []
    for index, (took, come, go, planned) in enumerate(drawn):
        kind = "forward" if index < forward else "backward"
        load = Load(np.arange(4) + took, np.arange(4) * took, np.arange(8) * took)
        gradients = [(1, 0), (3, 1)][:go] if kind == "backward" else []
        visits.append(Visit(kind, load, [(0, 1), (2, 3)][:come], gradients, planned))
    made = Chunk(Frame(Exchange(4, 2), 1), visits, [], buffers=9, loaded=0, tensor_bytes=5, weights=11, gradients=13)
    schedule, begin = made.schedule, made.schedule.after_begin.tolist()
    stream = schedule.stream
    assert stream is not None
    columns = (schedule.rank, schedule.peer, schedule.size, schedule.duration, stream)
    after = [schedule.after[a:b].tolist() for a, b in itertools.pairwise(begin)]

    found = [(*row, rest) for *row, rest in zip(*(each.tolist() for each in columns), after, strict=True)]
    assert found == rows_one_by_one(visits, 11, 13)


def visit(experts: int, weights: list[tuple[int, int]], kind: Any = "forward", **more: Any) -> Visit:
    load = Load(np.full(4, 100), np.array([experts, 1, 1, 1]), np.zeros(8, np.int64))
    return Visit(kind, load, weights, more.get("gradients", []), more.get("planned", 0))


def test_weights_come_while_the_layer_before_is_computed() -> None:
    told = chunk([visit(2000, []), visit(10, [(0, 1)]), visit(10, [(0, 2)])], [])

    # 1000 B at once, and for the third layer 2000 ps from when the experts of the first have ended.
    assert told.loaded.tolist()[1:] == [1000, 2100 + 2000]
    assert told.before.tolist() == [0, 2100, 2210]
    assert told.ended.tolist() == [2100, 2210, 4100 + 110]


def test_one_buffer_hides_nothing() -> None:
    told = chunk([visit(2000, []), visit(10, [(0, 1)])], [], buffers=1)

    assert told.loaded[1] == 2100 + 1000
    assert told.ended.tolist() == [2100, 3100 + 110]


def test_copies_of_one_expert_leave_one_gpu_one_after_another_but_hosts_at_once() -> None:
    _, _, hosts = cluster()
    targets = [1, 2, 3]
    by_gpu = chunk([visit(0, [(0, each) for each in targets])], [])
    by_host = chunk([visit(0, [(hosts[each], each) for each in targets])], [])

    # To the other node: two share the rail of GPU 0 where they leave it.
    assert by_gpu.loaded[0] == 4000
    assert by_host.loaded[0] == 4000
    assert chunk([visit(0, [(0, 2)])], []).loaded[0] == 2000
    assert chunk([visit(0, [(hosts[2], 2)])], []).loaded[0] == 4000


def test_a_plan_that_is_late_is_waited_for_and_its_weights_after_it() -> None:
    told = chunk([visit(10, [(0, 1)], planned=500)], [])

    assert told.planned[0] == 500
    assert told.loaded[0] == 1500
    assert told.ended[0] == 1500 + 110


def test_gradients_go_home_and_hold_the_buffer_meanwhile() -> None:
    there = [visit(10, []), visit(10, []), visit(10, [])]
    back = [visit(10, [], "backward", gradients=[(1, 0)]), visit(10, [], "backward"), visit(10, [(0, 1)], "backward")]
    told = chunk(there + back, [])

    experts = told.stages[3][1][1]
    assert told.home == experts + 4000
    assert told.loaded[5] == told.home + 1000


def test_the_next_chunk_finds_its_first_weights_there() -> None:
    told = chunk([visit(10, []), visit(10, [])], [visit(10, [(0, 1)])])

    assert told.tail == 110 + 1000
    assert told.end == told.tail
    assert chunk([visit(10, [(0, 1)])], [], loaded=1).ended[0] == 110


SPEEDS = Speeds(near=10, far=30, host=20, memory=1)


def test_dual_takes_the_host_while_that_is_in_time_and_then_whichever_ends_first() -> None:
    hosts = [-9, -10, -11, -12]
    moves = np.array([[0, 0, 1], [1, 2, 1], [2, 0, 1]])

    def sources(about: Transfers, window: int, stage: Any = "recompute") -> list[int]:
        paths = Paths(about, 4, 2, hosts, SPEEDS)
        return [source for source, _ in paths.choose(paths.ways(moves, stage), window).messages]

    assert sources(Transfers("dual"), 60) == [-10, -10, -10]
    assert sources(Transfers("dual"), 40) == [-10, -10, 0]
    # At once: 10 near; 20 from the host before 30 from afar; near again, 20.
    assert sources(Transfers("dual"), 0) == [0, -10, 0]
    assert sources(Transfers("gpu"), 60) == [0, 2, 0]
    assert sources(Transfers("cpu"), 0) == [-10, -10, -10]
    assert sources(Transfers("cpu", copies="home"), 0) == [-10, -11, -10]
    assert sources(Transfers("split"), 0, "update") == [0, 2, 0]
    assert sources(Transfers("split"), 0) == [-10, -10, -10]


def plainly(
    moves: list[Any], host_of: Any, nodes_of: Any, path: str, local: bool, window: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Return what `assign` does, by dictionaries of links: messages, and when they end."""
    busy, found, ended = dict[tuple[str, int], int](), [], []

    def ends(way: dict[tuple[str, int], int]) -> int:
        return max(busy.get(link, 0) + cost for link, cost in way.items())

    for _, source, target in moves:
        near = nodes_of(source) == nodes_of(target)
        way = {("host in", target): SPEEDS.host, ("memory", nodes_of(target)): SPEEDS.memory}
        if not (near or local):
            way = {("far in", target): SPEEDS.far, ("far out", source): SPEEDS.far,
                   ("memory", nodes_of(source)): SPEEDS.memory}  # fmt: skip
        message = (host_of(target if near or local else source), target)
        name, cost = ("near", SPEEDS.near) if near else ("far", SPEEDS.far)
        direct = {(f"{name} out", source): cost, (f"{name} in", target): cost}
        if path == "gpu" or (path == "dual" and ends(way) > window and ends(way) > ends(direct)):
            way, message = direct, (source, target)
        ended.append(ends(way))
        for link, cost in way.items():
            busy[link] = busy.get(link, 0) + cost
        found.append(message)
    return found, ended


@given(
    st.lists(st.tuples(st.just(0), st.integers(0, 5), st.integers(0, 5)), max_size=20),
    st.sampled_from(["dual", "cpu", "gpu"]),
    st.booleans(),
    st.integers(0, 90),
)
def test_paths_are_those_of_a_plain_choice(moves: list[Any], path: Any, everywhere: bool, window: int) -> None:
    moves = [each for each in moves if each[1] != each[2]]
    hosts = [-1 - each for each in range(6)]
    paths = Paths(Transfers(path, copies="everywhere" if everywhere else "home"), 6, 2, hosts, SPEEDS)
    found = paths.choose(paths.ways(np.array(moves, np.int64).reshape(-1, 3), "update"), window)

    messages, ends = plainly(moves, hosts.__getitem__, lambda rank: rank // 2, path, everywhere, window)
    assert [tuple(each) for each in found.messages.tolist()] == messages
    assert found.ends.tolist() == ends
    assert found.latest == max(ends, default=0)


@given(st.data())
@settings(max_examples=40)
def test_without_fan_out_no_two_transfers_share_a_source_where_that_can_be(data: st.DataObject) -> None:
    """As few transfers from the busiest source as any choice of sources allows; near ones stay near, far ones far."""
    per_node, nodes = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 3))
    ranks = per_node * nodes
    rank = st.integers(0, ranks - 1)
    ends = data.draw(st.lists(st.tuples(rank, rank).filter(lambda each: each[0] != each[1]), min_size=1, max_size=12))
    found = spread(np.array(ends), ranks, per_node).tolist()
    may = [
        [
            other != target and (other // per_node == target // per_node) == (source // per_node == target // per_node)
            for other in range(ranks)
        ]
        for source, target in ends
    ]
    least = next(
        room for room in itertools.count(1)
        if (maximum_bipartite_matching(csr_matrix(np.repeat(may, room, axis=1)), "column") >= 0).all()
    )  # fmt: skip

    assert [target for _, target in found] == [target for _, target in ends]
    assert all(row[source] for row, (source, _) in zip(may, found, strict=True))
    assert max(Counter(source for source, _ in found).values()) == least

    moves = np.array([(0, *each) for each in ends])
    hosts = [-1 - each // per_node for each in range(ranks)]
    for about in (Transfers("gpu", fan_out=False), Transfers("dual", fan_out=False, copies="home")):
        paths = Paths(about, ranks, per_node, hosts, SPEEDS)
        chosen = paths.choose(paths.ways(moves, "update"), 25).messages.tolist()
        used = Counter(source for source, _ in chosen if source >= 0)
        assert max(used.values(), default=0) <= least
        assert all(hosts[target] == source for source, target in chosen if source < 0)


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 5))
def test_threads_take_jobs_in_order(durations: list[int], threads: int) -> None:
    free = [0] * threads
    expected = []
    for duration in durations:
        first = min(range(threads), key=free.__getitem__)
        free[first] += duration
        expected.append(free[first])

    assert served(durations, threads) == expected
    assert heapq.nsmallest(1, served(durations, threads, 7)) == heapq.nsmallest(1, [each + 7 for each in expected])


# ---- whole steps


def test_weights_from_hosts_load_no_link_of_the_tokens() -> None:
    """What GPUs send each other in recompute: the exchange alone, or the exchange and the weights."""
    found, weights = {}, {}
    for path in ("cpu", "gpu"):
        result = step(policy="foremoe_adjust", transfers={"path": path, "drop": False})
        moved, layers = columns(result, "transfers"), columns(result, "layers")
        rows = zip(moved["src"], moved["dst"], moved["what"], moved["size_bytes"], strict=True)
        found[path] = sum(size for src, dst, what, size in rows if what == "recompute" and max(src, dst) < 8)
        kinds = zip(layers["stage"], layers["from_hosts"], layers["from_near"], layers["from_far"], strict=True)
        weights[path] = [
            sum(row) for row in zip(*(each for stage, *each in kinds if stage == "recompute"), strict=True)
        ]

    hosts, near, far = weights["gpu"]
    assert hosts == 0 < near < near + far == weights["cpu"][0]
    assert weights["cpu"][1:] == [0, 0]
    assert found["gpu"] - found["cpu"] == (near + far) * 3 * 2048 * 768 * 2


@pytest.mark.parametrize("policy", ["static", "foremoe_adjust", "ideal"])
def test_tables_and_metrics_say_the_same(policy: str) -> None:
    result = step(policy=policy, rollout="2 ms", mini_batches=2)
    own, layers, stages = result.metrics["jobs"][JOB], columns(result, "layers"), columns(result, "stages")

    waits = sum(layers["weights_ps"])
    assert waits == sum(own["exposed"][f"{name}_ps"] for name in ("recompute", "forward", "backward"))
    assert own["step"]["rollout_ps"] == 2 * 10**9
    rows = zip(stages["stage"], stages["begin_ps"], stages["end_ps"], strict=True)
    update = [end - begin for name, begin, end in rows if name == "update"]
    assert own["step"]["update_ps"] == sum(update)
    assert len(update) == 2
    uneven = [8 * a / b for a, b, name in zip(layers["most"], layers["tokens"], layers["stage"], strict=True)
              if name == "recompute"]  # fmt: skip
    assert own["imbalance"]["mean"] == pytest.approx(np.mean(uneven))
    assert own["imbalance"]["max"] == pytest.approx(max(uneven))
    spans = columns(result, "spans")
    waited = sum(t1 - t0 for t0, t1, why, where in
        zip(spans["t0_ps"], spans["t1_ps"], spans["reason"], spans["location"], strict=True)
        if why == "weights of experts" and where == "rank0")  # fmt: skip
    assert waited >= waits


def test_a_plan_costs_no_more_than_static_and_what_it_exposes() -> None:
    """A plan is never worse than static placement by more than what it lets ranks wait for."""
    planned, static = (step(policy=name).metrics for name in ("foremoe_adjust", "static"))
    a, b = (each["jobs"][JOB] for each in (planned, static))
    exposed = sum(a["exposed"].values())

    assert a["step"]["recompute_ps"] <= b["step"]["recompute_ps"] + exposed


def test_late_planners_are_waited_for_and_no_others() -> None:
    late = step(policy="foremoe_adjust", planner={"threads": 1, "slower": 1000}).metrics["jobs"][JOB]
    soon = step(policy="foremoe_adjust", planner={"threads": 1, "late": False}).metrics["jobs"][JOB]

    assert late["exposed"]["plan_ps"] > 0 == soon["exposed"]["plan_ps"]


def test_a_machine_without_hosts_is_refused_where_weights_come_from_them(tmp_path: Any) -> None:
    scenario = tmp_path / "bare.yaml"
    scenario.write_text(
        "machine: {node: hgx-h800, nodes: 1, sharing: fair}\n"
        "workloads: [{model: moe_rebalance, params: {gpus: 8, layers: 1, micro: 1}}]\n",
        encoding="utf-8",
    )

    with pytest.raises(InputError, match=r"the machine has no hosts; machine\.host"):
        run(str(scenario))
    for changes in ({"transfers.path": "gpu"}, {"policy": "static"}):
        assert run(str(scenario), {KEY + key: value for key, value in changes.items()}).metrics["makespan_ps"] > 0


# ---- recorded routing

RECORDED = {
    "machine.nodes": 2, KEY + "trace": "moe_routing/routing.parquet", KEY + "gpus": 16, KEY + "micro": 8,
    KEY + "tensor": 2, KEY + "shape": {"hidden": 64, "width": 32, "experts": 32, "top": 4},
}  # fmt: skip


def test_a_step_of_recorded_routing_has_the_tokens_and_plans_of_the_file() -> None:
    result = run(JOB, {**RECORDED, KEY + "routing": {"ep": 8}})
    layers = columns(result, "layers")
    found = records.read(bundle("traces") / "moe_routing" / "routing.parquet", ep=8)

    rows = zip(*(layers[name] for name in ("stage", "kind", "group", "layer", "micro", "tokens", "most")), strict=True)
    for _, _, group, layer, micro, tokens, most in rows:
        counts, _ = found.group(group)
        assert tokens == counts[layer, micro].sum()
        assert most >= -(-tokens // 8)
    assert len(layers["stage"]) == 2 * 4 * 8 * 3
    for policy, mean in (("static", 1.29), ("foremoe", 1.02)):
        own = run(JOB, {**RECORDED, KEY + "policy": policy, "machine.node": "hgx-h800"}).metrics["jobs"][JOB]
        assert own["imbalance"]["mean"] == pytest.approx(mean, abs=0.005)


def test_what_is_set_beside_recorded_routing_and_not_read_is_named() -> None:
    more = {KEY + "routing": {"ep": 8, "sequences": 4}, KEY + "tokens": 9, KEY + "preset": "ep16"}
    warnings = run(JOB, {**RECORDED, **more, KEY + "micro": 2}).warnings

    assert "preset 'ep16' is set, but not read: the routing is that of the trace" in warnings
    for name in ("routing.sequences", "tokens"):
        assert any(f"params.{name}" in each and "read" in each for each in warnings)
    assert not any("routing.ep" in each for each in warnings)


def test_what_is_set_beside_a_preset_and_not_read_is_named() -> None:
    more = {
        KEY + "preset": "ep8_same_prompt",
        KEY + "tensor": 4,
        KEY + "routing": {"ep": 4, "sequences": 4, "prompts": 9},
    }
    warnings = run(JOB, {**SMALL, **more}).warnings

    for name in ("ep", "sequences", "prompts"):
        assert any(f"params.routing.{name}" in each and "read" in each for each in warnings)


def test_another_file_is_another_run_and_what_does_not_fit_is_refused(tmp_path: Any) -> None:
    counts = records.read(bundle("traces") / "moe_routing" / "routing.parquet", ep=8).counts.copy()
    keys = []
    for change in (0, 1):
        # A token of the first GPU chooses another expert.
        chosen = np.flatnonzero(counts[0, 0, 0] > 1)[0]
        counts[0, 0, 0, chosen] -= change
        counts[0, 0, 0, chosen - 1] += change
        records.write(tmp_path / "own.parquet", [counts], 4)
        asked = {**RECORDED, KEY + "trace": str(tmp_path / "own.parquet"), KEY + "history": 0}
        result = run(JOB, asked)
        keys.append((result.digest, fingerprint(result.scenario)))
    for before, after in zip(*keys, strict=True):
        assert before != after
    for changes, words in (
        ({KEY + "layers": 5}, "holds 4 layers, not 5"),
        ({KEY + "history": 4}, "holds 3 steps before the last"),
        ({KEY + "gpus": 32, "machine.nodes": 4}, "holds 16 sources"),
        ({KEY + "shape": {}}, "a token chose 4 experts, not 8"),
        ({KEY + "trace": "nowhere.parquet"}, "nowhere.parquet"),
    ):
        with pytest.raises(InputError, match=words):
            run(JOB, {**RECORDED, **changes})


# ---- what is reckoned from it


def test_headlines_are_metrics_and_late_plans_are_counted() -> None:
    late = step(policy="foremoe_adjust", planner={"threads": 1, "slower": 1000})
    soon = step(policy="foremoe_adjust", planner={"threads": 1, "late": False})

    for result, some in ((late, True), (soon, False)):
        found = result.metrics["jobs"][JOB]
        waits = [each for each in columns(result, "layers")["plan_ps"] if each]
        assert bool(waits) == some
        assert found["planner"]["late"] == len(waits)
        assert found["planner"]["latest_ps"] == max(waits, default=0)
        for name in MoeRebalance.headlines:
            group, key = name.split(".")
            assert key in found[group]


def test_shares_of_the_histogram_are_those_of_a_plain_count() -> None:
    result = step(policy="eplb_previous")
    layers = columns(result, "layers")
    uneven = [
        Fraction(most * ranks, tokens)
        for stage, most, ranks, tokens in zip(
            *(layers[name] for name in ("stage", "most", "ranks", "tokens")), strict=True
        )
        if stage == "recompute"
    ]
    edges = [Fraction(0), *(Fraction(str(edge)) for edge in measures.EDGES), Fraction(8)]
    counted = [sum(a <= each < b for each in uneven) / len(uneven) for a, b in itertools.pairwise(edges)]

    assert measures.shares(result) == pytest.approx(counted)
    assert sum(each > 0 for each in counted) > 1


@pytest.mark.parametrize("policy", ["static", "eplb_oracle_lp", "foremoe", "ideal"])
def test_real_tensors_give_what_one_rank_would(policy: str) -> None:
    routing = Synthetic(8, 4, prompts=16, responses=4, drawn=32)
    params = Params(
        policy=policy, preset="", routing=routing, gpus=8, layers=1, micro=2, tokens=64, tensor=2, payload="real"
    )
    (operands,) = MoeRebalance().plan(params, 8, 2, np.random.default_rng(4)).operands
    served = [each for rank in operands.served for each in rank]

    assert ((operands.plan.quota > 0).sum(axis=1) > 1).any() == (policy not in ("static", "ideal"))
    for found, plain in zip(served, (each for rank in operands.plain() for each in rank), strict=True):
        assert found.shape == plain.shape
        np.testing.assert_allclose(found, plain, atol=1e-9)
    assert step(policy=policy, payload="real").digest == step(policy=policy).digest


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"routing": Synthetic(ep=0)}, "ep must be 1 or more, not 0"),
        ({"routing": Synthetic(ep=-8)}, "ep must be 1 or more, not -8"),
        ({"routing": Synthetic(sequences=0)}, "sequences must be 1 or more, not 0"),
        ({"routing": Synthetic(length=0)}, "length must be 1 or more, not 0"),
        ({"tokens": 10**9}, "tokens must be at most 4194304, not 1000000000"),
        ({"context": 10**17}, "context must be at most 4194304, not 1"),
        ({"rates": Rates(half=-1000)}, "rates.half must be from 0 to 65536, not -1000"),
        ({"rates": Rates(permute=10**14)}, "rates.permute must be from 0 to 65536, not 100000000000000"),
        ({"transfers": Transfers(gradient=10**15)}, "transfers.gradient must be from 0 to 65536, not 1"),
        ({"rates": Rates(experts="5")}, "rates.experts is a share of the peak, at most 1, not 5"),
    ],
)
def test_what_makes_no_step_is_refused(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        MoeRebalance().world(Params(preset="", **asked))


@pytest.mark.parametrize(("policy", "reads"), [("static", False), ("eplb_oracle", False), ("foremoe_base", False),
    ("foremoe", True), ("ideal", False)])  # fmt: skip
def test_hosts_get_weights_only_where_a_policy_moves_some_within_the_step(policy: str, reads: bool) -> None:
    result = step(policy=policy, mini_batches=2, rollout="1 ms")
    what = set(columns(result, "transfers")["what"])

    assert ("refresh" in what) == ("measure" in what) == reads
    assert (result.metrics["jobs"][JOB]["step"]["refresh_ps"] > 0) == reads


def test_homes_move_with_their_groups_share_of_the_optimizer() -> None:
    """One size of a message for replicas, and one for homes: 2 B of weights and 12 B of the optimizer an element, which
    the EP groups share as they share its gradients."""
    for ep, groups in ((8, 1), (4, 2)):
        routing = {"ep": ep, "sequences": 4, "prompts": 16, "responses": 4, "drawn": 32}
        moved = columns(step(policy="eplb_previous", routing=routing), "transfers")
        sizes = {size for size, what in zip(moved["size_bytes"], moved["what"], strict=True) if what == "placement"}
        elements = 3 * 2048 * 768
        assert sizes == {2 * elements, (2 + 12 // groups) * elements}


def test_gradients_are_added_up_over_the_copies_of_every_weight() -> None:
    """Two EP groups of four, heads shared by two: rings, on which a rank sends what it has but for one of n parts."""
    routing = {"ep": 4, "sequences": 4, "prompts": 16, "responses": 4, "drawn": 32}
    moved = columns(step(policy="static", routing=routing), "transfers")
    elements = {4: 3 * 32 * 3 * 2048 * 768, 2: 3 * (2 * 2048 * 36 * 128 + 2048 * 128) // 2}

    for what, size in (("reduce_scatter", 4), ("all_gather", 2)):
        found = Counter[tuple[int, int]]()
        for name, src, dst, sent in zip(*(moved[key] for key in ("what", "src", "dst", "size_bytes")), strict=True):
            if name == what:
                found[src, dst] += sent
        experts = {(rank, (rank + 4) % 8): size * elements[4] // 2 for rank in range(8)}
        others = {(rank, (rank + 2) % 8): size * elements[2] * 3 // 4 for rank in range(8)}
        assert found == {**experts, **others}
