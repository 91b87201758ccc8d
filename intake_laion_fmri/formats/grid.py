"""The grid of a volume: positions of voxels, and distances between grids."""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRID = "grid"
"""Scalar coordinate with the grid in its attributes; the value of ``grid_mapping`` of variables on the grid."""

SAME_GRID = 0.05
"""Corner distance in voxels up to which grids are equal: headers are rounded, some twice, some to 1.778 mm."""

CLOSE_GRID = 0.25
"""Corner distance in voxels up to which grids count as equal, with a warning."""

NEIGHBOURS = 4
"""Adjacent voxels gathered together: 16 bytes cost as much as 4, and most voxels of a brain are wanted."""

Coordinates = dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]
"""Name → dimensions, values and attributes, as xarray takes coordinates."""


@dataclass(frozen=True)
class Grid:
    """The voxels of a volume and their positions."""

    shape: tuple[int, int, int]
    """Number of voxels along i, j and k."""
    affine: tuple[float, ...]
    """16 numbers, row by row: voxel indices → world millimetres."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.Grid", self.shape, self.affine)

    @property
    def size(self) -> int:
        """Number of voxels in the grid."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """Shape and a digest of the affine."""
        # As this value differs between grids, xarray drops the coordinate when it combines two of them.
        digest = hashlib.sha256(np.array(self.affine, dtype="<f8").tobytes()).hexdigest()[:8]
        return f"{'x'.join(map(str, self.shape))}-{digest}"

    def coordinate(self, space: str) -> Coordinates:
        """Return the scalar coordinate ``grid``, a CF grid mapping.

        Its attributes are ``affine`` (16 numbers, row by row: voxel indices → mm), ``shape`` and ``space``, the BIDS
        space of the world coordinates. Its value is `name`.
        """
        attrs = {
            "long_name": "voxel grid",
            "grid_mapping_name": "affine",
            "affine": list(self.affine),
            "shape": list(self.shape),
            "space": space,
        }
        return {GRID: ((), np.array(self.name, dtype=object), attrs)}

    def matrix(self) -> NDArray[np.float64]:
        """Return the affine as a matrix of shape (4, 4)."""
        return np.array(self.affine, dtype=np.float64).reshape(4, 4)

    def corner_distance(self, other: Grid) -> float:
        """Return the largest distance between corresponding corners, in voxels.

        It is infinite for different shapes, or an affine that cannot be inverted.
        """
        if self.shape != other.shape:
            return math.inf
        # Idea: the difference of two affine maps is affine, so its norm is largest at a corner of the box.
        # Reference: maximum of a convex function over a polytope.
        # Cost: 8 corners, whatever the size of the grid.
        corners = np.array([*itertools.product(*((0.0, n - 1.0) for n in self.shape))]).T
        mine, theirs = self.matrix(), other.matrix()
        if not (np.isfinite(mine).all() and np.array_equal(mine[3], theirs[3])):
            return math.inf
        with np.errstate(all="ignore"):
            apart = (theirs[:3, :3] - mine[:3, :3]) @ corners + (theirs[:3, 3:] - mine[:3, 3:])
            try:
                distance = float(np.linalg.norm(np.linalg.solve(mine[:3, :3], apart), axis=0).max())
            except np.linalg.LinAlgError:
                return math.inf
        return math.inf if math.isnan(distance) else distance

    def difference(self, other: Grid) -> str | None:
        """Describe how another grid differs, or return None if it is equivalent."""
        if self.shape != other.shape:
            return f"expected a grid of {self.shape} voxels, found {other.shape}"
        distance = round(self.corner_distance(other), 4)
        if distance <= CLOSE_GRID:
            return None
        apart = f", {distance:.3g} voxels away" if math.isfinite(distance) else ""
        return f"expected the affine {_rounded(self)}, found {_rounded(other)}{apart}"

    def deviation(self, other: Grid) -> str | None:
        """Describe the offset of an equivalent grid; None within rounding."""
        distance = round(self.corner_distance(other), 4)
        if not SAME_GRID < distance <= CLOSE_GRID:
            return None
        return f"its grid is up to {distance:.3g} voxels off that of the subject's mask, and is treated as the same"


def _rounded(grid: Grid) -> list[list[float]]:
    rounded: list[list[float]] = np.round(grid.matrix()[:3], 4).tolist()
    return rounded


@dataclass(frozen=True, eq=False)
class Gather:
    """Positions of chosen voxels on disk, and their order in the result.

    Volumes are Fortran-ordered on disk, but voxels are identified by their C-order index.
    """

    shape: tuple[int, int, int]
    """Shape of the grid."""
    offsets: NDArray[np.intp]
    """Shape (voxel,): positions in the volume on disk, ascending."""
    order: NDArray[np.intp]
    """Shape (voxel,): position in `offsets` of each requested voxel."""

    @classmethod
    def from_voxels(cls, voxels: NDArray[np.integer[Any]], shape: tuple[int, int, int]) -> Gather:
        """Plan the reading of voxels.

        Parameters
        ----------
        voxels : array of int, shape (voxel,)
            C-order flat indices into the grid, in any order, repeats allowed.
        shape : tuple of int
            Shape of the grid.

        Raises
        ------
        ValueError
            If an index is outside the grid.
        """
        # Idea: read in disk order, and keep the inverse permutation to restore the requested order.
        # Reference: NIfTI-1 stores x fastest (Fortran order); voxels are numbered in C-order, as NumPy ravels.
        # Cost: O(n log n) for n voxels, once per block; two integers per voxel are kept.
        positions = np.ravel_multi_index(np.unravel_index(np.asarray(voxels, dtype=np.intp), shape), shape, order="F")
        sorting = np.argsort(positions, kind="stable")
        order = np.empty_like(sorting)
        order[sorting] = np.arange(len(sorting))
        return cls(shape, positions[sorting], order)

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Blocks of `NEIGHBOURS` with chosen voxels, and each voxel's position in them.

        They are computed once for all files read with these positions, such as a subject's 44 maps and ROIs.
        """
        numbers = self.offsets // NEIGHBOURS
        is_first = np.diff(numbers, prepend=-1) > 0
        order = (np.cumsum(is_first) - 1) * NEIGHBOURS + self.offsets % NEIGHBOURS
        return numbers[is_first], order[self.order]
