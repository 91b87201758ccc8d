"""Values for pictures: a variable's name, a DataArray, or an array over voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import unknown_value
from intake_laion_fmri.formats.grid import GRID

if TYPE_CHECKING:
    import xarray as xr

_MOST_ROWS = 12
"""Maximum number of rows in a picture: more are illegible, and usually trials that were not averaged."""


def on_voxels(data: xr.Dataset | xr.DataArray, values: Any = None) -> xr.DataArray | None:
    """Return values along ``voxel``, and at most one other dimension, in memory.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        The values themselves, or the data with their voxels.
    values : str, xarray.DataArray, array, or None
        The user's choice; None for `data` itself, or its only variable along ``voxel`` alone.

    Returns
    -------
    xarray.DataArray or None
        None if no values are chosen, and the Dataset does not have exactly one such variable.

    Raises
    ------
    ValueError
        If a name is unknown, or the length or dimensions of the values are others.
    """
    if not data.sizes.get(VOXEL):
        raise ValueError(f"There are no voxels to draw: expected dimension {VOXEL!r}, found {dict(data.sizes)}.")
    found = _found(data, values)
    if found is None:
        return None
    if VOXEL not in found.dims or found.ndim > 2:
        raise ValueError(
            f"Expected values along {VOXEL!r} and at most one other dimension, found {dict(found.sizes)}. Average or "
            "select first."
        )
    found = found.transpose(..., VOXEL)
    if found.ndim == 2 and not 1 <= found.shape[0] <= _MOST_ROWS:
        raise ValueError(
            f"Expected 1 to {_MOST_ROWS} rows, found {found.shape[0]} along {found.dims[0]!r}. Average or select "
            "first, with .mean() or .isel()."
        )
    if found.dtype.kind not in "fiub":
        raise ValueError(f"Expected numeric values, found dtype {found.dtype} in {found.name!r}.")
    return _without_fill(found.compute())


def _found(data: xr.Dataset | xr.DataArray, values: Any) -> xr.DataArray | None:
    import xarray as xr

    if values is None:
        if isinstance(data, xr.DataArray):
            return data
        alone = [array for array in data.data_vars.values() if array.dims == (VOXEL,)]
        return alone[0] if len(alone) == 1 else None
    if isinstance(values, str):
        known = data.variables if isinstance(data, xr.Dataset) else data.coords
        valid = [str(name) for name in known if VOXEL in data[name].dims and name != VOXEL]
        if values not in valid:
            raise unknown_value("values", values, valid)
        return data[values]
    if isinstance(values, xr.DataArray):
        return values
    array = np.asarray(values)
    if VOXEL not in data.coords or array.shape[-1:] != data[VOXEL].shape or array.ndim > 2:
        raise ValueError(
            f"Expected an array with one value for each of the {data.sizes[VOXEL]} voxels of the data along its last "
            f"axis, found shape {array.shape}."
        )
    coords = {name: coord for name, coord in data.coords.items() if coord.dims in ((VOXEL,), ())}
    return xr.DataArray(array, dims=("row", VOXEL)[2 - array.ndim :], coords=coords)


def _without_fill(values: xr.DataArray) -> xr.DataArray:
    """Convert integers with a valid range to floats, with NaN outside it.

    Such a variable marks missing values with -1.
    """
    if values.dtype.kind not in "iu" or len(values.attrs.get("valid_range", ())) != 2:
        return values
    first, last = values.attrs["valid_range"]
    return values.astype("float32").where((values >= first) & (values <= last))


def titles(data: xr.Dataset | xr.DataArray, shown: xr.DataArray | None) -> list[str]:
    """Return the title of each row: its coordinate, or the subject."""
    if shown is not None and shown.ndim == 2:
        name = str(shown.dims[0])
        if name in shown.coords:
            return [str(value) for value in shown[name].values]
        return [f"{name} {number}" for number in range(shown.shape[0])]
    return [subject_of(data) or ""]


def subject_of(data: xr.Dataset | xr.DataArray) -> str | None:
    """Return the subject of data; None for none or several."""
    subject = data.coords.get("subject")
    return str(subject.values) if subject is not None and subject.ndim == 0 else None


def beside(data: xr.Dataset | xr.DataArray, values: NDArray[Any]) -> xr.DataArray:
    """Return an array of shape (voxel,) with the voxels' coordinates."""
    import xarray as xr

    coords = {name: data.coords[name] for name in (VOXEL, GRID) if name in data.coords}
    return xr.DataArray(values, dims=(VOXEL,), coords=coords, attrs=data.attrs)
