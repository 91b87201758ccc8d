"""Conversion of values on voxels or a grid to NIfTI volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.voxels import VOXEL, VoxelAxis
from intake_laion_fmri.formats.grid import CLOSE_GRID, GRID, Grid

if TYPE_CHECKING:
    import nibabel
    import xarray as xr

_IJK = ("i", "j", "k")


def to_nifti(values: xr.DataArray, like: xr.Dataset | None = None, *, fill: float = np.nan) -> nibabel.Nifti1Image:
    """Convert values on voxels to a NIfTI image.

    Parameters
    ----------
    values : xarray.DataArray
        Dimensions (voxel,), or (other, voxel) in any order, with the ``voxel`` coordinate of this package, each
        voxel once; or (i, j, k), or these and another one in any order: a volume, or a part with its coordinates.
    like : xarray.Dataset, optional
        A Dataset of this package with the grid. Needed if `values` have lost the coordinate ``grid``.
    fill : float, default NaN
        Value of voxels that are not in `values`.

    Returns
    -------
    nibabel.Nifti1Image
        float32, of shape (i, j, k), or (i, j, k, other); in millimetres of the space that ``grid`` names.

    Raises
    ------
    ValueError
        If the dimensions are different, a voxel is outside the grid or repeated, the grid is unknown, or the values
        belong to several subjects, or to another subject or grid than `like`.
    TypeError
        If `values` is not a DataArray.
    """
    import nibabel
    import xarray as xr

    if not isinstance(values, xr.DataArray):
        raise TypeError(f"Expected a DataArray, such as ds['betas'].mean('trial'); found {type(values).__name__}.")
    raise_unless_one_subject(values)
    if like is not None:
        raise_unless_one_subject(like)
    recorded = recorded_grid(values)
    grid = recorded if like is None else recorded_grid(like)
    if grid is None:
        raise ValueError("The grid is unknown: pass like=, the Dataset that the values were computed from.")
    is_volume = set(_IJK) <= set(values.dims)
    index = _volume_index(values, grid) if is_volume else _voxel_index(values)
    if not is_volume and len(np.unique(index)) != len(index):
        raise ValueError("Some voxels occur twice. Pass the values of one subject, with each voxel once.")
    if len(index) and (index.min() < 0 or index.max() >= grid.size):
        raise ValueError(f"Voxels {index.min()}..{index.max()} do not fit in a grid of {grid.shape} voxels.")
    if like is not None and not is_volume:
        _raise_unless_same_voxels(values, like, grid, recorded)
    rows = values.transpose(..., *(_IJK if is_volume else (VOXEL,))).values
    rows = rows.reshape(*rows.shape[:-3], -1) if is_volume else rows
    flat = np.full((*rows.shape[:-1], grid.size), fill, dtype=np.float32)
    flat[..., index] = rows
    volume = flat.reshape(*rows.shape[:-1], *grid.shape)
    if rows.ndim == 2:
        volume = np.moveaxis(volume, 0, -1)
    image = nibabel.Nifti1Image(volume, grid.matrix())
    image.header.set_xyzt_units("mm")
    return image


def _voxel_index(values: xr.DataArray) -> NDArray[Any]:
    """Return flat indices along ``voxel``; ValueError for other dimensions."""
    if VOXEL not in values.coords or values.ndim not in (1, 2) or VOXEL not in values.dims:
        raise ValueError(
            f"Expected dimensions ('voxel',) or (other, 'voxel') with the coordinate 'voxel', or 'i', 'j' and 'k'; "
            f"found {values.dims}."
        )
    index = values[VOXEL].values
    if index.dtype.kind not in "iu":
        raise ValueError(f"Expected 'voxel' to hold flat indices into the grid, found {index.dtype}.")
    return np.asarray(index)


def _volume_index(values: xr.DataArray, grid: Grid) -> NDArray[np.int64]:
    """Return flat indices of a volume or a labelled part of it."""
    if values.ndim > 4:
        raise ValueError(f"Expected dimensions ('i', 'j', 'k') and at most one more; found {values.dims}.")
    along = []
    for name, length in zip(_IJK, grid.shape, strict=True):
        if name not in values.coords and values.sizes[name] != length:
            raise ValueError(f"Expected {length} values along {name!r}, or its coordinate; found {values.sizes[name]}.")
        along.append(values[name].values)
        if len(np.unique(along[-1])) != len(along[-1]):
            raise ValueError(f"Some values of the coordinate {name!r} occur twice.")
        if len(along[-1]) and not 0 <= along[-1].min() <= along[-1].max() < length:
            raise ValueError(f"The coordinate {name!r} does not fit a grid of {grid.shape} voxels.")
    return np.ravel_multi_index(np.ix_(*along), grid.shape).reshape(-1)


def subjects_of(data: xr.DataArray | xr.Dataset) -> list[str]:
    """List the values' subjects, in order; empty without a coordinate ``subject``."""
    return list(dict.fromkeys(map(str, np.ravel(data.coords["subject"].values)))) if "subject" in data.coords else []


