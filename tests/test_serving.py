"""The serving system: arrivals, batching against a plain twin, folded iterations, and runs reckoned on paper."""

import os
import random
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.sparse_attention import layer, requests, serving
from simcore.models.sparse_attention.batching import Limits, Part, Request, System
from simcore.models.sparse_attention.folding import Calls, Folded
from simcore.models.sparse_attention.layer import Shape
from simcore.models.sparse_attention.requests import Arrivals, Lengths, Requests
from simcore.models.sparse_attention.timing import Rates
from test_workload import Given

from simcore import InputError, Rank, Result, read_scenario, registry, run, scenario

SECOND = 10**12
US = 10**6


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def columns(*rows: tuple[int, int, int]) -> Requests:
    return Requests(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))


# Arrivals


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    found = requests.make(Arrivals(requests=20_000, rate=50), rng())

    gaps = np.diff(found.arrival, prepend=0) / SECOND
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.03)
    assert found.input.mean() == pytest.approx(8192, rel=0.03)
    assert found.output.mean() == pytest.approx(256, rel=0.03)
    assert np.log(found.input).std() == pytest.approx(0.6, rel=0.03)


def test_bursts_come_together_at_the_same_rate() -> None:
    found = requests.make(Arrivals(kind="bursts", requests=20_002, rate=50, burst=4), rng())

    assert (found.arrival[:20_000].reshape(-1, 4) == found.arrival[:20_000:4, None]).all()
    assert len(found) == 20_002
    assert found.arrival[-1] / SECOND == pytest.approx(20_000 / 50, rel=0.05)


def test_what_is_drawn_depends_on_its_name_alone() -> None:
    """Another rate stretches the same gaps, another mean leaves arrivals and outputs, more requests the first ones."""
    one = requests.make(Arrivals(requests=100, rate=10), rng())
    faster = requests.make(Arrivals(requests=100, rate=20), rng())
    longer = requests.make(Arrivals(requests=100, rate=10, input=Lengths(16384)), rng())
    more = requests.make(Arrivals(requests=150, rate=10), rng())
    other = requests.make(Arrivals(requests=100, rate=10), rng(1))

    assert np.abs(one.arrival - 2 * faster.arrival).max() <= 2
    assert (one.input == faster.input).all()
    assert (one.arrival == longer.arrival).all()
    assert (one.output == longer.output).all()
    assert (np.abs(longer.input - 2 * one.input) <= 2).all()
    assert (more.arrival[:100] == one.arrival).all()
    assert (more.input[:100] == one.input).all()
    assert (more.output[:100] == one.output).all()
    assert (other.arrival != one.arrival).any()


def test_constant_lengths_and_the_longest() -> None:
    about = Arrivals(requests=500, input=Lengths(1000, kind="constant"), output=Lengths(100, 2.0, most=150))
    found = requests.make(about, rng())

    assert set(found.input) == {1000}
    assert found.output.min() >= 1
    assert found.output.max() == 150


def test_a_trace_is_read_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_ps,input,output\n5,10,2\n3,7,1\n")

    found = requests.make(Arrivals(kind="trace", trace=str(path)), rng())

    assert found.arrival.tolist() == [3, 5]
    assert found.input.tolist() == [7, 10]
    assert found.output.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("arrival,input,output\n", r"trace.csv:1: expected the line arrival_ps,input,output"),
        ("arrival_ps,input,output\n1,2,3\n1,0,3\n", r"trace.csv:3: expected an instant .* not '1,0,3'"),
        ("arrival_ps,input,output\n1,2\n", r"trace.csv:2: expected"),
        ("arrival_ps,input,output\n1,x,3\n", r"trace.csv:2: expected"),
        ("arrival_ps,input,output\n", r"trace.csv: holds no request"),
        ("", r"trace.csv:1: expected the line"),
    ],
)
def test_a_wrong_trace_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)

    with pytest.raises(InputError, match=said):
        requests.make(Arrivals(kind="trace", trace=str(path)), rng())


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (Arrivals(rate=0), "rate"),
        (Arrivals(requests=0), "requests"),
        (Arrivals(input=Lengths(0.5)), r"input.mean must be from 1 token"),
        (Arrivals(output=Lengths(10, -1)), r"output.sigma"),
        (Arrivals(kind="trace"), "needs trace"),
    ],
)
def test_arrivals_that_there_cannot_be_are_refused(about: Arrivals, said: str) -> None:
    with pytest.raises(InputError, match=said):
        requests.make(about, rng())


