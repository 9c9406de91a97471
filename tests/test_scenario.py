"""Scenarios: what is read, what is resolved, and that the way back gives the same scenario."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from simcore import InputError, read_scenario, registry, run, scenario

TEXT = """
machine:
  node: hgx-h100
  gpus: 4
  link: {latency: 1 us}
workloads:
  - model: fused_allreduce
    params: {delay: 5 us}
"""


def saved(folder: Path, text: str = TEXT, name: str = "mine.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_scenario_lies_over_its_hardware_sheet(tmp_path: Path) -> None:
    asked = read_scenario(saved(tmp_path))

    assert asked.name == "mine"
    assert (asked.machine.link.bandwidth, asked.machine.link.latency) == (450 * 10**9, 10**6)
    assert (asked.machine.gpus, str(asked.machine.topology), asked.machine.sharing) == (4, "switch", "fifo")
    assert asked.workloads[0].params.delay == 5_000_000
    assert asked.workloads[0].ranks == 4
    assert (asked.wait.policy, asked.seed) == ("spin", 0)


@pytest.mark.parametrize("name", sorted(scenario.names()))
def test_every_bundled_scenario_resolves_to_itself(tmp_path: Path, name: str) -> None:
    asked = read_scenario(name)

    again = read_scenario(saved(tmp_path, yaml.safe_dump(scenario.resolved(asked)), f"{name}.yaml"))

    assert again == asked
    assert scenario.resolved(again) == scenario.resolved(asked)


def test_resolution_keeps_edges_and_placement(tmp_path: Path) -> None:
    text = TEXT.replace(
        "gpus: 4",
        "gpus: 4\n  topology: edges\n  edges: [{ends: [gpu0, sw], bandwidth: 5 GB/s}, {ends: [gpu1, sw]}, "
        "{ends: [gpu2, sw]}, {ends: [gpu3, sw]}]",
    )
    asked = read_scenario(saved(tmp_path, text + "    placement: [gpu3, gpu1, gpu0, gpu2]\n"))

    again = read_scenario(saved(tmp_path, yaml.safe_dump(scenario.resolved(asked))))

    assert again == asked
    assert again.gpus == {"fused_allreduce": [3, 1, 0, 2]}
    assert again.machine.edges[0].bandwidth == 5 * 10**9


CLUSTER = """
machine:
  node: dgx-a100
  nodes: 4
  network:
    link: {bandwidth: 25 GB/s, latency: 1 us, latency_is: step}
    topology: {family: fat_tree, per_leaf: 8, oversubscription: 2, uplink: {latency: 2 us}, ecmp_seed: 3}
  routes: [[gpu0, leaf0, spine1, leaf1, gpu9]]
  failed: [[leaf2, spine0]]
  degraded: [{ends: [gpu3, leaf0], percent: 50}]
workloads:
  - model: fused_allreduce
