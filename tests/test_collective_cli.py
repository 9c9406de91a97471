"""`simcore collective`: what explain and bench print, their file, and what a wrong option is answered."""

import re
from pathlib import Path

import pytest
from test_cli import simcore

from simcore.collectives import ALGORITHMS, build
from simcore.collectives.explain import lines
from simcore.collectives.formulas import alpha_beta


def explained(*arguments: str) -> list[str]:
    done = simcore("collective", "explain", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_small_collective_is_listed_message_by_message() -> None:
    shown = explained(
        "broadcast", "--algorithm", "ring", "--ranks", "3", "--size", "1kB", "--chunks", "2", "--root", "1"
    )

    assert shown[0] == "ring broadcast of 1000 bytes (S) among 3 ranks: 2 steps, 4 messages"
    assert [line.split() for line in shown[3:7]] == [
        ["0", "0", "0", "1", "2", "500", "0", "stored"],
        ["0", "0", "1", "1", "2", "500", "500", "stored"],
        ["1", "0", "0", "2", "0", "500", "0", "stored"],
        ["1", "0", "1", "2", "0", "500", "500", "stored"],
    ]
    assert "time            3 alpha + 1500 bytes / B = 1.5 S/B, where every pair of ranks has its own link" in shown


def test_a_large_one_step_by_step_unless_all_is_asked_for() -> None:
    by_step = explained("all_reduce", "--ranks", "64", "--size", "64MiB")
    shortened = explained("all_reduce", "--ranks", "128", "--size", "64MiB")
    everything = explained("all_reduce", "--ranks", "64", "--size", "64MiB", "--all")

    assert len([line for line in by_step if re.match(r" *\d+ +64 +1048576 ", line)]) == 126
    assert " ...  126 more steps" in shortened
    assert len([line for line in everything if line.endswith(("added", "stored"))]) == 2 * 63 * 64


@pytest.mark.parametrize("operation", ALGORITHMS)
def test_every_collective_can_be_explained(operation: str) -> None:
    for algorithm in ALGORITHMS[operation]:
        matrix = [[5] * 8] * 8 if operation == "all_to_all_v" else None
        nodes = 1 if algorithm == "in_switch" else 2
        whole = build(operation, 8, 4096, algorithm, nodes=nodes, matrix=matrix)
        text = list(lines(whole, alpha_beta(operation, algorithm, 8, whole.size, nodes=nodes), most=10**6))

        messages = int(whole.transfers.sum())
        assert f"{messages} messages" in text[0]
        assert len(text) == messages + 9
        assert text[-2].startswith("time ")
        assert ("switch0" in "".join(text)) == (algorithm == "in_switch")


def test_a_collective_of_one_rank_is_one_line() -> None:
    assert explained("all_reduce", "--ranks", "1") == [
        "ring all_reduce of 67108864 bytes (S) among 1 ranks: 0 steps, 0 messages"
    ]


def test_bench_prints_the_table_and_writes_it(tmp_path: Path) -> None:
    done = simcore(
        "collective", "bench", "all_reduce", "--machine", "hgx-h100", "--from", "8MiB", "--to", "100MB",
        "--factor", "4", "--set", "machine.link={latency: 0 ps, bandwidth: 400 GB/s, efficiency: []}",
        "--set", "machine.collective={launch: 0 ps, fill: 0 ps}",
        "--csv", "t.csv", cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    head, _, _, *rows, wrote = done.stdout.splitlines()
    assert head == "ring all_reduce, 8 ranks on hgx-h100, fair links"
    assert wrote == "wrote    t.csv"
    # Without latency a ring carries just what it must: busbw is the bandwidth.
    assert [row.split() for row in rows] == [
        ["8388608", "36.70", "228.57", "400.00"],
        ["33554432", "146.80", "228.57", "400.00"],
    ]
    kept = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert kept[0] == "size_bytes,time_ps,algbw_gb_per_s,busbw_gb_per_s"
    assert kept[2] == "33554432,146800640,228.571,400"


def test_bench_adds_what_the_library_of_the_machine_costs_and_queues_as_it_does() -> None:
    def time(*options: str) -> float:
        asked = ("bench", "send_recv", "--machine", "mi300x-8", "--from", "1MB", "--to", "1MB")
        link = "machine={topology: switch, link: {bandwidth: 1 TB/s, latency: 1 us}}"
        done = simcore("collective", *asked, "--set", link, *options)
        assert done.returncode == 0, done.stderr
        return float(done.stdout.splitlines()[-1].split()[1])

    assert time() == 3
    assert time("--set", "machine.collective={launch: 5 us, fill: 4 us}") == 3 + 5 + 4
    assert time("--policy", "fifo") == 4
    assert time("--policy", "fifo", "--set", "machine.queues.switching=cut_through") == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("explain", "al_reduce"), "error: unknown operation 'al_reduce'; did you mean 'all_reduce'?"),
        (("explain", "all_reduce", "--size", "64"), "error: --size: '64' has no unit; write a size as e.g. '64 MiB'"),
        (("explain", "all_reduce", "--ranks", "6", "--nodes", "4"), "error: nodes: 6 ranks do not make 4 nodes"),
        (("explain", "all_reduce", "--ranks", "0"), "error: ranks: a collective needs 1 or more, not 0"),
        (("bench", "all_reduce"), "error: Missing option '--machine'."),
        (
            ("bench", "all_reduce", "--machine", "hgx-h100", "--set", "machine.queues.mtu=4 KiB", "--policy", "fair"),
            "machine.queues: only 'sharing: fifo' queues, not 'fair'; leave it out or share by fifo",
        ),
        (
            ("bench", "all_reduce", "--machine", "hgx-h10"),
            "unknown scenario or preset 'hgx-h10'; did you mean 'hgx-h100'?",
        ),
        (
            ("bench", "all_reduce", "--machine", "mi300x-8", "--algorithm", "in_switch"),
            "error: in_switch: no switch of mi300x-8 reduces; machine.topology: {family: switch, ",
        ),
        (
            ("bench", "all_reduce", "--machine", "hgx-h100", "--csv", "/nonexistent/x.csv"),
            "error: --csv: /nonexistent/x.csv: there is no folder /nonexistent",
        ),
        (("bench", "all_reduce", "--machine", "hgx-h100", "--csv", "."), "error: --csv: .: is a folder; name a file"),
        (("bench", "all_reduce", "--machine", "hgx-h100", "--ranks", "9"), "error: --ranks: 9 ranks need as many GPUs"),
        (("bench", "all_reduce", "--machine", "hgx-h100", "--from", "2GiB"), "error: --from: 2147483648 B is more"),
        (("bench", "all_reduce", "--machine", "hgx-h100", "--set", "wait.policy=spin"), "keys begin with 'machine.'"),
        (("bench", "all_reduce", "--machine", "hgx-h100", "--set", "machine.gpu=8"), "error: --set machine.gpu=8"),
    ],
)
def test_a_wrong_option_is_one_line(arguments: tuple[str, ...], complaint: str) -> None:
    done = simcore("collective", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
