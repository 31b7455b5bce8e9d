"""Which recorded vehicles are in the strip of road that a replayed vehicle sweeps."""

import math
from dataclasses import dataclass

from commonroad import Scenario, State, Vehicle
from path import DrivenPath


@dataclass(frozen=True)
class Occupant:
    """A recorded vehicle's box, seen along the path of the replayed one.

    `clearance_m` is the room between the two vehicles' sides; at zero and below
    they touch as soon as they are side by side.
    """

    vehicle_id: str
    rear_m: float
    centre_m: float
    front_m: float
    clearance_m: float
    speed_mps: float


def occupants_by_step(
    scenario: Scenario, ego: Vehicle, path: DrivenPath, margin_m: float
) -> dict[int, list[Occupant]]:
    """Whoever is within `margin_m` of ego's strip at each of ego's recorded steps.

    Recorded traffic doesn't react, so this holds for any way of driving the path.
    """
    steps = [state.step for state in ego.states]
    found: dict[int, list[Occupant]] = {step: [] for step in range(steps[0], steps[-1] + 1)}
    for other in scenario.vehicles:
        if other.vehicle_id == ego.vehicle_id:
            continue
        if other.parked:
            occupant = _occupant(other, other.states[0], ego, path)
            timed = [(step, occupant) for step in found]
        else:
            timed = [
                (state.step, _occupant(other, state, ego, path))
                for state in other.states
                if state.step in found
            ]
        for step, occupant in timed:
            if occupant.clearance_m <= margin_m:
                found[step].append(occupant)
    return found


def _occupant(other: Vehicle, state: State, ego: Vehicle, path: DrivenPath) -> Occupant:
    place = path.project(state.x_m, state.y_m)
    turn_rad = state.heading_rad - place.heading_rad
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    half_along_m = (abs(cos) * other.length_m + abs(sin) * other.width_m) / 2
    half_across_m = (abs(sin) * other.length_m + abs(cos) * other.width_m) / 2
    return Occupant(
        vehicle_id=other.vehicle_id,
        rear_m=place.way_m - half_along_m,
        centre_m=place.way_m,
        front_m=place.way_m + half_along_m,
        clearance_m=abs(place.left_m) - half_across_m - ego.width_m / 2,
        speed_mps=state.speed_mps * cos,
    )
