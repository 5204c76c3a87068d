"""A test for each row of docs/reference/file_formats/png_jpeg.md: files are built chunk by chunk."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from field_tables import Expected, Reads, require, require_a_case_for_each_row
from PIL import Image

GREY = np.random.default_rng(0).integers(0, 256, (8, 4)).astype(np.uint8)  # (x, y)
AFFINE = np.diag([-1.0, -1, 1, 1])
ORIGINAL = Reads(GREY, AFFINE)
RAMP = np.repeat(
    np.arange(0, 240, 10, dtype=np.uint8)[:, None], 16, 1
)  # smooth: JPEG keeps it to a few grey levels


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size=(8, 4), depth=8, colour=0, rows=None, extra=b"", end=None) -> bytes:
    """Return a PNG with these rows from the top, unfiltered."""
    rows = [GREY[:, y].tobytes() for y in range(4)] if rows is None else rows
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + (chunk(b"IEND", b"") if end is None else end)


def exif(orientation: int, order: str = ">") -> bytes:
    return (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(
        f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0
    )


def jpeg(mode="L", **options) -> bytes:
    into = io.BytesIO()
    Image.fromarray(RAMP.T).convert(mode).save(into, "JPEG", quality=100, **options)
    return into.getvalue()


def shown(data: bytes) -> np.ndarray:
    """Return the pixels by Pillow, another decoder than ITK's, as (x, y)."""
    return np.array(Image.open(io.BytesIO(data))).T


def with_exif(orientation: int) -> bytes:
    return jpeg(exif=b"Exif\0\0" + exif(orientation))


BASE_JPEG = jpeg()
READ_JPEG = Reads(shown(BASE_JPEG), AFFINE)
PALETTE = chunk(b"PLTE", bytes(range(9)))

CASES: list[tuple[str, str, bytes, Expected]] = [
    ("PNG size", "png", png(), ORIGINAL),
    ("PNG size", "png", png((4, 8), rows=[GREY.reshape(-1)[4 * y : 4 * y + 4].tobytes() for y in range(8)]), Reads(GREY.reshape(8, 4).T, AFFINE)),
    ("PNG bit depth", "png", png(depth=16, rows=[GREY[:, y].astype(">u2").tobytes() for y in range(4)]), Reads(GREY.astype(np.uint16), AFFINE)),
    ("PNG bit depth", "png", png((8, 1), 1, rows=[b"\xa1"]), Reads(np.array([[255, 0, 255, 0, 0, 0, 0, 255]]).T, AFFINE)),
    ("PNG bit depth", "png", png((2, 1), 4, rows=[b"\x2f"]), Reads(np.array([[34, 255]]).T, AFFINE)),
    ("PNG colour type", "png", png((1, 1), colour=2, rows=[b"\1\2\3"]), Reads(np.array([1, 2, 3]).reshape(3, 1, 1), AFFINE)),
    ("PNG colour type", "png", png((1, 1), colour=6, rows=[b"\1\2\3\4"]), Reads(np.array([1, 2, 3, 4]).reshape(4, 1, 1), AFFINE)),
    ("PNG colour type", "png", png((1, 1), colour=4, rows=[b"\1\2"]), "grey values with transparency"),
    ("PNG colour type", "png", png((1, 1), colour=3, rows=[b"\1"], extra=PALETTE), "colours from a palette"),
    ("PNG chunk checksum", "png", png().replace(b"IDAT", b"IDAU"), "fails its checksum"),
    ("PNG chunk checksum", "png", png(extra=chunk(b"tEXt", b"x")[:-1] + b"x"), "fails its checksum"),
    ("PNG chunk checksum", "png", png(end=b""), "truncated or corrupt"),
    ("PNG chunk checksum", "png", b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"x"), "its first chunk is no IHDR"),
    ("tRNS", "png", png(extra=chunk(b"tRNS", b"\0\1")), "one grey value is transparent"),
    ("sBIT", "png", png(extra=chunk(b"sBIT", b"\4")), "4 of 8 bits are significant"),
    ("sBIT", "png", png(extra=chunk(b"sBIT", b"\x08")), ORIGINAL),
    ("acTL", "png", png(extra=chunk(b"acTL", bytes(8))), "several frames"),
    ("eXIf", "png", png(extra=chunk(b"eXIf", exif(1))), ORIGINAL),
    ("eXIf", "png", png(extra=chunk(b"eXIf", exif(3, "<"))), "EXIF orientation 3"),
    ("gAMA", "png", png(extra=chunk(b"gAMA", struct.pack(">I", 100_000))), ORIGINAL),
    ("pHYs", "png", png(extra=chunk(b"pHYs", struct.pack(">IIB", 4000, 2000, 1))), ORIGINAL),
    ("JPEG size", "jpg", BASE_JPEG, READ_JPEG),
    ("JPEG size", "jpg", jpeg(progressive=True), Reads(shown(jpeg(progressive=True)), AFFINE)),
    ("JPEG components", "jpg", jpeg("RGB", subsampling=0), Reads(np.stack([RAMP] * 3), AFFINE)),
    ("JPEG components", "jpg", jpeg("CMYK"), "JPEG of 8 bits with 4 components"),
    ("JPEG components", "jpg", BASE_JPEG.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0b\x0c"), "JPEG of 12 bits"),
    ("JPEG end of image", "jpg", BASE_JPEG[:-2], "no end-of-image marker"),
    ("Exif orientation", "jpg", with_exif(6), "EXIF orientation 6"),
    ("Exif orientation", "jpg", with_exif(2), "EXIF orientation 2"),
    ("Exif orientation", "jpg", with_exif(77), "its EXIF orientation cannot be read"),
    ("Exif orientation", "jpg", with_exif(1), READ_JPEG),
    ("JFIF density", "jpg", jpeg(dpi=(300, 100)), READ_JPEG),
]  # fmt: skip


@pytest.mark.parametrize(("field", "suffix", "data", "expected"), CASES)
def test_a_field_does_what_the_table_says(field, suffix, data, expected, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)

    require(path, expected)


def test_each_row_of_the_table_has_a_case():
    cases: dict[str, list[Expected]] = {}
    for field, suffix, _, expected in CASES:
        same = not isinstance(expected, str) and expected is (ORIGINAL if suffix == "png" else READ_JPEG)
        cases.setdefault(field, []).append(ORIGINAL if same else expected)

    cases["PNG size"].append(Reads(GREY.T, AFFINE))
    cases["JPEG size"].append(Reads(GREY.T, AFFINE))
    require_a_case_for_each_row("png_jpeg.md", cases, ORIGINAL)
