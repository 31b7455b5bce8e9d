"""Re-simulate one recorded drive with the software under test at the wheel.

    python3 replay.py INPUT OUTPUT [options]

INPUT is a recording in CommonRoad XML, OUTPUT an existing folder. One recorded
vehicle after the other is replaced by the Intelligent Driver Model (idm.py). It
keeps to the line that the human drove and chooses its speed alone; all others
drive as recorded and don't react. A replay ends where its vehicle's recording
ends, or at a contact. verdict.py says what is judged and what is excused.

Writes `trace.csv`, a row per vehicle and time step, and `result.json`, the verdict.
Exit status: 0 whatever the verdict, 65 for a file that is no recording, 66 for one
that can't be read.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path

from commonroad import CommonRoadError, Scenario, Vehicle, read_scenario
from idm import Driver
from path import DrivenPath
from simulate import Replay
from verdict import Outcome, PassMarks, judge

EXIT_BAD_DATA = 65
EXIT_NO_INPUT = 66
MOST_REASONS = 16
LONGEST_REASON = 500

TRACE_COLUMNS = (
    "vehicle", "t_s", "s_m", "x_m", "y_m", "v_mps", "a_mps2", "gap_m", "lead", "ttc_s",
)  # fmt: skip

OPTIONS = (
    ("--desired-speed-mps", 33.3, "v0, speed on a free road (a posted limit bounds it) [m/s]"),
    ("--time-gap-s", 1.0, "T, time kept to the vehicle ahead [s]"),
    ("--min-gap-m", 2.0, "s0, gap kept at standstill [m]"),
    ("--max-accel-mps2", 1.5, "a, acceleration from standstill [m/s^2]"),
    ("--comfort-decel-mps2", 2.0, "b, comfortable deceleration [m/s^2]"),
    ("--exponent", 4.0, "delta, exponent of the free acceleration [1]"),
    ("--decel-limit-mps2", 8.0, "what the driver's brakes can do [m/s^2]"),
    ("--min-recorded-s", 2.0, "shorter recorded vehicles are not replayed [s]"),
    ("--min-path-m", 5.0, "vehicles that move by less are not replayed [m]"),
    ("--max-turn-deg", 20.0, "vehicles that turn by more are not replayed [degrees]"),
    ("--road-decel-mps2", 8.0, "what the road allows; tells what was avoidable [m/s^2]"),
    ("--pass-min-ttc-s", 1.0, "fail below this time to collision [s]"),
    ("--pass-max-sustained-decel-mps2", 5.0, "fail above this deceleration over 1 s [m/s^2]"),
    ("--pass-min-progress-share", 0.5, "fail below this share of the human's way [1]"),
)


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        scenario = read_scenario(options.input)
    except CommonRoadError as error:
        print(f"replay: {options.input}: {error}", file=sys.stderr)
        return EXIT_BAD_DATA
    except OSError as error:
        print(f"replay: {options.input}: {error.strerror}", file=sys.stderr)
        return EXIT_NO_INPUT
    replays, left_out = replay_all(scenario, options)
    marks = pass_marks(options)
    outcomes = [judge(replay, marks) for replay in replays]
    result = combined_result(outcomes, left_out, scenario.time_step_s)
    write_trace(options.output / "trace.csv", replays)
    text = json.dumps(result, indent=2, allow_nan=False)
    (options.output / "result.json").write_text(text + "\n", encoding="utf-8")
    _report(scenario, outcomes, left_out, result)
    return 0


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    """The options, from `sys.argv` if `arguments` is None."""
    parser = argparse.ArgumentParser(description="Re-simulate one recorded drive.")
    parser.add_argument("input", type=Path, help="recording in CommonRoad XML")
    parser.add_argument("output", type=_folder, help="existing folder for the results")
    for name, default, meaning in OPTIONS:
        parser.add_argument(name, type=_positive, default=default, metavar="X", help=meaning)
    return parser.parse_args(arguments)


def replay_all(
    scenario: Scenario, options: argparse.Namespace
) -> tuple[list[Replay], dict[str, str]]:
    """A replay per vehicle that is worth one, and why each of the others is not."""
    driver = driver_for(scenario, options)
    replays: list[Replay] = []
    left_out = dict(scenario.unreadable)
    for vehicle in scenario.vehicles:
        path = None if vehicle.parked else DrivenPath.from_states(vehicle.states)
        reason = _why_left_out(vehicle, path, scenario.time_step_s, options)
        if reason is None:
            replays.append(Replay(scenario, vehicle, path, driver))
        else:
            left_out[vehicle.vehicle_id] = reason
    return replays, left_out


def driver_for(scenario: Scenario, options: argparse.Namespace) -> Driver:
    """The driver of the options, who doesn't want to drive faster than the posted limit."""
    limit_mps = scenario.speed_limit_mps or math.inf
    return Driver(
        desired_speed_mps=min(options.desired_speed_mps, limit_mps),
        time_gap_s=options.time_gap_s,
        min_gap_m=options.min_gap_m,
        max_accel_mps2=options.max_accel_mps2,
        comfort_decel_mps2=options.comfort_decel_mps2,
        exponent=options.exponent,
        decel_limit_mps2=options.decel_limit_mps2,
    )