# Batching


class Plain:
    """The same policies without any bookkeeping: everything is counted anew from what happened to each request."""

    def __init__(self, rows: Requests, limits: Limits) -> None:
        self.limits = limits
        self.all = [
            {"n": n, "arrival": a, "input": i, "output": o, "done": 0, "way": 0, "state": "unborn"}
            for n, (a, i, o) in enumerate(
                zip(*(c.tolist() for c in (rows.arrival, rows.input, rows.output)), strict=True)
            )
        ]
        self.joined: list[dict[str, Any]] = []
        self.batches: list[list[dict[str, Any]]] = [[] for _ in range(limits.decode)]

    def route(self, now: int) -> None:
        for one in self.all:
            if one["state"] == "unborn" and one["arrival"] <= now:
                fits = one["output"] == 1 or one["input"] + one["output"] - 1 <= max(self.limits.decode_room)
                if not fits or one["input"] > max(self.limits.prefill_room):
                    one["state"] = "refused"
                    continue
                queued = [
                    sum(r["input"] - r["done"] for r in self.all if r.get("at") == i)
                    for i in range(self.limits.prefill)
                ]
                one |= {"state": "queued", "at": queued.index(min(queued))}

    def held(self, of: str, instance: int, shard: int) -> int:
        """Return the tokens reserved on a shard of an instance."""
        if of == "prefill":
            mine = [r for r in self.all if r.get("at") == instance and r.get("shard") == shard]
            return sum(r["input"] for r in mine if r["state"] == "running")
        mine = [r for r in self.all if r.get("to") == instance and r.get("there") == shard]
        return sum(r["input"] + r["output"] - 1 for r in mine if r["state"] in ("running", "ready"))

    def most_free(self, of: str, instance: int) -> tuple[int, int]:
        """Return the tokens free on the emptiest shard, and minus its number."""
        capacity = self.limits.prefill_room if of == "prefill" else self.limits.decode_room
        return max((capacity[s] - self.held(of, instance, s), -s) for s in range(len(capacity)))

    def chunk(self, instance: int) -> list[tuple[int, int, int]]:
        parts: list[tuple[int, int, int]] = []
        left = [self.limits.chunk] * len(self.limits.prefill_room)
        for one in self.all:
            if one.get("at") != instance or one["state"] not in ("queued", "running") or one["done"] == one["input"]:
                continue
            if one["state"] == "queued":
                free, shard = self.most_free("prefill", instance)
                if free < one["input"] or not left[-shard]:
                    break
                if one["output"] > 1:
                    (there_free, there), _, to = (
                        max((self.most_free("decode", i), -i, i) for i in range(self.limits.decode))
                        if len(self.limits.decode_room) == 1
                        else self.by_room()
                    )
                    if there_free < one["input"] + one["output"] - 1:
                        break
                    one |= {"to": to, "there": -there}
                one |= {"state": "running", "shard": -shard}
            new = min(left[one["shard"]], one["input"] - one["done"])
            if not new:
                continue
            left[one["shard"]] -= new
            if one["output"] > 1:
                one["way"] += 1
            parts.append((one["n"], new, one["done"] + new))
        return parts

    def by_room(self) -> tuple[tuple[int, int], int, int]:
        """Return the instance with most room on one shard, the first of equal ones."""
        free = [self.most_free("decode", i) for i in range(self.limits.decode)]
        best = min(range(len(free)), key=lambda i: (-free[i][0], i))
        return free[best], -best, best

    def prefilled(self, parts: list[tuple[int, int, int]]) -> list[int]:
        for number, _, total in parts:
            one = self.all[number]
            one["done"] = total
            if total == one["input"]:
                if one["output"] == 1:
                    one["state"] = "ended"
                self.join(one)
        return [number for number, _, total in parts if total == self.all[number]["input"]]

    def landed(self, number: int) -> None:
        self.all[number]["way"] -= 1
        self.join(self.all[number])

    def join(self, one: dict[str, Any]) -> None:
        if one["state"] == "running" and one["done"] == one["input"] and not one["way"]:
            one |= {"state": "ready", "left": one["output"] - 1}
            self.joined.append(one)

    def batch(self, instance: int) -> list[tuple[int, int]]:
        """Return the batch: numbers and contexts."""
        batch = self.batches[instance]
        for one in self.joined:
            if one["to"] == instance and one not in batch and one["state"] == "ready" and len(batch) < self.limits.most:
                batch.append(one)
        return [(one["n"], one["input"] + one["output"] - one["left"]) for one in batch]

    def decoded(self, instance: int) -> list[int]:
        batch = self.batches[instance]
        for one in batch:
            one["left"] -= 1
            if not one["left"]:
                one["state"] = "ended"
        done = [one["n"] for one in batch if not one["left"]]
        self.batches[instance] = [one for one in batch if one["left"]]
        return done


