"""Anatomical images of a subject as a Dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.voxels import MASKS, grid_coordinates
from intake_laion_fmri.errors import DataIntegrityError, unknown_value
from intake_laion_fmri.formats.grid import GRID, Grid
from intake_laion_fmri.formats.mgh_header import read_mgh_header
from intake_laion_fmri.formats.nifti import VolumeReader
from intake_laion_fmri.formats.nifti_header import VolumeHeader, read_header
from intake_laion_fmri.reading.arguments import check_argument
from intake_laion_fmri.reading.assembly import attributes, subject_coordinate
from intake_laion_fmri.reading.blocks import Step
from intake_laion_fmri.reading.contents import SubjectContents, expect_object, subject_contents
from intake_laion_fmri.reading.functional.sidecars import sidecar_attribute
from intake_laion_fmri.reading.lazy_arrays import lazy_rows
from intake_laion_fmri.reading.volumes import open_beginning
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import xarray as xr

Resolution = Literal["1pt8"] | None
"""Grid of an image: that of the betas, or None for the full 0.8 mm."""

_LARGEST = 2**27
"""Maximum number of voxels of an image: five times those at 0.8 mm."""


@dataclass(frozen=True)
class _Image:
    kind: str
    """Kind of its file on the betas' grid; ``full_`` and this name is the kind at 0.8 mm."""
    long_name: str
    dtype: str = "float32"


_IMAGES: Mapping[str, _Image] = MappingProxyType(
    {
        "T1w": _Image("t1w", "T1-weighted image, mean of five"),
        "T2w": _Image("t2w", "T2-weighted image, mean of three"),
        "brain_mask": _Image("brain_mask", f"anatomical brain mask: {MASKS['anatomical'].rule}", "bool"),
    }
)


@dataclass(frozen=True)
class ImageBlock:
    """An image, as a worker reads it."""

    bucket: Bucket
    """Where to read from."""
    info: ObjectInfo
    """The file; its size and ETag are pinned."""
    grid: Grid
    """Grid in its header when it was opened."""
    dtype: str
    """Type of the result."""

    def __dask_tokenize__(self) -> object:
        parts = (self.bucket, self.info, self.grid)
        return ("intake_laion_fmri.ImageBlock", *(part.__dask_tokenize__() for part in parts), self.dtype)

    def __len__(self) -> int:
        return 1

    def read(self, voxels: None) -> NDArray[Any]:
        """Stream the file and return the volume, shape (1, i, j, k).

        Raises
        ------
        DataIntegrityError
            If the file is broken, or its grid has changed since it was opened.
        """
        name = self.bucket.locate(self.info.key)
        with self.bucket.stream(self.info) as file:
            reader = VolumeReader(file, name=name, header=_reader_of(self.info))
            if reader.header.grid != self.grid:
                raise DataIntegrityError(f"{name} was replaced, and its grid has changed. Open the data again.")
            volume = reader.volume()[np.newaxis]
        return MASKS["anatomical"](volume) if self.dtype == "bool" else volume.astype(self.dtype, copy=False)


