"""PNG images with nothing but the standard library: 8 bits per channel, RGB or grey."""

import struct
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Colour type of the header, by the number of channels.
COLOURS = {1: 0, 3: 2}


class PngError(ValueError):
    """The file is no PNG that this module wrote."""


def write_png(file: Path, width: int, pixels: bytes, channels: int) -> None:
    """`pixels` row by row from the top; the same pixels give the same bytes."""
    stride = width * channels
    rows = (pixels[start : start + stride] for start in range(0, len(pixels), stride))
    raw = b"".join(b"\0" + row for row in rows)
    height = len(pixels) // stride
    header = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    file.write_bytes(SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks))


def read_png(file: Path) -> tuple[int, bytes, int]:
    """Width, pixels and channels of an image that `write_png` wrote."""
    data = file.read_bytes()
    if not data.startswith(SIGNATURE):
        raise PngError(f"{file.name} is no PNG")
    header, packed, place = b"", b"", len(SIGNATURE)
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", data, place + 8 + length)[0]:
            raise PngError(f"{file.name} is damaged")
        header = body if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        place += length + 12
    width, height, _, colour, *_ = struct.unpack(">IIBBBBB", header)
    channels = {colour: count for count, colour in COLOURS.items()}[colour]
    raw, stride = zlib.decompress(packed), width * channels + 1
    rows = (raw[start : start + stride] for start in range(0, height * stride, stride))
    return width, b"".join(row[1:] for row in rows), channels


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
