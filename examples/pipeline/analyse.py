"""Count the patches of plants in one mask, and measure them.

    python3 analyse.py INPUT OUTPUT

INPUT is the folder that `process.py` filled. Pixels that touch at a side are one patch.
Writes `patches.json` and `result.json`.
"""

import json
import sys
from pathlib import Path

from png import read_png
from process import nothing_to_do

# Smaller patches are noise.
LEAST_PIXELS = 4


def main(arguments: list[str]) -> int:
    source, output = Path(arguments[0]), Path(arguments[1])
    if not (source / "mask.png").exists():
        return nothing_to_do(output)
    width, mask, _ = read_png(source / "mask.png")
    sizes = patches(width, mask)
    (output / "patches.json").write_text(json.dumps({"sizes": sizes}) + "\n", encoding="utf-8")
    numbers = {
        "cover": round(sum(sizes) / len(mask), 4),
        "patches": len(sizes),
        "largest_share": round(max(sizes, default=0) / max(1, sum(sizes)), 4),
    }
    result = {"verdict": "pass", "reasons": [], "numbers": numbers}
    (output / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(f"{len(sizes)} patches")
    return 0


def patches(width: int, mask: bytes) -> list[int]:
    """Pixels of each patch, the largest first."""
    unseen = {place for place, value in enumerate(mask) if value}
    sizes = []
    while unseen:
        edge, size = [unseen.pop()], 0
        while edge:
            place = edge.pop()
            size += 1
            near = [place - width, place + width]
            near += [place - 1] if place % width else []
            near += [place + 1] if (place + 1) % width else []
            for other in near:
                if other in unseen:
                    unseen.remove(other)
                    edge.append(other)
        sizes.append(size)
    return sorted((size for size in sizes if size >= LEAST_PIXELS), reverse=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
