"""Volumes and maps, read on a known grid."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.contrasts import LOCALIZER_MAPS
from intake_laion_fmri.axes.voxels import SESSION_MAPS, SUBJECT_MAPS
from intake_laion_fmri.errors import DataIntegrityError, UnexpectedContentWarning
from intake_laion_fmri.formats.grid import Gather, Grid
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.nifti import VolumeReader
from intake_laion_fmri.formats.nifti_header import HeaderReader, read_header
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

_HEADER_BYTES = 32 * 1024
_MOST_PACKED = 1032
"""Maximum deflate ratio: a header that declares more data than this is wrong."""

ALL_MAPS = {**SUBJECT_MAPS, **SESSION_MAPS, **LOCALIZER_MAPS}


def warn_of(text: str) -> None:
    """Warn about a file that differs from its documentation."""
    warnings.warn(f"The data differ from the documentation: {text}.", UnexpectedContentWarning, stacklevel=2)


def read_map(
    map: str,
    file: BinaryIO,
    *,
    name: str,
    grid: Grid,
    gather: Gather | None,
    note: Callable[[str], None] = warn_of,
) -> NDArray[Any]:
    """Read a map of `ALL_MAPS` from its compressed file.

    Parameters
    ----------
    map : str
        Name of the map.
    file : binary file
        The file.
    name : str
        Name of the file for errors.
    grid : Grid
        The expected grid.
    gather : Gather or None
        The voxels to read; None for the volume.
    note : callable, default `warn_of`
        Called with a description of each difference from the documentation.

    Returns
    -------
    array, shape (voxel,) or (i, j, k)

    Raises
    ------
    DataIntegrityError
        If the file is broken, on another grid, not a single volume, or has values that the map cannot have.
    """
    return ALL_MAPS[map].cast(read_volume(file, name=name, grid=grid, gather=gather, note=note), name=name)


def read_volume(
    file: BinaryIO, *, name: str, grid: Grid, gather: Gather | None, note: Callable[[str], None] = warn_of
) -> NDArray[np.float32]:
    """Read a file with a single volume of any kind; see `read_map`."""
    reader = open_on_grid(file, name=name, grid=grid, note=note)
    reader.expect_single()
    return reader.volume() if gather is None else reader.take(gather, [0])[0]


def open_on_grid(file: BinaryIO, *, name: str, grid: Grid, note: Callable[[str], None]) -> VolumeReader:
    """Open a NIfTI that must be on a known grid."""
    reader = VolumeReader(file, name=name)
    difference = grid.difference(reader.header.grid)
    if difference:
        raise DataIntegrityError(
            f"{name}: {difference}, unlike the subject's mask. Fetch the files again; if it persists, report it."
        )
    deviation = grid.deviation(reader.header.grid)
    if deviation:
        note(f"{name}: {deviation}")
    return reader


def open_beginning(bucket: Bucket, info: ObjectInfo, header: HeaderReader = read_header) -> VolumeReader:
    """Open the beginning of a file, for its header.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, or its header declares more than it can hold.
    """
    name = bucket.locate(info.key)
    if bucket.is_local or bucket.copies.path_of(info) is not None:
        with bucket.stream(info) as file:
            reader = VolumeReader(file, name=name, header=header)
    else:
        reader = VolumeReader(io.BytesIO(bucket.read(info.key, 0, _HEADER_BYTES)), name=name, header=header)
    found = reader.header
    if found.grid.size * found.n_volumes * found.dtype.itemsize > _MOST_PACKED * info.size:
        several = f"{found.n_volumes} x " if found.n_volumes > 1 else ""
        raise Broken(name)(
            f"its header declares {several}{found.grid.shape} voxels, more than its {info.size} bytes can hold"
        )
    return reader
