"""The header of a NIfTI file: grid, data type and scaling."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.grid import Grid

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OFFSET = 16 * 1024 * 1024
"""Maximum bytes before the first value; header and extensions usually take kilobytes."""

SMALLEST_VOXEL, LARGEST_VOXEL = 0.01, 100.0
"""Plausible voxel sizes in millimetres; if a header's unit gives others, millimetres are assumed."""

_MILLIMETRES = {1: ("metres", 1000.0), 2: ("millimetres", 1.0), 3: ("micrometres", 0.001)}  # xyzt_units, lower bits
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # xyzt_units, upper bits
_FLATTEST = 1e-3  # least volume of a voxel, as a fraction of the product of its sides
_HEADER_SIZES = {348: "nifti1", 540: "nifti2"}
_MAGICS = {"nifti1": b"n+1", "nifti2": b"n+2"}
_DTYPES = frozenset({"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"})


@dataclass(frozen=True)
class VolumeHeader:
    """The checked header of a NIfTI file."""

    grid: Grid
    """Shape and affine of one volume."""
    n_volumes: int
    """Number of volumes: the product of the dimensions after the third."""
    dtype: np.dtype[Any]
    """Type of the stored values, with their byte order."""
    vox_offset: int
    """Bytes before the first value."""
    slope: float | None
    """Scale factor of the stored values; None for unscaled ones."""
    inter: float | None
    """Offset of the stored values; None for unscaled ones."""
    note: str = ""
    """A note on an unusual unit of lengths, or an empty text."""
    step: float = 0.0
    """Seconds between volumes; 0 if unknown."""
    max_trailer: int = 0
    """Maximum bytes after the last volume."""


HeaderReader: TypeAlias = (
    "Callable[[Callable[[int], bytes], Callable[[str], DataIntegrityError]], tuple[VolumeHeader, int]]"
)
"""Type of functions like `read_header`, for any format."""


def _affine(raw: Any) -> tuple[NDArray[np.float64], str] | None:
    """Return the affine in millimetres and a note on units.

    None without a usable affine. The sform has priority over the qform. If both codes are 0 the affine is unknown;
    nibabel would return a centred affine with a flipped axis.
    """
    from nibabel.spatialimages import HeaderDataError

    candidates = []
    with np.errstate(all="ignore"):
        if raw["sform_code"] > 0:
            candidates.append(raw.get_sform())
        if raw["qform_code"] > 0:
            if raw["pixdim"][0] == 0:  # the standard defines 0 as 1
                raw = raw.copy()
                raw["pixdim"][0] = 1
            with contextlib.suppress(ValueError, HeaderDataError):  # a quaternion longer than 1, or negative lengths
                candidates.append(raw.get_qform())
        usable = next((affine for affine in candidates if separates_voxels(affine)), None)
    if usable is None:
        return None
    affine = np.asarray(usable, dtype=np.float64).copy()
    name, scale = _MILLIMETRES.get(int(raw["xyzt_units"]) & 7, ("millimetres", 1.0))
    note = f"its header gives lengths in {name}, which were converted to millimetres" if scale != 1 else ""
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if scale != 1 and not ((size * scale >= SMALLEST_VOXEL) & (size * scale <= LARGEST_VOXEL)).all():
        scale = 1.0  # wrong unit, right numbers: such voxel sizes are impossible
        note = f"its header gives lengths in {name}, which is implausible; they were read as millimetres"
    affine[:3] *= scale
    return affine, note


def separates_voxels(affine: NDArray[Any]) -> bool:
    """Return True if an affine gives different voxels different positions."""
    if not np.isfinite(affine).all():
        return False
    sizes = np.linalg.norm(np.asarray(affine[:3, :3], dtype=np.float64), axis=0)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / sizes)) > _FLATTEST)


def read_header(
    read: Callable[[int], bytes], error_of: Callable[[str], DataIntegrityError]
) -> tuple[VolumeHeader, int]:
    """Read the header of a stream and return it with its size.

    Parameters
    ----------
    read : callable
        Called with a number of bytes; returns the next ones of the stream.
    error_of : callable
        Called with a description of the fault; returns the error to raise.
    """
    import nibabel

    block = read(4)
    for order in ("<", ">"):
        kind = _HEADER_SIZES.get(int(np.frombuffer(block, dtype=f"{order}i4")[0]))
        if kind is not None:
            break
    else:
        raise error_of(f"expected a NIfTI header, found the bytes {block!r}")
    cls = nibabel.Nifti1Header if kind == "nifti1" else nibabel.Nifti2Header
    size = cls.template_dtype.itemsize
    header = _validated(cls(block + read(size - 4), endianness=order, check=False), _MAGICS[kind], error_of)
    first = size + 4  # four bytes flag extensions
    if not first <= header.vox_offset <= MAX_OFFSET:
        raise error_of(
            f"expected the data to start after the header of {first} bytes and before byte {MAX_OFFSET}, found "
            f"the vox_offset {header.vox_offset}"
        )
    return header, size


def _validated(raw: Any, expected_magic: bytes, error_of: Callable[[str], DataIntegrityError]) -> VolumeHeader:
    """Convert nibabel's unchecked header to a checked one."""
    from nibabel.spatialimages import HeaderDataError

    magic = bytes(raw["magic"].item())
    if magic[:4].rstrip(b"\0") != expected_magic:
        raise error_of(f"expected a single-file NIfTI with the magic {expected_magic!r}, found {magic!r}")
    dimensions = [int(n) for n in raw["dim"]]
    rank = dimensions[0]
    shape = tuple(dimensions[1 : rank + 1]) if 3 <= rank <= 7 else ()
    if not shape or min(shape) < 1:
        raise error_of(f"expected three to seven dimensions of at least 1, found dim {dimensions}")
    try:
        dtype = raw.get_data_dtype()
        slope, inter = raw.get_slope_inter()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise error_of(f"expected a readable NIfTI header, found: {error}") from error
    if dtype.str[1:] not in _DTYPES:
        raise error_of(f"expected real numbers of at most 64 bits, found the datatype {dtype}")
    found = _affine(raw)
    if found is None:
        rows = [[float(n) for n in raw[f"srow_{axis}"]] for axis in "xyz"]
        raise error_of(
            "no usable orientation: expected an sform or a qform with the positions of voxels, found sform_code "
            f"{int(raw['sform_code'])}, qform_code {int(raw['qform_code'])} and the affine {rows}"
        )
    affine, note = found
    grid = Grid((shape[0], shape[1], shape[2]), tuple(float(a) for a in affine.ravel()))
    offset = float(raw["vox_offset"])
    if not (math.isfinite(offset) and offset == int(offset)):
        raise error_of(f"expected a whole vox_offset, found {offset}")
    return VolumeHeader(grid, math.prod(shape[3:]), dtype, int(offset), slope, inter, note, _step(raw))


def _step(raw: Any) -> float:
    """Return the header's seconds between volumes; 0 if not positive."""
    step = float(raw["pixdim"][4]) * _SECONDS.get(int(raw["xyzt_units"]) & 0x38, 1.0)
    # Stored as float32: round 1.899999976 to 1.9.
    return round(step, 6) if math.isfinite(step) and step > 0 else 0.0
