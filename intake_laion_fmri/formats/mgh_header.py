"""The header of FreeSurfer's MGH volumes, for `VolumeReader`.

Reference: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. Numbers are big-endian; the
header is followed by the values, in NIfTI's order, and by tags. nibabel, the oracle of the tests, checks neither counts
nor the end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.formats.nifti_header import VolumeHeader, separates_voxels

MAX_TAGS = 4 * 1024 * 1024
"""Maximum bytes after the values: scan parameters and a list of commands, usually some kilobytes."""

_SIZE = 284
_FIELDS = np.dtype(
    [
        *(("version", ">i4"), ("shape", ">i4", 4), ("type", ">i4"), ("dof", ">i4"), ("is_placed", ">i2")),
        *(("sizes", ">f4", 3), ("axes", ">f4", (3, 3)), ("centre", ">f4", 3)),
    ]
)
_DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}


def read_mgh_header(
    read: Callable[[int], bytes], error_of: Callable[[str], DataIntegrityError]
) -> tuple[VolumeHeader, int]:
    """Read the MGH header of a stream; see `nifti_header.read_header`."""
    fields = np.frombuffer(read(_SIZE)[: _FIELDS.itemsize], dtype=_FIELDS)[0]
    shape = [int(n) for n in fields["shape"]]
    if fields["version"] != 1 or min(shape) < 1:
        raise error_of(f"expected a FreeSurfer volume, found version {fields['version']} and the shape {shape}")
    if int(fields["type"]) not in _DTYPES:
        raise error_of(f"expected a type of values from {sorted(_DTYPES)}, found the type {fields['type']}")
    affine = np.eye(4)
    with np.errstate(all="ignore"):
        affine[:3, :3] = fields["axes"].T.astype(float) * fields["sizes"].astype(float)
        affine[:3, 3] = fields["centre"] - affine[:3, :3] @ (np.array(shape[:3]) / 2)
    if fields["is_placed"] != 1 or not separates_voxels(affine):
        raise error_of(f"expected a header with the positions of the voxels, found {affine[:3].tolist()}")
    grid = Grid((shape[0], shape[1], shape[2]), tuple(float(a) for a in affine.ravel()))
    dtype = np.dtype(_DTYPES[int(fields["type"])])
    return VolumeHeader(grid, shape[3], dtype, _SIZE, None, None, max_trailer=MAX_TAGS), _SIZE
