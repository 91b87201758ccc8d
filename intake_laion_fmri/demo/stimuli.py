"""The images of a demo bucket and their table.

How an image is made
    It is a chessboard of two colours, 48 x 48 pixels: with ``h`` the CRC-32 of its label and ``r, g, b`` the three
    lowest bytes of ``h``, pixel (y, x) is ``(r, g, b)`` where ``(x // 8 + y // 8 + h // 2**24) % 2`` is 0, otherwise
    ``(g, b, r)``. Labels that end in ``.jpg`` are JPEGs of quality 90 without chroma subsampling. Those that end in
    ``.png`` are RGBA PNGs with an alpha of 255 where ``x >= y`` and 0 elsewhere, displayed on grey 128.

How images are ordered
    Their order is random: row k of the table is image k of the HDF5 file, and neither is sorted.
"""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from intake_laion_fmri.demo.files import write
from intake_laion_fmri.demo.scale import Array, Scale, generator
from intake_laion_fmri.demo.trials import planned_images
from intake_laion_fmri.demo.truth import PARTICIPANT
from intake_laion_fmri.remote.atomic import create

SIDE = 48
_SQUARE = 8


def all_images(scale: Scale, seed: int) -> list[str]:
    """Return all labels of all subjects, in the order of the files."""
    each = [planned_images(scale, PARTICIPANT[subject]) for subject in scale.subjects]
    labels = sorted({label for planned in each for label in planned})
    return [labels[k] for k in generator(seed, "stimuli").permutation(len(labels))]


def pixels(label: str) -> Array:
    """Return an image before encoding: uint8, (y, x, 3 or 4)."""
    h = zlib.crc32(label.encode())
    r, g, b = h & 255, h >> 8 & 255, h >> 16 & 255
    y, x = np.indices((SIDE, SIDE))
    even = ((x // _SQUARE + y // _SQUARE + (h >> 24)) % 2 == 0)[..., None]
    colours = np.where(even, [r, g, b], [g, b, r]).astype(np.uint8)
    if label.endswith(".jpg"):
        return colours
    return np.dstack([colours, np.where(x >= y, 255, 0).astype(np.uint8)])


def encoded(label: str) -> bytes:
    """Return an image as encoded in the HDF5 file."""
    from PIL import Image

    file = io.BytesIO()
    options: dict[str, Any] = {"quality": 90, "subsampling": 0} if label.endswith(".jpg") else {}
    Image.fromarray(pixels(label)).save(file, "JPEG" if options else "PNG", **options)
    return file.getvalue()


def write_stimuli(folder: Path, scale: Scale, seed: int) -> None:
    """Write the images and their table."""
    import h5py

    labels = all_images(scale, seed)
    lines = ["image_name,dataset,participant,unique_or_shared,n_reps", *map(_line, labels)]
    write(folder / "task-images_metadata.csv", "\n".join(lines) + "\n")
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        images = h5.create_dataset("images", (len(labels),), h5py.vlen_dtype(np.uint8))
        for row, label in enumerate(labels):
            images[row] = np.frombuffer(encoded(label), dtype=np.uint8)
    create(folder / "task-images_stimuli.h5", file.getvalue())


def _line(label: str) -> str:
    words = label.split("_")
    shared = words[0] == "shared"
    dataset = words[2] if shared else words[1]
    participant = "" if shared else label.rpartition("_")[2].partition(".")[0]
    return ",".join([label, dataset, participant, words[0], words[1] if shared else "4rep"])
