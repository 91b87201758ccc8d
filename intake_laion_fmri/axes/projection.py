"""Projections: sparse weights from voxels to vertices, and between spheres.

Idea: sampling a volume or a surface at points is linear in the values. So the weights are computed once, and each block
of trials costs one sparse product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.grid import Grid

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MIN_WEIGHT = 0.5
"""Least weight on finite values for a point to have a value; the finite weights are rescaled to 1."""

ROWS_AT_A_TIME = 16
"""Maps per product: more would take memory without saving time."""

_NEAREST = (3, 12, 128)
"""Numbers of candidate triangles per point, tried in turn."""
_TOLERANCE = 1e-9


def scipy_parts() -> tuple[Any, Any]:
    """Import `scipy.sparse` and `scipy.spatial`; ImportError with advice."""
    try:
        import scipy.sparse
        import scipy.spatial
    except ImportError as error:
        raise ImportError("Templates need SciPy: pip install 'intake-laion-fmri[templates]'.") from error
    return scipy.sparse, scipy.spatial


@dataclass(frozen=True, eq=False)
class Projection:
    """Sparse weights; each target point is a weighted mean of values."""

    weights: csr_array
    """Shape (point, value), float32; a row sums to 1, or less if some of its values were not chosen."""

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Project values to the target points.

        Parameters
        ----------
        values : array, shape (..., value)
            NaN and infinite values are left out of the means.

        Returns
        -------
        array of float32, shape (..., point)
            NaN where less than `MIN_WEIGHT` of the weight is on finite values.
        """
        rows = values.reshape(-1, values.shape[-1])
        result = np.empty((len(rows), self.weights.shape[0]), dtype=np.float32)
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            result[start : start + ROWS_AT_A_TIME] = self._block(rows[start : start + ROWS_AT_A_TIME])
        return result.reshape(*values.shape[:-1], -1)

    def _block(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        known = np.isfinite(rows)
        is_whole = bool(known.all())
        filled = np.ascontiguousarray((rows if is_whole else np.where(known, rows, 0)).T, dtype=np.float32)
        if is_whole or (known == known[0]).all():  # usual case: a voxel is NaN in all trials or in none
            share = (self.weights @ known[0].astype(np.float32))[:, np.newaxis]
        else:
            share = self.weights @ np.ascontiguousarray(known.T, dtype=np.float32)
        share[share < MIN_WEIGHT] = np.nan
        means: NDArray[np.float32] = self.weights @ filled
        means /= share
        return means.T

    def of(self, first: Projection) -> Projection:
        """Compose this projection with an earlier one."""
        return Projection((self.weights @ first.weights).tocsr())

    @property
    def n_reached(self) -> int:
        """Number of points with a value if every input is finite."""
        return int((self.weights.sum(axis=1) >= MIN_WEIGHT).sum())


def from_volume(xyz: NDArray[Any], grid: Grid, voxels: NDArray[np.integer[Any]]) -> Projection:
    """Sample a volume at points by trilinear interpolation.

    Parameters
    ----------
    xyz : array, shape (point, 3)
        World millimetres.
    grid : Grid
        The grid of the volume.
    voxels : array of int, shape (value,)
        C-order flat indices of the voxels that have values, each once.

    Returns
    -------
    Projection
        Points outside the grid have no weights. Equal to nilearn's ``vol_to_surf(kind="line", depth=[0.0])`` if all
        voxels around a point are chosen. Cost: O(points).
    """
    sparse, _ = scipy_parts()
    inverse = np.linalg.inv(grid.matrix())
    ijk = np.asarray(xyz, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
    last = np.array(grid.shape) - 1
    ijk[np.abs(ijk - np.rint(ijk)) < 1e-6] = np.rint(ijk[np.abs(ijk - np.rint(ijk)) < 1e-6])  # as affines are rounded
    inside = ((ijk >= 0) & (ijk <= last)).all(axis=1)
    low = np.clip(np.floor(ijk), 0, np.maximum(last - 1, 0)).astype(np.int64)
    part = ijk - low
    column = np.full(grid.size, -1, dtype=np.int64)
    column[voxels] = np.arange(len(voxels))
    rows, columns, weights = [], [], []
    for corner in np.ndindex(2, 2, 2):
        at = np.minimum(low + corner, last)
        weight = np.where(np.array(corner) == 1, part, 1 - part).prod(axis=1)
        found = np.full(len(ijk), -1, dtype=np.int64)
        found[inside] = column[np.ravel_multi_index(tuple(at[inside].T), grid.shape)]
        kept = (found >= 0) & (weight > 0)
        rows.append(np.flatnonzero(kept))
        columns.append(found[kept])
        weights.append(weight[kept])
    entries = (np.concatenate(weights).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return Projection(sparse.csr_array(entries, shape=(len(ijk), len(voxels))))


def between_spheres(sphere: NDArray[Any], faces: NDArray[Any], points: NDArray[Any]) -> Projection:
    """Interpolate from one sphere to another by barycentric weights.

    Idea: a point's ray meets one of the triangles with the nearest centres.
    Cost: O(points log faces), with the candidates of all points in memory.

    Parameters
    ----------
    sphere : array, shape (value, 3)
        Vertices of the surface on its registered sphere.
    faces : array of int, shape (face, 3)
        Its triangles.
    points : array, shape (point, 3)
        Vertices of the other sphere, of any radius.
    """
    sparse, spatial = scipy_parts()
    here, there = _directions(sphere), _directions(points)
    corners = here[faces]
    tree = spatial.cKDTree(_directions(corners.sum(axis=1)))
    chosen = np.zeros(len(there), dtype=np.int64)
    best = np.full((len(there), 3), -np.inf)
    left = np.arange(len(there))
    for count in _NEAREST:
        _, near = tree.query(there[left], k=min(count, len(faces)))
        weights = _barycentric(corners[near], there[left][:, np.newaxis])
        first = weights.min(axis=2).argmax(axis=1)
        chosen[left], best[left] = near[np.arange(len(left)), first], weights[np.arange(len(left)), first]
        left = np.flatnonzero(best.min(axis=1) < -_TOLERANCE)
        if not len(left):
            break
    best = np.clip(best, 0, None)
    best /= best.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(there)), 3)
    entries = (best.ravel().astype(np.float32), (rows, faces[chosen].ravel()))
    return Projection(sparse.csr_array(entries, shape=(len(there), len(here))))


def _directions(xyz: NDArray[Any]) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = np.array(xyz, dtype=np.float64)
    wide /= np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide


def _barycentric(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return barycentric weights of triangles (…, 3, 3) for rays (…, 3)."""
    a, b, c = (corners[..., number, :] for number in range(3))
    volumes = np.stack([(points * np.cross(*pair)).sum(axis=-1) for pair in ((b, c), (c, a), (a, b))], axis=-1)
    whole = (a * np.cross(b, c)).sum(axis=-1)[..., np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = volumes / whole
        weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.where(np.isfinite(weights), weights, -np.inf)


def nearest_voxels(
    target: Grid, to_world: NDArray[np.float64], grid: Grid, voxels: NDArray[np.integer[Any]]
) -> NDArray[np.int32]:
    """Find the nearest chosen voxel for each voxel of another grid.

    Parameters
    ----------
    target : Grid
        The other grid.
    to_world : array, shape (4, 4)
        Millimetres of the other grid → those of `grid`.
    grid : Grid
        The grid of the values.
    voxels : array of int, shape (value,)
        C-order flat indices of the voxels that have values.

    Returns
    -------
    array of int32, shape (i, j, k)
        Position in `voxels`; -1 where the nearest voxel is not chosen or outside.
    """
    matrix = np.linalg.inv(grid.matrix()) @ to_world @ target.matrix()
    flat, inside = np.zeros(target.shape, dtype=np.int32), np.ones(target.shape, dtype=bool)
    i, j, k = (along.astype(np.float32) for along in np.ogrid[tuple(slice(n) for n in target.shape)])
    for axis, length in enumerate(grid.shape):
        row = matrix[axis].astype(np.float32)
        at = np.rint((row[0] * i + row[3]) + row[1] * j + row[2] * k).astype(np.int32)
        inside &= (at >= 0) & (at < length)
        flat = flat * length + np.clip(at, 0, length - 1)
    column = np.full(grid.size, -1, dtype=np.int32)
    column[voxels] = np.arange(len(voxels), dtype=np.int32)
    return np.where(inside, column[flat], np.int32(-1))
