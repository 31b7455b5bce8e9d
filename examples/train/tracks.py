"""Reads tracks.csv and makes samples of it: the last second of a vehicle, and where it is two seconds later.

All lengths are in the vehicle's own frame of now: x ahead, y to the left.
"""

import csv
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PAST_STEPS = 10  # of 0.1 s
FUTURE_STEPS = 20
LOOKS_BACK = (10, 8, 6, 4, 2)  # steps before now at which the own motion is seen
LEAD_RANGE_M = 60.0
LEAD_CORRIDOR_M = 1.8  # half a lane to each side
VALIDATION_EVERY = 5  # one vehicle of this many is kept for validation …
VALIDATION_FIRST = 0  # … counted from this one on, in each recording
FEATURES = 4 * len(LOOKS_BACK) + 1 + 3 * 2
# Features that change their sign when left and right are swapped.
SIDEWAYS = tuple(4 * i + j for i in range(len(LOOKS_BACK)) for j in (1, 3))


@dataclass(frozen=True)
class State:
    x_m: float
    y_m: float
    heading_rad: float
    speed_mps: float
    length_m: float


@dataclass(frozen=True)
class Sample:
    """`target_m` and `baseline_m` are places in two seconds: the recorded one, and that at constant velocity."""

    vehicle: tuple[str, str]
    features: tuple[float, ...]
    target_m: tuple[float, float]
    baseline_m: tuple[float, float]


Tracks = dict[tuple[str, str], dict[int, State]]


def read_tracks(path: Path) -> Tracks:
    """States by (recording, vehicle) and step."""
    tracks: Tracks = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            numbers = (float(row[name]) for name in ("x_m", "y_m", "heading_rad", "speed_mps", "length_m"))
            tracks[row["recording"], row["vehicle"]][int(row["step"])] = State(*numbers)
    return dict(tracks)


def make_samples(tracks: Tracks) -> list[Sample]:
    """A sample for each state with a whole second before it and two after it, always in the same order."""
    traffic = defaultdict(dict)
    for (recording, vehicle), states in tracks.items():
        for step, state in states.items():
            traffic[recording, step][vehicle] = state
    return [
        _sample(vehicle, states, now, traffic)
        for vehicle, states in sorted(tracks.items())
        for now in sorted(states)
        if all(now + k in states for k in range(-PAST_STEPS, FUTURE_STEPS + 1))
    ]


def split(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and to validate with; no vehicle has some of both."""
    vehicles = defaultdict(list)
    for vehicle in sorted({sample.vehicle for sample in samples}):
        vehicles[vehicle[0]].append(vehicle)
    held_out = {v for names in vehicles.values() for v in names[VALIDATION_FIRST::VALIDATION_EVERY]}
    training = [sample for sample in samples if sample.vehicle not in held_out]
    return training, [sample for sample in samples if sample.vehicle in held_out]


def _sample(vehicle, states, now, traffic) -> Sample:
    own = states[now]
    features: list[float] = []
    for back in LOOKS_BACK:
        then = states[now - back]
        x_m, y_m = _seen_from(own, then)
        turned_rad = math.remainder(own.heading_rad - then.heading_rad, math.tau)
        behind_m = x_m + own.speed_mps * back / 10  # how far it is from constant velocity
        features += [behind_m / 2, y_m, (own.speed_mps - then.speed_mps) / 2, 3 * turned_rad]
    features.append(own.speed_mps / 10)
    for back in (0, PAST_STEPS):
        features += _lead(states[now - back], vehicle[1], traffic[vehicle[0], now - back])
    return Sample(
        vehicle=vehicle,
        features=tuple(features),
        target_m=_seen_from(own, states[now + FUTURE_STEPS]),
        baseline_m=(own.speed_mps * FUTURE_STEPS / 10, 0.0),
    )


def _lead(own: State, name: str, others: dict[str, State]) -> list[float]:
    """Whether there is a vehicle ahead, how far it is, and how much faster."""
    nearest = None
    for other_name, other in others.items():
        x_m, y_m = _seen_from(own, other)
        ahead = other_name != name and 0 < x_m < LEAD_RANGE_M and abs(y_m) < LEAD_CORRIDOR_M
        if ahead and (nearest is None or x_m < nearest[0]):
            nearest = (x_m, other)
    if nearest is None:
        return [0.0, 1.5, 0.0]
    gap_m = nearest[0] - (nearest[1].length_m + own.length_m) / 2
    return [1.0, gap_m / 20, (nearest[1].speed_mps - own.speed_mps) / 5]


def _seen_from(own: State, other: State) -> tuple[float, float]:
    dx_m, dy_m = other.x_m - own.x_m, other.y_m - own.y_m
    cos, sin = math.cos(own.heading_rad), math.sin(own.heading_rad)
    return dx_m * cos + dy_m * sin, dy_m * cos - dx_m * sin