@st.composite
def systems(draw: st.DrawFn) -> tuple[Requests, Limits]:
    count = draw(st.integers(1, 12))
    small = st.integers(1, 12)
    rows = [(draw(st.integers(0, 30)), draw(small), draw(st.integers(1, 6))) for _ in range(count)]
    shards = draw(st.sampled_from([1, 1, 2, 3]))
    room = st.integers(4, 30)
    limits = Limits(
        draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 4)),
        (draw(room),) * shards, (draw(room),) * shards, draw(st.booleans()),
    )  # fmt: skip
    return columns(*sorted(rows)), limits


def numbers(parts: list[Part]) -> list[tuple[int, int, int]]:
    return [(part.request.number, part.new, part.total) for part in parts]


def check(system: System) -> None:
    """Laws that hold at every instant."""
    for each in (*system.prefills, *system.decodes):
        assert all(0 <= free <= most for free, most in zip(each.room.free, each.room.capacity, strict=True))
        assert each.room.peak <= max(each.room.capacity)
    for prefill in system.prefills:
        assert prefill.queued == sum(one.input - one.prefilled for one in prefill.queue)
    for decode in system.decodes:
        assert len(decode.batch) == len(decode.contexts) == len(decode.left) <= system.limits.most


@given(systems(), st.integers(0, 2**32))
@settings(max_examples=120)
def test_batching_equals_its_plain_twin_and_keeps_its_laws(asked: tuple[Requests, Limits], seed: int) -> None:
    """Whoever acts next: every request is refused or ends, each of its tokens goes through once and in order, no memory
    is given twice, and prompts of an instance begin in the order in which they came."""
    rows, limits = asked
    system, twin, choose = System(rows, limits), Plain(rows, limits), random.Random(seed)
    running: dict[int, list[Part]] = {}
    flying: list[Request] = []
    through: dict[int, list[tuple[int, int]]] = {}
    given_tokens: dict[int, int] = {}
    begun: dict[int, list[int]] = {i: [] for i in range(limits.prefill)}
    now, still = 0, 0
    while still < 60:
        now += choose.randrange(3)
        system.route(now)
        twin.route(now)
        still += 1
        act = choose.randrange(3)
        if act == 0:
            i = choose.randrange(limits.prefill)
            if i in running:
                parts = running.pop(i)
                done = [one.number for one in system.prefilled(i, parts, now)]
                assert done == twin.prefilled(numbers(parts))
                still = 0
            elif parts := system.chunk(i):
                assert numbers(parts) == twin.chunk(i)
                assert sum(part.new for part in parts) <= limits.chunk * len(limits.prefill_room)
                running[i] = parts
                flying += [part.request for part in parts if part.request.output > 1]
                for part in parts:
                    through.setdefault(part.request.number, []).append((part.new, part.total))
                    if part.new == part.total:
                        begun[i].append(part.request.number)
                still = 0
            else:
                assert twin.chunk(i) == []
        elif act == 1 and flying:
            one = flying.pop(choose.randrange(len(flying)))
            system.landed(one, now)
            twin.landed(one.number)
            still = 0
        else:
            i = choose.randrange(limits.decode)
            own = system.batch(i)
            held = list(zip((one.number for one in own.batch), own.contexts.tolist(), strict=True))
            assert held == twin.batch(i)
            if held:
                for number, _ in held:
                    given_tokens[number] = given_tokens.get(number, 0) + 1
                assert [one.number for one in system.decoded(i, now)] == twin.decoded(i)
                still = 0
        check(system)
    assert system.left == 0
    assert system.next_arrival is None
    for one in system.requests:
        assert one.refused == (one.end < 0)
        if one.refused:
            assert one.number not in through
            continue
        parts_of = through[one.number]
        assert [total for _, total in parts_of] == np.cumsum([new for new, _ in parts_of]).tolist()
        assert parts_of[-1][1] == one.input
        assert given_tokens.get(one.number, 0) == one.output - 1
        assert one.arrival <= one.through <= one.first <= one.end
        assert limits.decode_answers or one.first == one.through
    assert all(order == sorted(order) for order in begun.values())
    for each in (*system.prefills, *system.decodes):
        assert each.room.free == list(each.room.capacity)


