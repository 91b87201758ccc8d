"""Files in the bucket's formats, written with nibabel alone."""

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
    """Write an array as a gzipped NIfTI."""
    little = data.dtype.newbyteorder("<")
    with gzip_file(path) as file:
        file.write(nifti_header(data.shape, little, affine))
        file.write(data.astype(little, copy=False).tobytes(order="F"))


def nifti_header(
    shape: tuple[int, ...], dtype: np.dtype[Any], affine: Doubles, slope: float = 1, inter: float = 0, step: float = 1
) -> bytes:
    """Return all bytes before the voxels: header and empty extension flag."""
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
    """Open a reproducible gzip stream, without name or date in its header."""
    with open_new(path) as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
        yield packed


def write(path: Path, content: bytes | str | dict[str, Any]) -> None:
    """Write bytes, text in UTF-8, or JSON with sorted keys."""
    if isinstance(content, dict):
        content = as_json(content)
    create(path, content.encode() if isinstance(content, str) else content)


def as_json(content: dict[str, Any]) -> bytes:
    """Format an object as the bucket's JSON files."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
