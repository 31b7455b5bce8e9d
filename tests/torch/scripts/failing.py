"""One rank raises; the others are in a collective and die of it."""

import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import record


@record
def main() -> None:
    dist.init_process_group("gloo")
    dist.barrier()
    if dist.get_rank() == int(sys.argv[1]):
        raise ValueError(f"no such road: {sys.argv[2]}")
    dist.all_reduce(torch.ones(1))


if __name__ == "__main__":
    print(f"rank {os.environ['RANK']} begins", flush=True)
    main()
