"""int8 manifold: rows on their way, energy by hand, failures in service, sensors that share, and what the paper
claims."""

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from simcore.models.int8_manifold import kernel, measures, recalling, sharing
from simcore.models.int8_manifold.fetch import Fetch, flow
from simcore.models.int8_manifold.program import Params, check

from simcore import InputError, SimulationError, Virtual, run
from simcore.claims import experiments, reading

SMALL = {"nodes": 208, "outputs": 104, "pairs": 3, "payload": "real", "damage.truncated": 0.2, "damage.destroyed": 0.1}


def recall(
    scenario: str = "int8_manifold/one_device", seed: int = 0, node: str = "", wait: str = "", **params: Any
) -> Any:
    changes = {f"workloads.0.params.{key.replace('__', '.')}": value for key, value in params.items()}
    if node:
        changes["machine.node"] = node
    path = reading.read("int8_manifold").folder / f"{scenario.rpartition('/')[2]}.yaml"
    return run(str(path), {**changes, "seed": seed})


def spent(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = result.metrics["jobs"]["int8_manifold"]["recall"]
    return found


# Rows on their way


def flow_twin(tiles: int, size: int, adding: int, bandwidth: int, fetch: Fetch) -> list[tuple[int, ...]]:
    """Return when each tile was opened, passed, arrived, was added and had been added, with a process a tile and a
    resource for every buffer, bank, channel and the adder."""
    env = simpy.Environment()
    passing = -(-size * fetch.channels * 10**12 // bandwidth)
    buffers = simpy.Resource(env, fetch.buffers)
    banks = [simpy.Resource(env, 1) for _ in range(fetch.banks * fetch.channels)]
    channels = [simpy.Resource(env, 1) for _ in range(fetch.channels)]
    adder = simpy.Resource(env, 1)
    found: list[tuple[int, ...]] = [()] * tiles

    def close(bank: Any, held: Any) -> Any:
        yield env.timeout(fetch.close)
        bank.release(held)

    def tile(k: int, buffer: Any, bank: Any, held: Any) -> Any:
        asked = env.now
        yield env.timeout(fetch.open)
        with channels[k % fetch.channels].request() as channel:
            yield channel
            passes = env.now
            yield env.timeout(passing)
        arrived = env.now
        env.process(close(bank, held))
        with adder.request() as turn:
            yield turn
            adds = env.now
            yield env.timeout(adding)
        found[k] = asked, passes, arrived, adds, env.now
        buffers.release(buffer)

    def engine() -> Any:
        for k in range(tiles):
            buffer = buffers.request()
            yield buffer
            bank = banks[k % len(banks)]
            held = bank.request()
            yield held
            env.process(tile(k, buffer, bank, held))

    env.process(engine())
    env.run()
    return found


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 25), st.integers(1, 5000), st.integers(0, 5000),
    st.builds(Fetch, st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(0, 900), st.integers(0, 900)),
)  # fmt: skip
def test_rows_flow_as_through_resources(tiles: int, size: int, adding: int, fetch: Fetch) -> None:
    found = flow(tiles, size, adding, 10**12, fetch)

    columns = (found.opened, found.passes, found.arrived, found.adds, found.added)
    assert list(zip(*(each.tolist() for each in columns), strict=True)) == flow_twin(tiles, size, adding, 10**12, fetch)
    assert found.duration == found.added[-1]
    assert found.waited == found.duration - tiles * adding


def test_two_buffers_hide_the_shorter_of_fetching_and_adding() -> None:
    assert flow(10, 100, 30, 10**12, Fetch(1, 4, 2, 0, 0)).duration == 10 * 100 + 30
    assert flow(10, 30, 100, 10**12, Fetch(1, 4, 2, 0, 0)).duration == 30 + 10 * 100
    assert flow(10, 100, 30, 10**12, Fetch(1, 4, 1, 0, 0)).duration == 10 * 130
    assert flow(10, 100, 0, 10**12, Fetch(1, 1, 2, 40, 20)).duration == 10 * 160 - 20
    assert flow(0, 100, 30, 10**12, Fetch()).duration == 0


