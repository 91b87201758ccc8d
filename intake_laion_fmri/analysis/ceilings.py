"""Noise ceilings and reliability: the share of signal in the variance of single trials."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import along_trials, betas_of, is_lazy, stacks_of, voxel_maps
from intake_laion_fmri.analysis.scaling import zscore
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option, unknown_value
from intake_laion_fmri.formats.moments import rows_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["noise_ceiling", "reliability"]


def noise_ceiling(
    dataset: xr.Dataset, n: int | None = None, *, within: Literal["session", "run"] | None = "session"
) -> xr.Dataset:
    """Estimate noise ceilings by the data set's formula.

    Betas are z-scored within each group of trials. ``noise`` is the mean over images of the variance over an image's
    trials (ddof=1), ``ncsnr = sqrt(max(0, 1 - noise)) / sqrt(noise)``, and the ceiling is
    ``100 * ncsnr**2 / (ncsnr**2 + mean(1 / n_trials))``.

    For averaged images the result is the ceiling of the means, by which a model's scores on them are normalised:
    ``n_trials`` is their ``n_averaged``, and ``ncsnr`` is derived from a map of the Dataset, since the noise cannot be
    estimated from means.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` (trial, voxel) and ``label``; or images as returned by `average`, all or a selection.
    n : int, optional
        Use only images with exactly `n` trials: 12 and 4 for the maps ``12rep`` and ``4rep``. By default all images
        that were shown more than once. For averaged images, the map to use: ``nc_12rep`` (default) or ``nc_4rep``.
    within : {"session", "run", None}, default "session"
        The groups of trials: sessions for a subject's map, runs for a session's. None if the betas are already scaled.

    Returns
    -------
    xarray.Dataset
        ``noise_ceiling`` (percent) and ``ncsnr`` along ``voxel``, float32. NaN trials are left out; a voxel without
        any two trials of an image is NaN. Lazy if the betas are; then all trials of a voxel are in one block.

    Raises
    ------
    ValueError
        If there are no such betas, an option is unknown, no image was shown `n` times, or the map is missing.

    References
    ----------
    Allen et al. (2022), https://doi.org/10.1038/s41593-021-00962-x.
    """
    check_option("within", within, valid=("session", "run"), optional=True)
    if IMAGE in dataset.dims and "n_averaged" in dataset.coords:
        return _of_means(dataset, 12 if n is None else n)
    scaled = dataset if within is None else zscore(dataset, within)
    codes, counts = _images(dataset, n)
    share = float(np.mean(1 / counts))
    values = _per_voxel(scaled, functools.partial(_ncsnr, codes=codes))
    squared = values**2
    history = f"noise_ceiling({n}, within={within!r}): {len(counts):,} images with {counts.sum():,} trials"
    return voxel_maps(dataset, _ceilings(100 * squared / (squared + share), values), history)


def _of_means(dataset: xr.Dataset, n: int) -> xr.Dataset:
    """Convert ceilings of `n`-trial averages to those of `n_averaged` trials."""
    name, counts = f"nc_{n}rep", dataset["n_averaged"].values
    maps = [known for known in ("nc_12rep", "nc_4rep") if known in dataset.coords]
    if name not in maps:
        raise unknown_value("map of noise ceilings", name, maps)
    if not len(counts):
        raise ValueError("Expected averages of at least one image, found none.")
    percent = dataset[name].values.astype(np.float64)
    with np.errstate(divide="ignore"):
        squared = percent / (100 - percent) / n
        ceiling = 100 / (1 + np.mean(1 / counts) / squared)  # also for 0 and 100, which do not change
    variables = _ceilings(ceiling.astype(np.float32), np.sqrt(squared).astype(np.float32))
    return voxel_maps(dataset, variables, f"noise_ceiling({n}) of {len(counts):,} averages, by {name}")


def _ceilings(ceiling: Any, ncsnr: Any) -> dict[str, tuple[Any, dict[str, str]]]:
    return {
        "noise_ceiling": (ceiling, {"long_name": "noise ceiling", "units": "percent"}),
        "ncsnr": (ncsnr, {"long_name": "signal to noise ratio of a trial", "units": "1"}),
    }


def reliability(dataset: xr.Dataset, *, within: Literal["session", "run"] | None = "session") -> xr.Dataset:
    """Compute split-half reliability over images.

    ``r`` is Pearson's correlation, over the images that were shown more than once, between the means of their odd and
    of their even trials; ``reliability = 2 * r / (1 + r)``, after Spearman and Brown.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` (trial, voxel) and ``label``.
    within : {"session", "run", None}, default "session"
        The groups of trials in which betas are z-scored first. None if the betas are already scaled.

    Returns
    -------
    xarray.Dataset
        ``reliability`` and ``correlation`` along ``voxel``, float32; NaN where a trial is NaN. Lazy if the betas are;
        then all trials of a voxel are in one block.

    Raises
    ------
    ValueError
        If there are no such betas, an option is unknown, or no image was shown twice.
    """
    check_option("within", within, valid=("session", "run"), optional=True)
    scaled = dataset if within is None else zscore(dataset, within)
    codes, counts = _images(dataset, None)
    r = _per_voxel(scaled, functools.partial(_split_half, codes=codes))
    variables = {
        "reliability": (2 * r / (1 + r), {"long_name": "split-half reliability, Spearman-Brown corrected"}),
        "correlation": (r, {"long_name": "correlation of the means of every other repetition"}),
    }
    return voxel_maps(dataset, variables, f"reliability(within={within!r}): {len(counts):,} images")


def _images(dataset: xr.Dataset, n: int | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return each trial's image number (-1: unused) and the trials per image."""
    _, codes, counts = np.unique(along_trials(dataset, "label"), return_inverse=True, return_counts=True)
    used = counts > 1 if n is None else (counts == n) & (counts > 1)
    if not used.any():
        wanted = "more than once" if n is None else f"{n} times"
        found = ", ".join(map(str, np.unique(counts)))
        raise ValueError(f"No image was shown {wanted}: found {found} trials per image.")
    return np.where(used[codes], codes, -1), counts[used]


