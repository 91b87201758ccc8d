"""The voxel axis: ordered voxels of a mask, with coordinates.

This module owns the names of the coordinates along ``voxel``. The public order of voxels is the C-order ravel of the
grid, ascending; a voxel's label is its index in that ravel, so it means the same whatever else is selected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.formats.grid import Coordinates, Grid
from intake_laion_fmri.formats.masks import Broken

VOXEL = "voxel"
"""Dimension and index: the C-order flat index into the grid."""

NO_INDEX = -1
"""Value of voxels without an index in a map of indices."""


@dataclass(frozen=True)
class MaskRule:
    """The rule that decides which map values are inside a mask."""

    kind: str
    """Kind of object that holds the map (see `layout.KINDS`)."""
    rule: str
    """The rule in words, recorded in every Dataset, because an index depends on its mask."""
    inside: Callable[[NDArray[Any]], NDArray[np.bool_]]
    """The rule: values of any shape → which of them are inside."""

    def __call__(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return flags for the values inside the mask."""
        return self.inside(values)


Mask = Literal["rsquare", "anatomical", "rsquare_or_nan"]
"""Name of a mask; `MASKS` has its rule."""

# The data set's package uses "neither 0 nor NaN", with negative values inside: 271,557 voxels of sub-01. Until mid-2026
# it counted NaN as inside: files saved before, and Brain-Score's, have that axis of 272,080 voxels.
MASKS: Mapping[str, MaskRule] = {
    "rsquare": MaskRule("r2_mean", "mean R2 neither 0 nor NaN", lambda values: (values != 0) & ~np.isnan(values)),
    "anatomical": MaskRule(
        "brain_mask", "anatomical brain mask > 0", lambda values: np.isfinite(values) & (values > 0)
    ),
    "rsquare_or_nan": MaskRule("r2_mean", "mean R2 not 0, NaN included", lambda values: values != 0),
}
"""Name of a mask → its rule."""


NoiseCeiling = Literal["12rep", "4rep", "all"]
"""The subject's noise ceiling from images shown 12 times, 4 times, or more than once."""

MapName = Literal["nc_12rep", "nc_4rep", "nc_all", "r2_mean", "noise_ceiling", "r2", "hrf_index", "ridge_fraction"]
"""Name of a map: of a subject as in `SUBJECT_MAPS`, or of a session as in `SESSION_MAPS`."""


@dataclass(frozen=True)
class VoxelMap:
    """A map in the bucket, with one number per voxel."""

    kind: str
    """Kind of object that holds it (see `layout.KINDS`)."""
    attrs: Mapping[str, Any]
    """Attributes of its variable."""
    dtype: str = "float32"
    """Type of its values; missing indices are `NO_INDEX`."""
    entity: str = ""
    """Value of the entity ``map`` in its key, if the kind has several maps."""

    def key(self, subject: str, session: str | None = None) -> str:
        """Return the key of a subject's or a session's map."""
        return layout.key(self.kind, subject=subject, session=session or "", map=self.entity)

    @property
    def fill(self) -> float:
        """The value for voxels outside the map."""
        return np.nan if np.dtype(self.dtype).kind == "f" else NO_INDEX

    def cast(self, values: NDArray[np.float32], *, name: str) -> NDArray[Any]:
        """Convert float32 values to the map's type.

        Raises
        ------
        DataIntegrityError
            If an index of the file `name` is not a whole number in the map's valid range.
        """
        if np.dtype(self.dtype).kind == "f":
            return values.astype(self.dtype, copy=False)
        known = np.where(np.isnan(values), NO_INDEX, values)
        first, last = self.attrs["valid_range"]
        wrong = (known != NO_INDEX) & ((known != np.trunc(known)) | (known < first) | (known > last))
        if wrong.any():
            expected = f"whole numbers from {first} to {last}, or {NO_INDEX} for none"
            raise Broken(name)(f"expected {expected}, found {known[wrong][0]:g}")
        return known.astype(self.dtype)


