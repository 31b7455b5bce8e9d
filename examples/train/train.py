"""Trains a small network to say where a vehicle will be in two seconds.

    petctl run job.toml
    torchrun --nproc-per-node 2 train.py             does the same, on one machine and without the rest
    petctl torchrun --nproc-per-node 2 train.py

It may be stopped at any step and gone on with by any number of processes: the result is the same but for rounding.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import smooth_l1_loss
from torch.nn.parallel import DistributedDataParallel

import order
import petctl_train
from tracks import FEATURES, SIDEWAYS, Sample, make_samples, read_tracks, split

HERE = Path(__file__).resolve().parent
WIDTH = 8  # there is little data
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.3
INPUT_NOISE = 0.2
REPORT_EVERY = 20
SEED = 1


@dataclass(frozen=True)
class Tensors:
    features: torch.Tensor
    target_m: torch.Tensor
    baseline_m: torch.Tensor


@dataclass
class Progress:
    """What a checkpoint holds."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int
    # How often each sample was trained on in the steps that count.
    visits: torch.Tensor


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    join_group()
    training, validation = split(make_samples(read_tracks(options.data)))
    progress = start(len(training), options.checkpoints)
    say(f"{dist.get_world_size()} ranks train on {len(training)} samples from step {progress.step} on")
    stopped = train(progress, tensors(training), options)
    if stopped is None and dist.get_rank() == 0:
        write_result(progress, tensors(training), tensors(validation), options)
    dist.barrier()
    dist.destroy_process_group()
    if stopped is not None:
        # As if it had not been caught: whoever sent it sees that the training has not ended.
        signal.signal(stopped, signal.SIG_DFL)
        os.kill(os.getpid(), stopped)
    return 0


def join_group() -> None:
    """The group that the environment describes; without one, this process alone."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def start(samples: int, checkpoints: Path) -> Progress:
    """A new training, or the newest checkpoint of one."""
    torch.manual_seed(SEED)
    model = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, WIDTH),
        torch.nn.Tanh(),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.Tanh(),
        torch.nn.Linear(WIDTH, 2),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    progress = Progress(model, optimizer, 0, torch.zeros(samples, dtype=torch.int64))
    path = newest_checkpoint(checkpoints)
    if path is not None:
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        progress.step, progress.visits = saved["step"], saved["visits"]
    return progress


def newest_checkpoint(folder: Path) -> Path | None:
    """petctl says which one; else it is the newest in the folder, since each appears there whole."""
    named = petctl_train.resume_from()
    return Path(named) if named else max(folder.glob("step-*.pt"), default=None)


def train(progress: Progress, data: Tensors, options: argparse.Namespace) -> int | None:
    """Trains to the last step; answers the signal that ended it before."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    model = DistributedDataParallel(progress.model)
    caught: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    own_visits = torch.zeros_like(progress.visits)
    said_at = (time.monotonic(), progress.step)
    while progress.step < options.steps:
        indices = order.batch(progress.step, options.batch, len(own_visits), SEED)
        inputs, target_m, baseline_m = disturbed(data, indices, order.noise(progress.step, SEED))
        mine = order.share(torch.arange(len(indices)), rank, world_size)
        loss_sum = smooth_l1_loss(model(inputs[mine]) + baseline_m[mine], target_m[mine], reduction="sum")
        for group in progress.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * progress.step / options.steps)) / 2
        progress.optimizer.zero_grad()
        # Gradients are averaged over ranks, whose shares may differ by one.
        (loss_sum * world_size / len(indices)).backward()
        progress.optimizer.step()
        progress.step += 1
        own_visits.index_add_(0, indices[mine], torch.ones_like(indices[mine]))
        # All ranks stop after the same step, though a signal reaches each at another time.
        shared = torch.tensor([float(len(caught)), loss_sum.item()])
        dist.all_reduce(shared)
        stop = shared[0] > 0
        if stop or progress.step % options.checkpoint_every == 0 or progress.step == options.steps:
            dist.all_reduce(own_visits)
            progress.visits += own_visits
            own_visits.zero_()
            save(progress, options.checkpoints)
        if progress.step % REPORT_EVERY == 0:
            petctl_train.progress(progress.step)
        if time.monotonic() - said_at[0] > 1:
            rate = (progress.step - said_at[1]) / (time.monotonic() - said_at[0])
            say(f"step {progress.step}: loss {shared[1] / len(indices):.3f}, {rate:.0f} steps/s")
            said_at = (time.monotonic(), progress.step)
        if stop:
            say(f"told to stop: saved at step {progress.step}")
            return caught[0] if caught else signal.SIGTERM
    return None