def test_one_instance_waits_as_queueing_theory_says() -> None:
    """M/D/1: constant service s, load r: the mean wait is r s / (2 (1 - r)) (Pollaczek and Khinchine)."""
    tokens, service, load = 100, SECOND // 100, 0.7
    about = Arrivals(requests=40_000, rate=load * 100, input=Lengths(tokens, kind="constant"), output=Lengths(1, 0))
    system = System(requests.make(about, rng()), Limits(1, 1, tokens, 1, (10**9,), (10**9,)))

    now = 0
    while system.left:
        system.route(now)
        parts = system.chunk(0)
        if parts:
            now += service
            system.route(now)
            system.prefilled(0, parts, now)
        else:
            now = system.next_arrival or 0

    waits = [one.end - one.arrival - service for one in system.requests]
    assert np.mean(waits) / service == pytest.approx(load / (2 * (1 - load)), rel=0.05)


# Folding


@pytest.mark.parametrize("tokens", [1, 7, 512])
@pytest.mark.parametrize(
    ("machine", "algorithm", "slack"),
    [
        (["machine.node=hgx-h800"], "ring", 1),
        (["machine.node=hgx-h800", "machine.sharing=fair"], "in_switch", 1),
        (["machine.node=hgx-h800", "machine.collective.launch=0 us", "machine.collective.fill=0 us"], "ring", 0),
        (["machine.sharing=fair"], "double_tree", 0),
    ],
)
def test_a_folded_iteration_lasts_as_long_as_its_layers(
    monkeypatch: pytest.MonkeyPatch, machine: list[str], algorithm: str, slack: int, tokens: int
) -> None:
    """Five layers, each a computation and two all-reduces of four ranks, and an all-gather, against one schedule. Bytes
    divide, so nothing is lost but, a message, the ps to which each is rounded up, and one where the library's time to
    fill the pipeline is rounded."""
    layers, compute, model = 5, 3 * US, 4096
    group = range(4)
    ends: dict[str, int] = {}

    def unfolded(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index not in group:
            return
        for _ in range(layers):
            yield from rank.spend(compute, "compute", "layer")
            for _ in range(2):
                yield from rank.collective("all_reduce", model * tokens, algorithm=algorithm, ranks=group)
            yield from rank.collective("all_gather", 64 * tokens, ranks=group)
        ends["unfolded"] = rank.now

    def folded(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index:
            return
        calls = [Calls("all_reduce", algorithm, model, 2 * layers), Calls("all_gather", "", 64, layers)]
        whole = Folded(rank, group, calls)
        yield from whole.measure(rank, 256)
        begin = rank.now
        yield from rank.play(whole.schedule([layers * compute] * 4, tokens), "iteration", ranks=group)
        ends["folded"] = rank.now - begin
        ends["reckoned"] = layers * compute + whole.idle(tokens)

    for program in (unfolded, folded):
        monkeypatch.setattr(registry, "load", lambda name, program=program: Given(program))
        run(read_scenario("fused_allreduce", machine))

    messages = 3 * layers * 8
    assert abs(ends["folded"] - ends["unfolded"]) <= messages + slack * 3 * layers
    assert ends["reckoned"] == pytest.approx(ends["folded"], rel=1e-3)


def test_where_nothing_is_rounded_folded_and_unfolded_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that carries a byte in a ps: to the picosecond."""
    ends = []

    def unfolded(rank: Rank) -> Generator[Any, Any, None]:
        for _ in range(3):
            yield from rank.spend(US, "compute", "layer")
            for _ in range(2):
                yield from rank.collective("all_reduce", 8 * 600, algorithm="ring")
        if rank.index == 0:
            ends.append(rank.now)

    def folded(rank: Rank) -> Generator[Any, Any, None]:
        if rank.index == 0:
            whole = Folded(rank, range(4), [Calls("all_reduce", "ring", 8, 6)])
            yield from whole.measure(rank, 16)
            begin = rank.now
            yield from rank.play(whole.schedule([3 * US] * 4, 600), "iteration", ranks=range(4))
            ends.append(rank.now - begin)

    for program in (unfolded, folded):
        monkeypatch.setattr(registry, "load", lambda name, program=program: Given(program))
        run(read_scenario("fused_allreduce", ["machine.link.bandwidth=1 TB/s"]))

    assert ends[0] == ends[1]


# Runs

SERVING = "workloads.0.params.serving."


def served(*overrides: str, requests: int = 12) -> Result:
    own = [f"{SERVING}arrivals.requests={requests}", f"{SERVING}arrivals.output.mean=12"]
    return run(read_scenario("sparse_serving", [*own, *overrides]))


def of(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = result.metrics["jobs"]["sparse_attention"]
    return found


def test_three_requests_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One GPU each; prefill takes 2 us a token, decode 7 us an iteration, KV 1 us a token and 1 us of latency. In us:

    A (at 0, 3 in, 3 out) goes through from 0 to 6, its KV lands at 10, it decodes from 10 to 17 to 24.
    B (at 1, 4 in, 2 out) goes through from 6 to 14, its KV lands at 19, it joins at 24 and ends at 31.
    C (at 2, 5 in, 1 out) goes through by chunks of 4 from 14 to 22 and to 24, where its only token is there.
    D (at 3) is longer than the memory of any GPU.
    """
    trace = tmp_path / "trace.csv"
    trace.write_text(f"arrival_ps,input,output\n0,3,3\n{US},4,2\n{2 * US},5,1\n{3 * US},9000000,1\n")
    token = 41 * 2 * (2 * 4 * 128 + 128)

    def durations(self: serving.Instance, steps: Any, tokens: int) -> list[int]:
        return [2 * US * tokens if self.role == "prefill" else 7 * US]

    monkeypatch.setattr(serving.Instance, "durations", durations)
    sizes = {"prefill": 1, "decode": 1, "tensor": 1, "chunk": 4, "most": 2, "together": 41}
    scenario = tmp_path / "small.yaml"
    scenario.write_text(
        "machine: {node: mi300x-8, sharing: fifo, gpu: {memory_size: 300 GB}}\n"
        "workloads:\n  - model: sparse_attention\n"
    )
    asked = [
        f"machine.link.bandwidth={token} MB/s", "machine.link.latency=1 us", f"{SERVING}arrivals.kind=trace",
        f"{SERVING}arrivals.trace={trace}", *(f"{SERVING}{key}={value}" for key, value in sizes.items()),
    ]  # fmt: skip
    found = run(read_scenario(str(scenario), asked))

    rows = {row["request"]: row for row in found.tables["requests"].to_pylist()}
    instants = {n: (r["prefilled_ps"] / US, r["first_token_ps"] / US, r["end_ps"] / US) for n, r in rows.items()}
    assert instants == {0: (6, 10, 24), 1: (14, 19, 31), 2: (24, 24, 24), 3: (-1 / US,) * 3}
    assert [rows[n]["status"] for n in range(4)] == ["done", "done", "done", "refused"]
    job = of(found)
    assert (job["served"], job["refused"], job["good"]) == (3, 1, 3)
    assert job["ttft_ps"] == {"mean": 50 * US // 3, "p50": 18 * US, "p90": 22 * US, "p99": 22 * US, "max": 22 * US}
    assert job["e2e_ps"]["max"] == 30 * US
    assert job["tpot_ps"]["max"] == 12 * US
    assert job["goodput"] == pytest.approx(3 / 31e-6)
    assert job["kv_peak_bytes"] == (5 + 5) * token


def test_two_processes_write_the_same(tmp_path: Path) -> None:
    code = (
        "from simcore import read_scenario, run\n"
        f"print(run(read_scenario('sparse_serving', ['{SERVING}arrivals.requests=12', "
        f"'{SERVING}arrivals.output.mean=12'])).digest)"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert there.stdout.strip() == served().digest


def test_kv_goes_layer_by_layer_beside_the_computation() -> None:
    """What is sent is what the prompts need; the first of it leaves long before its prompt is through, and almost none
    is left then."""
    found = served()

    kv = [row for row in found.tables["transfers"].to_pylist() if row["what"] == "kv"]
    prompts = sum(row["input_tokens"] for row in found.tables["requests"].to_pylist())
    assert sum(row["size_bytes"] for row in kv) == prompts * 4 * 41 * 2 * (2 * 128 + 128)
    assert len(kv) % (4 * 41) == 0
    first = min(found.tables["requests"].to_pylist(), key=lambda row: row["prefilled_ps"])
    lasted = first["prefilled_ps"] - first["arrival_ps"]
    assert kv[0]["issued_ps"] - first["arrival_ps"] < 0.05 * lasted
    assert 0 < first["first_token_ps"] - first["prefilled_ps"] < 0.05 * lasted


def test_spans_tile_the_life_of_every_rank() -> None:
    found = served()

    ends: dict[str, int] = {}
    for row in found.tables["spans"].to_pylist():
        assert row["t0_ps"] == ends.get(row["location"], 0)
        ends[row["location"]] = row["t1_ps"]
    assert len(ends) == 32


@pytest.mark.parametrize("across", ["tensor", "data", "context"])
@pytest.mark.parametrize("attention", ["dense", "sparse"])
def test_every_way_of_sharing_attention_serves_everybody(attention: str, across: str) -> None:
    asked = [f"workloads.0.params.attention={attention}", f"{SERVING}across={across}", f"{SERVING}together=41"]
    if (attention, across) == ("dense", "context"):
        with pytest.raises(InputError, match="dense attention has none"):
            served(*asked)
        return
    found = served(*asked)

    assert of(found)["served"] == 12
    token = serving.token_bytes(
        serving.plan(serving.Serving(across=across), attention, layer.Shape(), layer.Rates(), rng()), "decode"  # type: ignore[arg-type]
    )  # fmt: skip
    index = {"tensor": 128, "data": 128, "context": 32}[across] if attention == "sparse" else 0
    assert token == 41 * 2 * ((8 if across == "data" else 2) * 128 + index)


def test_sharing_index_blocks_brings_the_gain_of_sparse_decode_back() -> None:
    """At a million tokens and tensor parallel 4 attention reads half of what dense does; where ranks share index
    blocks, or sequences, an eighth: the byte ratios 1.99 and 7.87."""
    shape, step = layer.Shape(), layer.Step("decode", np.array([1]), np.array([2**20]))

    def read(attention: str, parallel: int, index: int) -> int:
        stages = layer.attend(shape, attention, step, layer.Rates(), parallel, index)
        return sum(stage.work.bytes_read["hbm"] for stage in stages)

    assert read("dense", 4, 1) / read("sparse", 4, 1) == pytest.approx(1.99, abs=0.01)
    assert read("dense", 4, 1) / read("sparse", 4, 4) == pytest.approx(7.87, abs=0.02)
    assert read("dense", 1, 1) / read("sparse", 1, 1) == pytest.approx(7.87, abs=0.02)


def test_weights_that_leave_no_memory_are_a_result_with_a_warning() -> None:
    found = served("machine.gpu.memory_size=40 GB")

    assert of(found)["refused"] == 12
    assert of(found)["ttft_ps"]["p99"] == 0
    assert any("leave no room for KV" in sentence for sentence in found.warnings)


def test_little_memory_makes_prompts_wait_and_serves_them_all() -> None:
    """KV of a few requests at a time; nobody is refused, none ever holds more than there is."""
    tight = served(
        "machine.gpu.memory_size=63.5 GB", f"{SERVING}arrivals.rate=200", f"{SERVING}arrivals.input.sigma=0.2"
    )
    wide = served(f"{SERVING}arrivals.rate=200", f"{SERVING}arrivals.input.sigma=0.2")

    assert of(tight)["served"] == 12
    rows = tight.tables["instances"].to_pylist()
    assert all(row["kv_peak_bytes"] <= row["kv_room_bytes"] for row in rows)
    assert of(tight)["ttft_ps"]["max"] > of(wide)["ttft_ps"]["max"]
    assert any(row["what"] == "no room for KV" for row in tight.tables["spans"].to_pylist())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (f"{SERVING}tensor=8", "4 KV heads cannot be shared by 8 ranks"),
        (f"{SERVING}chunk=0", "chunk must be 1 or more"),
        (f"{SERVING}arrivals.kind=trace", "needs trace"),
    ],
)
def test_systems_that_there_cannot_be_are_refused(override: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        served(override)


def test_a_chunk_whose_workspace_fills_the_memory_is_out_of_memory() -> None:
    """As it is of one layer by itself: partial outputs of 65,536 B a token and rank."""
    found = served(f"{SERVING}chunk=4000000", f"{SERVING}arrivals.input.mean=100000")

    assert of(found)["refused"] == 12
    assert any("of workspace in prefill leave no room for KV" in sentence for sentence in found.warnings)


@pytest.mark.parametrize("across", ["tensor", "data", "context"])
@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_kv_of_a_token_is_what_a_layer_alone_says(across: Any, role: str) -> None:
    shape = Shape(index_dtype="float8", index_width=130)
    parallel, shards = (1 if across == "data" else 4), (4 if (across, role) == ("context", "decode") else 1)
    plan = serving.Plan(serving.Serving(across=across), "sparse", shape, Rates(), columns((0, 1, 1)))

    index = -(-130 // shards)
    assert serving.token_bytes(plan, role) == 41 * (2 * 2 * (4 // parallel) * 128 + index)


def test_every_rank_with_sequences_of_its_own_has_a_chunk_of_its_own() -> None:
    system = System(columns((0, 9, 1), (0, 9, 1), (0, 9, 1)), Limits(1, 1, 4, 1, (20, 20), (20, 20)))
    system.route(0)

    assert [(part.request.number, part.new) for part in system.chunk(0)] == [(0, 4), (1, 4)]


def test_another_trace_file_is_another_run(tmp_path: Path) -> None:
    trace = tmp_path / "tr.csv"
    overrides = [f"{SERVING}arrivals.kind=trace", f"{SERVING}arrivals.trace={trace}"]
    found = []
    for count in (1, 2):
        trace.write_text("arrival_ps,input,output\n" + "0,100,2\n" * count)
        found.append(scenario.fingerprint(read_scenario("sparse_serving", overrides)))

    assert found[0] != found[1]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"arrival_ps,input,output\n" + b"1" * 200_000 + b",1,1\n"])
def test_a_trace_that_is_no_csv_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tr.csv").write_bytes(content)

    with pytest.raises(InputError, match=r"tr\.csv: no CSV file in UTF-8"):
        served(f"{SERVING}arrivals.kind=trace", f"{SERVING}arrivals.trace={tmp_path / 'tr.csv'}")
