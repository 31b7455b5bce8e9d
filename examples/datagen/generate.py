"""Generate the data of one run: a stand-in for a simulator.

    python3 generate.py SIM_CONFIG DATASET OUTPUT

SIM_CONFIG is a file of `sim_config/`, DATASET the folder that holds it all. A vehicle
follows the road of its map, `assets/roads/MAP.csv`, and the sensors of
`datacollector_config.jsonc` are read. Writes a folder per sensor and `result.json`.
Exit status: 65 for a configuration that makes no sense.
"""

import csv
import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

EXIT_BAD_CONFIG = 65


def main(arguments: list[str]) -> int:
    run_file, dataset, output = (Path(argument) for argument in arguments)
    try:
        run = read_jsonc(run_file)
        collector = read_jsonc(dataset / "datacollector_config.jsonc")
        road = read_road(dataset / "assets" / "roads" / f"{run['map']}.csv")
    except (OSError, ValueError, KeyError) as error:
        print(f"generate: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    steps = round(collector["seconds"] * collector["rate_hz"])
    poses = list(drive(road, run["speed_mps"], steps, 1 / collector["rate_hz"]))
    for sensor in collector["sensors"]:
        folder = output / sensor["name"]
        folder.mkdir()
        if sensor["kind"] == "camera":
            chance = random.Random(run["seed"])
            for number, pose in enumerate(poses):
                write_image(folder / f"{number:06}.pgm", pose, sensor, chance)
        else:
            write_poses(folder / "poses.csv", poses)
    driven_m = round(run["speed_mps"] * collector["seconds"], 3)
    numbers = {"frames": steps, "driven_m": driven_m}
    result = {"verdict": "pass", "reasons": [], "numbers": numbers}
    (output / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(f"{run_file.stem}: {steps} frames, {driven_m} m")
    return 0


def read_jsonc(file: Path) -> dict:
    """JSON with // and /* */ comments and commas before closing brackets."""
    return json.loads("".join(_without_comments(file.read_text(encoding="utf-8"))))


def read_road(file: Path) -> list[tuple[float, float]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return [(float(row["x_m"]), float(row["y_m"])) for row in csv.DictReader(stream)]


def drive(road: list, speed_mps: float, steps: int, step_s: float) -> Iterator[tuple]:
    """Time, place and heading at each step; who comes to the end of the road stays there."""
    for step in range(steps):
        left_m = speed_mps * step * step_s
        for start, end in zip(road, road[1:]):
            length_m, heading = math.dist(start, end), math.atan2(end[1] - start[1], end[0] - start[0])
            if left_m <= length_m:
                break
            left_m -= length_m
        share = min(1.0, left_m / length_m)
        x_m, y_m = (a + share * (b - a) for a, b in zip(start, end))
        yield step * step_s, x_m, y_m, heading


def write_image(file: Path, pose: tuple, sensor: dict, chance: random.Random) -> None:
    """Sky above road, with noise; the same seed gives the same bytes."""
    width, height = sensor.get("width", 32), sensor.get("height", 24)
    horizon = height // 2 + round(2 * math.sin(pose[3]))
    pixels = (200 if y < horizon else 90 for y in range(height) for _ in range(width))
    body = bytes(pixel + chance.randrange(20) for pixel in pixels)
    file.write_bytes(f"P5 {width} {height} 255\n".encode() + body)


def write_poses(file: Path, poses: list[tuple]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("t_s", "x_m", "y_m", "heading_rad"))
        writer.writerows([f"{value:.3f}" for value in pose] for pose in poses)


def _without_comments(text: str) -> Iterator[str]:
    place = 0
    while place < len(text):
        if text[place] == '"':
            end = place + 1
            while text[end : end + 1] not in ('"', ""):
                end += 2 if text[end] == "\\" else 1
            yield text[place : end + 1]
            place = end + 1
        elif text.startswith("//", place):
            place = text.find("\n", place) if "\n" in text[place:] else len(text)
        elif text.startswith("/*", place):
            place = text.index("*/", place) + 2
        elif text[place] == "," and _closes(text, place + 1):
            place += 1
        else:
            yield text[place]
            place += 1


def _closes(text: str, place: int) -> bool:
    """Whether nothing but blanks and comments stands before the next closing bracket."""
    while place < len(text):
        if text.startswith("//", place):
            place = text.find("\n", place) if "\n" in text[place:] else len(text)
        elif text.startswith("/*", place):
            place = text.index("*/", place) + 2
        elif text[place].isspace():
            place += 1
        else:
            return text[place] in "]}"
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
