"""Record a real data-parallel training: four processes, DDP over gloo on the CPU, one Kineto trace a rank.

    python traces/record_training.py traces/ddp_4ranks

Needs torch. What is recorded is what happened on the machine that ran it: CPU times, real skew between the
processes. Fields that name the machine are removed; everything else stays as the profiler wrote it.
"""

import argparse
import gzip
import json
import os
import socket
import tempfile
from pathlib import Path

WORLD = 4
WARM_UP, PROFILED = 5, 4
SEED = 20261124
BATCH, LENGTH, VOCABULARY, WIDTH = 16, 32, 64, 128
SCRUBBED = ("host_name", "traceName", "trace_id")


def train(rank: int, port: int, folder: str) -> None:
    """Train a small transformer to name the most frequent token of a random sequence, and profile the last steps."""
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=4 * WIDTH, batch_first=True)
    network = nn.Sequential(
        nn.Embedding(VOCABULARY, WIDTH),
        nn.TransformerEncoder(layer, 2),
        nn.Flatten(),
        nn.Linear(LENGTH * WIDTH, VOCABULARY),
    )
    model = DistributedDataParallel(network, bucket_cap_mb=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = torch.Generator().manual_seed(SEED + rank)

    def step() -> None:
        tokens = torch.randint(VOCABULARY, (BATCH, LENGTH), generator=data)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), tokens.mode(dim=1).values).backward()
        optimizer.step()

    for _ in range(WARM_UP):
        step()
    dist.barrier()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(PROFILED):
            step()
    profiler.export_chrome_trace(f"{folder}/rank{rank}.json")
    dist.destroy_process_group()


def main() -> None:
    """Run the training and write ``rankN.json.gz`` into the folder given."""
    import torch.multiprocessing as processes

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    target = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        processes.spawn(train, (port, folder), nprocs=WORLD)
        for rank in range(WORLD):
            trace = json.loads(Path(folder, f"rank{rank}.json").read_text(encoding="utf-8"))
            for key in SCRUBBED:
                trace.pop(key, None)
            packed = gzip.compress(json.dumps(trace, separators=(",", ":")).encode(), mtime=0)
            (target / f"rank{rank}.json.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
