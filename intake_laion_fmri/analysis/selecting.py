"""Selection after opening: regions, trials or images of a split, finite voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import BETAS, is_lazy, with_history
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.rois import ROI, RoiExpression, RoiMembership, RoiSelection
from intake_laion_fmri.axes.roles import ROLES, has_role
from intake_laion_fmri.axes.trials import STIMULI, TRIAL, Stimuli, stimuli_of
from intake_laion_fmri.axes.volumes import subjects_of
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option, unknown_value

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["finite", "roi", "trials"]


def roi(dataset: xr.Dataset, expression: RoiSelection) -> xr.Dataset:
    """Select the voxels of regions of interest.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``in_roi`` (roi, voxel).
    expression : str or sequence of str
        As ``roi=`` of `intake_laion_fmri.open_betas`.

    Returns
    -------
    xarray.Dataset
        The Dataset with these voxels. Lazy betas are read for all opened voxels and then selected: to read fewer, pass
        ``roi=`` when opening.

    Raises
    ------
    ValueError
        If the Dataset has no ``in_roi``, or an ROI of the expression is unknown; the message lists the nearest names.
    """
    chosen = voxels_of(dataset, expression)
    return with_history(
        dataset.isel({VOXEL: chosen}), f"roi({expression!r}): {chosen.sum():,} of {len(chosen):,} voxels"
    )


def voxels_of(data: xr.Dataset | xr.DataArray, expression: RoiSelection) -> NDArray[np.bool_]:
    """Return flags for the voxels of regions, shape (voxel,); see `roi`."""
    if "in_roi" not in getattr(data, "variables", data.coords):  # a DataArray has no variables, but coordinates
        raise ValueError(
            "The data have no coordinate in_roi (roi, voxel), which open_betas adds. A DataArray along voxel does not "
            "keep it: use the Dataset, and pass the DataArray as values."
        )
    inside = data["in_roi"].transpose(ROI, VOXEL).values
    categories = data["roi_category"].values if "roi_category" in data.coords else [""] * len(inside)
    membership = RoiMembership(tuple(map(str, data[ROI].values)), tuple(map(str, categories)), inside)
    return membership.select(RoiExpression.parse(expression), where=_who(data))


def trials(
    dataset: xr.Dataset,
    *,
    stimuli: Stimuli | None = None,
    split: str | None = None,
    pool: str = "shared",
    role: str = "both",
) -> xr.Dataset:
    """Select trials or images by stimulus set and by split.

    Parameters
    ----------
    dataset : xarray.Dataset
        A Dataset of trials, or of images as returned by `average`.
    stimuli : {"shared", "unique", "ood"}, optional
        As in `intake_laion_fmri.open_betas`.
    split, pool, role : str, optional
        As in `intake_laion_fmri.open_betas`; ``pool="subject"`` is the subject's own pool. Roles are those of the
        coordinate ``split_role``.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        If an option is unknown, or the Dataset lacks a coordinate that is needed.
    """
    import pandas as pd

    dim = TRIAL if TRIAL in dataset.dims else IMAGE
    chosen = np.ones(dataset.sizes.get(dim, 0), dtype=bool)
    if stimuli is not None:
        check_option("stimuli", stimuli, valid=STIMULI)
        for name in ("shared", "dataset"):
            if name not in dataset.coords:
                raise ValueError(f"The Dataset has no coordinate {name}, which is needed for stimuli=.")
        table = pd.DataFrame({name: dataset[name].values for name in ("shared", "dataset")})
        chosen &= stimuli_of(table, stimuli)
    if split is not None:
        check_option("role", role, valid=("both", *ROLES))
        chosen &= has_role(roles(dataset, split, pool), role)
    line = f"trials(stimuli={stimuli!r}, split={split!r}, pool={pool!r}, role={role!r})"
    return with_history(dataset.isel({dim: chosen}), f"{line}: {chosen.sum():,} of {len(chosen):,} {dim}s")


def finite(dataset: xr.Dataset) -> xr.Dataset:
    """Drop voxels with any non-finite value.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` along ``voxel`` and any other dimensions.

    Returns
    -------
    xarray.Dataset
        The Dataset with the remaining voxels; ``history`` has the number of dropped voxels. Lazy betas are read once to
        find these, and stay lazy: load them first if they fit into memory.
    """
    betas = dataset[BETAS].transpose(..., VOXEL)
    flags: Any = np.isfinite(betas.data).all(axis=tuple(range(betas.ndim - 1)))
    kept: NDArray[np.bool_] = flags.compute() if is_lazy(flags) else flags
    return with_history(dataset.isel({VOXEL: kept}), f"finite(): {(~kept).sum():,} of {len(kept):,} voxels dropped")


def roles(dataset: xr.Dataset, split: str, pool: str) -> NDArray[np.int8]:
    """Return the role of each trial or image in a split.

    Raises
    ------
    ValueError
        If the split or pool is unknown; the message lists the known ones.
    """
    if "split_role" not in dataset.coords:
        raise ValueError(
            "The Dataset has no coordinate split_role. Open the data with open_betas, which warns if it has to omit it."
        )
    found = dataset["split_role"]
    for name, value in (("split", split), ("pool", _who(dataset) if pool == "subject" else pool)):
        known = list(map(str, dataset[name].values))
        if value not in known:
            raise unknown_value(name, value, known)
        found = found.isel({name: known.index(value)}, drop=True)
    return np.asarray(found.values)


def _who(dataset: xr.Dataset | xr.DataArray) -> str:
    return ", ".join(subjects_of(dataset)) or "the Dataset"
