"""Values on voxels or vertices, and their projection to other points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.vertices import named
from intake_laion_fmri.axes.volumes import raise_unless_one_subject, recorded_grid, subjects_of
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.formats.grid import Grid

if TYPE_CHECKING:
    import xarray as xr

BLOCK_BYTES = 128 * 1024 * 1024
"""Approximate bytes of a lazy result's block: a session of 1,044 trials is 24 GB on MNI305."""

GRID_MAPPING = "grid_mapping"


def without_grid(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return attributes without those of the voxels' grid."""
    return {name: value for name, value in attrs.items() if name not in ("affine", "grid_shape", GRID_MAPPING)}


@dataclass(frozen=True, eq=False)
class Source:
    """Values and their positions."""

    values: xr.Dataset
    subject: str

    @classmethod
    def of(cls, values: Any, subject: str | None) -> Source:
        """Check a user's values; TypeError or ValueError if they do not fit."""
        import xarray as xr

        if isinstance(values, xr.DataArray):
            name = values.name if isinstance(values.name, str) else "values"
            values = values.drop_vars(name, errors="ignore").to_dataset(name=name)  # the name may also be a coordinate
        if not isinstance(values, xr.Dataset):
            raise TypeError(
                f"Expected a DataArray or Dataset of this package, found {type(values).__name__}. For NumPy arrays, "
                "use Subject.to_template."
            )
        raise_unless_one_subject(values)
        if subject is None:
            subjects = subjects_of(values)
            if not subjects:
                raise ValueError("The values have no coordinate 'subject': pass subject=, such as subject='sub-01'.")
            subject = subjects[0]
        return cls(values, layout.subject_name(subject))

    def hemispheres(self, wanted: Sequence[str]) -> list[str]:
        """Return the wanted hemispheres with values; voxels have both."""
        return [hemi for hemi in wanted if {VOXEL, named("vertex", hemi)} & set(self.values.dims)] or list(wanted)

    def dim(self, hemi: str) -> str:
        """Return the projected dimension."""
        vertex = named("vertex", hemi)
        for name in (VOXEL, vertex):
            if name in self.values.dims and name in self.values.coords:
                return name
        raise ValueError(
            f"Expected values along {VOXEL!r} or {vertex!r}, with that coordinate; found {dict(self.values.sizes)}."
        )

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""
        if VOXEL not in self.values.dims or VOXEL not in self.values.coords:
            raise ValueError(f"Expected values along {VOXEL!r}, with that coordinate; found {dict(self.values.sizes)}.")
        grid = recorded_grid(self.values)
        if grid is None:
            raise ValueError("The values have no grid: keep the coordinate 'grid' or its attributes.")
        return grid

    @property
    def voxels(self) -> NDArray[np.int64]:
        """Flat indices into the grid."""
        voxels: NDArray[np.int64] = self.values[VOXEL].values
        if len(np.unique(voxels)) != len(voxels) or (
            len(voxels) and not 0 <= voxels.min() <= voxels.max() < self.grid.size
        ):
            raise ValueError(
                f"Expected each voxel once, with indices from 0 to {self.grid.size - 1}. Pass one subject's values at "
                "a time."
            )
        return voxels

    def arrays(self, dim: str) -> dict[str, xr.DataArray]:
        """Return numeric variables along a dimension."""
        found = {str(name): array for name, array in self.values.data_vars.items() if dim in array.dims}
        return {name: array for name, array in found.items() if array.dtype.kind in "fiub"}


def carried(
    array: xr.DataArray, dim: str, carry: Callable[[NDArray[Any]], NDArray[Any]], sizes: Mapping[str, int]
) -> xr.DataArray:
    """Apply a function (…, value) → (…, point), lazily for lazy arrays."""
    import xarray as xr

    if array.chunks is not None:
        most = max(1, BLOCK_BYTES // (4 * math.prod(sizes.values())))
        widths = {axis: min(max(array.chunks[axis]), most) for axis, name in enumerate(array.dims) if name != dim}
        array = array.copy(
            data=array.data.rechunk({**widths, array.get_axis_num(dim): -1})
        )  # leaves the coordinates unchunked
    result: xr.DataArray = xr.apply_ufunc(
        carry,
        array,
        input_core_dims=[[dim]],
        output_core_dims=[list(sizes)],
        exclude_dims={dim},
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": dict(sizes)},
        keep_attrs=False,
    )
    return result


def gather(index: NDArray[np.int32], values: NDArray[Any]) -> NDArray[np.float32]:
    """Gather values (…, value) at positions (i, j, k); NaN at -1."""
    padded = np.concatenate([values, np.full((*values.shape[:-1], 1), np.nan)], axis=-1, dtype=np.float32)
    return padded[..., index]
