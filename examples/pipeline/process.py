"""Tell plants from ground in one image.

    python3 process.py INPUT OUTPUT [--greenness 65]

INPUT is the folder that `download.py` filled. A pixel whose green stands out of its red
and blue by more than `--greenness` is a plant. Writes `mask.png` and `result.json`.
"""

import argparse
import json
import sys
from pathlib import Path

from png import read_png, write_png


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Tell plants from ground in one image.")
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--greenness", type=float, default=65.0, help="excess green")
    options = parser.parse_args(arguments)
    if not (options.input / "image.png").exists():
        return nothing_to_do(options.output)
    width, pixels, _ = read_png(options.input / "image.png")
    mask = bytes(
        255 if 2 * green - red - blue > options.greenness else 0
        for red, green, blue in zip(pixels[0::3], pixels[1::3], pixels[2::3])
    )
    write_png(options.output / "mask.png", width, mask, 1)
    cover = round(mask.count(255) / len(mask), 4)
    result = {"verdict": "pass", "reasons": [], "numbers": {"cover": cover}}
    (options.output / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(f"{cover:.1%} is covered")
    return 0


def nothing_to_do(output: Path) -> int:
    """The stage before had no image."""
    result = {"verdict": "skipped", "reasons": ["there is no image"], "numbers": {}}
    (output / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print("no image")
    return 0


if __name__ == "__main__":
    sys.exit(main())
