"""Pictures are checked before they are unpacked, and elements of variable length are found without HDF5."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.hdf5 import open_hdf5
from intake_laion_fmri.formats.hdf5_heap import read_element
from intake_laion_fmri.formats.pictures import MOST_PIXELS, decode

RNG = np.random.default_rng(0)
SMOOTH = np.kron(RNG.integers(0, 255, (8, 8, 3)), np.ones((32, 32, 1))).astype(np.uint8)


def saved(pixels: Any, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [None, 24, 256, 400])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_pillows(size: int | None, mode: Any) -> None:
    """To the bit in its own size; smaller, within what a smaller scale of the codec costs."""
    content = saved(SMOOTH, "JPEG", quality=90)
    expected = Image.open(io.BytesIO(content)).convert(mode)
    found = decode(content, size=size, mode=mode, name="x")
    if size is None:
        np.testing.assert_array_equal(found, np.asarray(expected))
        return
    whole = np.asarray(expected.resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    assert found.shape == whole.shape
    assert np.abs(found - whole).mean() < 2


def test_transparency_lies_over_grey() -> None:
    rgba = np.dstack([SMOOTH, np.zeros((256, 256), np.uint8)])
    rgba[:128, :, 3] = 255
    rgba[128:192, :, 3] = 102
    found = decode(saved(rgba, "PNG"), size=None, mode="RGB", name="x").astype(int)
    np.testing.assert_array_equal(found[:128], SMOOTH[:128])
    assert np.abs(found[128:192] - (0.4 * SMOOTH[128:192] + 0.6 * 128)).max() <= 1
    assert (found[192:] == 128).all()


@pytest.mark.parametrize("picture", ["L", "LA", "P", "1", "I;16", "CMYK"])
def test_other_kinds_of_pixels_become_what_is_asked_for(picture: str) -> None:
    made = Image.fromarray(SMOOTH[..., 0].astype(np.uint16)) if picture == "I;16" else Image.fromarray(SMOOTH)
    made = made if picture == "I;16" else made.convert(picture)
    content = saved(made, "JPEG" if picture == "CMYK" else "PNG")
    assert decode(content, size=20, mode="RGB", name="x").shape == (20, 20, 3)
    assert decode(content, size=None, mode="L", name="x").shape == (256, 256)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


JPEG, PNG = saved(SMOOTH, "JPEG"), saved(SMOOTH, "PNG")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (bomb(5000, 5000), f"at most {MOST_PIXELS} pixels, found 5000 x 5000"),
        (bomb(12_000, 10_000), f"at most {MOST_PIXELS} pixels"),
        (bomb(100_000, 100_000), f"at most {MOST_PIXELS} pixels"),
        (bomb(256, 256), "a complete picture"),
        (JPEG[:-200], "a complete picture"),
        (PNG[:-200], "a complete picture"),
        (JPEG[:100], "a JPEG or a PNG, found 100 bytes"),
        (saved(SMOOTH, "GIF"), "a JPEG or a PNG"),
        (b"", "a JPEG or a PNG, found 0 bytes"),
    ],
    ids=range(9),
)
def test_what_is_no_picture_is_an_error(content: bytes, problem: str) -> None:
    for size in (None, 20):
        with pytest.raises(DataIntegrityError, match=f"the file: shared.png: .*{problem}"):
            decode(content, size=size, mode="RGB", name="the file: shared.png")


def written(elements: list[bytes], **options: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        images = h5.create_dataset("images", (len(elements),), h5py.vlen_dtype(np.uint8), **options)
        for row, element in enumerate(elements):
            images[row] = np.frombuffer(element, dtype=np.uint8)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"chunks": (7,)}, {"chunks": (8,), "compression": "gzip", "shuffle": True}])
def test_elements_are_h5pys(options: dict[str, Any]) -> None:
    """Small ones that share a heap, and large ones that have their own."""
    lengths = [1, 7, 8, 9, 500, 4000, 4040, 4064, 5000, 70_000, 3, 0x8000, 100, 4096, 16]
    elements = [RNG.bytes(length) for length in lengths]
    content = written(elements, **options)
    with h5py.File(io.BytesIO(content)) as h5:
        assert [bytes(element) for element in h5["images"]] == elements
    with open_hdf5(content, name="x") as opened:
        references = opened.references(opened.dataset("images", "bytes"))
    for (length, address, index), element in zip(references.tolist(), elements, strict=True):
        found = read_element(lambda start, stop: content[start:stop], address, index, length, name="x")
        assert found == element


def test_a_damaged_heap_is_an_error() -> None:
    """No bytes of another element in its place."""
    elements = [RNG.bytes(100), RNG.bytes(200), RNG.bytes(9000)]
    content = written(elements)
    with open_hdf5(content, name="x") as opened:
        references = opened.references(opened.dataset("images", "bytes")).tolist()

    def read(content: bytes, length: int, address: int, index: int) -> bytes:
        return read_element(lambda start, stop: content[start:stop], address, index, length, name="x: a.jpg")

    (short, heap, first), (_, _, second), (large, own, _) = references
    for bad, wrong in (
        (content, (0, 0, 0)),
        (content, (short, len(content) + 8, first)),
        (content, (short, heap + 8, first)),
        (content, (short + 1, heap, first)),
        (content, (short, heap, second)),
        (content, (short, heap, 77)),
        (content[: own + 500], (large, own, 1)),
        (content[: heap + 8] + b"\xff" * 8 + content[heap + 16 :], (200, heap, second)),
    ):
        with pytest.raises(DataIntegrityError, match=r"x: a\.jpg: expected"):
            read(bad, *wrong)
