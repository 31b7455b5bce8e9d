"""Closed loop: one recorded vehicle, driven anew through the recorded traffic."""

from dataclasses import dataclass
from typing import Callable

from commonroad import Scenario, Vehicle
from corridor import Occupant, occupants_by_step
from idm import Driver, advance
from path import DrivenPath

# A vehicle out of the corridor for no longer than this has not left it.
ABSENCE_S = 0.5


@dataclass(frozen=True)
class Row:
    """What the replayed vehicle does and sees at one time step."""

    step: int
    t_s: float
    way_m: float
    speed_mps: float
    accel_mps2: float
    lead: Occupant | None
    gap_m: float | None
    ttc_s: float | None


@dataclass(frozen=True)
class Contact:
    """Two boxes touch; `ahead` is true if the other's centre is ahead of ego's."""

    step: int
    other: Occupant
    ahead: bool


class Replay:
    """The replay of `ego`; `contact` is what ended it before the recording's end."""

    def __init__(self, scenario: Scenario, ego: Vehicle, path: DrivenPath, margin_m: float):
        self.ego = ego
        self.path = path
        self.time_step_s = scenario.time_step_s
        self.rows: list[Row] = []
        self.contact: Contact | None = None
        self._occupants = occupants_by_step(scenario, ego, path, margin_m)

    @property
    def progress_m(self) -> float:
        return self.rows[-1].way_m

    @property
    def recorded_progress_m(self) -> float:
        last = self.ego.states[-1]
        return self.path.project(last.x_m, last.y_m).way_m

    def run(self, driver: Driver) -> "Replay":
        """Drive from the first recorded state to the recording's end or to a contact."""
        start = self.ego.states[0]
        self.rows, self.contact = self._drive(
            start.step,
            0.0,
            start.speed_mps,
            lambda speed_mps, gap_m, closing_mps: driver.accel_mps2(speed_mps, gap_m, closing_mps),
        )
        return self

    def braked(self, row: Row, decel_mps2: float) -> tuple[list[Row], Contact | None]:
        """The same replay, had the driver braked with `decel_mps2` from `row` on."""
        return self._drive(row.step, row.way_m, row.speed_mps, lambda *_: -decel_mps2)

    def encounter_start(self, row: Row, vehicle_id: str) -> Row:
        """The row in which this vehicle came ahead into the corridor, to stay until `row`."""
        longest_absence = round(ABSENCE_S / self.time_step_s)
        start, absence = row, 0
        for earlier in reversed(self.rows[: self.rows.index(row)]):
            present = any(
                other.vehicle_id == vehicle_id and other.centre_m > earlier.way_m
                for other in self._occupants[earlier.step]
            )
            start, absence = (earlier, 0) if present else (start, absence + 1)
            if absence > longest_absence:
                break
        return start

    def _drive(
        self,
        step: int,
        way_m: float,
        speed_mps: float,
        choose_accel: Callable[[float, float | None, float], float],
    ) -> tuple[list[Row], Contact | None]:
        rows: list[Row] = []
        last_step = self.ego.states[-1].step
        while True:
            contact = self._contact(step, way_m)
            lead = contact.other if contact and contact.ahead else self._lead(step, way_m)
            gap_m, closing_mps, ttc_s = None, 0.0, None
            if lead is not None:
                gap_m = lead.rear_m - way_m - self.ego.length_m / 2
                closing_mps = speed_mps - lead.speed_mps
                ttc_s = max(gap_m, 0.0) / closing_mps if closing_mps > 0.0 else None
            accel_mps2 = choose_accel(speed_mps, gap_m, closing_mps)
            t_s = step * self.time_step_s
            rows.append(Row(step, t_s, way_m, speed_mps, accel_mps2, lead, gap_m, ttc_s))
            if contact is not None or step == last_step:
                return rows, contact
            way_m, speed_mps = advance(way_m, speed_mps, accel_mps2, self.time_step_s)
            step += 1

    def _lead(self, step: int, way_m: float) -> Occupant | None:
        """The nearest vehicle whose rear is ahead of ego's front."""
        front_m = way_m + self.ego.length_m / 2
        ahead = [other for other in self._occupants[step] if other.rear_m > front_m]
        return min(ahead, key=lambda other: other.rear_m, default=None)

    def _contact(self, step: int, way_m: float) -> Contact | None:
        """The vehicle that touches ego; one ahead goes before one behind."""
        half_m = self.ego.length_m / 2
        touching = [
            other
            for other in self._occupants[step]
            if other.clearance_m <= 0.0
            and other.rear_m <= way_m + half_m
            and other.front_m >= way_m - half_m
        ]
        if not touching:
            return None
        other = max(touching, key=lambda other: other.centre_m)
        return Contact(step, other, ahead=other.centre_m > way_m)
