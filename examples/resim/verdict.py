"""Did the driver do well? The checks of one replayed vehicle, and the rule of fairness.

Recorded traffic doesn't react to the driver, and the driver inherits the gap that
a recorded human left, so not all that happens is the driver's doing:

* Struck from behind (the other's centre is behind ego's): counted as `rear_ended`.
* An encounter begins when a vehicle comes into the corridor ahead, or with the
  replay. If even braking as hard as the road allows from that very step on would have
  ended in contact, a contact is counted as `unavoidable`; if it would have brought
  the time to collision below the pass mark, the encounter is counted as `forced`.
  Likewise braking harder than the pass mark is excused where braking at that mark
  from the encounter's first step on would not have done.

What is excused is counted but never a reason to fail. Everything else is judged.
"""

from dataclasses import dataclass, field

from corridor import STOP_LINE
from simulate import Replay, Row

# Deceleration is judged as the speed lost over this time: a bound that the brakes
# touch for one step says nothing about a driver.
SUSTAINED_S = 1.0


@dataclass(frozen=True)
class PassMarks:
    """What a driver has to reach, and `road_decel_mps2` [m/s^2]: how any vehicle can brake.

    min_ttc_s: lowest time to collision [s]
    max_sustained_decel_mps2: hardest braking over SUSTAINED_S [m/s^2]
    min_progress_share: least way driven, as a share of the human's [1]
    """

    road_decel_mps2: float
    min_ttc_s: float
    max_sustained_decel_mps2: float
    min_progress_share: float


@dataclass
class Outcome:
    """What is to be said of one replay; None where there is no value."""

    vehicle_id: str
    steps: int
    progress_m: float
    recorded_progress_m: float
    max_decel_mps2: float
    faults: list[str] = field(default_factory=list)
    collided: bool = False
    overran_stop_line: bool = False
    unavoidable: bool = False
    rear_ended: bool = False
    forced_encounters: int = 0
    min_ttc_s: float | None = None
    min_gap_m: float | None = None
    max_sustained_decel_mps2: float | None = None
    progress_share: float | None = None


def judge(replay: Replay, marks: PassMarks) -> Outcome:
    """Check contact, time to collision, deceleration and progress, in this order."""
    rows = replay.drive.rows
    outcome = Outcome(
        vehicle_id=replay.ego.vehicle_id,
        steps=len(rows),
        progress_m=replay.progress_m,
        recorded_progress_m=replay.path.recorded_length_m,
        max_decel_mps2=max(0.0, *(-row.accel_mps2 for row in rows)),
    )
    _judge_contact(replay, marks, outcome)
    _judge_distance(replay, marks, outcome)
    _judge_braking(replay, marks, outcome)
    if replay.drive.contact is None:
        _judge_progress(replay, marks, outcome)
    return outcome


def _judge_contact(replay: Replay, marks: PassMarks, outcome: Outcome) -> None:
    contact, row = replay.drive.contact, replay.drive.rows[-1]
    if contact is None:
        return
    if not contact.ahead:
        outcome.rear_ended = True
        return
    other_id = contact.other.occupant_id
    start = replay.encounter_start(row, other_id)
    reference = replay.braked_from(start, other_id, marks.road_decel_mps2)
    if reference.contact is not None:
        outcome.unavoidable = True
    elif other_id == STOP_LINE:
        outcome.overran_stop_line = True
        _fault(outcome, row, f"drives over the stop line at {row.speed_mps:.1f} m/s")
    else:
        outcome.collided = True
        closing_mps = row.speed_mps - contact.other.speed_mps
        _fault(outcome, row, f"hits vehicle {other_id}, closing at {closing_mps:.1f} m/s")


