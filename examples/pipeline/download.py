"""Get the image of one place on one date.

    python3 download.py PLACE DATE OUTPUT

This example has no satellite, so it makes the image up: bushes on bare ground, more of
them after the rain of spring. The same place and date give the same bytes. Writes
`image.png` and `image.json`. Exit status 75, which is worth a retry, where the archive
is away; 77 where it has no image of that date.
"""

import json
import math
import random
import sys
from datetime import date
from pathlib import Path

from png import write_png

EXIT_NO_IMAGE = 77
SIZE = 96
GROUND = (176, 152, 108)
BUSH = (62, 110, 48)
# Share of the ground that bushes cover in a mean month.
COVER = {"dunes": 0.10, "steppe": 0.25, "delta": 0.40}


def main(arguments: list[str]) -> int:
    place, day, output = arguments[0], date.fromisoformat(arguments[1]), Path(arguments[2])
    chance = random.Random(f"{place} {day}")
    if is_cloudy(place, day):
        print(f"{place} lies under clouds on {day}")
        return EXIT_NO_IMAGE
    pixels = bytearray()
    bushes = make_bushes(place, day)
    for y in range(SIZE):
        for x in range(SIZE):
            covered = any((x - bx) ** 2 + (y - by) ** 2 <= r * r for bx, by, r in bushes)
            shade = chance.randint(-12, 12)
            colour = BUSH if covered else GROUND
            pixels.extend(min(255, max(0, channel + shade)) for channel in colour)
    write_png(output / "image.png", SIZE, bytes(pixels), 3)
    about = {"place": place, "date": day.isoformat(), "metres_per_pixel": 10}
    (output / "image.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
    print(f"{place} on {day}: {len(bushes)} bushes")
    return 0


def make_bushes(place: str, day: date) -> list[tuple[int, int, float]]:
    """Centre and radius of each. They stay where they are, and grow and shrink with the season."""
    where = random.Random(place)
    season = 1.0 + 0.3 * math.sin((day.timetuple().tm_yday - 60) / 365 * math.tau)
    bushes, covered = [], 0.0
    while covered < COVER.get(place, 0.2) * SIZE * SIZE:
        radius = where.uniform(2.0, 5.0)
        bushes.append((where.randrange(SIZE), where.randrange(SIZE), radius * season))
        covered += math.pi * radius * radius
    return bushes


def is_cloudy(place: str, day: date) -> bool:
    return (place, day.month) == ("delta", 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
