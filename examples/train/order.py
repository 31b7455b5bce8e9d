"""Which samples a step trains on: a function of the step, so that a training goes on anywhere as if never stopped.

The batch of a step is the same whatever the number of ranks; each rank takes its share of it.
"""

from functools import lru_cache

import torch


def batch(step: int, size: int, samples: int, seed: int) -> torch.Tensor:
    """Indices of the samples of the whole batch of a step: passes over all of them, each in an order of its own."""
    positions = range(step * size, (step + 1) * size)
    return torch.tensor([int(_pass(at // samples, samples, seed)[at % samples]) for at in positions])


def share(items: torch.Tensor, rank: int, world_size: int) -> torch.Tensor:
    """A rank's part; all parts together are the whole, and none is longer than another by more than one."""
    return items[rank::world_size]


def visits(steps: int, size: int, samples: int) -> tuple[int, int]:
    """How often each sample has been used after so many steps: at least, and at most."""
    full, rest = divmod(steps * size, samples)
    return full, full + (1 if rest else 0)


def noise(step: int, seed: int) -> torch.Generator:
    """The randomness of a step."""
    return torch.Generator().manual_seed((seed << 32) + (1 << 31) + step)


@lru_cache(maxsize=4)
def _pass(number: int, samples: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed((seed << 32) + number)
    return torch.randperm(samples, generator=generator)
