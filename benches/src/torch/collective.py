"""A rank that notes its start, then adds numbers with the others until it is ended. NOTES: where."""

import os
import sys
import time

with open(sys.argv[1], "a") as notes:
    notes.write(f"{os.environ['RANK']} {os.environ['WORLD_SIZE']} {os.getpid()}\n")

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
with open(sys.argv[1] + ".met", "a") as notes:
    notes.write(f"{os.environ['RANK']} {os.environ['WORLD_SIZE']} {os.getpid()}\n")
while True:
    dist.all_reduce(torch.ones(1))
    time.sleep(0.05)
