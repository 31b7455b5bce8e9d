"""Write tracks.csv, the data set, from the recorded drives of ../resim.

    python3 prepare.py ../resim/drives tracks.csv

One row for each state of each moving vehicle, times in steps of 0.1 s. Drives that are windows of one recording
are put together again, by the times that ../resim/drives.toml gives them, so that no state is there twice and no
vehicle counts as two. The same bytes come out each time.
"""

import argparse
import csv
import sys
import tomllib
from pathlib import Path

RESIM = Path(__file__).resolve().parent.parent / "resim"
sys.path.append(str(RESIM))

from commonroad import State, read_scenario  # noqa: E402

COLUMNS = ("recording", "vehicle", "step", "x_m", "y_m", "heading_rad", "speed_mps", "length_m")
TIME_STEP_S = 0.1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the data set from recorded drives.")
    parser.add_argument("drives", type=Path, help="the folder of the drives")
    parser.add_argument("out", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    rows = sorted(read_rows(options.drives), key=lambda row: (row[0], int(row[1]), row[2]))
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return 0


def read_rows(drives: Path) -> list[tuple]:
    """A row for each state of each moving vehicle, in no order."""
    rows: dict[tuple[str, str, int], tuple] = {}
    for drive in tomllib.loads((RESIM / "drives.toml").read_text(encoding="utf-8"))["drive"]:
        scenario = read_scenario(drives / drive["name"])
        if abs(scenario.time_step_s - TIME_STEP_S) > 1e-9:
            raise ValueError(f"{drive['name']}: a step is {scenario.time_step_s} s, not {TIME_STEP_S} s")
        recording = drive["source"].removesuffix(".xml")
        first_step = round(drive.get("window_s", [0.0])[0] / TIME_STEP_S)
        for vehicle in scenario.vehicles:
            if vehicle.parked:
                continue
            for state in vehicle.states:
                step = first_step + state.step
                row = (recording, vehicle.vehicle_id, step, *_numbers(state), f"{vehicle.length_m:.2f}")
                rows[recording, vehicle.vehicle_id, step] = row
    return list(rows.values())


def _numbers(state: State) -> tuple[str, ...]:
    return (
        f"{state.x_m:.2f}",
        f"{state.y_m:.2f}",
        f"{state.heading_rad:.3f}",
        f"{state.speed_mps:.2f}",
    )


if __name__ == "__main__":
    sys.exit(main())
