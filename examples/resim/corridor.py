"""What stands or drives in the strip of road that a replayed vehicle sweeps."""

import math
from dataclasses import dataclass

from commonroad import Scenario, State, Vehicle
from path import DrivenPath

STOP_LINE = "stop-line"
# Boxes that overlap sideways by less pass each other: recorded places and widths are
# not exact to more than this, and recorded neighbours do overlap by that much.
SIDE_TOLERANCE_M = 0.2
# A vehicle no faster than this where its recording ends was stopping there ...
STOPPING_SPEED_MPS = 1.0
# ... for a recorded vehicle, if one is this close ahead, and else for a stop line.
QUEUE_GAP_M = 10.0


@dataclass(frozen=True)
class Occupant:
    """A recorded vehicle's box, or a stop line, as seen along a replayed vehicle's path."""

    occupant_id: str
    rear_m: float
    centre_m: float
    front_m: float
    speed_mps: float


class Corridor:
    """The strip as wide as the vehicle `ego`, along its path, and who is in it when.

    Recorded traffic doesn't react, so this holds for any way of driving the path.
    """

    def __init__(self, scenario: Scenario, ego: Vehicle, path: DrivenPath):
        self._by_step: dict[int, list[Occupant]] = {
            step: [] for step in range(ego.states[0].step, ego.states[-1].step + 1)
        }
        for other in scenario.vehicles:
            if other.vehicle_id != ego.vehicle_id:
                self._add(other, ego, path)
        stop_line = self._stop_line(ego, path)
        if stop_line is not None:
            for occupants in self._by_step.values():
                occupants.append(stop_line)

    def at(self, step: int) -> list[Occupant]:
        return self._by_step[step]

    def _add(self, other: Vehicle, ego: Vehicle, path: DrivenPath) -> None:
        if other.parked:
            occupant = _occupant(other, other.states[0], ego, path)
            timed = [(step, occupant) for step in self._by_step]
        else:
            timed = [
                (state.step, _occupant(other, state, ego, path))
                for state in other.states
                if state.step in self._by_step
            ]
        for step, occupant in timed:
            if occupant is not None:
                self._by_step[step].append(occupant)

    def _stop_line(self, ego: Vehicle, path: DrivenPath) -> Occupant | None:
        """Where the recorded vehicle stops for something that the recording doesn't show.

        That is a red light, or a queue that begins past the recorded stretch of road.
        """
        last = ego.states[-1]
        if last.speed_mps > STOPPING_SPEED_MPS:
            return None
        line_m = path.recorded_length_m + ego.length_m / 2
        if any(0.0 <= other.rear_m - line_m <= QUEUE_GAP_M for other in self._by_step[last.step]):
            return None
        return Occupant(STOP_LINE, rear_m=line_m, centre_m=line_m, front_m=line_m, speed_mps=0.0)


def _occupant(other: Vehicle, state: State, ego: Vehicle, path: DrivenPath) -> Occupant | None:
    """The vehicle's box along ego's path; None while it is beside the strip."""
    place = path.project(state.x_m, state.y_m)
    turn_rad = state.heading_rad - place.heading_rad
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    half_along_m = (abs(cos) * other.length_m + abs(sin) * other.width_m) / 2
    half_across_m = (abs(sin) * other.length_m + abs(cos) * other.width_m) / 2
    if abs(place.left_m) >= half_across_m + ego.width_m / 2 - SIDE_TOLERANCE_M:
        return None
    return Occupant(
        occupant_id=other.vehicle_id,
        rear_m=place.way_m - half_along_m,
        centre_m=place.way_m,
        front_m=place.way_m + half_along_m,
        speed_mps=state.speed_mps * cos,
    )
