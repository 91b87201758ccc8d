"""Descriptions of a demo bucket's images: embeddings, captions and segmentations.

How an embedding is made
    ``normalised(drives @ weights / sqrt(n) + 0.3 * noise)`` in float16, where ``drives`` are the n numbers by which the
    image drives the ROIs (see `demo.bucket`), ``weights`` depend on model and release, and ``noise`` on the image as
    well, so that betas can be predicted from embeddings. DINOv2 is not normalised. Embeddings have a sixteenth of the
    real features. The order of rows is neither that of the images nor that of another model.

How a caption is made
    ``caption(label, index)``: index 0 is by an AI, for shared images that are not OOD; 1 to 5 are by people, or 1 to 3
    for images that are not shared.

How a mask is made
    It is 1 in a box of rows ``y0`` to ``y1 - 1`` and columns ``x0`` to ``x1 - 1``. Each shared image has three masks:
    two of one noun, with ``instance_id`` 0 and 2, and an empty one that was not localized. The table is in the order of
    the images, but the masks are not.
"""

import csv
import io
import zlib
from pathlib import Path

import numpy as np

from intake_laion_fmri.demo.brain import ROIS
from intake_laion_fmri.demo.files import write
from intake_laion_fmri.demo.scale import Array, Scale, generator
from intake_laion_fmri.demo.stimuli import SIDE, all_images
from intake_laion_fmri.remote.atomic import create

MODELS = {"CLIP": 64, "DINOv2": 64, "PEcore": 64, "SigLIP2": 72}
"""From model to its number of features."""

NOUNS = ("balloon", "cup", "dog", "hot-air balloon", "tree")

_CAPTION_COLUMNS = (
    *("image_name", "caption_idx", "source", "caption"),
    *("origin_collection", "participant_id", "ai_model"),
)
_MASK_COLUMNS = (
    *("mask_row", "image_name", "noun", "instance_id", "score"),
    *("box_x0", "box_y0", "box_x1", "box_y1", "localized", "mask_file"),
)


def embedding(label: str, model: str, seed: int, release: str = "v2") -> Array:
    """Return an image's embedding: float16, (feature,)."""
    drives = generator(seed, "drives", label).standard_normal(len(ROIS) + 1)
    weights = generator(seed, "weights", model, release).standard_normal((len(drives), MODELS[model]))
    noise = generator(seed, "embedding", model, release, label).standard_normal(MODELS[model])
    values = drives @ weights / np.sqrt(len(drives)) + 0.3 * noise
    return np.asarray(values if model == "DINOv2" else values / np.linalg.norm(values), dtype=np.float16)


def caption(label: str, index: int) -> str:
    """Return a caption, maybe with commas, quotes or non-ASCII letters."""
    words = ("a «picture», of sorts", 'what some call "art"', "an image", "a drawing, naïve", "a thing", "a view")
    return f"{words[index]} of number {zlib.crc32(label.encode()) % 1000}"


def caption_indices(label: str) -> range:
    """Return the caption indices of an image."""
    if not label.startswith("shared"):
        return range(1, 4)
    return range(1, 6) if "_OOD_" in label else range(6)


def masks_of(label: str) -> list[tuple[str, int, bool, tuple[int, int, int, int]]]:
    """Return the masks of a shared image.

    Each is noun, instance, localized, and the box x0, y0, x1, y1.
    """
    h = zlib.crc32(label.encode())
    noun, other = NOUNS[h % 5], NOUNS[(h + 1 + (h >> 8) % 4) % 5]
    x, y, width = h % 20, (h >> 4) % 20, 5 + (h >> 9) % 10
    boxes = (x, y, x + width, y + 8), (x + 4, y + 4, x + 12, y + 4 + width)
    return [(noun, 0, True, boxes[0]), (noun, 2, True, boxes[1]), (other, 0, False, (0, 0, 0, 0))]


def write_descriptions(root: Path, scale: Scale, seed: int) -> None:
    """Write the embeddings of both releases, the captions and the segmentations."""
    labels = all_images(scale, seed)
    for model in MODELS:
        name = f"task-images_desc-{model}_embeddings.h5"
        _write_embeddings(root / "stimuli" / name, labels, model, seed, "v2")
        _write_embeddings(root / "archive/embeddings/v1" / name, labels, model, seed, "v1")
    rows = [_caption_row(label, index) for label in labels for index in caption_indices(label)]
    _write_csv(root / "stimuli/task-images_desc-captions.csv", _CAPTION_COLUMNS, rows)
    _write_masks(root / "stimuli", [label for label in labels if label.startswith("shared")], seed)


def _write_embeddings(path: Path, labels: list[str], model: str, seed: int, release: str) -> None:
    import h5py

    order = [labels[k] for k in generator(seed, "rows", model, release).permutation(len(labels))]
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5["embedding"] = np.stack([embedding(label, model, seed, release) for label in order])
        h5.create_dataset("image_ids", data=order, dtype=h5py.string_dtype())
        h5["valid"] = np.ones(len(order), dtype=bool)
    create(path, file.getvalue())


def _caption_row(label: str, index: int) -> list[object]:
    collection = "" if label.startswith("unique") else "NSD" if "_NSD_" in label else "LAION-fMRI"
    by_ai = index == 0
    participant = "" if by_ai else f"w{zlib.crc32(f'{label} {index}'.encode()) % 100:03d}"
    model = "made-up-captioner" if by_ai else ""
    return [label, index, "ai" if by_ai else "human", caption(label, index), collection, participant, model]


def _write_masks(folder: Path, labels: list[str], seed: int) -> None:
    import h5py

    found = [(label, *mask) for label in labels for mask in masks_of(label)]
    stored = generator(seed, "masks").permutation(len(found))
    masks = np.zeros((len(found), SIDE, SIDE), dtype=np.uint8)
    rows: list[list[object]] = []
    for row, (label, noun, instance, localized, (x0, y0, x1, y1)) in zip(stored.tolist(), found, strict=True):
        masks[row, y0:y1, x0:x1] = 1
        score = (0.5 + zlib.crc32(f"{label} {noun} {instance}".encode()) % 500 / 1000) if localized else 0.1
        name = f"{label.rpartition('.')[0]}_{noun}_{instance}.png"
        rows.append([row, label, noun, instance, score, x0, y0, x1, y1, int(localized), name])
    _write_csv(folder / "task-images_desc-segmentations_metadata.csv", _MASK_COLUMNS, rows)
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        shape = (1, SIDE, SIDE)
        h5.create_dataset("masks", data=masks, chunks=shape, compression="gzip", shuffle=True)
    create(folder / "task-images_desc-segmentations.h5", file.getvalue())


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[list[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    write(path, text.getvalue())