def open_anatomy(
    subject: str,
    *,
    image: str = "T1w",
    res: Resolution = "1pt8",
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open an anatomical image: T1w, T2w, brain mask, or FreeSurfer's.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    image : str, default "T1w"
        ``"T1w"``, ``"T2w"`` or ``"brain_mask"``; or a file in FreeSurfer's folder ``mri/``, with or without its
        ``.mgz``: ``"aseg"``, ``"brain"``, ``"T1"``, ``"aparc+aseg"``.
    res : {"1pt8", None}, default "1pt8"
        ``"1pt8"`` is the grid of the betas, None the full 0.8 mm. FreeSurfer's images have one grid of their own.
    sidecars : bool, default False
        Whether to read the JSON file beside the image, into the attribute ``sidecars``: JSON, key → content.

    Returns
    -------
    xarray.Dataset
        One variable with the name of the image, along (i, j, k), a lazy Dask array of one block: float32, bool for
        the brain mask, or the stored type for FreeSurfer's images. Coordinates are the indices ``i j k``,
        ``subject``, and ``grid``, which holds the affine to T1w millimetres for `to_nifti`. FreeSurfer's images have
        another voxel order (LIA, not LAS) and the same millimetres.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; ValueError also for an image that is not in FreeSurfer's folder, with the nearest names.
        A broken file is found when it is read.

    Notes
    -----
    Three listings and the first 32 KiB of the file. Computing streams the file once: a T1w of 0.8 mm is some 30 MB
    and takes 130 MB of memory, one of ``res-1pt8`` 11.7 MB.
    """
    import xarray as xr

    check_resolution(res)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    name = image.removesuffix(".mgz") if isinstance(image, str) else image
    tree = layout.ANATOMY if name in _IMAGES else layout.FREESURFER
    contents = subject_contents(bucket, layout.subject_name(subject), trees=(tree,))
    info, known = _object(bucket, contents, name, res)
    header = image_header(bucket, info)
    dtype = known.dtype if known else header.dtype.newbyteorder("=").name
    block = ImageBlock(bucket, info, header.grid, dtype)
    rows = lazy_rows(name, [Step(ImageBlock.read, block, None)], shape=header.grid.shape, dtype=dtype)
    extras, faults = sidecar_attribute(bucket, contents.objects, [info], wanted=check_argument("sidecars", sidecars))
    faults.warn(stacklevel=2)
    long_name = known.long_name if known else f"{name} of FreeSurfer"
    return xr.Dataset(
        {name: (tuple("ijk"), rows[0], {"long_name": long_name, "grid_mapping": GRID})},
        coords={
            **grid_coordinates(header.grid),
            **header.grid.coordinate(layout.SPACE),
            "subject": subject_coordinate(contents.subject),
        },
        attrs=attributes(f"{name} of {contents.subject}", [info], header.grid, None) | extras,
    )


def check_resolution(res: object) -> object:
    """Return a `Resolution`; ValueError for anything else."""
    if res not in ("1pt8", None):
        raise unknown_value("res", res, ["'1pt8'", "None"])
    return res


def image_header(bucket: Bucket, info: ObjectInfo) -> VolumeHeader:
    """Read an image's header from the beginning of its file.

    Raises
    ------
    DataIntegrityError
        If it is not a single-volume image, or its header declares more than the file can hold.
    """
    name = bucket.locate(info.key)
    found = open_beginning(bucket, info, _reader_of(info))
    found.expect_single()
    header = found.header
    if header.grid.size > _LARGEST:
        raise DataIntegrityError(
            f"{name}: expected an image of at most {_LARGEST} voxels, found {header.grid.shape}. Fetch the file again; "
            "if it persists, report it."
        )
    return header


def _reader_of(info: ObjectInfo) -> Any:
    return read_mgh_header if info.key.endswith(".mgz") else read_header


def _object(
    bucket: Bucket, contents: SubjectContents, name: object, res: Resolution
) -> tuple[ObjectInfo, _Image | None]:
    """Find an image's object and its properties."""
    if name in _IMAGES:
        known = _IMAGES[str(name)]
        key = layout.key(f"full_{known.kind}" if res is None else known.kind, subject=contents.subject)
        return expect_object(bucket, key, contents.objects), known
    parsed = {key: layout.parse_key(key) for key in contents.objects}
    images = {p.entities["image"]: key for key, p in parsed.items() if p and p.kind == "freesurfer_image"}
    if not images:
        raise bucket.missing(
            layout.key("freesurfer_image", subject=contents.subject, image=str(name)), contents.objects
        )
    if name not in images:
        raise unknown_value("image", name, [*_IMAGES, *sorted(images)], where=f"{contents.subject} in {bucket.url}")
    return contents.objects[images[str(name)]], None
