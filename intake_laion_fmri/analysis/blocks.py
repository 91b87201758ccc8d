"""Input of operations: checked betas, in memory or in Dask blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import unknown_value
from intake_laion_fmri.formats.moments import COLUMNS, VALUES

if TYPE_CHECKING:
    import xarray as xr

BETAS = "betas"
"""The variable that operations read."""

Missing = Literal["keep", "drop", "zero"]
"""How to treat NaN; the docstring of each operation has the details."""
MISSING: tuple[Missing, ...] = ("keep", "drop", "zero")


def betas_of(dataset: xr.Dataset, *dims: str) -> xr.DataArray:
    """Return the betas of a Dataset, transposed to the given dimensions.

    Raises
    ------
    ValueError
        If there are no betas, or their dimensions are others.
    """
    if BETAS not in getattr(dataset, "data_vars", {}):
        found = ", ".join(map(str, getattr(dataset, "data_vars", ()))) or "none"
        raise ValueError(f"Expected a Dataset with the variable 'betas', as open_betas returns it, found {found}.")
    betas = dataset[BETAS]
    if set(betas.dims) != set(dims):
        raise ValueError(
            f"Expected betas with dimensions {' and '.join(dims)}, found {', '.join(map(str, betas.dims))}."
        )
    return betas.transpose(*dims)


def along_trials(dataset: xr.Dataset, name: str) -> NDArray[Any]:
    """Return the values of a coordinate along ``trial``.

    Raises
    ------
    ValueError
        If there is no such coordinate; the message lists the nearest names.
    """
    known = [str(coord) for coord, values in dataset.coords.items() if values.dims == (TRIAL,)]
    if name not in known:
        raise unknown_value("coordinate along trial", name, known)
    return np.asarray(dataset[name].values)


def group_codes(dataset: xr.Dataset, within: str) -> NDArray[np.intp]:
    """Return each trial's group number: that of its session or run.

    Parameters
    ----------
    dataset : xarray.Dataset
        With the coordinates ``session`` and, for runs, ``run``.
    within : {"session", "run"}
        The groups.
    """
    # As objects: saved files may hold sessions as variable-length strings, which NumPy casts to no other string dtype.
    _, codes = np.unique(along_trials(dataset, "session").astype(object), return_inverse=True)
    if within == "run":
        _, runs = np.unique(along_trials(dataset, "run"), return_inverse=True)
        _, codes = np.unique(codes * (runs.max(initial=0) + 1) + runs, return_inverse=True)
    return codes.astype(np.intp, copy=False)


def is_lazy(data: Any) -> bool:
    """Return True for a Dask array."""
    return hasattr(data, "__dask_graph__")


def map_groups(
    data: Any,
    codes: NDArray[np.intp],
    function: Callable[[NDArray[Any], NDArray[np.intp]], NDArray[Any]],
    *,
    chunks: tuple[tuple[int, ...], ...] | None = None,
) -> Any:
    """Apply a function to blocks that hold every trial of their groups.

    Parameters
    ----------
    data : array or dask.array.Array, shape (trial, voxel)
        The betas.
    codes : array of int, shape (trial,)
        Group number of each trial.
    function : callable
        ``function(block, codes)`` returns float32 of the block's shape. It must be picklable, and keep no reference to
        the block.
    chunks : tuple of tuple of int, optional
        Chunks of the result, if its shape is not that of the betas.

    Returns
    -------
    array or dask.array.Array, shape (trial, voxel)
        One task per block. Blocks that share a group are merged first; opened sessions share none.
    """
    if not is_lazy(data):
        return function(data, codes)
    import dask.array as da

    data = data.rechunk({0: whole_groups(data.chunks[0], codes)})
    numbers = da.from_array(codes[:, None], chunks=(data.chunks[0], 1))
    meta = np.empty((0, 0), "float32")
    return da.map_blocks(_call, data, numbers, function=function, chunks=chunks, dtype="float32", meta=meta)


def _call(block: NDArray[Any], codes: NDArray[np.intp], *, function: Callable[..., NDArray[Any]]) -> NDArray[Any]:
    return function(block, codes[:, 0])


def whole_groups(chunks: tuple[int, ...], codes: NDArray[np.intp]) -> tuple[int, ...]:
    """Merge chunks so that no group of trials is split.

    Parameters
    ----------
    chunks : tuple of int
        Lengths of the chunks.
    codes : array of int, shape (trial,)
        Group number of each trial.
    """
    last = np.zeros(codes.max(initial=-1) + 1, dtype=np.intp)
    last[codes] = np.arange(len(codes))
    reach = np.maximum.accumulate(last[codes]) if len(codes) else last
    ends = np.cumsum(chunks)
    kept = [end for end in ends if end == 0 or reach[end - 1] < end]
    return tuple(int(length) for length in np.diff([0, *kept])) or chunks


def stacks_of(codes: NDArray[np.intp], n_columns: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], slice]]:
    """Yield stacks of groups of equal size, each fitting the CPU cache.

    Parameters
    ----------
    codes : array of int, shape (trial,)
        Group number of each row; rows with a negative number are left out.
    n_columns : int
        Columns of the matrix.

    Yields
    ------
    numbers : array of int, shape (group,)
        Numbers of the groups.
    rows : array of int, shape (group, row)
        Their rows, ascending.
    columns : slice
        The columns.
    """
    # Idea: in narrow blocks, one NumPy call per image costs more than its arithmetic.
    order = np.argsort(codes, kind="stable")
    order = order[np.count_nonzero(codes < 0) :]
    numbers, starts, lengths = np.unique(codes[order], return_index=True, return_counts=True)
    for start in range(0, n_columns, COLUMNS):
        columns = slice(start, min(start + COLUMNS, n_columns))
        for length in np.unique(lengths):
            found = np.flatnonzero(lengths == length)
            height = max(1, VALUES // int(length * (columns.stop - start)))
            for chosen in np.split(found, range(height, len(found), height)):
                yield numbers[chosen], order[starts[chosen, None] + np.arange(length)], columns


def with_history(dataset: xr.Dataset, line: str) -> xr.Dataset:
    """Append a line to the attribute ``history``."""
    before = dataset.attrs.get("history")
    return dataset.assign_attrs(history=f"{before}\n{line}" if before else line)


def size_text(dataset: xr.Dataset, values: Any) -> str:
    """Describe the size of betas, with the number of known NaN."""
    size = ", ".join(f"{length:,} {name}s" for name, length in dataset[BETAS].sizes.items())
    if is_lazy(values):
        return size
    return f"{size}, {np.count_nonzero(np.isnan(values)):,} values NaN"


def voxel_maps(dataset: xr.Dataset, variables: Mapping[str, tuple[Any, Mapping[str, str]]], history: str) -> xr.Dataset:
    """Return maps with the coordinates of the voxels.

    Parameters
    ----------
    dataset : xarray.Dataset
        The source of the values.
    variables : mapping of str to (array, attrs)
        The maps, shape (voxel,).
    history : str
        Line that describes the operation.
    """
    import xarray as xr

    coords = {name: coord.variable for name, coord in dataset.coords.items() if not {TRIAL, IMAGE} & {*coord.dims}}
    # Leave out coordinates that belong to the trials alone, such as the names of pools and splits.
    dims = {dim for coord in coords.values() if VOXEL in coord.dims for dim in coord.dims}
    coords = {name: coord for name, coord in coords.items() if dims.issuperset(coord.dims)}
    maps = {name: ((VOXEL,), values, attrs) for name, (values, attrs) in variables.items()}
    return with_history(xr.Dataset(maps, coords=coords, attrs=dataset.attrs), history)
