"""Files as the bucket holds them, written with nibabel and nothing of this package."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from intake_laion_fmri.demo.scale import Array, Doubles
from intake_laion_fmri.remote.atomic import create, open_new


def write_nifti(path: Path, data: Array, affine: Doubles) -> None:
    """Write an array as a packed NIfTI."""
    little = data.dtype.newbyteorder("<")
    with gzip_file(path) as file:
        file.write(nifti_header(data.shape, little, affine))
        file.write(data.astype(little, copy=False).tobytes(order="F"))


def nifti_header(
    shape: tuple[int, ...], dtype: np.dtype[Any], affine: Doubles, slope: float = 1, inter: float = 0, step: float = 1
) -> bytes:
    """Return all that precedes the voxels: 348 bytes of header and 4 that say that no extension follows."""
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_qform(affine, code=1)  # sets the voxel size too
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(slope, inter)
    header["pixdim"][4] = step
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(4)


@contextmanager
def gzip_file(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzip stream with neither name nor date in its header: the same content gives the same bytes."""
    with open_new(path) as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
        yield packed


def write(path: Path, content: bytes | str | dict[str, Any]) -> None:
    """Write bytes, text in UTF-8, or JSON with sorted keys."""
    if isinstance(content, dict):
        content = as_json(content)
    create(path, content.encode() if isinstance(content, str) else content)


def as_json(content: dict[str, Any]) -> bytes:
    """Return an object as the bucket's JSON files hold it."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