def _noise_ceiling(images: str) -> Mapping[str, Any]:
    return {"long_name": f"noise ceiling {images}", "units": "percent", "valid_range": [0.0, 100.0]}


def _explained(over: str = "") -> Mapping[str, Any]:
    """Return attributes of R2, which has no lower bound."""
    return {"long_name": f"variance explained by the GLM{over}", "units": "percent", "valid_max": 100.0}


_IMAGES = {"12rep": "images shown 12 times", "4rep": "images shown 4 times", "all": "all repeated images"}

SUBJECT_MAPS: Mapping[str, VoxelMap] = {
    **{
        f"nc_{name}": VoxelMap("noise_ceiling", _noise_ceiling(f"from {images}"), entity=layout.NOISE_CEILINGS[name])
        for name, images in _IMAGES.items()
    },
    "r2_mean": VoxelMap("r2_mean", _explained(", mean over sessions")),
}
"""Name of a coordinate or variable along ``voxel`` → its map of the whole subject."""

SESSION_MAPS: Mapping[str, VoxelMap] = {
    "noise_ceiling": VoxelMap("session_noise_ceiling", _noise_ceiling("within the session")),
    "r2": VoxelMap("session_r2", _explained()),
    "hrf_index": VoxelMap(
        "hrf_index",
        {
            "long_name": "index of the haemodynamic response function in GLMsingle's library",
            "units": "1",
            "valid_range": [0, 19],
            "comment": f"{NO_INDEX}: none",
        },
        dtype="int32",
    ),
    "ridge_fraction": VoxelMap(
        "ridge_fraction",
        {
            "long_name": "fraction of the unregularised betas that ridge regression left",
            "units": "1",
            "valid_range": [0.0, 1.0],
        },
    ),
}
"""Name of a variable along ``session`` and ``voxel`` → its map of a session."""


@dataclass(frozen=True, eq=False)
class VoxelAxis:
    """The chosen voxels of a grid, ascending by flat index."""

    grid: Grid
    """The grid of the voxels."""
    index: NDArray[np.int64]
    """Shape (voxel,): C-order flat indices into the grid, ascending."""

    def __len__(self) -> int:
        return len(self.index)

    def ijk(self) -> NDArray[np.int32]:
        """Return the grid indices, shape (3, voxel)."""
        return np.array(np.unravel_index(self.index, self.grid.shape), dtype=np.int32)

    def xyz(self) -> NDArray[np.float32]:
        """Return the world coordinates in millimetres, shape (3, voxel)."""
        matrix = self.grid.matrix()
        return (matrix[:3, :3] @ self.ijk().astype(np.float64) + matrix[:3, 3:]).astype(np.float32)

    def coordinates(self, space: str) -> Coordinates:
        """Return the coordinates that follow from the grid, in a BIDS space.

        Returns
        -------
        dict
            ``voxel`` (int64), ``i j k`` (int32) and ``x y z`` (float32, mm).
        """
        coordinates: Coordinates = {VOXEL: ((VOXEL,), self.index, {"long_name": "C-order flat index into the grid"})}
        for name, values in zip("ijk", self.ijk(), strict=True):
            coordinates[name] = ((VOXEL,), values, {"long_name": f"grid index along {name}"})
        for name, position in zip("xyz", self.xyz(), strict=True):
            coordinates[name] = ((VOXEL,), position, {"long_name": f"{name} in subject {space} space", "units": "mm"})
        return coordinates


def grid_coordinates(grid: Grid) -> Coordinates:
    """Return the coordinates ``i``, ``j`` and ``k`` of a whole volume (int32)."""
    return {
        name: ((name,), np.arange(n, dtype=np.int32), {"long_name": f"grid index along {name}"})
        for name, n in zip("ijk", grid.shape, strict=True)
    }