def disturbed(data: Tensors, indices: torch.Tensor, generator: torch.Generator):
    """Inputs, targets and baselines of a batch, some of them mirrored, the inputs with noise."""
    inputs, target_m = data.features[indices], data.target_m[indices]
    mirrored = torch.rand(len(indices), 1, generator=generator) < 0.5
    sideways = torch.ones(FEATURES)
    sideways[list(SIDEWAYS)] = -1
    inputs = torch.where(mirrored, inputs * sideways, inputs)
    target_m = torch.where(mirrored, target_m * torch.tensor([1.0, -1.0]), target_m)
    inputs = inputs + INPUT_NOISE * torch.randn(inputs.shape, generator=generator)
    return inputs, target_m, data.baseline_m[indices]


def save(progress: Progress, folder: Path) -> None:
    """Writes a checkpoint, whole or not at all, and says that it is there."""
    if dist.get_rank() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{progress.step:08}.pt"
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        content = {
            "model": progress.model.state_dict(),
            "optimizer": progress.optimizer.state_dict(),
            "step": progress.step,
            "visits": progress.visits,
        }
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    petctl_train.checkpoint(progress.step, path)


def write_result(progress: Progress, training: Tensors, validation: Tensors, options) -> None:
    least, most = order.visits(progress.step, options.batch, len(progress.visits))
    optimizer_steps = {int(state["step"]) for state in progress.optimizer.state.values()}
    result = {
        "steps": progress.step,
        "optimizer_steps": max(optimizer_steps),
        "samples_seen": int(progress.visits.sum()),
        "each_step_counted_once": bool(
            optimizer_steps == {progress.step}
            and progress.visits.min() == least
            and progress.visits.max() == most
            and progress.visits.sum() == progress.step * options.batch
        ),
        "training_error_m": error_m(progress.model, training),
        "validation_error_m": error_m(progress.model, validation),
        "baseline_error_m": round(_mean_distance_m(validation.baseline_m, validation.target_m), 4),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    part = options.out / "result.json.part"
    part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    part.replace(options.out / "result.json")
    say(json.dumps(result))


def error_m(model: torch.nn.Module, data: Tensors) -> float:
    """Mean distance between where the vehicles are in two seconds and where the model says."""
    with torch.no_grad():
        return round(_mean_distance_m(model(data.features) + data.baseline_m, data.target_m), 4)


def tensors(samples: list[Sample]) -> Tensors:
    columns = ("features", "target_m", "baseline_m")
    return Tensors(*(torch.tensor([getattr(sample, name) for sample in samples]) for name in columns))


def say(text: str) -> None:
    if dist.get_rank() == 0:
        print(text, flush=True)


def _mean_distance_m(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).norm(dim=1).mean().item()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train a predictor of vehicles' motion.")
    parser.add_argument("--data", type=Path, default=HERE / "tracks.csv")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "fit", help="folder of the result")
    default = Path(os.environ.get("PETCTL_CHECKPOINT_DIR", HERE / "out" / "fit" / "checkpoints"))
    parser.add_argument("--checkpoints", type=Path, default=default, help="folder of the checkpoints")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64, help="samples per step, over all ranks")
    parser.add_argument("--checkpoint-every", type=int, default=100, metavar="STEPS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
