"""Writes Chakra execution traces, those in ``step_4ranks`` among them: ``python -m simcore.traces.write_chakra``.

One step of training on four ranks, made up: computations, a ring all-reduce written out as sends, receives and
additions, and an all-gather. Schema: github.com/mlcommons/chakra, schema/protobuf/et_def.proto.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

COMPUTE, SEND, RECEIVE, COLLECTIVE = 4, 5, 6, 7
ALL_GATHER = 2


def varint(value: int) -> bytes:
    """Return ``value`` in groups of seven bits, the lowest first; negative ones as 64 bits."""
    value &= 2**64 - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def field(number: int, value: int | bytes | str) -> bytes:
    """Return one field: a varint, or a length and bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def attribute(name: str, value: int | bool | str) -> bytes:
    """Return an attribute: a bool, an int64 or a string."""
    number = 27 if isinstance(value, bool) else 9 if isinstance(value, int) else 29
    return field(1, name) + field(number, value)


def node(
    number: int, name: str, kind: int, after: Sequence[int] = (), duration: int = 0,
    attributes: Mapping[str, int | bool | str] | None = None,
) -> bytes:  # fmt: skip
    """Return a node, which depends on the data of the nodes ``after``; ``duration`` in us."""
    return (
        (field(1, number) if number else b"")
        + field(2, name)
        + field(3, kind)
        + (field(5, b"".join(map(varint, after))) if after else b"")
        + (field(7, duration) if duration else b"")
        + b"".join(field(10, attribute(*each)) for each in (attributes or {}).items())
    )


def file(nodes: Sequence[bytes], version: str = "0.0.4") -> bytes:
    """Return a whole file: what concerns all of it, then the nodes, each preceded by its length."""
    return b"".join(varint(len(record)) + record for record in (field(1, version), *nodes))


def step(rank: int, ranks: int = 4, size: int = 2**20) -> bytes:
    """Return the trace of one rank."""
    nodes = [
        node(0, "forward", COMPUTE, (), 0, {"num_ops": 2 * 10**9, "tensor_size": 48 * 2**20, "is_cpu_op": False}),
        node(1, "backward", COMPUTE, (0,), 40 + 3 * rank),
    ]
    part, left, right = size // ranks, (rank - 1) % ranks, (rank + 1) % ranks
    for turn in range(2 * (ranks - 1)):
        at, about = len(nodes), {"comm_size": part, "comm_tag": 0}
        nodes.append(node(at, f"send {turn}", SEND, (at - 1,), 0, {"comm_dst": right, **about}))
        nodes.append(node(at + 1, f"receive {turn}", RECEIVE, (at,), 0, {"comm_src": left, **about}))
        if turn < ranks - 1:
            nodes.append(node(at + 2, f"add {turn}", COMPUTE, (at + 1,), 2))
    at = len(nodes)
    gathered = {"comm_type": ALL_GATHER, "comm_size": part, "is_cpu_op": False}
    nodes.append(node(at, "update", COMPUTE, (at - 1,), 5))
    nodes.append(node(at + 1, "all-gather of parameters", COLLECTIVE, (at,), 0, gathered))
    return file(nodes)


if __name__ == "__main__":
    folder = Path(__file__).parent / "step_4ranks"
    folder.mkdir(exist_ok=True)
    for each in range(4):
        (folder / f"step.{each}.et").write_bytes(step(each))