"""


def test_a_cluster_is_nodes_of_a_sheet_and_resolves_to_itself(tmp_path: Path) -> None:
    asked = read_scenario(saved(tmp_path, CLUSTER))
    topology = asked.machine.build_topology()

    assert (asked.machine.gpus, asked.machine.gpu_count, topology.gpus) == (8, 32, 32)
    assert [topology.links[i].head for i in topology.route(0, 9)] == ["leaf0", "spine1", "leaf1", "gpu9"]
    again = read_scenario(saved(tmp_path, yaml.safe_dump(scenario.resolved(asked))))
    assert again == asked
    assert scenario.resolved(asked)["machine"]["topology"] == "switch"
    assert scenario.resolved(asked)["machine"]["network"]["topology"]["oversubscription"] == 2


def test_a_job_on_two_nodes_uses_the_network_between_them_and_no_other_link() -> None:
    cluster = "machine={node: hgx-h100-fat-tree, gpus: 2, nodes: 2, network: {topology: {per_leaf: 2}}}"

    result = run(read_scenario("fused_allreduce", [cluster]))

    used = set(result.tables["links"]["link"].to_pylist())
    assert {"gpu0->node0.switch", "gpu0->leaf0", "leaf1->gpu3"} <= used
    assert any(link.startswith("leaf0->spine") for link in used)
    assert result.scenario.nodes == [range(2), range(2, 4)]


@pytest.mark.parametrize(
    ("setting", "family"),
    [
        ("machine.topology=ring", "ring"),
        ("machine.topology={family: torus, dimensions: [{size: 8}, {size: 8}]}", "torus"),
        ("machine.topology={family: fat_tree, per_leaf: 8}", "fat_tree"),
        ("machine.topology.dimensions=[{size: 16}, {size: 4, wrap: false}]", "torus"),
    ],
)
def test_another_family_replaces_the_whole_topology_of_the_sheet(tmp_path: Path, setting: str, family: str) -> None:
    asked = read_scenario(saved(tmp_path, TEXT.replace("hgx-h100\n  gpus: 4", "tpu-v3-8x8\n  gpus: 64")), [setting])

    assert asked.machine.topology.family == family


def test_a_scenario_may_lay_another_family_over_the_sheet_in_its_file(tmp_path: Path) -> None:
    text = TEXT.replace("hgx-h100\n  gpus: 4", "tpu-v3-8x8\n  topology: {family: fat_tree, per_leaf: 16}")

    assert read_scenario(saved(tmp_path, text)).machine.topology.family == "fat_tree"


@pytest.mark.parametrize(
    ("name", "overrides", "found"),
    [
        ("hgx-h100", ["machine.gpus=4"], ("hgx-h100", 4)),
        ("hgx-h100-rails", ["machine.nodes=3"], ("hgx-h100-rails", 24)),
        ("fused_allreduce", [], ("mi300x-8", 4)),
    ],
)
def test_a_machine_is_that_of_a_scenario_or_a_preset(name: str, overrides: list[str], found: tuple[str, int]) -> None:
    machine = scenario.read_machine(name, overrides)

    assert (machine.name, machine.gpu_count) == found


def test_a_machine_may_be_a_sheet_of_ones_own(tmp_path: Path) -> None:
    path = saved(tmp_path, "base: hgx-h100\nname: mine\ngpus: {value: 6, source: s, kind: spec}\n", "sheet.yaml")

    assert scenario.read_machine(path, []).gpu_count == 6
    with pytest.raises(InputError, match="machine: expected keys with values"):
        scenario.read_machine(path, ["machine=6"])
    with pytest.raises(InputError, match="unknown scenario or preset 'hgx-h10'; did you mean 'hgx-h100'"):
        scenario.read_machine("hgx-h10", [])


def test_overrides_and_seed_come_last(tmp_path: Path) -> None:
    asked = read_scenario(saved(tmp_path), ["wait.policy=monitor", "machine.link.latency=3 ns", "seed=4"], seed=9)

    assert (asked.wait.policy, asked.machine.link.latency, asked.seed) == ("monitor", 3000, 9)


def test_a_base_may_be_a_paper(tmp_path: Path) -> None:
    asked = read_scenario(saved(tmp_path, "base: fused_allreduce\nwait: {policy: monitor}\n"))

    assert asked.wait.policy == "monitor"
    assert asked.machine == read_scenario("fused_allreduce").machine


def test_an_own_hardware_sheet_is_found_beside_the_scenario(tmp_path: Path) -> None:
    from simcore import hardware

    (tmp_path / "my.yaml").write_text(
        hardware.find("dgx-a100", Path()).read_text(encoding="utf-8").replace("name: dgx-a100", "name: my"),
        encoding="utf-8",
    )

    assert read_scenario(saved(tmp_path, TEXT.replace("hgx-h100", "my.yaml"))).machine.name == "my"


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown scenario 'fused_alreduce'; did you mean 'fused_allreduce'"):
        read_scenario("fused_alreduce")
    with pytest.raises(InputError, match=r"gone\.yaml: no such file"):
        read_scenario("gone.yaml")


def test_the_schema_accepts_what_the_reader_accepts_and_forbids_unknown_keys() -> None:
    found = scenario.schema()
    machine = found["$defs"]["Machine"]

    assert found["anyOf"] == [
        {"required": ["base"]},
        {"required": ["machine", "workloads"], "properties": {"machine": {"required": ["node"]}}},
    ]
    assert "required" not in found
    assert machine["required"] == []
    assert machine["additionalProperties"] is False
    assert found["properties"]["seed"] == {"default": 0, "title": "Seed", "type": "integer"}
    assert "450 GB/s" in found["$defs"]["LinkSpec"]["properties"]["bandwidth"]["description"]
    shapes = found["$defs"]["Machine"]["properties"]["topology"]["anyOf"]
    assert "ring" in shapes[0]["enum"]
    assert found["$defs"]["Torus"]["additionalProperties"] is False
    names = [
        "collective_loop",
        "fused_allreduce",
        "int8_manifold",
        "moe_rebalance",
        "oscillator_attention",
        "sparse_attention",
        "trace_replay",
    ]
    assert found["$defs"]["Job"]["properties"]["model"]["enum"] == names
    fields = {part.name for part in dataclasses.fields(registry.load("fused_allreduce").Params)}
    assert set(found["$defs"]["params of fused_allreduce"]["properties"]) == fields >= {"kernel", "target", "delay"}


QUEUED = """
machine:
  node: mi300x-8
  gpus: 2
  topology: switch
  link: {bandwidth: 1 TB/s, latency: 1 us}
workloads:
  - {model: collective_loop, params: {operation: send_recv, size: 1 MB, repeat: 1, compute: 0 s}}
"""


@pytest.mark.parametrize(
    ("queues", "time"),
    [
        ("null", 4_000_000),
        ("{switching: cut_through}", 3_000_000),
        ("{mtu: 250 kB}", 3_250_000),
        ("{mtu: 250 kB, buffer: 250 kB}", 7_000_000),
    ],
)
def test_queues_decide_how_messages_cross_a_switch(tmp_path: Path, queues: str, time: int) -> None:
    result = run(read_scenario(saved(tmp_path, QUEUED), [f"machine.queues={queues}"]))

    assert result.metrics["makespan_ps"] == time
    assert not [warning for warning in result.warnings if "read it" in warning]
    assert read_scenario(saved(tmp_path, yaml.safe_dump(scenario.resolved(result.scenario)))) == result.scenario


def test_an_override_of_sharing_refuses_queues() -> None:
    with pytest.raises(InputError, match=r"machine\.queues: only 'sharing: fifo' queues, not 'ideal'; leave it out"):
        read_scenario("fused_allreduce", ["machine.queues={mtu: 4 KiB}", "machine.sharing=ideal"])
