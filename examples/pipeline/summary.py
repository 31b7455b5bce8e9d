"""Put the results of all places and dates together.

    python3 summary.py OUTPUT_ROOT OUTPUT

Below OUTPUT_ROOT/analyse the folders of the shards are called `place=P/date=D`. Writes
`results_summary.json` and, for each place, `cover-P.png`: its cover over time.
"""

import json
import sys
from pathlib import Path

from png import write_png

HEIGHT, BAR = 60, 8
PAPER, INK = 255, 96


def main(arguments: list[str]) -> int:
    root, output = Path(arguments[0]), Path(arguments[1])
    places: dict[str, dict[str, dict]] = {}
    for file in sorted((root / "analyse").glob("place=*/date=*/result.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        place, day = (part.partition("=")[2] for part in file.parent.parts[-2:])
        places.setdefault(place, {})[day] = result
    if not places:
        print(f"summary: no result below {root / 'analyse'}", file=sys.stderr)
        return 65
    summary = {place: summarize(results) for place, results in places.items()}
    text = json.dumps({"places": summary}, indent=2, sort_keys=True)
    (output / "results_summary.json").write_text(text + "\n", encoding="utf-8")
    for place, found in summary.items():
        draw(output / f"cover-{place}.png", [value for _, value in found["cover"]])
    images = sum(len(found["cover"]) for found in summary.values())
    missing = sum(len(found["missing"]) for found in summary.values())
    print(f"{len(summary)} places, {images} images, {missing} missing")
    return 0


def summarize(results: dict[str, dict]) -> dict:
    seen = {day: r["numbers"] for day, r in results.items() if r["verdict"] != "skipped"}
    cover = [[day, numbers["cover"]] for day, numbers in seen.items()]
    greenest = max(cover, key=lambda pair: pair[1], default=None)
    return {
        "cover": cover,
        "greenest": greenest and greenest[0],
        "patches": [[day, numbers["patches"]] for day, numbers in seen.items()],
        "missing": sorted(set(results) - set(seen)),
    }


def draw(file: Path, values: list[float]) -> None:
    """A bar per value."""
    heights = [round(HEIGHT * min(1.0, value)) for value in values]
    pixels = bytearray()
    for y in range(HEIGHT, 0, -1):
        for height in heights:
            pixels.extend([INK if height >= y else PAPER] * (BAR - 2) + [PAPER] * 2)
    write_png(file, BAR * max(1, len(values)), bytes(pixels), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
