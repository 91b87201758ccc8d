"""Betas in the format of existing analysis code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import betas_of
from intake_laion_fmri.analysis.scaling import has_gaps, is_scaled, zscore
from intake_laion_fmri.axes.trials import TRIAL, TRIALS_PER_SESSION
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.reading.loading import load

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["lab_xarray"]


def lab_xarray(dataset: xr.Dataset) -> xr.DataArray:
    """Convert betas to the format of a lab's xarray loader.

    Each voxel is scaled within each session over all trials, ``(x - nanmean) / nanstd`` with ddof 0. Voxels with any
    value that is not finite are dropped, then the trials of out-of-distribution images. The remaining trials are sorted
    by label and repetition.

    Parameters
    ----------
    dataset : xarray.Dataset
        Whole sessions of one subject, with any voxels, as returned by `open_betas`; opening them with
        ``zscore="session"`` saves a copy in memory.

    Returns
    -------
    xarray.DataArray
        (presentation, neuroid), float32, in memory. Coordinates: ``session`` (uint8, its number), ``trial`` (uint16,
        row within the session), ``run`` (uint8); the MultiIndex ``stimulus`` (label), ``repetition`` (uint8, counted
        over all sessions of the subject); the MultiIndex ``x``, ``y``, ``z`` (float32, mm). File formats do not support
        MultiIndexes: call ``result.reset_index(["presentation", "neuroid"])`` before saving, or pickle the result.

    Raises
    ------
    ValueError
        If trials of a session are missing, or the betas are scaled in another way.

    Notes
    -----
    Source: the Bonner lab's loader of LAION-fMRI, 2026. ``result.sel(stimulus=label)`` selects the repetitions of an
    image; ``result.isel(presentation=result.repetition.values == 0)``, and that of 1, have the same images.
    """
    betas = betas_of(dataset, TRIAL, VOXEL)
    is_in_sd = is_scaled(betas)
    if not dataset.sizes[TRIAL] or has_gaps(dataset):
        raise ValueError(
            "Trials of a session are missing, as after stimuli=, split= or a selection, but all are needed to find the "
            "finite voxels. Open whole sessions, and select from the result."
        )
    whole = load(dataset)
    if not is_in_sd:
        whole = zscore(whole)
    labels, repetition = whole["label"].values.astype(str), whole["repetition"].values
    order = np.lexsort((repetition, labels))
    order = order[(whole["dataset"].values != "OOD")[order]]
    values = whole["betas"].transpose(TRIAL, VOXEL).values
    voxels = np.argsort(whole[VOXEL].values, kind="stable")  # a store may order its blocks of voxels differently
    voxels = voxels[np.isfinite(values).all(axis=0)[voxels]]
    return _assembled(whole, values[np.ix_(order, voxels)], order, voxels)


def _assembled(
    whole: xr.Dataset, values: NDArray[Any], order: NDArray[np.intp], voxels: NDArray[np.intp]
) -> xr.DataArray:
    """Create an array with the loader's coordinates."""
    import xarray as xr

    along: dict[str, NDArray[Any]] = {
        "session": (whole[TRIAL].values // TRIALS_PER_SESSION).astype(np.uint8),
        "trial": whole["beta_index"].values.astype(np.uint16),
        "run": whole["run"].values.astype(np.uint8),
        "stimulus": whole["label"].values.astype(str),
        "repetition": whole["repetition"].values.astype(np.uint8),
    }
    result = xr.DataArray(
        values,
        dims=("presentation", "neuroid"),
        coords={
            **{name: ("presentation", of_all[order]) for name, of_all in along.items()},
            **{name: ("neuroid", whole[name].values[voxels]) for name in ("x", "y", "z")},
        },
        name="betas",
        attrs={"subject": str(whole["subject"].values), "z_score": "session", "ood": "excluded"},
    )
    return result.set_xindex(["stimulus", "repetition"]).set_xindex(["x", "y", "z"])
