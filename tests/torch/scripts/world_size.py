"""Each rank puts a one into its place of a vector; the sum of all vectors is the world size."""

import os
import sys

import torch
import torch.distributed as dist

import contract
from notes import note


def main() -> int:
    own = contract.check()
    dist.init_process_group("gloo")
    place = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    place[dist.get_rank()] = 1
    dist.all_reduce(place)
    assert place.tolist() == [1] * int(own["WORLD_SIZE"]), place
    everyone: list = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    contract.check_all(everyone)
    print(f"computed world size: {int(place.sum())}", flush=True)
    note("world size", size=int(place.sum()), local_rank=int(os.environ["LOCAL_RANK"]))
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