def _per_voxel(dataset: xr.Dataset, function: Callable[[NDArray[Any]], NDArray[np.float32]]) -> Any:
    """Apply a function of (trial, voxel) to each block of voxels."""
    data = betas_of(dataset, TRIAL, VOXEL).data
    if not is_lazy(data):
        return function(data)
    return data.rechunk({0: -1}).map_blocks(function, drop_axis=0, dtype="float32", meta=np.empty(0, "float32"))


def _ncsnr(betas: NDArray[np.floating], *, codes: NDArray[np.intp]) -> NDArray[np.float32]:
    total, images = np.zeros(betas.shape[1]), np.zeros(betas.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        for _, rows, columns in stacks_of(codes, betas.shape[1]):
            variance, n = _variance(betas[:, columns][rows].astype(np.float64))
            total[columns] += np.where(n > 1, variance, 0).sum(axis=0)
            images[columns] += np.broadcast_to(n > 1, variance.shape).sum(axis=0)
        noise = total / images
        return np.asarray(np.sqrt(np.maximum(0, 1 - noise) / noise), dtype=np.float32)


def _variance(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the variance over trials (ddof=1), ignoring NaN, and the counts.

    `values`, of shape (image, trial, voxel), is overwritten.
    """
    sums, n = np.add.reduce(values, axis=1), np.array(values.shape[1], dtype=np.intp)
    missing = np.isnan(values) if np.isnan(sums).any() else None  # only if needed: as costly as all the rest
    if missing is not None:
        values[missing] = 0
        sums, n = np.add.reduce(values, axis=1), n - missing.sum(axis=1)
    values -= (sums / n)[:, None]
    if missing is not None:
        values[missing] = 0
    np.multiply(values, values, out=values)
    return np.add.reduce(values, axis=1) / (n - 1), n


def _split_half(betas: NDArray[np.floating], *, codes: NDArray[np.intp]) -> NDArray[np.float32]:
    halves = []
    for number, rows in rows_of(codes):
        if number >= 0:
            values = betas[rows]
            halves.append([half.mean(axis=0, dtype=np.float64) for half in (values[::2], values[1::2])])
    first, second = np.array(halves).transpose(1, 0, 2)
    first -= first.mean(axis=0)
    second -= second.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (first * second).sum(axis=0) / np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.asarray(r, dtype=np.float32)
