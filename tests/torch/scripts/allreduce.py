"""All ranks add up ones, every 50 ms, and check on the way that they are who they should be.

Saves every tenth step, and on SIGTERM; ends well once there is a file `end`.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

import contract
from notes import note

STEP_S = 0.05
SAVE_EVERY = 10


def main() -> int:
    own = contract.check()
    folder = Path(os.environ["PETCTL_CHECKPOINT_DIR"])
    step = resume()
    dist.init_process_group("gloo")
    everyone: list = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    contract.check_all(everyone)
    assert (dist.get_rank(), dist.get_world_size()) == (int(own["RANK"]), int(own["WORLD_SIZE"]))
    caught: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    note("met", world_size=dist.get_world_size(), worker=os.environ["PETCTL_WORKER_ID"], step=step, **own)
    while True:
        time.sleep(STEP_S)
        shared = torch.tensor([1, len(caught), int(Path("end").exists())])
        dist.all_reduce(shared)
        assert shared[0] == dist.get_world_size(), shared
        step += 1
        if shared[1] or step % SAVE_EVERY == 0:
            save(folder, step)
        if shared[1]:
            note("told to stop", step=step)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        if shared[2]:
            note("end", step=step)
            dist.destroy_process_group()
            return 0


def resume() -> int:
    path = os.environ.get("PETCTL_RESUME_FROM")
    if path is None:
        return 0
    step = int(Path(path).read_text())
    assert step == int(os.environ["PETCTL_RESUME_STEP"]), (path, step)
    return step


def save(folder: Path, step: int) -> None:
    if dist.get_rank() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step}"
    path.write_text(f"{step}\n")
    path.with_name(f"{path.name}.complete").touch()
    note("saved", step=step)


if __name__ == "__main__":
    sys.exit(main())