def raise_unless_one_subject(data: xr.DataArray | xr.Dataset) -> None:
    """Raise ValueError for values of several subjects, which have different grids."""
    subjects = subjects_of(data)
    if len(subjects) > 1:
        raise ValueError(
            f"The values belong to several subjects: {', '.join(subjects)}. Select one, such as "
            f"values.isel(voxel=(values.subject == {subjects[0]!r}).values)."
        )


def recorded_grid(data: xr.DataArray | xr.Dataset) -> Grid | None:
    """Return the grid from the coordinate ``grid`` or the attributes, or None.

    Concatenated subjects have a grid each; it is returned if a single subject is left.
    """
    if GRID in data.coords:
        several, subjects = data.coords[GRID].attrs.get("grids"), subjects_of(data)
        if several is not None:
            return _grid_of(json.loads(several).get(subjects[0], {}), "shape") if len(subjects) == 1 else None
        grid = _grid_of(data.coords[GRID].attrs, "shape")
        # After a concatenation of subjects, the attributes are those of the first.
        if grid is not None and (data.coords[GRID].values == grid.name).all():
            return grid
    return _grid_of(data.attrs, "grid_shape")


def _grid_of(attrs: Mapping[Any, Any], name: str) -> Grid | None:
    shape, affine = attrs.get(name, ()), attrs.get("affine", ())
    if len(shape) != 3 or len(affine) != 16:
        return None
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), tuple(float(a) for a in affine))


def _raise_unless_same_voxels(values: xr.DataArray, like: xr.Dataset, grid: Grid, recorded: Grid | None) -> None:
    """Raise ValueError if values and `like` differ in subject or grid."""
    subjects = [subject for data in (values, like) for subject in subjects_of(data)]
    moved = _moved_coordinate(values, grid)
    if len(set(subjects)) > 1:
        found = f"The values belong to {subjects[0]}, but like= to {subjects[1]}"
    elif recorded is not None and grid.difference(recorded):
        found = f"The values are on a different grid than like=: {grid.difference(recorded)}"
    elif moved:
        found = f"The coordinate {moved} of the values contradicts the grid of like="
    else:
        return
    raise ValueError(f"{found}. Pass as like= the Dataset that the values were computed from.")


def _moved_coordinate(values: xr.DataArray, grid: Grid) -> str | None:
    """Return the name of a coordinate that contradicts the grid, or None."""
    axis = VoxelAxis(grid, values[VOXEL].values.astype(np.int64))
    expected = dict(zip("ijkxyz", [*axis.ijk(), *axis.xyz()], strict=True))
    side = np.linalg.norm(grid.matrix()[:3, :3], axis=0).min()
    for name, positions in expected.items():
        coordinate = values.coords.get(name)
        # Users may have other variables of that name, such as a z-score.
        if coordinate is None or coordinate.dims != (VOXEL,) or coordinate.dtype.kind not in "iuf":
            continue
        apart = np.nanmax(np.abs(coordinate.values - positions), initial=0)
        if not apart <= (CLOSE_GRID * side if name in "xyz" else 0):
            return name
    return None
