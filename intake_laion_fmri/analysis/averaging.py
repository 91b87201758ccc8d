"""From trials to images: means over repetitions, or repetitions side by side."""

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
    map_groups,
    size_text,
    stacks_of,
    with_history,
)
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.formats.moments import COLUMNS, rows_of

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
        How to treat NaN in a trial: the mean is NaN, the trial is left out of the mean, or NaN counts as 0.

    Returns
    -------
    xarray.Dataset
        ``betas`` (image, voxel), float32: ``mean(x[label == image], axis=0)``, computed in float64. The index ``image``
        is sorted; for other groups the dimension is named after the coordinate. Coordinates: ``n_averaged``, the number
        of trials; those along ``voxel``; and those along ``trial`` that are constant within every group, such as
        ``split_role``. Lazy if the betas are.

    Raises
    ------
    ValueError
        If there are no such betas or coordinate, or an option is unknown.

    Notes
    -----
    For lazy betas, one task per block sums the trials of each image, and one task per block of voxels combines the
    sums: some hundred tasks for an ROI in 30 sessions.
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
    return with_history(result, f"average(by={by!r}, nan={nan!r}) of {size_text(dataset, betas.data)}")


def repetitions(dataset: xr.Dataset, n: int, *, exactly: bool = False) -> xr.Dataset:
    """Arrange the first repetitions of each image along a new dimension.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` (trial, voxel) and the coordinates ``label`` and ``repetition``.
    n : int
        Number of repetitions; images with fewer trials are left out.
    exactly : bool, default False
        Whether to leave out images with more trials, too.

    Returns
    -------
    xarray.Dataset
        ``betas`` (image, repetition, voxel), with sorted images, and repetitions in the order of the available
        presentations. Coordinates are those of `average`, and ``trial`` (image, repetition), the trial of each. Lazy if
        the betas are; then all trials of a voxel are in one block.

    Raises
    ------
    ValueError
        If there are no such betas or coordinates, or `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"n={n!r}: expected a positive number of repetitions.")
    betas = betas_of(dataset, TRIAL, VOXEL)
    labels, order = along_trials(dataset, "label"), np.argsort(along_trials(dataset, "repetition"), kind="stable")
    names, codes = np.unique(labels, return_inverse=True)
    rows = [order[found] for _, found in rows_of(codes[order])]
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


def _regrouped(
    dataset: xr.Dataset,
    first: NDArray[np.intp],
    codes: NDArray[np.intp],
    variables: dict[tuple[str, ...], Any],
    dim: str,
) -> xr.Dataset:
    """Return a Dataset along groups, with coordinates constant in every group."""
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
            dims_of_groups = tuple(dim if old == TRIAL else old for old in coord.dims)
            coords[name] = (dims_of_groups, of_groups, coord.attrs)
    coords.pop("label" if dim == IMAGE else dim, None)
    attrs = dict(dataset["betas"].attrs)
    return xr.Dataset({"betas": (dims, data, attrs)}, coords=coords, attrs=dataset.attrs)


class Sums(NamedTuple):
    """Sums of the trials of some images, in one block."""

    images: NDArray[np.intp]
    """Numbers of the images, ascending."""
    sums: NDArray[np.float32]
    """Shape (image, voxel)."""
    counts: NDArray[np.intp]
    """Shape (image, 1), or (image, voxel) if NaN is left out."""


def _part(betas: NDArray[np.floating], codes: NDArray[np.intp], *, nan: Missing) -> NDArray[np.object_]:
    """Return the `Sums` of a block's trials, in a one-element array."""
    # Sums are computed in float64 and kept in float32: those of many sessions are as large as the trials, instead of
    # twice as large, at the price of another rounding.
    images, within = np.unique(codes[:, 0], return_inverse=True)
    sums = np.empty((len(images), betas.shape[1]), dtype=np.float32)
    counts = np.empty(sums.shape, dtype=np.intp) if nan == "drop" else np.bincount(within)[:, None]
    for numbers, rows, columns in stacks_of(within, betas.shape[1]):
        sums[numbers, columns], count = _added(betas[:, columns][rows], nan)
        if nan == "drop":
            counts[numbers, columns] = count
    part = np.empty((1, 1), dtype=object)
    part[0, 0] = Sums(images, sums, counts)
    return part


def _joined(blocks: list[NDArray[np.object_]], *, n_images: int) -> NDArray[np.float32]:
    """Combine the sums of several blocks into means."""
    parts: list[Sums] = [block[0, 0] for block in blocks]
    n_voxels = parts[0].sums.shape[1]
    result = np.empty((n_images, n_voxels), dtype=np.float32)
    one_count = all(part.counts.shape[1] == 1 for part in parts)
    # Band by band, since the totals are in float64.
    for start in range(0, n_voxels, COLUMNS):
        band = slice(start, min(start + COLUMNS, n_voxels))
        total = np.zeros((n_images, band.stop - start))
        counts = np.zeros((n_images, 1) if one_count else total.shape, dtype=np.intp)
        for part in parts:
            total[part.images] += part.sums[:, band]
            counts[part.images] += part.counts[:, band] if part.counts.shape[1] > 1 else part.counts
        with np.errstate(divide="ignore", invalid="ignore"):
            result[:, band] = total / counts
    return result


def means(betas: NDArray[np.floating], codes: NDArray[np.intp], nan: Missing) -> NDArray[np.float32]:
    """Return the mean of each group's rows, in memory; see `average`."""
    result = np.empty((codes.max(initial=-1) + 1, betas.shape[1]), dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for numbers, rows, columns in stacks_of(codes, betas.shape[1]):
            sums, count = _added(betas[:, columns][rows], nan)
            result[numbers, columns] = sums / count
    return result


def _added(values: NDArray[np.floating], nan: Missing) -> tuple[NDArray[np.float64], NDArray[np.intp] | int]:
    """Sum trials (image, trial, voxel) to (image, voxel), and count them."""
    sums = np.add.reduce(values, axis=1, dtype=np.float64)
    if nan == "keep" or not np.isnan(sums).any():
        return sums, values.shape[1]
    missing = np.isnan(values)
    sums = np.add.reduce(np.where(missing, 0, values), axis=1, dtype=np.float64)
    return sums, values.shape[1] - missing.sum(axis=1) if nan == "drop" else values.shape[1]


def _lazy_means(data: Any, codes: NDArray[np.intp], n_images: int, nan: Missing) -> Any:
    """Return means as a Dask array whose chunks have all images."""
    import dask.array as da

    widths = data.chunks[1]
    if data.numblocks[0] == 1:
        return map_groups(data, codes, functools.partial(means, nan=nan), chunks=((n_images,), widths))
    numbers = da.from_array(codes[:, None].astype(np.intp), chunks=(data.chunks[0], 1))
    ones = (tuple(1 for _ in data.chunks[0]), tuple(1 for _ in widths))
    kernel = functools.partial(_part, nan=nan)
    parts = da.map_blocks(kernel, data, numbers, chunks=ones, dtype=object, meta=np.empty((0, 0), object))
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