def _judge_distance(replay: Replay, marks: PassMarks, outcome: Outcome) -> None:
    """Time to collision and gap to vehicles, over all encounters but the excused ones."""
    not_judged = {STOP_LINE}
    if outcome.unavoidable:
        not_judged.add(replay.drive.contact.other.occupant_id)
    behind_vehicle: dict[str, list[Row]] = {}
    for row in replay.drive.rows:
        if row.lead is not None and row.lead.occupant_id not in not_judged:
            behind_vehicle.setdefault(row.lead.occupant_id, []).append(row)
    judged: list[Row] = []
    for lead_id, rows in behind_vehicle.items():
        worst = _lowest_ttc_row(rows)
        if worst is None or worst.ttc_s >= marks.min_ttc_s:
            judged.extend(rows)
        elif outcome.collided and lead_id == replay.drive.contact.other.occupant_id:
            judged.extend(rows)  # the collision is reported
        elif _needs_more_than(replay, worst, marks.road_decel_mps2, marks):
            outcome.forced_encounters += 1
        else:
            judged.extend(rows)
            text = f"time to collision with vehicle {lead_id} falls to {worst.ttc_s:.2f} s"
            _fault(outcome, worst, f"{text}, pass mark {marks.min_ttc_s:g} s")
    worst = _lowest_ttc_row(judged)
    outcome.min_ttc_s = None if worst is None else worst.ttc_s
    outcome.min_gap_m = min((row.gap_m for row in judged), default=None)


def _judge_braking(replay: Replay, marks: PassMarks, outcome: Outcome) -> None:
    rows, span = replay.drive.rows, max(1, round(SUSTAINED_S / replay.time_step_s))
    span_s = span * replay.time_step_s
    mark_mps2 = marks.max_sustained_decel_mps2
    worst_row, worst_mps2 = None, None
    for index in range(len(rows) - span):
        first, last = rows[index], rows[index + span]
        decel_mps2 = max(0.0, (first.speed_mps - last.speed_mps) / span_s)
        if worst_mps2 is not None and decel_mps2 <= worst_mps2:
            continue
        hardest = min(rows[index : index + span], key=lambda row: row.accel_mps2)
        if decel_mps2 <= mark_mps2 or not _needs_more_than(replay, hardest, mark_mps2, marks):
            worst_row, worst_mps2 = first, decel_mps2
    outcome.max_sustained_decel_mps2 = worst_mps2
    if worst_mps2 is not None and worst_mps2 > mark_mps2:
        text = f"brakes with {worst_mps2:.1f} m/s^2 over {span_s:.1f} s"
        _fault(outcome, worst_row, f"{text}, pass mark {mark_mps2:g} m/s^2")


def _judge_progress(replay: Replay, marks: PassMarks, outcome: Outcome) -> None:
    outcome.progress_share = outcome.progress_m / outcome.recorded_progress_m
    if outcome.progress_share < marks.min_progress_share:
        text = f"gets {outcome.progress_m:.1f} m far, the human {outcome.recorded_progress_m:.1f} m"
        mark = f"pass mark {100 * marks.min_progress_share:g} %"
        _fault(outcome, replay.drive.rows[-1], f"{text}, {mark}")


def _needs_more_than(replay: Replay, row: Row, decel_mps2: float, marks: PassMarks) -> bool:
    """True if braking so from the first step of the encounter in `row` would not have done."""
    if row.lead is None:
        return False
    lead_id = row.lead.occupant_id
    start = replay.encounter_start(row, lead_id)
    reference = replay.braked_from(start, lead_id, decel_mps2)
    if reference.contact is not None or lead_id == STOP_LINE:
        return reference.contact is not None
    worst = _lowest_ttc_row(reference.rows)
    return worst is not None and worst.ttc_s < marks.min_ttc_s


def _lowest_ttc_row(rows: list[Row]) -> Row | None:
    timed = [row for row in rows if row.ttc_s is not None]
    return min(timed, key=lambda row: row.ttc_s, default=None)


def _fault(outcome: Outcome, row: Row, text: str) -> None:
    outcome.faults.append(f"vehicle {outcome.vehicle_id} at {row.t_s:.1f} s: {text}")
