"""Segmentations of shared images: a table of masks, and lazy masks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import IMAGE, Images
from intake_laion_fmri.errors import DataIntegrityError, check_each
from intake_laion_fmri.formats.chunk_index import ChunkIndex
from intake_laion_fmri.formats.hdf5 import open_hdf5
from intake_laion_fmri.formats.tables import flags, numbers, read_table, whole_numbers
from intake_laion_fmri.reading.assembly import attributes
from intake_laion_fmri.reading.blocks import Step
from intake_laion_fmri.reading.contents import expect_object
from intake_laion_fmri.reading.lazy_arrays import lazy_rows
from intake_laion_fmri.reading.stimuli.table import chosen_labels, listed_stimuli, shape_of
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, kept_of, open_bucket, parts_of
from intake_laion_fmri.running.forks import PerProcess

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

MASK = "mask"
"""Dimension of the masks; its index is the row in the file of masks, the table's ``mask_row``."""

_BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
_COLUMNS = ("mask_row", "image_name", "noun", "instance_id", "score", *_BOX, "localized")
_TEXTS: Mapping[str, str] = {
    IMAGE: "stimulus file name",
    "noun": "what the mask is of",
    "instance": "number of the instance; not consecutive",
    "score": "confidence of the segmentation",
    "localized": "whether the noun was found in the image",
    **dict.fromkeys(_BOX, "side of the box around the mask, in pixels"),
}
_MOST_INDEXES = 4


def open_segmentations(
    images: Images = None,
    *,
    nouns: str | Sequence[str] | None = None,
    localized: bool | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open object masks in the shared images, lazily.

    The published bucket has 24,011 masks.

    Parameters
    ----------
    images : str, sequence of str, Dataset, DataArray or DataFrame, optional
        As in `open_embeddings`; repeated images count once, and images without masks give none. By default all.
    nouns : str or sequence of str, optional
        Keep masks of these nouns.
    localized : bool, optional
        True keeps masks with a noun that was found in the image, False the others.
    bucket, storage_options, mirror, mirror_only
        As in `open_betas`.

    Returns
    -------
    xarray.Dataset
        ``masks`` (mask, y, x), uint8, a Dask array with one block per mask. Along ``mask`` (index: the row in the
        file of masks), in the order of the table: ``image``, ``noun``, ``instance``, ``score``, ``box_x0``,
        ``box_y0``, ``box_x1``, ``box_y1`` and ``localized``. ``.to_dataframe()`` of the coordinates is the table;
        `union_masks` joins the masks of a noun.

    Raises
    ------
    ValueError
        For an unknown noun or label, with the nearest ones.
    NotInBucketError
        If the bucket has no segmentations.
    AccessDeniedError, BucketUnreachableError
        As in `open_betas`.
    DataIntegrityError
        If the table is broken or does not match the masks, or the file is truncated or hostile.

    Notes
    -----
    Opening makes a listing, and reads the table (cached) and the head of the file in a few requests of 64 KiB. A mask
    is a task and a request of 3 kB at a known position. The index of positions is built when the first masks are
    computed: this reads the file once, 68 MB in eight concurrent requests, and the user's cache keeps the index of
    0.1 MB. The files are ``stimuli/task-images_desc-segmentations.h5`` and its
    ``_metadata.csv``.
    """
    import xarray as xr

    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    listing = listed_stimuli(bucket)
    kinds = ("segmentation_table", "segmentations")
    described, info = (expect_object(bucket, layout.key(kind), listing) for kind in kinds)
    table = _table(bucket, described)
    if images is not None:
        chosen = chosen_labels(bucket, listing, images, table[IMAGE].unique().tolist)
        table = table[table[IMAGE].isin(set(chosen))]
    if nouns is not None:
        names = check_each("noun", nouns, valid=sorted(set(table["noun"])))
        table = table[table["noun"].isin(names)]
    if localized is not None:
        if not isinstance(localized, bool | np.bool_):
            raise TypeError(f"localized={localized!r}: expected True, False or None.")
        table = table[table["localized"] == localized]
    shape = shape_of(bucket, info, "masks", ndim=3)
    rows = table["mask_row"].to_numpy()
    if len(rows) and rows.max() >= shape[0]:
        raise DataIntegrityError(
            f"{bucket.locate(described.key)}: expected mask_row below {shape[0]}, the number of masks in {info.key}, "
            f"found {rows.max()}. Fetch both files again; if it persists, report it."
        )
    file = MaskFile(bucket, info)
    steps = [Step(MaskBlock.read, MaskBlock(file, int(row)), None) for row in rows]
    masks = lazy_rows("masks", steps, shape=shape[1:], dtype="uint8")
    return xr.Dataset(
        {"masks": ((MASK, "y", "x"), masks, {"long_name": "1 where the thing is"})},
        coords={
            MASK: ((MASK,), rows, {"long_name": "row in the file of masks"}),
            **{name: ((MASK,), table[name].to_numpy(), {"long_name": text}) for name, text in _TEXTS.items()},
        },
        attrs=attributes("segmentations of the shared images", [described, info], None, None),
    )


def union_masks(segmentations: xr.Dataset) -> xr.Dataset:
    """Unite the masks of each noun in each image.

    Parameters
    ----------
    segmentations : xarray.Dataset
        Result of `open_segmentations`, or a part of it.

    Returns
    -------
    xarray.Dataset
        ``masks`` (mask, y, x) uint8, lazy for lazy input: 1 where any mask of the noun is. Along ``mask``, without an
        index, in the order of first occurrence: ``image``, ``noun``, and ``n_masks`` int64, the number of masks joined.
    """
    import xarray as xr

    pairs: dict[tuple[str, str], list[int]] = {}
    for number, pair in enumerate(zip(segmentations[IMAGE].values, segmentations["noun"].values, strict=True)):
        pairs.setdefault(pair, []).append(number)
    masks = segmentations["masks"].data[[number for rows in pairs.values() for number in rows]]
    lengths = [len(rows) for rows in pairs.values()]
    if not isinstance(masks, np.ndarray) and lengths:
        # One block and one task per pair: a graph of thousands of lazy maxima would take a minute to build.
        masks = masks.rechunk({0: tuple(lengths)})
        values = masks.map_blocks(_joined, dtype=masks.dtype, chunks=((1,) * len(lengths), *masks.chunks[1:]))
    else:
        values = np.maximum.reduceat(masks, np.cumsum([0, *lengths[:-1]]), axis=0) if lengths else masks
    image, noun = (np.array([pair[k] for pair in pairs], dtype=object) for k in (0, 1))
    return xr.Dataset(
        {"masks": ((MASK, "y", "x"), values, segmentations["masks"].attrs)},
        coords={
            IMAGE: ((MASK,), image, {"long_name": _TEXTS[IMAGE]}),
            "noun": ((MASK,), noun, {"long_name": _TEXTS["noun"]}),
            "n_masks": ((MASK,), np.array(lengths, dtype=np.int64), {"long_name": "number of masks that were joined"}),
        },
        attrs=segmentations.attrs,
    )


def _joined(masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(masks.max(axis=0, keepdims=True))


@dataclass(frozen=True, eq=False)
class MaskFile:
    """The mask file, read by its index and without HDF5."""

    bucket: Bucket
    """Bucket of the file."""
    info: ObjectInfo
    """The file."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.MaskFile", self.bucket, self.info)

    def index(self) -> ChunkIndex:
        """Return the index from memory, the user's cache or the file."""
        lock, known = _INDEXES.get()
        name = self.bucket.name_in_cache(self.info)
        with lock:
            if name not in known:
                for old in list(known)[: 1 - _MOST_INDEXES]:
                    del known[old]
                content = kept_of(self.bucket, self.info, "chunk index 1", self._make_index)
                known[name] = ChunkIndex.from_bytes(content)
            return known[name]

    def _make_index(self) -> bytes:
        content = self.bucket.fetch([self.info])[self.info.key]
        with open_hdf5(content, name=self.bucket.locate(self.info.key)) as file:
            return file.index(file.dataset("masks", "number", ndim=3)).to_bytes()


