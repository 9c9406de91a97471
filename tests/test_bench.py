"""The standard workloads: the same numbers as their definition, the results of peers and of closed forms, the
command."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore.bench import cases, machines, measurements, messages, suite, twins
from simcore.bench.measurements import Policy
from simcore.bench.messages import Column, Messages
from simcore.cli import app
from simcore.errors import InputError
from simcore.fabric import Fabric
from simcore.simulation import Simulation

PS = 10**12
KEYS = [
    "workload", "policy", "gpus", "messages", "compile_s", "cpu_s", "wall_s", "peak_rss_bytes", "makespan_s",
    "mean_completion_s", "p99_completion_s", "messages_per_cpu_s", "flag_reads",
]  # fmt: skip


def digest(*columns: Column) -> str:
    found = hashlib.sha256()
    for column in columns:
        found.update(column.astype("<i8").tobytes())
    return found.hexdigest()[:16]


def of(listed: Messages) -> tuple[Column, ...]:
    return listed.time, listed.src, listed.dst, listed.size


# ---- the lists of messages --------------------------------------------------------------------------------------


def test_the_generated_numbers_are_those_of_the_definition() -> None:
    """The digests are of the columns that the defining program printed."""
    w3 = [messages.permutation_and_incast(8, 10_000), messages.permutation_and_incast(32, 2_000)]

    assert digest(*of(messages.all_to_all(64))) == "2c564e31bfb5db9f"
    assert digest(*of(w3[0]), messages.spines(w3[0].src, w3[0].dst)) == "f4b16005e7a97cb0"
    assert digest(*of(w3[1]), messages.spines(w3[1].src, w3[1].dst)) == "c9f80a00b0c64a60"
    assert digest(*of(messages.stamped_writes(100_000))) == "0dfe76ad2b8a8984"


@pytest.mark.skipif("SIMCORE_REFERENCE_BENCH" not in os.environ, reason="the defining program is not here")
def test_the_generated_numbers_are_those_of_the_defining_program() -> None:
    path = Path(os.environ["SIMCORE_REFERENCE_BENCH"]) / "workloads.py"
    spec = importlib.util.spec_from_file_location("workloads", path)
    assert spec is not None
    assert spec.loader is not None
    reference: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    for nodes, count in ((8, 10_000), (32, 10_000), (128, 10_000), (3, 50)):
        rows = [row[1:6] for row in reference.w3(nodes, count)]
        mine = messages.permutation_and_incast(nodes, count)
        time, *others = (column.tolist() for column in (*of(mine), messages.spines(mine.src, mine.dst)))
        assert rows == list(zip((t // 1000 for t in time), *others, strict=True))
    for count in (10, 100_000):
        time_ps, peer = reference.w4(count)
        assert (digest(time_ps, peer)) == digest(*of(messages.stamped_writes(count))[:2])


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_w3_offers_the_load_that_was_asked_for(load: float) -> None:
    listed = messages.permutation_and_incast(8, 20_000, load)

    offered = listed.size.sum() / (listed.time[-1] / PS) / (64 * messages.NIC_BANDWIDTH)

    assert offered == pytest.approx(load, rel=0.05)
    assert (listed.src != listed.dst).all()
    assert listed.size.min() >= 2**16
    assert listed.size.max() <= 2**24


def test_w4_offers_the_load_that_was_asked_for() -> None:
    listed = messages.stamped_writes(70_000, 0.5)

    assert len(listed) * 128 / (listed.time[-1] / PS) / messages.GPU_BANDWIDTH == pytest.approx(0.5, rel=0.05)
    assert np.bincount(listed.src).tolist() == [10_000] * 7


def w3_csv(listed: Messages) -> str:
    columns = (listed.time // 1000, listed.src, listed.dst, listed.size, messages.spines(listed.src, listed.dst))
    rows = zip(range(len(listed)), *(column.tolist() for column in columns), strict=True)
    return "\n".join(["id,t_ns,src,dst,bytes,spine,kind", *(",".join(map(str, row)) + ",perm" for row in rows), ""])


def test_a_list_from_a_file_is_the_list_that_was_written(tmp_path: Path) -> None:
    (tmp_path / "w3.csv").write_text(w3_csv(messages.permutation_and_incast(8, 500)), encoding="utf-8")
    w4 = messages.stamped_writes(500)
    lines = [f"{time},{peer}\n" for time, peer in zip(w4.time.tolist(), w4.src.tolist(), strict=True)]
    (tmp_path / "w4.csv").write_text("t_ps,peer\r\n" + "".join(lines), encoding="utf-8")

    nodes, w3 = messages.read_w3(tmp_path / "w3.csv", None)

    assert nodes == 8
    assert digest(*of(w3)) == digest(*of(messages.permutation_and_incast(8, 500)))
    assert digest(*of(messages.read_w4(tmp_path / "w4.csv"))) == digest(*of(w4))


W3_HEAD = "id,t_ns,src,dst,bytes,spine,kind\n0,5,0,1,100,-1,perm\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: expected the columns id,t_ns,src,dst,bytes,spine,kind"),
        ("id,t_ns\n1,2\n", ":1: expected the columns id,t_ns,src,dst,bytes,spine,kind"),
        (W3_HEAD.split("\n")[0] + "\n", ":2: no messages; expected one line each"),
        (W3_HEAD + "1,6,0,1,100,-1\n", ":3: 6 values where 7 columns are"),
        (W3_HEAD + "1,6.5,0,1,100,-1,perm\n", ":3: t_ns '6.5' is not a whole number"),
        (W3_HEAD + "1,6,0,1,100,-1,burst\n", ":3: unknown kind 'burst'; allowed: perm, incast"),
        (W3_HEAD + "1,-6,0,1,100,-1,perm\n", ":3: t_ns -6 is negative"),
        (W3_HEAD + "1,9000000000000000,0,1,100,-1,perm\n", ":3: t_ns 9000000000000000 is too large"),
        (W3_HEAD + "1,6,0,1,0,-1,perm\n", ":3: a message of 0 bytes; expected 1 or more"),
        (W3_HEAD + "1,6,9,9,100,-1,perm\n", ":3: GPU 9 sends to itself; expected two GPUs"),
        (W3_HEAD + "1,6,0,64,100,-1,perm\n", ":3: dst 64 is none of the 64 GPUs of 8 nodes"),
        (W3_HEAD + "1,6,0,40,100,15,perm\n", ":3: spine 15, but the route from GPU 0 to GPU 40 has 2"),
        (W3_HEAD + "1,6,0,9,100,3,perm\n", ":3: spine 3, but the route from GPU 0 to GPU 9 has -1"),
    ],
)
def test_a_bad_list_is_named_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "w3.csv").write_text(text, encoding="utf-8")

    with pytest.raises(InputError) as error:
        messages.read_w3(tmp_path / "w3.csv", 8)

    assert str(error.value).startswith(f"{tmp_path / 'w3.csv'}{said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("7,7", ":3: peer 7 is none of 0 to 6; GPU 7 is the target"),
        ("-7,3", ":3: t_ps -7 is none of 0 to"),
        ("7;3", ":3: 1 values where 2 columns are"),
    ],
)
def test_a_bad_list_of_writes_is_named_with_its_line(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "w4.csv").write_text(f"t_ps,peer\n1,0\n{line}\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"w4\.csv:3: ") as error:
        messages.read_w4(tmp_path / "w4.csv")

    assert said in str(error.value)


def test_a_list_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read: no such file or directory$"):
        messages.read_w4(tmp_path / "nowhere.csv")


# ---- machines and schedules -------------------------------------------------------------------------------------


@given(st.integers(3, 9), st.data())
@settings(max_examples=30)
def test_routes_use_the_spine_that_the_list_names(nodes: int, data: st.DataObject) -> None:
    topology = machines.leaf_spine(nodes)
    src, dst = data.draw(st.permutations(range(8 * nodes)))[:2]
    path = [topology.links[index] for index in topology.route(src, dst)]
    (spine,) = messages.spines(np.array([src]), np.array([dst])).tolist()
    rates = [topology.servers[link.server].bandwidth // 10**9 for link in path]

    assert (path[0].tail, path[-1].head) == (f"gpu{src}", f"gpu{dst}")
    assert all(link.latency == 500_000 for link in path)
    if src // 8 == dst // 8:
        assert rates == [450, 450]
    elif src // 32 == dst // 32:
        assert rates == [50, 50]
    else:
        assert rates == [50, 100, 100, 50]
        assert path[1].head == path[2].tail
    assert (spine >= 0) == (len(path) == 4)


def test_pairs_with_one_spine_share_it_and_other_pairs_do_not() -> None:
    topology = machines.leaf_spine(8)
    chosen: dict[int, set[int]] = {}
    for dst in range(32, 64):
        (spine,) = messages.spines(np.array([0]), np.array([dst])).tolist()
        chosen.setdefault(spine, set()).add(topology.route(0, dst)[1])

    assert len(chosen) > 8
    assert all(len(links) == 1 for links in chosen.values())
    assert len(set.union(*chosen.values())) == len(chosen)


def test_the_ring_waits_for_its_own_send_and_for_what_it_receives() -> None:
    ring = cases.ring_all_reduce(4, 103)

    assert (len(ring), ring.size.tolist()) == (24, [25] * 24)
    assert ring.peer.tolist() == [1, 2, 3, 0] * 6
    assert np.diff(ring.after_begin).tolist() == [0] * 4 + [2] * 20
    for row in range(4, 24):
        own, received = ring.after[ring.after_begin[row] : ring.after_begin[row + 1]].tolist()
        assert own == row - 4
        assert ring.rank[own] == ring.rank[row]
        assert ring.peer[received] == ring.rank[row]
        assert received // 4 == row // 4 - 1


# ---- results ----------------------------------------------------------------------------------------------------

SIMGRID = {
    "W1": {8: 1.73111822222222e-05, 64: 0.00014780064},
    "W2": {8: 0.000274978915555556, 64: 0.00041960128},
    "W3": (0.017284654594344, 0.000433721732085),
}
"""Makespans in seconds of pure max-min sharing in SimGrid 4.1 (https://simgrid.org), driven by
benchmarks/simgrid_peer.cpp; of W3 (8 nodes, 10,000 messages) the mean completion too."""


@pytest.mark.parametrize("gpus", [8, 64])
def test_fair_all_to_all_is_that_of_simgrid(gpus: int) -> None:
    _, arrived, _, _ = measurements.simulate(cases.w1(gpus), "fair")

    assert arrived.max() / PS == pytest.approx(SIMGRID["W1"][gpus], rel=1e-8)  # type: ignore[index]


@pytest.mark.parametrize("gpus", [8, 64])
def test_fair_ring_is_that_of_simgrid_but_for_instants_that_are_integers(gpus: int) -> None:
    """A dependency makes an instant an integer, rounded up, and the ring has 2(N - 1) of them one after another."""
    _, arrived, _, _ = measurements.simulate(cases.w2(gpus), "fair")

    late = arrived.max() - SIMGRID["W2"][gpus] * PS  # type: ignore[index]

    assert -1e-3 < late < 2 * (gpus - 1)


def test_fair_leaf_spine_is_that_of_simgrid() -> None:
    issued, arrived, _, _ = measurements.simulate(cases.w3(8, messages.permutation_and_incast(8, 10_000)), "fair")

    assert arrived.max() / PS == pytest.approx(SIMGRID["W3"][0], rel=1e-8)  # type: ignore[index]
    assert (arrived - issued).mean() / PS == pytest.approx(SIMGRID["W3"][1], rel=1e-8)  # type: ignore[index]


def through_a_link(arrivals: list[int], size: int, bandwidth: int) -> list[int]:
    """Return when messages of one size leave a link that they reach in this order, by the rule of rounding."""
    begin, accepted, out = 0, 0, []
    for arrival in arrivals:
        if arrival >= begin - (-accepted * PS // bandwidth):
            begin, accepted = arrival, 0
        accepted += size
        out.append(begin - (-accepted * PS // bandwidth))
    return out


def closed_form(listed: Messages) -> list[int]:
    """Return when each stamped write of W4 arrives, stage by stage in whole numbers."""
    reached = []
    for peer in range(7):
        (rows,) = np.nonzero(listed.src == peer)
        left = through_a_link(listed.time[rows].tolist(), 128, 450 * 10**9)
        reached += [(at + 500_000, peer, row) for at, row in zip(left, rows.tolist(), strict=True)]
    reached.sort()
    arrived = [0] * len(listed)
    for at, (_, _, row) in zip(through_a_link([at for at, _, _ in reached], 128, 450 * 10**9), reached, strict=True):
        arrived[row] = at + 500_000
    return arrived


def test_stamped_writes_arrive_as_the_closed_form_says() -> None:
    listed = messages.stamped_writes(100_000)

    issued, arrived, _, _ = measurements.simulate(cases.w4(listed), "fifo")

    expected = sorted(zip(closed_form(listed), listed.time.tolist(), strict=True))
    assert sorted(zip(arrived.tolist(), issued.tolist(), strict=True)) == expected


def test_the_last_of_a_million_stamped_writes() -> None:
    _, arrived, _, _ = measurements.simulate(cases.w4(messages.stamped_writes(1_000_000)), "fifo")

    assert arrived.max() == 318_310_687


def test_the_poller_reads_until_all_flags_are_there() -> None:
    listed = messages.stamped_writes(1_000)
    case = cases.w4(listed)
    simulation = Simulation()
    poller: Any = case.start(simulation, Fabric(simulation, case.topology, "fifo", None, range(8)))

    simulation.run()

    arrived = closed_form(listed)
    flags = [max(at for at, peer in zip(arrived, listed.src.tolist(), strict=True) if peer == k) for k in range(7)]
    assert poller.value == sum(1 for read in range(10**4) if (read - 1) * 100_000 < max(flags))
    assert simulation.now == (poller.value - 1) * 100_000


# ---- twins ------------------------------------------------------------------------------------------------------

TWINS: dict[str, tuple[Callable[[], cases.Case], Callable[[], twins.Twin]]] = {
    "W1": (lambda: cases.w1(12), lambda: twins.listed(machines.star(12), messages.all_to_all(12))),
    "W2": (lambda: cases.w2(8), lambda: twins.ring_all_reduce(machines.star(8), 2**26)),
    "W3": (
        lambda: cases.w3(3, messages.permutation_and_incast(3, 400)),
        lambda: twins.listed(machines.leaf_spine(3), messages.permutation_and_incast(3, 400)),
    ),
    "W4": (
        lambda: cases.w4(messages.stamped_writes(700)),
        lambda: twins.listed(machines.star(8), messages.stamped_writes(700)),
    ),
    "closed-loop": (lambda: cases.closed_loop(machines.star(4), 200), lambda: twins.closed_loop(machines.star(4), 200)),
    "eidolons": (lambda: cases.eidolons(5, 400, "spin"), lambda: twins.eidolons(5, 400, "spin")),
}


@pytest.mark.parametrize("workload", TWINS)
def test_plain_simpy_ends_at_the_same_instant(workload: str) -> None:
    """Up to the rounding of fifo, under 1 ps a hop, of which a closed loop and a ring make a chain."""
    build, build_twin = TWINS[workload]
    case, twin = build(), build_twin()
    chain = {"W2": 2 * 7, "closed-loop": 50}.get(workload, 1)

    twin.run()
    _, arrived, _, _ = measurements.simulate(case, "fifo")

    assert twin.count == case.count == len(arrived)
    assert -1e-2 < arrived.max() - twin.last * PS < 4 * chain


@pytest.mark.parametrize("policy", ["spin", "monitor"])
def test_plain_simpy_reads_its_flags_as_often(policy: Any) -> None:
    """A seed for which no poll of the twin, in float seconds, meets a write to the picosecond."""
    twin = twins.eidolons(9, 1600, policy)

    twin.run()
    reads = measurements.simulate(cases.eidolons(9, 1600, policy), "fifo")[3]

    assert reads == twin.reads > 800


@pytest.mark.parametrize("policy", ["fair", "fifo"])
def test_injections_change_nothing_but_the_queues(policy: Policy) -> None:
    case = cases.injections(70, 700)

    issued, arrived, _, _ = measurements.simulate(case, policy)

    alone = -(-2 * 128 * PS // (450 * 10**9)) + 1_000_000 if policy == "fifo" else 128 * PS // (450 * 10**9) + 1_000_000
    assert len(arrived) == case.count == 770
    assert (arrived - issued).min() >= alone
    stamps = set(messages.stamped_writes(700, cases.INJECTED_LOAD).time.tolist())
    assert sorted(set(issued.tolist()) - stamps) == sorted(set(range(0, 70 * 3_500, 3_500)) - stamps)


# ---- the command ------------------------------------------------------------------------------------------------


def simcore(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "simcore.cli", "bench", *arguments], capture_output=True, text=True)


def test_the_command_prints_one_json_line() -> None:
    done = simcore("W4", "--messages", "700", "--json", "--twin")

    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert list(found)[: len(KEYS)] == KEYS
    assert (found["workload"], found["policy"], found["gpus"], found["messages"]) == ("W4", "fifo", 8, 700)
    assert found["makespan_s"] == max(closed_form(messages.stamped_writes(700))) / PS
    assert found["twin_makespan_s"] == pytest.approx(found["makespan_s"], abs=4e-12)
    assert found["twin_messages"] == 700
    assert found["ratio"] == pytest.approx(found["messages_per_cpu_s"] / found["twin_messages_per_cpu_s"])
    assert 0 < found["cpu_s"] < 60
    assert found["wall_s"] > 0
    assert found["peak_rss_bytes"] > 2**24


def test_the_command_prints_a_table_and_replays_a_list(tmp_path: Path) -> None:
    (tmp_path / "w3.csv").write_text(w3_csv(messages.permutation_and_incast(3, 50)), encoding="utf-8")

    done = simcore("w3", "--csv", str(tmp_path / "w3.csv"), "--nodes", "3", "--policy", "fifo")

    assert done.returncode == 0, done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(rows) == KEYS
    assert (rows["workload"], rows["gpus"], rows["messages"]) == ("W3", "24", "50")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["W5"], "unknown workload 'W5'; allowed: W1, W2, W3, W4, closed-loop, injections, eidolons"),
        (["W1", "--policy", "tcp"], "--policy: unknown policy 'tcp'; allowed: fair, fifo"),
        (["W1", "--nodes", "4"], "--nodes: W1 has no such option; it takes --gpus, --twin"),
        (["W3", "--gpus", "64"], "--gpus: W3 has no such option; it takes --nodes, --messages, --load, --csv, --twin"),
        (["W3", "--nodes", "2"], "--nodes: 2 is too few; W3 needs 3 or more"),
        (["W4", "--messages", "6"], "--messages: 6 is too few; W4 needs 7 or more"),
        (["W4", "--load", "nan"], "--load: nan is no offered load; expected a number above 0, e.g. 0.7"),
        (["W3", "--load", "-1"], "--load: -1.0 is no offered load; expected a number above 0, e.g. 0.7"),
        (["W3", "--csv", "x", "--load", "1"], "--csv: the list says which messages there are; leave"),
        (["closed-loop", "--gpus", "8", "--nodes", "8"], "--gpus: a star of GPUs; --nodes: nodes below leaves"),
        (["closed-loop", "--messages", "9"], "--messages: too few for 64 GPUs, each of which sends one or more"),
        (["injections", "--twin"], "--twin: injections has no such option; it takes --messages"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as error:
        app(["bench", *arguments], standalone_mode=False)

    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_bad_input_is_exit_code_2() -> None:
    done = simcore("W4", "--csv", "nowhere.csv")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nowhere.csv: cannot be read: no such file or directory\n"


@pytest.mark.parametrize("workload", ["W1", "W2", "W3", "W4", "closed-loop", "eidolons"])
def test_every_workload_is_measured_as_it_is_asked_for(workload: str) -> None:
    few: dict[str, dict[str, Any]] = {
        "W1": {"gpus": 5},
        "W2": {"gpus": 5},
        "W3": {"nodes": 3, "messages": 30},
        "W4": {"messages": 30},
        "closed-loop": {"gpus": 5, "messages": 40},
        "eidolons": {"gpus": 5, "messages": 40},
    }
    expected = {
        "W1": (5, 20),
        "W2": (5, 40),
        "W3": (24, 30),
        "W4": (8, 30),
        "closed-loop": (5, 40),
        "eidolons": (5, 40),
    }

    found = {p: suite.run(suite.Asked(workload, policy=p, twin=True, **few[workload])) for p in ("fair", "fifo")}

    for policy, each in found.items():
        assert list(each)[: len(KEYS)] == KEYS
        assert (each["policy"], each["gpus"], each["messages"]) == (policy, *expected[workload])
        assert each["twin_messages"] == each["messages"]
        assert 0 < each["mean_completion_s"] <= each["p99_completion_s"] <= each["makespan_s"]
    assert found["fair"]["twin_makespan_s"] == found["fifo"]["twin_makespan_s"]
