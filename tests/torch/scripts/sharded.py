"""DistributedDataParallel, FSDP2 and torch.distributed.checkpoint: a few steps of each, saved and gone on with.

    sharded.py FOLDER STEPS [DIE]

Goes on from the newest checkpoint in the folder, with any number of ranks. One that starts from nothing saves after
step DIE, and its last rank is killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from notes import note

SAMPLES = 12  # divided evenly by 1, 2, 3 and 4 ranks


def main() -> int:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    die = int(sys.argv[3]) if len(sys.argv) > 3 else steps
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(1)
    plain = DistributedDataParallel(network())
    torch.manual_seed(1)
    sharded = network()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in sharded:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    trained = {"ddp": (plain, sgd(plain)), "fsdp2": (sharded, sgd(sharded))}
    first = step = load(folder, trained)
    while step < steps:
        losses = {name: train_step(*pair, step) for name, pair in trained.items()}
        step += 1
        if step == steps or (step == die and first == 0):
            save(folder, trained, step)
        if step == die < steps and first == 0 and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGKILL)
    note("trained", world_size=dist.get_world_size(), first=first, step=step, **losses)
    dist.destroy_process_group()
    return 0


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))


def sgd(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train_step(model, optimizer, step: int) -> float:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(SAMPLES, 8, generator=generator)[dist.get_rank() :: dist.get_world_size()]
    loss = (model(inputs) - inputs).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    whole = loss.detach().clone()
    dist.all_reduce(whole)
    return whole.item() / dist.get_world_size()


def state(trained: dict) -> dict:
    return {name: dict(zip(("model", "optimizer"), get_state_dict(*pair))) for name, pair in trained.items()}


def save(folder: Path, trained: dict, step: int) -> None:
    path = folder / f"step-{step}"
    dcp.save(state(trained) | {"step": torch.tensor(step)}, checkpoint_id=path)
    if dist.get_rank() == 0:
        (folder / f"step-{step}.complete").touch()
    dist.barrier()


def load(folder: Path, trained: dict) -> int:
    named = os.environ.get("PETCTL_RESUME_FROM")
    path = Path(named) if named else max(folder.glob("step-*[0-9]"), default=None)
    if path is None:
        return 0
    found = state(trained) | {"step": torch.tensor(0)}
    dcp.load(found, checkpoint_id=path)
    for name, (model, optimizer) in trained.items():
        parts = found[name]
        set_state_dict(
            model, optimizer, model_state_dict=parts["model"], optim_state_dict=parts["optimizer"]
        )
    return int(found["step"])


if __name__ == "__main__":
    sys.exit(main())