_INDEXES: PerProcess[tuple[threading.Lock, dict[str, ChunkIndex]]] = PerProcess(lambda: (threading.Lock(), {}))
"""Lock and indexes of the files that this process used last."""


@dataclass(frozen=True, eq=False)
class MaskBlock:
    """A mask, as a worker reads it."""

    file: MaskFile
    """The file."""
    row: int
    """Row of the mask in the file."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.MaskBlock", self.file, self.row)

    def __len__(self) -> int:
        return 1

    def read(self, _: object = None) -> NDArray[np.uint8]:
        """Return the mask: (1, y, x)."""
        bucket, info, index = self.file.bucket, self.file.info, self.file.index()
        fetch, chunks = parts_of(bucket, info), index.chunks_of(self.row)
        starts, sizes = index.starts.tolist(), index.sizes.tolist()
        contents = [fetch(starts[k], starts[k] + sizes[k]) for k in chunks]
        return index.row(self.row, contents, name=bucket.locate(info.key))[None].astype(np.uint8, copy=False)


def _table(bucket: Bucket, info: ObjectInfo) -> pd.DataFrame:
    name = bucket.locate(info.key)
    table = read_table(bucket.fetch([info])[info.key], name=name, needed=_COLUMNS)
    table[IMAGE] = table["image_name"]
    table["instance"] = whole_numbers(table, "instance_id", name=name)
    table["mask_row"] = whole_numbers(table, "mask_row", name=name)
    table["localized"] = flags(table, "localized", name=name)
    for column in ("score", *_BOX):
        table[column] = numbers(table, column, name=name)
    if table["mask_row"].duplicated().any():
        raise DataIntegrityError(
            f"{name}: expected each mask_row once, found repeats. Fetch it again; if it persists, report it."
        )
    return table
