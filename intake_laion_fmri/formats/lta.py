"""FreeSurfer's linear transforms (.lta) between volumes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.formats.masks import NUMBER, Broken
from intake_laion_fmri.formats.nifti_header import separates_voxels

MAX_BYTES = 1_000_000
"""Maximum size of a file; usual ones have some kilobytes."""

_BY_VOXELS, _BY_MILLIMETRES = 0, 1


@dataclass(frozen=True, eq=False)
class LinearTransform:
    """A transform, with the volumes of its source and target."""

    matrix: NDArray[np.float64]
    """Shape (4, 4): millimetres of the source → millimetres of the target."""
    source: Grid
    """Grid of the source."""
    target: Grid
    """Grid of the target."""


def read_lta(content: bytes, *, name: str) -> LinearTransform:
    """Read a transform such as ``talairach.lta``.

    It may have the type 0 (voxel to voxel) or 1 (millimetres to millimetres).

    Raises
    ------
    DataIntegrityError
        If it is not such a file, has several transforms or one of another type, cannot be inverted, or lacks one of the
        volumes.
    """
    broken = Broken(name)
    if len(content) > MAX_BYTES:
        raise broken(f"expected a transform of at most {MAX_BYTES} bytes, found {len(content)}")
    text = content.decode("latin-1")
    kind, count = (re.search(rf"^{word}\s*=\s*([0-9]{{1,6}})\b", text, re.MULTILINE) for word in ("type", "nxforms"))
    rows = re.search(rf"^1\s+4\s+4\s*$((?:\s+{NUMBER}){{16}})\s*$", text, re.MULTILINE)
    if not kind or not count or not rows:
        raise broken("expected 'type', 'nxforms' and a matrix of 4 x 4 numbers, found others")
    if int(count[1]) != 1 or int(kind[1]) not in (_BY_VOXELS, _BY_MILLIMETRES):
        raise broken(f"expected one transform of type 0 or 1, found {count[1]} of type {kind[1]}")
    matrix = np.array(rows[1].split(), dtype=float).reshape(4, 4)
    if not separates_voxels(matrix) or not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise broken(f"expected an affine matrix that can be inverted, found {matrix.tolist()}")
    _, found, rest = text[rows.end() :].partition("src volume info")
    source, between, target = rest.partition("dst volume info")
    if not found or not between:
        raise broken("expected the volumes of source and target, 'src volume info' and 'dst volume info'")
    grids = _grid(source, "source", broken), _grid(target, "target", broken)
    if int(kind[1]) == _BY_VOXELS:
        matrix = grids[1].matrix() @ matrix @ np.linalg.inv(grids[0].matrix())
    return LinearTransform(matrix, *grids)


def _grid(text: str, role: str, broken: Broken) -> Grid:
    """Parse the geometry of a volume."""

    def numbers(key: str) -> NDArray[np.float64]:
        found = re.search(rf"^{key}\s*=((?:\s+{NUMBER}){{3}})\s*$", text, re.MULTILINE)
        if found is None:
            raise broken(f"expected three numbers {key!r} of its {role}, found none")
        return np.array(found[1].split(), dtype=float)

    if not re.search(r"^valid\s*=\s*1\b", text, re.MULTILINE):
        raise broken(f"expected a valid {role} volume, found none")
    shape, size, centre = numbers("volume"), numbers("voxelsize"), numbers("cras")
    affine = np.eye(4)
    affine[:3, :3] = np.stack([numbers(f"{axis}ras") for axis in "xyz"], axis=1) * size
    affine[:3, 3] = centre - affine[:3, :3] @ (shape / 2)
    if not separates_voxels(affine) or not ((shape >= 1) & (shape <= 100_000)).all():
        raise broken(f"expected a {role} volume with separate voxels, found {shape} and {affine.tolist()}")
    i, j, k = (int(n) for n in shape)
    return Grid((i, j, k), tuple(float(a) for a in affine.ravel()))
