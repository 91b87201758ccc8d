"""Embeddings of images by models, as a lazy Dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import IMAGE, Images, image_coordinate
from intake_laion_fmri.errors import unknown_value
from intake_laion_fmri.formats.hdf5 import open_hdf5
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.reading.assembly import attributes
from intake_laion_fmri.reading.stimuli.table import chosen_labels, listed_stimuli, shape_of
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

FEATURE = "feature"
"""Dimension of an embedding's features, without an index."""

_MOST_BYTES = 1_000_000_000
"""Maximum size of a file's unpacked numbers; the largest has 58 MB."""


def open_embeddings(
    model: str = "CLIP",
    images: Images = None,
    *,
    version: str | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open a model's embeddings of images, joined by label.

    Parameters
    ----------
    model : str, default "CLIP"
        A model in the bucket: ``"CLIP"`` (OpenCLIP ViT-H/14), ``"DINOv2"`` (L/14, mean patch token),
        ``"PEcore"`` (L/14-336) or ``"SigLIP2"`` (SO400M/14-384). All except DINOv2 have unit length.
    images : str, sequence of str, Dataset, DataArray or DataFrame, optional
        A label, a list of labels, ``"shared"``, ``"unique"``, ``"ood"``, a subject such as ``"sub-01"``, or labelled
        data: averaged betas (index ``image``), trials (``label``, one row per trial), a stimulus table. By default all.
        Order and repeats are kept.
    version : str, optional
        An earlier release, by its folder: ``"archive/embeddings/v1"`` or ``"v1"``. By default the current one.
    bucket, storage_options, mirror, mirror_only
        As in `open_betas`.

    Returns
    -------
    xarray.Dataset
        ``embedding`` (image, feature) float16, and ``valid`` (image) bool: whether the file marks the row as valid;
        both are Dask arrays of one block. An image that the file lacks is NaN and not valid. Coordinates: ``image``
        (index: the label) and ``model``.

    Raises
    ------
    ValueError
        For an unknown model or image, with the nearest ones.
    NotInBucketError
        If the bucket has no embeddings, or none with that version.
    AccessDeniedError, BucketUnreachableError
        As in `open_betas`.
    DataIntegrityError
        If the file is truncated or hostile, or contains an image twice. Faults outside its head are found when it is
        computed.

    Notes
    -----
    Opening makes a listing, and reads the stimulus table (1.5 MB, cached) and the head of the file in a few requests of
    64 KiB. When computed, rows are joined by the labels in the file, never by row number. Without a stimulus table the
    labels are read from the file at opening. Computing reads the whole file, 50 to 58 MB, in eight concurrent requests,
    however few images are chosen; the user's cache keeps it. Both variables share one reading if they are computed
    together. The files are ``stimuli/task-images_desc-*_embeddings.h5``.
    """
    import xarray as xr

    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    listing = listed_stimuli(bucket)
    info = _find(bucket, listing, model, version)
    labels = chosen_labels(bucket, listing, images, lambda: EmbeddingFile.read(bucket, info).labels.tolist())
    width = shape_of(bucket, info, "embedding", ndim=2)[1]
    embedding, valid = _lazy(EmbeddingBlock(bucket, info, tuple(labels), width))
    title = f"embeddings of the images by {model}" + (f", {version}" if version else "")
    return xr.Dataset(
        {
            "embedding": ((IMAGE, FEATURE), embedding, {"long_name": f"embedding by {model}"}),
            "valid": ((IMAGE,), valid, {"long_name": "whether the embedding is of use"}),
        },
        coords={**image_coordinate(labels), "model": ((), np.array(model, dtype=object), {"long_name": "model"})},
        attrs=attributes(title, [info], None, None),
    )


def list_models(bucket: Bucket) -> list[str]:
    """List the models with embeddings in a bucket, sorted; one listing."""
    return sorted(_models(listed_stimuli(bucket)))


@dataclass(frozen=True, eq=False)
class EmbeddingBlock:
    """Embeddings of images by one model, as a worker reads them."""

    bucket: Bucket
    """Bucket of the file."""
    info: ObjectInfo
    """The file; its size and ETag are pinned."""
    labels: tuple[str, ...]
    """Labels of the images."""
    width: int
    """Number of features."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.EmbeddingBlock", self.bucket, self.info, self.labels, self.width)

    def read(self) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """Return embeddings and validity; NaN and False for absent images."""
        file = EmbeddingFile.read(self.bucket, self.info)
        rows = {label: row for row, label in enumerate(file.labels)}
        if len(rows) < len(file.labels):
            raise Broken(self.bucket.locate(self.info.key))("expected each image once in image_ids, found repeats")
        found = np.array([rows.get(label, -1) for label in self.labels], dtype=np.int64)
        values = np.full((len(found), self.width), np.nan, dtype=np.float16)
        valid = np.zeros(len(found), dtype=bool)
        there = found >= 0
        values[there], valid[there] = file.values[found[there]], file.valid[found[there]]
        return values, valid


