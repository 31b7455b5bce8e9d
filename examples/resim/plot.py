"""Draw the speeds of one replayed drive.

    python3 plot.py INPUT OUTPUT

INPUT is the folder that the replay filled. Writes `speeds.png`: a line per vehicle, time
from left to right, standstill at the bottom and 40 m/s at the top. Exit status 77 where
nothing was replayed.
"""

import csv
import struct
import sys
import zlib
from pathlib import Path

EXIT_NOTHING = 77
WIDTH, HEIGHT = 320, 120
FASTEST_MPS = 40.0
PAPER = 255


def main(arguments: list[str]) -> int:
    source, output = Path(arguments[0]), Path(arguments[1])
    with (source / "trace.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        print("nothing was replayed")
        return EXIT_NOTHING
    last_s = max(float(row["t_s"]) for row in rows) or 1.0
    pixels = bytearray([PAPER]) * (WIDTH * HEIGHT)
    vehicles = sorted({row["vehicle"] for row in rows})
    for row in rows:
        x = round(float(row["t_s"]) / last_s * (WIDTH - 1))
        share = min(1.0, float(row["v_mps"]) / FASTEST_MPS)
        y = round((1.0 - share) * (HEIGHT - 1))
        pixels[y * WIDTH + x] = 160 * vehicles.index(row["vehicle"]) // len(vehicles)
    write_png(output / "speeds.png", bytes(pixels))
    print(f"{len(vehicles)} vehicles, {last_s:.1f} s")
    return 0


def write_png(file: Path, pixels: bytes) -> None:
    """Grey; the same pixels give the same bytes."""
    lines = (pixels[start : start + WIDTH] for start in range(0, len(pixels), WIDTH))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    file.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
