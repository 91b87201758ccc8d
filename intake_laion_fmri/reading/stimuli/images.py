"""Images as a lazy, labelled array."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import IMAGE, Images, ImageSelection, image_coordinate
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.formats.pictures import Mode
from intake_laion_fmri.reading.assembly import attributes
from intake_laion_fmri.reading.blocks import Step
from intake_laion_fmri.reading.lazy_arrays import lazy_rows
from intake_laion_fmri.reading.stimuli.image_file import ImageBlock, ImageFile
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

BLOCK_BYTES = 32 * 1024 * 1024
"""Approximate bytes of a block of images, by default."""

_MOST_IN_A_BLOCK = 64


def open_stimuli(
    images: Images = None,
    *,
    size: int | None = None,
    mode: Mode = "RGB",
    chunks: int | Mapping[str, int] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open the images as displayed, as a lazy, labelled array.

    Parameters
    ----------
    images : str, sequence of str, Dataset, DataArray or DataFrame, optional
        A label, a list of labels, ``"shared"``, ``"unique"``, ``"ood"``, a subject such as ``"sub-01"``, or labelled
        data: averaged betas or embeddings (index ``image``), trials (``label``, one image per trial), a stimulus table.
        By default all. Order and repeats are kept.
    size : int, optional
        Height and width in pixels, by default 1000 as in the file.
    mode : {"RGB", "L"}, default "RGB"
        Three channels, or grey.
    chunks : int or mapping, optional
        Images per block, ``50`` or ``{"image": 50}``. By default up to 64, and about 32 MB.
    bucket, storage_options, mirror, mirror_only
        As in `open_betas`. The published bucket gives the images to nobody: they need a mirror or another bucket with
        ``stimuli/task-images_stimuli.h5``.

    Returns
    -------
    xarray.Dataset
        ``images`` (image, y, x, channel), uint8, a Dask array; without ``channel`` in mode L. Coordinates: ``image``
        (index: the label), ``stimulus`` (row in the file and in `open_stimulus_table`), ``dataset``, ``shared``,
        ``channel``. Transparent pixels are shown over grey 128, as in the experiment.

    Raises
    ------
    ValueError
        For an unknown image, with the nearest ones, or an invalid size.
    NotInBucketError
        If the bucket has no images or no stimulus table.
    AccessDeniedError
        If the bucket denies access to the images; the message names the request form.
    BucketUnreachableError
        As in `open_betas`.
    DataIntegrityError
        If the file is truncated or hostile, or does not match its table. An image that is broken, neither JPEG nor
        PNG, or declares more than 16 million pixels is found when it is computed.

    Notes
    -----
    Opening reads the table, a few hundred kB of the file's index, and without `size` the beginning of one image.
    Computing reads and decodes each chosen image once, one task per block, from any number of threads, processes or
    forked children, without HDF5's lock. With `size`, a JPEG is decoded at the smallest of its scales that has twice
    the size, and then resampled bicubically: 300 images per second and core for ``size=224``.
    """
    import xarray as xr

    if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 < size <= 4000):
        raise ValueError(f"size={size!r}: expected a number of pixels from 1 to 4000, or None for the file's own size.")
    check_option("mode", mode, valid=get_args(Mode))
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    file = ImageFile.from_bucket(bucket)
    selection = file.choose(images)
    array = lazy_images(file, selection, None if size is None else int(size), mode, _length(chunks))
    table = file.table.iloc[selection.rows]
    known = {
        "stimulus": (selection.rows.astype(np.int32), "row of the image in the stimulus table"),
        "dataset": (table["dataset"].to_numpy(dtype=object), "source of the image"),
        "shared": ((table["unique_or_shared"] == "shared").to_numpy(dtype=bool), "whether all subjects saw the image"),
    }
    coordinates: dict[str, Any] = {**image_coordinate(selection.labels)}
    coordinates |= {name: (IMAGE, values, {"long_name": text}) for name, (values, text) in known.items()}
    if mode == "RGB":
        coordinates["channel"] = ("channel", np.array(["R", "G", "B"], dtype=object))
    attrs = attributes("images", [file.info], None, None)
    attrs["license"] = f"data use agreement, {layout.REQUEST_URL}"
    variable = (IMAGE, "y", "x", "channel")[: array.ndim], array, {"long_name": "images as they were shown"}
    return xr.Dataset({"images": variable}, coords=coordinates, attrs=attrs)


def lazy_images(
    file: ImageFile, selection: ImageSelection, size: int | None, mode: Mode, length: int | None
) -> da.Array:
    """Return the chosen images as a lazy array; repeats are read once."""
    pixels = (size, size) if size else file.size_of(selection)
    shape = (*pixels, 3) if mode == "RGB" else pixels
    length = length or max(1, min(_MOST_IN_A_BLOCK, BLOCK_BYTES // max(1, int(np.prod(shape)))))
    rows_of = dict(zip(selection.labels, selection.rows, strict=True))  # without repeats, in the given order
    labels, rows = np.array(list(rows_of), dtype=object), np.array(list(rows_of.values()), dtype=np.int64)
    steps = []
    for start in range(0, len(rows_of), length):
        part = ImageSelection(labels[start : start + length], rows[start : start + length])
        steps.append(Step(ImageBlock.read, file.block(part, shape, mode, resized=size is not None), None))
    array = lazy_rows("images", steps, shape=shape, dtype="uint8")
    if len(rows_of) < len(selection):
        positions = {label: position for position, label in enumerate(rows_of)}
        array = array[[positions[label] for label in selection.labels]]
    return array


def _length(chunks: object) -> int | None:
    """Return the number of images per block."""
    given = chunks.get(IMAGE) if isinstance(chunks, Mapping) else chunks
    named = set(chunks) - {IMAGE} if isinstance(chunks, Mapping) else set()
    if named or not (given is None or (isinstance(given, int) and not isinstance(given, bool) and given > 0)):
        raise ValueError(
            f"chunks={chunks!r}: expected a number of images such as 50, or {{'image': 50}}. An image is never split."
        )
    return given