@dataclass(frozen=True, eq=False)
class EmbeddingFile:
    """A file of embeddings, as read."""

    labels: NDArray[np.object_]
    """Shape (row,)."""
    values: NDArray[np.float16]
    """Shape (row, feature)."""
    valid: NDArray[np.bool_]
    """Shape (row,)."""

    @classmethod
    def read(cls, bucket: Bucket, info: ObjectInfo) -> EmbeddingFile:
        """Read a whole file; DataIntegrityError if it is broken."""
        name = bucket.locate(info.key)
        with open_hdf5(bucket.fetch([info])[info.key], name=name) as file:
            embedding = file.dataset("embedding", "number", ndim=2)
            if embedding.size * embedding.dtype.itemsize > _MOST_BYTES:
                raise Broken(name)(
                    f"expected at most {_MOST_BYTES} bytes of numbers, found the shape {embedding.shape}"
                )
            labels = file.texts(file.dataset("image_ids", "text"))
            valid = file.read(file.dataset("valid", "flag")).astype(bool)
            values = file.read(embedding).astype(np.float16, copy=False)
        if not len(values) == len(labels) == len(valid):
            found = f"{len(values)}, {len(labels)} and {len(valid)}"
            raise Broken(name)(f"expected image_ids and valid to have one entry per embedding, found {found}")
        return cls(labels, values, valid)


def _models(objects: Mapping[str, ObjectInfo], version: str | None = None) -> dict[str, ObjectInfo]:
    parsed = ((layout.parse_key(key), info) for key, info in objects.items())
    kind = "embeddings" if version is None else "archived_embeddings"
    return {
        found.entities["model"]: info
        for found, info in parsed
        if found and found.kind == kind and found.entities.get("version") == version
    }


def _find(bucket: Bucket, listing: Mapping[str, ObjectInfo], model: str, version: str | None) -> ObjectInfo:
    """Return a model's file."""
    short = None if version is None else str(version).strip("/").rpartition("/")[2]
    objects = listing if short is None else bucket.find(layout.ARCHIVE.root)
    models = _models(objects, short)
    if not models and short is not None:
        kinds = (layout.parse_key(key) for key in objects)
        versions = sorted({found.entities["version"] for found in kinds if found and "version" in found.entities})
        if versions:
            raise unknown_value("version of the embeddings", version, versions, where=bucket.url)
    if not models:
        entities = {"model": str(model), **({} if short is None else {"version": short})}
        raise bucket.missing(layout.key("embeddings" if short is None else "archived_embeddings", **entities), objects)
    if model not in models:
        raise unknown_value("model", model, sorted(models), where=bucket.url)
    return models[model]


def _lazy(block: EmbeddingBlock) -> tuple[da.Array, da.Array]:
    """Return both variables, which share one reading of the file."""
    import dask.array as da

    n, meta = len(block.labels), np.empty(0, dtype=object)
    read = da.map_blocks(_read, block, dtype=object, chunks=((1,),), meta=meta)
    embedding = read.map_blocks(
        _part, 0, dtype=np.float16, new_axis=1, chunks=((n,), (block.width,)), meta=np.empty((0, 0), np.float16)
    )
    return embedding, read.map_blocks(_part, 1, dtype=bool, chunks=((n,),), meta=np.empty(0, bool))


def _read(block: EmbeddingBlock) -> NDArray[np.object_]:
    result = np.empty(1, dtype=object)
    result[0] = block.read()
    return result


def _part(read: NDArray[np.object_], number: int) -> NDArray[Any]:
    return np.asarray(read[0][number])
