"""Closed loop: one recorded vehicle, driven anew through the recorded traffic."""

from dataclasses import dataclass
from typing import Callable

from commonroad import Scenario, Vehicle
from corridor import Corridor, Occupant
from idm import Driver, advance
from path import DrivenPath

# Who is out of the corridor for no longer than this has not left it.
ABSENCE_S = 0.5

# (speed_mps, gap_m or None on a free road, closing_mps) -> accel_mps2
Control = Callable[[float, float | None, float], float]


@dataclass(frozen=True)
class Row:
    """What the replayed vehicle does and sees at one time step.

    `way_m` is where its centre is on the path, `gap_m` from its front to the lead's
    rear, `ttc_s` the time to collision if both kept their speeds, None if they part.
    """

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
    """What the replayed vehicle touches; `ahead` if that one's centre is ahead of its own."""

    other: Occupant
    ahead: bool


@dataclass(frozen=True)
class Drive:
    """The rows of a drive, one per step, and the contact that ended it early, if one did."""

    rows: list[Row]
    contact: Contact | None


class Replay:
    """The drive of `ego` with `driver` in its place, from its first recorded state on."""

    def __init__(self, scenario: Scenario, ego: Vehicle, path: DrivenPath, driver: Driver):
        self.ego = ego
        self.path = path
        self.driver = driver
        self.time_step_s = scenario.time_step_s
        self._corridor = Corridor(scenario, ego, path)
        start = ego.states[0]
        self.drive = self._run(start.step, 0.0, max(0.0, start.speed_mps), driver.accel_mps2)

    @property
    def progress_m(self) -> float:
        return self.drive.rows[-1].way_m

    def braked_from(self, row: Row, occupant_id: str, decel_mps2: float) -> Drive:
        """How the drive would have gone on with this one, had the driver braked from `row` on."""
        return self._run(
            row.step, row.way_m, row.speed_mps, lambda *_: -decel_mps2, occupant_id
        )

    def encounter_start(self, row: Row, occupant_id: str) -> Row:
        """The row in which this one came into the corridor ahead, to be there until `row`."""
        longest_absence_steps = round(ABSENCE_S / self.time_step_s)
        start, absence_steps = row, 0
        earlier_rows = self.drive.rows[: row.step - self.ego.states[0].step]
        for earlier in reversed(earlier_rows):
            if any(
                other.occupant_id == occupant_id and other.centre_m > earlier.way_m
                for other in self._corridor.at(earlier.step)
            ):
                start, absence_steps = earlier, 0
            else:
                absence_steps += 1
            if absence_steps > longest_absence_steps:
                break
        return start

    def _run(
        self,
        step: int,
        way_m: float,
        speed_mps: float,
        control: Control,
        only_id: str | None = None,
    ) -> Drive:
        """Drive until the recording's end or a contact, with `only_id` alone on the road if set."""
        rows: list[Row] = []
        last_step = self.ego.states[-1].step
        while True:
            occupants = [
                other
                for other in self._corridor.at(step)
                if only_id is None or other.occupant_id == only_id
            ]
            contact = self._contact(occupants, way_m)
            lead = contact.other if contact and contact.ahead else self._lead(occupants, way_m)
            row = self._row(step, way_m, speed_mps, lead, control)
            rows.append(row)
            if contact is not None or step == last_step:
                return Drive(rows, contact)
            way_m, speed_mps = advance(way_m, speed_mps, row.accel_mps2, self.time_step_s)
            step += 1

    def _row(
        self, step: int, way_m: float, speed_mps: float, lead: Occupant | None, control: Control
    ) -> Row:
        gap_m, closing_mps, ttc_s = None, 0.0, None
        if lead is not None:
            gap_m = lead.rear_m - way_m - self.ego.length_m / 2
            closing_mps = speed_mps - lead.speed_mps
            ttc_s = max(gap_m, 0.0) / closing_mps if closing_mps > 0.0 else None
        accel_mps2 = control(speed_mps, gap_m, closing_mps)
        t_s = step * self.time_step_s
        return Row(step, t_s, way_m, speed_mps, accel_mps2, lead, gap_m, ttc_s)

    def _lead(self, occupants: list[Occupant], way_m: float) -> Occupant | None:
        """The nearest of those whose rear is ahead of ego's front."""
        front_m = way_m + self.ego.length_m / 2
        ahead = [other for other in occupants if other.rear_m > front_m]
        return min(ahead, key=lambda other: other.rear_m, default=None)

    def _contact(self, occupants: list[Occupant], way_m: float) -> Contact | None:
        """The one that ego touches; of several, the one furthest ahead."""
        half_m = self.ego.length_m / 2
        touching = [
            other
            for other in occupants
            if other.rear_m <= way_m + half_m and other.front_m >= way_m - half_m
        ]
        if not touching:
            return None
        other = max(touching, key=lambda other: other.centre_m)
        return Contact(other, ahead=other.centre_m > way_m)