def pass_marks(options: argparse.Namespace) -> PassMarks:
    return PassMarks(
        road_decel_mps2=options.road_decel_mps2,
        min_ttc_s=options.pass_min_ttc_s,
        max_sustained_decel_mps2=options.pass_max_sustained_decel_mps2,
        min_progress_share=options.pass_min_progress_share,
    )


def combined_result(outcomes: list[Outcome], left_out: dict[str, str], time_step_s: float) -> dict:
    """`result.json` of a drive: the worst, or the sum, over its replayed vehicles."""
    reasons = [fault for outcome in outcomes for fault in outcome.faults]
    verdict = "fail" if reasons else "pass"
    if not outcomes:
        verdict, reasons = "skipped", [f"nothing to replay: {_nothing(left_out)}"]
    return {
        "verdict": verdict,
        "reasons": _shortened(reasons),
        "numbers": {
            "vehicles": len(outcomes),
            "vehicles_left_out": len(left_out),
            "steps": sum(o.steps for o in outcomes),
            "simulated_s": _rounded(sum(o.steps - 1 for o in outcomes) * time_step_s),
            "collided": any(o.collided for o in outcomes),
            "collisions": sum(o.collided for o in outcomes),
            "stop_lines_overrun": sum(o.overran_stop_line for o in outcomes),
            "unavoidable": sum(o.unavoidable for o in outcomes),
            "rear_ended": sum(o.rear_ended for o in outcomes),
            "forced_encounters": sum(o.forced_encounters for o in outcomes),
            "min_ttc_s": _extreme(min, (o.min_ttc_s for o in outcomes)),
            "min_gap_m": _extreme(min, (o.min_gap_m for o in outcomes)),
            "max_decel_mps2": _extreme(max, (o.max_decel_mps2 for o in outcomes)),
            "max_sustained_decel_mps2": _extreme(
                max, (o.max_sustained_decel_mps2 for o in outcomes)
            ),
            "min_progress_share": _extreme(min, (o.progress_share for o in outcomes)),
            "progress_m": _rounded(sum(o.progress_m for o in outcomes)),
            "recorded_progress_m": _rounded(sum(o.recorded_progress_m for o in outcomes)),
        },
    }


def write_trace(file: Path, replays: list[Replay]) -> None:
    """A row per replayed vehicle and time step; an empty cell is a value that isn't there."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(TRACE_COLUMNS)
        for replay in replays:
            for row in replay.drive.rows:
                x_m, y_m, _ = replay.path.pose(row.way_m)
                lead = "" if row.lead is None else row.lead.occupant_id
                numbers = [row.t_s, row.way_m, x_m, y_m, row.speed_mps, row.accel_mps2, row.gap_m]
                cells = ["" if n is None else f"{n:.3f}" for n in [*numbers, row.ttc_s]]
                writer.writerow([replay.ego.vehicle_id, *cells[:-1], lead, cells[-1]])


def _why_left_out(
    vehicle: Vehicle, path: DrivenPath | None, time_step_s: float, options: argparse.Namespace
) -> str | None:
    if vehicle.parked:
        return "is parked"
    first, last = vehicle.states[0], vehicle.states[-1]
    recorded_s = (last.step - first.step) * time_step_s
    if recorded_s < options.min_recorded_s - time_step_s / 2:
        return f"is recorded for {recorded_s:.1f} s only"
    if len(vehicle.states) != last.step - first.step + 1:
        return "has gaps in its recording"
    if path is None or path.recorded_length_m < options.min_path_m:
        length_m = 0.0 if path is None else path.recorded_length_m
        return f"moves by {length_m:.1f} m only"
    turn_deg = math.degrees(path.turn_rad)
    if turn_deg > options.max_turn_deg:
        return f"turns by {turn_deg:.0f} degrees, and to give way is beyond car following"
    return None


def _nothing(left_out: dict[str, str]) -> str:
    if not left_out:
        return "the recording has no moving vehicle"
    vehicle_id, reason = min(left_out.items())
    return f"all {len(left_out)} vehicles are left out (vehicle {vehicle_id} {reason})"


def _shortened(reasons: list[str]) -> list[str]:
    if len(reasons) > MOST_REASONS:
        rest = len(reasons) - MOST_REASONS + 1
        reasons = [*reasons[: MOST_REASONS - 1], f"and {rest} more"]
    return [reason[:LONGEST_REASON] for reason in reasons]


def _extreme(choose, values) -> float | None:
    known = [value for value in values if value is not None]
    return _rounded(choose(known)) if known else None


def _rounded(value: float) -> float:
    return round(value, 3)


def _report(scenario: Scenario, outcomes: list[Outcome], left_out: dict, result: dict) -> None:
    for vehicle_id, reason in left_out.items():
        print(f"left out: vehicle {vehicle_id} {reason}")
    for outcome in outcomes:
        if outcome.rear_ended:
            print(f"excused: vehicle {outcome.vehicle_id} is struck from behind")
        if outcome.unavoidable:
            print(f"excused: vehicle {outcome.vehicle_id} has a contact that no braking avoids")
    for reason in result["reasons"]:
        print(reason)
    print(f"{scenario.benchmark_id}: {result['verdict']}, {len(outcomes)} vehicles replayed")


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"no folder {text}")
    return path


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


if __name__ == "__main__":
    sys.exit(main())