def test_tiles_are_shown_where_they_are_wanted() -> None:
    changes = {"nodes": 64, "outputs": 4096, "damage__truncated": 0.5, "payload": "virtual", "reject": 0}
    shown = recall(**changes, fetch={"channels": 2, "buffers": 3, "shown": True})
    hidden = recall(**changes, fetch={"channels": 2, "buffers": 3})
    rows = [row for row in shown.tables["spans"].to_pylist() if "." in row["location"]]
    adder = [row for row in rows if row["location"] == "rank0.adder"]

    events = int(measures.events(shown))
    assert shown.metrics["makespan_ps"] == hidden.metrics["makespan_ps"] == adder[-1]["t1_ps"]
    assert not any("." in row["location"] for row in hidden.tables["spans"].to_pylist())
    for channel, tiles in ((0, -(-events // 2)), (1, events // 2)):
        assert sum(row["location"] == f"rank0.channel{channel}" for row in rows) == tiles
    assert all(before["t1_ps"] == after["t0_ps"] for before, after in itertools.pairwise(adder))
    waited = sum(row["t1_ps"] - row["t0_ps"] for row in adder if row["activity"] == "wait")
    assert waited == spent(shown)["waited_ps"] > 0


# Energy and time by hand


def test_a_recall_of_full_size_costs_what_its_rows_and_votes_cost() -> None:
    result = recall(node="popcount-array", payload="virtual")
    found, events = spent(result), int(measures.events(result))

    assert 620 <= events <= 690
    assert found["moved_bytes"] == events * 4096
    assert found["weights_fj"] == events * 4096 * 160_000
    assert found["arithmetic_fj"] == 100 * (events * 4096 + 8192 + 4096)
    # A row through its buffer, charges of 16 bit read and written; code, events and answer.
    on_chip = 2 * events * (4096 + 2 * 4096) + (8192 + 3 * events) + 3 * events + (2 * 4096 + 4096)
    assert found["chip_fj"] == 1250 * on_chip
    row, add = 4096 * 10**12 // 10**9, -(-4096 * 10**12 // 102_400_000_000)
    opening = 30_000
    compact, decide = -(-8192 * 10**12 // 102_400_000_000), -(-4096 * 10**12 // 102_400_000_000)
    assert found["latency_ps"] == compact + opening + events * row + add + decide
    assert found["waited_ps"] == opening + events * row + add - events * add
    assert found["idle_fj"] == (10**6 * found["latency_ps"] + 10**4 * (10**11 - found["latency_ps"])) // 10**6
    life = 2430 * 10**15 / found["energy_fj"] * 0.1 / 3600
    assert found["life_h"] == pytest.approx(life)


def test_weights_on_the_chip_pass_through_no_buffer() -> None:
    outside, inside = (
        spent(recall(node="popcount-array", payload="virtual", level=level)) for level in ("dram", "sram")
    )

    assert outside["chip_fj"] - inside["chip_fj"] == 2 * 1250 * outside["moved_bytes"]
    assert inside["weights_fj"] == 1250 * inside["moved_bytes"]
    assert inside["latency_ps"] < outside["latency_ps"]


def test_what_a_device_cannot_do_or_hold_is_said() -> None:
    with pytest.raises(SimulationError, match="states no throughput for word"):
        recall(node="ethos-u55", payload="virtual", method="planes")
    result = run(
        str(reading.read("int8_manifold").folder / "one_device.yaml"),
        {"machine.gpu.memory_size": "1 MB", "workloads.0.params.payload": "virtual"},
    )
    assert "33554432 B of weights are more than the 1000000 B of the device; nothing was recalled" in result.warnings[0]
    assert spent(result)["answers"] == 0


@pytest.mark.parametrize(("method", "size"), [("row_planes", 8), ("events", 32), ("float32", 128)])
def test_weights_fit_in_the_form_in_which_they_are_held(method: str, size: int) -> None:
    for memory, answers in ((size * 2**20, 1), (size * 2**20 - 1, 0)):
        path = str(reading.read("int8_manifold").folder / "one_device.yaml")
        changes = {"machine.gpu.memory_size": f"{memory} B", "workloads.0.params.payload": "virtual"}
        assert spent(run(path, {**changes, "workloads.0.params.method": method}))["answers"] == answers


@pytest.mark.parametrize(
    ("direction", "name", "price", "work"),
    [("forward", "spatial", 100, 3 * 4096), ("backward", "structural", 150, 2 * 16384 * 81)],
)
def test_an_image_is_coded_before_it_is_recalled(direction: str, name: str, price: int, work: int) -> None:
    result = recall(node="popcount-array", payload="virtual", pairs=1, items="pink", direction=direction)
    nodes, outputs = (8192, 4096) if direction == "forward" else (4096, 8192)

    assert next(row["what"] for row in result.tables["spans"].to_pylist()) == name
    votes = nodes + int(measures.events(result)) * outputs + outputs
    assert spent(result)["arithmetic_fj"] == 100 * votes + price * work


# Failures


def test_failures_are_events_in_time_and_recall_decays_with_them() -> None:
    result = recall(
        nodes=2048, outputs=1024, pairs=20, recalls=20, period="1 s", damage__destroyed=0.0, damage__strikes=8,
        damage__every="2 s", damage__each=0.1,
    )  # fmt: skip
    failures, recalls = (result.tables[name].to_pydict() for name in ("failures", "recalls"))
    spans = [row for row in result.tables["spans"].to_pylist() if row["activity"] == "idle"]

    assert failures["destroyed"] == [round(0.1 * 2048 * (k + 1)) + round(0.1 * 1024 * (k + 1)) for k in range(8)]
    assert failures["instant_ps"] == sorted(failures["instant_ps"])
    assert {row["t1_ps"] for row in spans} >= {at for at in failures["instant_ps"] if at < recalls["begin_ps"][-1]}
    for number, (answer, target, alive) in enumerate(result.results["rank0"]):
        struck = sum(at <= recalls["due_ps"][number] for at in failures["instant_ps"])
        assert (alive == 0).sum() == round(0.1 * 1024 * struck)
        assert not answer[alive == 0].any()
        assert abs(target).min() == 1
    assert recalls["events"][0] == 205
    assert recalls["events"][-1] < 80


def test_of_a_frame_nodes_alone_fail() -> None:
    harm = {"damage__strikes": 2, "damage__every": "1 ms", "damage__each": 0.1, "damage__destroyed": 0.0}
    result = recall("frame", nodes=256, outputs=100, recalls=3, period="1 s", **harm)

    assert result.tables["failures"]["destroyed"].to_pylist() == [26, 51]


def test_a_recall_that_is_late_begins_when_the_one_before_is_done() -> None:
    rows = recall(payload="virtual", recalls=3, period="1 ms").tables["recalls"].to_pydict()

    assert rows["due_ps"] == [0, 10**9, 2 * 10**9]
    assert rows["begin_ps"] == [0, *rows["end_ps"][:2]]


def test_a_battery_of_a_device_that_is_late_lasts_as_long_however_many_recalls_are_asked() -> None:
    few, many = (recall(payload="virtual", recalls=count, period="1 ms") for count in (3, 12))
    rows = few.tables["recalls"].to_pydict()
    used = sum(sum(rows[f"{part}_fj"]) for part in recalling.PARTS)

    assert spent(few)["life_h"] == pytest.approx(2430 * 10**15 / used * rows["end_ps"][-1] / 3.6e15)
    assert spent(many)["life_h"] == pytest.approx(spent(few)["life_h"], rel=0.02)
    assert any("more than the period of 1 ms" in said for said in few.warnings)
    assert not any("period" in said for said in recall(payload="virtual", recalls=2).warnings)


# Sensors


LINKS = ("spi", "can", "ble", "wifi", "ethernet")
SENDS = ("values", "events", "masks")


@pytest.fixture(scope="module")
def alone() -> list[Any]:
    return [each.tolist() for each in recall(recalls=2, reject=3, **SMALL).results["rank0"]]


@pytest.mark.parametrize("share", ["gather", "offload", "rows", "columns"])
def test_sensors_find_together_what_one_device_finds(share: str, alone: list[Any]) -> None:
    for k, link in enumerate(LINKS):
        sensors = {"count": 4, "share": share, "sends": SENDS[k % 3]}
        found = recall("scenario", node=f"sensors-{link}", recalls=2, reject=3, sensors=sensors, **SMALL)
        assert [each.tolist() for each in found.results["rank4"]] == alone
        assert not any(found.results[f"rank{i}"] for i in range(4))


def test_charges_are_scaled_by_whoever_recalls() -> None:
    sums = {"rule": {"arithmetic": "sums", "accumulator": "int32"}, "reject": 0, "scale": 3200, **SMALL}
    alone = [each.tolist() for each in recall(recalls=2, **sums).results["rank0"]]

    for share in ("gather", "offload", "rows", "columns"):
        sensors = {"count": 4, "share": share}
        found = recall("scenario", node="sensors-wifi", recalls=2, sensors=sensors, **sums).results["rank4"]
        assert [each.tolist() for each in found] == alone


def test_what_sensors_send_is_as_long_as_it_says() -> None:
    sizes = {}
    for share, sends in (
        ("gather", "values"),
        ("gather", "events"),
        ("gather", "masks"),
        ("rows", "events"),
        ("columns", "events"),
    ):
        result = recall("scenario", node="sensors-can", sensors={"count": 4, "share": share, "sends": sends}, recalls=1)
        sizes[share, sends] = spent(result)["sent_bytes"]
        events = int(measures.events(result))
        moved = result.tables["transfers"]
        assert sum(moved["size_bytes"].to_pylist()) == sizes[share, sends]
        assert spent(result)["link_fj"] == sizes[share, sends] * (1_600_000_000 + 160_000_000)

    assert sizes["gather", "values"] == 8192 + 4
    assert sizes["gather", "events"] == 2 * events + 4
    assert sizes["gather", "masks"] == 2 * 1024 + 4
    assert sizes["rows", "events"] == 4 * (2 * 4096 + 1)
    assert sizes["columns", "events"] == 3 * 2 * events + 12 + 4 * (2 * 128 + 1)


def test_a_link_is_paid_by_who_sends_who_passes_on_and_who_receives() -> None:
    chain, bus, switch, served = (
        recall("scenario", node=f"sensors-{link}", sensors={"count": 4, "share": share, "sends": "values"}, recalls=1)
        for link, share in (("ble", "gather"), ("wifi", "gather"), ("ethernet", "gather"), ("ble", "offload"))
    )
    sent, received = (int(getattr(chain.scenario.machine.gpu.energy, way)) for way in ("sent", "received"))

    assert spent(bus)["sent_bytes"] == 4 * 2049
    assert spent(chain)["sent_bytes"] == (4 + 3 + 2 + 1) * 2049
    assert spent(switch)["sent_bytes"] == 2 * 4 * 2049
    assert on_links(chain) == {
        **{i: 2049 * ((i + 1) * sent + i * received) for i in range(4)}, 4: 4 * 2049 * received,
    }  # fmt: skip
    assert on_links(served) == {i: 2049 * ((i + 1) * sent + i * received) for i in range(4)} | {4: 0}
    prices = switch.scenario.machine.gpu.energy
    assert on_links(switch) == {**dict.fromkeys(range(4), 2049 * prices.sent), 4: 4 * 2049 * prices.received}
    rows = chain.tables["recalls"].to_pylist()
    used = sum(rows[3][f"{part}_fj"] for part in recalling.PARTS) - rows[3]["link_fj"] + on_links(chain)[3]
    hub = sum(rows[4][f"{part}_fj"] for part in recalling.PARTS) + on_links(chain)[4]
    covered = max(10**11, spent(chain)["latest_ps"])
    assert spent(chain)["life_h"] == pytest.approx(2430 * 10**15 / max(used, hub) * covered / 3.6e15)


def on_links(result: Any) -> dict[int, int]:
    """Return what every device spends on links, fJ."""
    found = {i: row["link_fj"] for i, row in enumerate(result.tables["recalls"].to_pylist())}
    for row in result.tables["hops"].to_pylist():
        found[row["device"]] += row["energy_fj"]
    assert sum(found.values()) == spent(result)["link_fj"]
    return found


@pytest.mark.parametrize("share", ["gather", "offload", "rows", "columns"])
@pytest.mark.parametrize("sends", SENDS)
def test_who_receives_nothing_finds_another_answer(
    share: str, sends: str, alone: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = sharing._arrived
    monkeypatch.setattr(sharing, "_arrived", lambda *asked: arrived(*asked) * 0)
    sensors = {"count": 4, "share": share, "sends": sends}
    found = recall("scenario", node="sensors-wifi", recalls=2, reject=3, sensors=sensors, **SMALL)

    assert [each.tolist() for each in found.results["rank4"]] != alone


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=200))
def test_packed_codes_can_be_read_again(code: list[int]) -> None:
    array = np.array(code, np.int8)
    index = np.flatnonzero(array).astype(np.uint16)

    words = sharing.packed_events(index, array[index])
    assert [(word >> 1, -1 if word & 1 else 1) for word in words.tolist()] == [(i, code[i]) for i in index.tolist()]
    packed = sharing.packed_answer(array)
    bits = np.unpackbits(packed.reshape(2, -1), axis=1)[:, : len(code)].astype(int)
    assert (bits[0] - bits[1]).tolist() == code
    assert sharing.read_answer(packed, len(code)).tolist() == code
    assert sharing.read_code("events", words, array).tolist() == code
    masks = sharing.packed_masks(*kernel.mask(array)[0])
    assert sharing.read_code("masks", masks, array).tolist() == code
    assert sharing.packed_answer(Virtual(array.shape, "int8")).nbytes == packed.nbytes


def test_a_server_pays_for_itself_and_batteries_pay_for_links() -> None:
    found = recall("scenario", node="sensors-wifi", sensors={"count": 4, "share": "offload"}, recalls=2)
    rows = found.tables["recalls"].to_pylist()

    assert spent(found)["server_fj"] == 700 * 10**9 * 20 * 10**6 // 10**6
    assert all(row["weights_fj"] == 0 for row in rows)
    assert all(row["idle_fj"] == 0 for row in rows if row["location"] == "rank4")
    assert spent(found)["latency_ps"] > 10**9 + 20 * 10**6


# Claims at full size, one seed; all of them: simcore reproduce int8_manifold


@pytest.mark.parametrize(("direction", "pairs", "least"), [("forward", 40, 0.995), ("backward", 20, 0.99)])
def test_tens_of_pairs_survive_the_damage_of_the_abstract(direction: str, pairs: int, least: float) -> None:
    result = recall(seed=1, direction=direction, pairs=pairs, recalls=5)

    assert measures.cosine_alive(result) > least
    assert measures.cosine_all(result) < math.sqrt(0.8) + 0.001
    assert measures.undecided(result) < 0.01
    assert measures.wrong(result) < 0.001


def test_charges_need_one_scale_and_votes_none() -> None:
    result = recall(pairs=1, reject=0, rule={"arithmetic": "sums", "accumulator": "int32"})

    assert measures.scale(result) == pytest.approx(8192 / measures.events(result), rel=0.005)
    assert measures.psnr_db(result) > 40
    scaled = recall(pairs=1, reject=0, rule={"arithmetic": "sums", "accumulator": "int32"}, scale=3200)
    plain, factor = result.results["rank0"][0][0], scaled.results["rank0"][0][0]
    assert factor.tolist() == [charge * 3200 // 256 for charge in plain.tolist()]
    assert abs(factor[factor != 0]).mean() == pytest.approx(8192 * 16, rel=0.03)


def test_every_experiment_and_its_points_can_be_read() -> None:
    paper = reading.read("int8_manifold")

    for name in paper.sheet.experiments:
        point, asked = next(experiments.scenarios(paper, name))
        assert asked.workloads[0].model == "int8_manifold", point


def test_constants_are_the_defaults() -> None:
    stated = {
        key.removeprefix("params.").replace("server.", "sensors.server."): constant.value
        for key, constant in reading.read("int8_manifold").constants.items()
    }
    asked = recall(**{**stated, "payload": "virtual"}).scenario.workloads[0].params

    assert asked == recall(payload="virtual").scenario.workloads[0].params
    assert stated["damage.every"] == "1 s"


def test_what_could_come_out_no_other_way_is_no_evidence() -> None:
    whys = {claim.id: claim.unscored.why for claim in reading.read("int8_manifold").sheet.claims if claim.unscored}

    assert {name for name, why in whys.items() if why == "by construction"} == {
        "1", "1a", "1b", "1c", "9", "12b", "12c", "12d", "12e", "12g", "12h",
    }  # fmt: skip
    assert {name for name, why in whys.items() if why == "not comparable"} == {"4a", "4b", "7e"}


# Errors


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"active": 0.0}, "active is a share above 0"),
        ({"nodes": 40_000}, "nodes is at most 32768, not 40000"),
        ({"items": "white", "nodes": 64}, "images have 8192 nodes and 4096 outputs, not 64 and 4096"),
        ({"items": "white", "gain": 1}, "gain must be 2 or more with images"),
        ({"method": "binary", "rule.arithmetic": "sums"}, "method: binary counts votes"),
        ({"reading": "frame"}, "reading: frame needs rule"),
        ({"damage.destroyed": 1.5}, "damage.destroyed is a share, from 0 to 1, not 1.5"),
        ({"sensors.count": 3}, "sensors.count: 3 do not share 8192 nodes and 4096 outputs evenly"),
        ({"sensors.count": 4, "method": "int8"}, "sensors share method: events or row_planes, not int8"),
        ({"period": "0 s"}, "period must be above 0"),
        ({"period": "2000000 s"}, "period take 2e+06 s in all; at most 1000000 s"),
        ({"fetch.open": "1000000 s"}, "fetch.open and fetch.close take 8.192e+09 s in all"),
        ({"sensors.server.recall": "1000000 s"}, "sensors.server: software and recall take 1e+06 s in all"),
        ({"sensors.server.recall": "1000 s"}, "sensors.server: power and recall make 7e+05 J in all; at most 1000 J"),
        ({"sensors.count": 4, "sensors.share": "rows", "rule.accumulator": "int8"}, "adds up charges of up to 8192"),
        ({"sensors.count": 4, "sensors.share": "rows", "rule.arithmetic": "sums"}, "use rule.accumulator: int32"),
        ({"frame.amplitude": 0}, "frame.amplitude is from 1 to 127"),
    ],
)
def test_what_makes_no_recall_is_refused_in_one_line(params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=re.escape(complaint)):
        recall(**params)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"frame.kind": "hadamard", "nodes": 100, "outputs": 10}, "hadamard has a power of two of nodes"),
        ({"frame.harmonics": 64}, "128 samples hold fewer than 64 frequencies"),
        ({"frame.decode": "low_pass"}, "low_pass keeps frame.harmonics frequencies"),
        ({"frame.decode": "conjugate_gradients"}, "conjugate_gradients needs frame.coding: analog"),
        ({"method": "int8"}, "method: int8 is for frame.coding: analog"),
        ({"direction": "backward"}, "reading: frame is for one device, forward"),
        ({"damage.where": "outputs"}, "damage.where: outputs is for reading: hebbian"),
    ],
)
def test_what_makes_no_frame_is_refused_in_one_line(params: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=re.escape(complaint)):
        recall("frame", **params)


def test_what_no_column_holds_is_said() -> None:
    with pytest.raises(SimulationError, match=r"rank0 spends .* J from one recall to the next, more than a column"):
        recall(node="jetson-orin-nano", payload="virtual", period="100000 s")
    assert spent(recall(payload="virtual", period="100000 s"))["life_h"] > 0


def test_the_defaults_make_a_recall() -> None:
    check(Params())
