"""From trials to images: means over repetitions, and the repetitions of each image side by side."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import (
    MISSING,
    Missing,
    along_trials,
    betas_of,
    is_lazy,
    told,
    with_history,
)
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.formats.moments import rows_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["average", "repetitions"]


def average(dataset: xr.Dataset, by: str = "label", *, nan: Missing = "keep") -> xr.Dataset:
    """Average the trials of each image, or of other groups.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` (trial, voxel).
    by : str, default "label"
        The coordinate along ``trial`` whose values are the groups.
    nan : {"keep", "drop", "zero"}, default "keep"
        NaN in a trial makes the mean NaN; it is left out of the mean; or it counts as 0.

    Returns
    -------
    xarray.Dataset
        ``betas`` (image, voxel), float32: ``mean(x[label == image], axis=0)`` in float64. The index ``image`` is
        sorted; of other groups the dimension has the coordinate's name. Coordinates: ``n_averaged``, the number of
        trials; those along ``voxel``; and each along ``trial`` that is the same in all trials of every group,
        ``split_role`` among them. Lazy if the betas were.

    Raises
    ------
    ValueError
        If there are no such betas or coordinate, or an option is unknown.

    Notes
    -----
    Of lazy betas each block gives the sums of its images, in one task, and one task for each block of voxels joins
    them. 30 sessions of an ROI are some hundred tasks.
    """
    check_option("nan", nan, valid=MISSING)
    betas = betas_of(dataset, TRIAL, VOXEL)
    names, first, codes = np.unique(along_trials(dataset, by), return_index=True, return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    dim = IMAGE if by == "label" else by
    data = _lazy_means(betas.data, codes, len(names), nan) if is_lazy(betas.data) else means(betas.data, codes, nan)
    result = _regrouped(dataset, first, codes, {(dim, VOXEL): data}, dim).assign_coords(
        {
            dim: ((dim,), names, dict(dataset[by].attrs)),
            "n_averaged": ((dim,), counts, {"long_name": "number of trials that were averaged"}),
        }
    )
    return with_history(result, f"average(by={by!r}, nan={nan!r}) of {told(dataset, betas.data)}")


def repetitions(dataset: xr.Dataset, n: int, *, exactly: bool = False) -> xr.Dataset:
    """Put the first repetitions of each image side by side.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` (trial, voxel) and the coordinates ``label`` and ``repetition``.
    n : int
        How many; images with fewer trials are left out.
    exactly : bool, default False
        Whether to leave out images with more, too.

    Returns
    -------
    xarray.Dataset
        ``betas`` (image, repetition, voxel), images sorted, repetitions in the order of the presentations that are
        there. Coordinates as of `average`; ``trial`` (image, repetition) tells which trials these are. Lazy if the
        betas were; then all trials of a voxel are in one block.

    Raises
    ------
    ValueError
        If there are no such betas or coordinates, or `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n={n!r}: expected a number of repetitions from 1 on.")
    betas = betas_of(dataset, TRIAL, VOXEL)
    labels, order = along_trials(dataset, "label"), np.argsort(along_trials(dataset, "repetition"), kind="stable")
    names, codes = np.unique(labels, return_inverse=True)
    rows = [found for _, found in _rows_in(order, codes)]
    wanted = [number for number, found in enumerate(rows) if len(found) == n or (len(found) > n and not exactly)]
    chosen = np.array([rows[number][:n] for number in wanted], dtype=np.intp).reshape(len(wanted), n)
    data = betas.data
    if is_lazy(data):
        data = data.rechunk({0: -1})
        kernel = functools.partial(np.take, indices=chosen, axis=0)
        data = data.map_blocks(
            kernel, dtype=data.dtype, chunks=((len(wanted),), (n,), data.chunks[1]), drop_axis=0, new_axis=[0, 1]
        )
    else:
        data = data[chosen]
    kept = dataset.isel({TRIAL: chosen.reshape(-1)})
    result = _regrouped(
        kept,
        np.arange(len(wanted)) * n,
        np.repeat(np.arange(len(wanted)), n),
        {(IMAGE, "repetition", VOXEL): data},
        IMAGE,
    ).assign_coords(
        {
            IMAGE: ((IMAGE,), names[wanted], dict(dataset["label"].attrs)),
            "repetition": (("repetition",), np.arange(n), {"long_name": "repetition, of those that are there"}),
            TRIAL: ((IMAGE, "repetition"), dataset[TRIAL].values[chosen], dict(dataset[TRIAL].attrs)),
        }
    )
    return with_history(result, f"repetitions({n}, exactly={exactly}): {len(wanted):,} of {len(names):,} images")


def _rows_in(order: NDArray[np.intp], codes: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """Return the rows of each group, in a given order of all rows."""
    return [(number, order[np.arange(len(order))[rows]]) for number, rows in rows_of(codes[order])]


def _regrouped(
    dataset: xr.Dataset,
    first: NDArray[np.intp],
    codes: NDArray[np.intp],
    variables: dict[tuple[str, ...], Any],
    dim: str,
) -> xr.Dataset:
    """Return a Dataset along groups of trials, with the coordinates that do not differ within any."""
    import xarray as xr

    ((dims, data),) = variables.items()
    coords: dict[Any, Any] = {}
    for name, coord in dataset.coords.items():
        if TRIAL not in coord.dims:
            coords[name] = coord.variable
            continue
        axis = coord.dims.index(TRIAL)
        values = coord.values
        of_groups = np.take(values, first, axis=axis)
        if name != TRIAL and (np.take(of_groups, codes, axis=axis) == values).all():
            coords[name] = (tuple(dim if one == TRIAL else one for one in coord.dims), of_groups, coord.attrs)
    coords.pop("label" if dim == IMAGE else dim, None)
    attrs = dict(dataset["betas"].attrs)
    return xr.Dataset({"betas": (dims, data, attrs)}, coords=coords, attrs=dataset.attrs)


class Sums(NamedTuple):
    """Sums of the trials of some images, in one block."""

    images: NDArray[np.intp]
    """Numbers of the images, ascending."""
    sums: NDArray[np.floating]
    """Shape (image, voxel)."""
    counts: NDArray[np.intp]
    """Shape (image, 1), or (image, voxel) where NaN are left out."""


def block_sums(betas: NDArray[np.floating], codes: NDArray[np.intp], nan: Missing) -> Sums:
    """Add up the trials of each image, in float64."""
    groups = list(rows_of(codes))
    sums = np.empty((len(groups), betas.shape[1]), dtype=np.float64)
    counts = np.empty((len(groups), 1), dtype=np.intp)
    counts[:, 0] = [rows.stop - rows.start if isinstance(rows, slice) else len(rows) for _, rows in groups]
    for row, (_, rows) in enumerate(groups):
        np.add.reduce(betas[rows], axis=0, dtype=np.float64, out=sums[row])
    has_nan = np.isnan(sums).any()
    if has_nan and nan != "keep":
        if nan == "drop":
            counts = np.array([np.count_nonzero(~np.isnan(betas[rows]), axis=0) for _, rows in groups])
        for row, (_, rows) in enumerate(groups):
            known = np.nan_to_num(betas[rows], posinf=np.inf, neginf=-np.inf)
            np.add.reduce(known, axis=0, dtype=np.float64, out=sums[row])
    return Sums(np.array([number for number, _ in groups], dtype=np.intp), sums, counts)


def join_sums(parts: list[Sums], n_images: int, n_voxels: int) -> NDArray[np.float32]:
    """Add up the sums of several blocks, and divide by the number of trials."""
    total, counts = np.zeros((n_images, n_voxels)), np.zeros((n_images, 1), dtype=np.intp)
    if any(part.counts.shape[1] > 1 for part in parts):
        counts = np.zeros((n_images, n_voxels), dtype=np.intp)
    for part in parts:
        total[part.images] += part.sums
        counts[part.images] += part.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / counts, dtype=np.float32)


def means(betas: NDArray[np.floating], codes: NDArray[np.intp], nan: Missing) -> NDArray[np.float32]:
    """Return the mean of the rows of each group; see `average`."""
    return join_sums([block_sums(betas, codes, nan)], codes.max(initial=-1) + 1, betas.shape[1])


def _lazy_means(data: Any, codes: NDArray[np.intp], n_images: int, nan: Missing) -> Any:
    """Return means as a Dask array with a chunk of all images for each chunk of voxels."""
    import dask.array as da

    numbers = da.from_array(codes[:, None].astype(np.intp), chunks=(data.chunks[0], 1))
    ones = (tuple(1 for _ in data.chunks[0]), tuple(1 for _ in data.chunks[1]))
    # In float32 the sums of many sessions are as large as the trials, not twice as large; each is rounded once more.
    dtype = np.float32 if data.numblocks[0] > 1 else np.float64
    kernel = functools.partial(_part, nan=nan, dtype=dtype)
    parts = da.map_blocks(kernel, data, numbers, chunks=ones, dtype=object, meta=np.empty((0, 0), object))
    widths = data.chunks[1]
    return da.blockwise(
        functools.partial(_joined, n_images=n_images),
        "iv",
        parts,
        "tv",
        new_axes={"i": n_images},
        adjust_chunks={"v": widths},
        concatenate=False,
        dtype="float32",
        meta=np.empty((0, 0), dtype="float32"),
    )


def _part(block: NDArray[np.floating], codes: NDArray[np.intp], *, nan: Missing, dtype: Any) -> NDArray[np.object_]:
    part = np.empty((1, 1), dtype=object)
    found = block_sums(block, codes[:, 0], nan)
    part[0, 0] = Sums(found.images, found.sums.astype(dtype, copy=False), found.counts)
    return part


def _joined(parts: list[NDArray[np.object_]], *, n_images: int) -> NDArray[np.float32]:
    found = [part[0, 0] for part in parts]
    return join_sums(found, n_images, found[0].sums.shape[1])
