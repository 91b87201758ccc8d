"""Betas as packaged by Brain-Score: z-scored sessions, five regions, all trials of a pool.

Source: the packaging of LAION-fMRI in brain-score/vision, ``brainscore_vision/data/laion_fmri``, files of May 2026.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import betas_of, with_history
from intake_laion_fmri.analysis.scaling import is_scaled, zscore
from intake_laion_fmri.analysis.selecting import roles
from intake_laion_fmri.axes.roles import ROLES
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.reading.betas import open_betas
from intake_laion_fmri.reading.maps import open_maps

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["to_brainscore"]

REGIONS: Mapping[str, tuple[str, ...]] = {
    "V1": ("V1v", "V1d"),
    "V2": ("V2v", "V2d"),
    "V3": ("V3v", "V3d"),
    "V4": ("hV4",),
}
"""From a region to its ROIs. A voxel of several ROIs is named after the last of them."""

IT = "laionventral"
"""The ROI whose remaining voxels form the region IT."""

MASK: Literal["rsquare_or_nan"] = "rsquare_or_nan"
"""The mask to which voxel positions in the published files refer."""

Kind = Literal["shared", "subject"]
"""Images that all subjects saw, or all images of a subject."""

_KEPT = ("mask", "mask_rule", "sources", "license", "references", "created_with")
"""Attributes that the result keeps."""


def to_brainscore(
    data: str | xr.Dataset,
    kind: Kind = "shared",
    *,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Any | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    store: str | os.PathLike[str] | Any | None = None,
    store_options: Mapping[str, Any] | None = None,
    fallback: bool = False,
) -> xr.DataArray:
    """Convert a subject's betas to a Brain-Score assembly.

    Each voxel is scaled within each session over all trials, ``(x - nanmean) / nanstd`` with ddof 0. Values that are
    not finite are then replaced with 0, and no voxel is dropped. Trials are selected last.

    Parameters
    ----------
    data : str or xarray.Dataset
        A subject such as ``"sub-01"``, whose betas are opened; or its opened betas, with all voxels of the regions on
        the mask ``"rsquare_or_nan"``, and either all trials, or the required ones scaled by ``zscore="session"``.
    kind : {"shared", "subject"}, default "shared"
        The 1,492 images of the pool ``"shared"``, or the 6,204 of the subject's own pool: training and test images of
        the split ``tau``, and the out-of-distribution images.
    splits, bucket, storage_options, mirror, mirror_only, store, store_options, fallback
        As in `intake_laion_fmri.open_betas`. They also apply to a Dataset, whose regions, positions and trials are
        compared with the bucket. A store must have been built with ``mask="rsquare_or_nan"``.

    Returns
    -------
    xarray.DataArray
        ``data`` (presentation, neuroid), float32; lazy if the betas are. Coordinates:

        - along ``presentation``, in the order of the trials: ``stimulus_id`` (the label), ``session``, ``run``,
          ``beta_index``, ``repetition`` (int64). With ``kind="shared"``, ``session``, ``run`` and ``beta_index`` are
          left out, because Brain-Score only averages presentations with equal coordinates, and ``subject_id_pres`` is
          added;
        - along ``neuroid``, in the order of the voxels: ``subject_id``, ``region`` (V1, V2, V3, V4, IT), ``roi`` (V1v,
          …, laionventral), ``voxel_index_in_brain_mask`` (int32, the position on that mask), ``nc_4rep``, ``nc_12rep``
          and ``nc_allrep`` (float32, percent).

        ``result.to_netcdf("shared_sub-01.nc")`` writes the file; there is no MultiIndex that would prevent it.

    Raises
    ------
    ValueError
        If the Dataset lacks required voxels or trials, or is scaled in another way; if the subject lacks one of the
        ROIs; or if `kind` is unknown.
    NotInStoreError
        If the store has another mask.
    NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_betas`.

    Notes
    -----
    Opening reads small files only. Computing a subject of full size takes one pass over each session, and 0.9 GB of
    memory for ``"subject"`` or 0.4 GB for ``"shared"``; `to_netcdf` of the lazy result writes it session by session. A
    benchmark uses ``result.isel(neuroid=(result.nc_12rep > 30).values)`` and averages the repetitions; the ceiling of a
    voxel is ``sqrt(nc / 100)``.
    """
    check_option("kind", kind, valid=get_args(Kind))
    subject: Any = data
    if not isinstance(data, str):
        betas_of(data, TRIAL, VOXEL)
        if "subject" not in data.coords or data["subject"].ndim:
            raise ValueError("Expected betas of a single subject, with the scalar coordinate 'subject' of open_betas.")
        subject = str(data["subject"].values)
    where: dict[str, Any] = {
        "bucket": bucket,
        "storage_options": storage_options,
        "mirror": mirror,
        "mirror_only": mirror_only,
    }
    names = [*(roi for rois in REGIONS.values() for roi in rois), IT]
    stored: dict[str, Any] = {"store": store, "store_options": store_options, "fallback": fallback, "splits": splits}
    whole = open_betas(subject, roi=names, mask=MASK, zscore="session", **stored, **where)
    brain = open_maps(subject, maps="r2_mean", mask=MASK, **where)[VOXEL].values
    subject = str(whole["subject"].values)
    pool = "shared" if kind == "shared" else subject
    wanted = (roles(whole, "tau", pool) != 0) | (roles(whole, "ood", pool) == ROLES["test"])
    rows = np.flatnonzero(wanted)
    found = whole.isel({TRIAL: rows}) if isinstance(data, str) else _selected(data, whole, rows)
    betas = found["betas"].transpose(TRIAL, VOXEL)
    filled = betas.where(np.isfinite(betas), np.float32(0))
    found = with_history(found, f"to_brainscore(kind={kind!r}): {len(rows):,} of {len(wanted):,} trials")
    kept = {name: whole.attrs[name] for name in _KEPT} | {"history": found.attrs["history"], "scaled_within": "session"}
    return _assembled(filled.data, whole.isel({TRIAL: rows}), rows, brain, kind).assign_attrs(kept)


def _selected(data: xr.Dataset, whole: xr.Dataset, rows: NDArray[np.intp]) -> xr.Dataset:
    """Select the required trials of a Dataset, scaled, or raise ValueError."""
    is_in_sd = is_scaled(data["betas"])
    wanted = whole.isel({TRIAL: rows}) if is_in_sd else whole
    for dim, way in (
        (VOXEL, f"open them with mask={MASK!r}, and without roi= or min_noise_ceiling="),
        (TRIAL, "open all sessions, without stimuli=, split= or a selection"),
    ):
        missing = ~np.isin(wanted[dim].values, data[dim].values)
        if missing.any():
            raise ValueError(
                f"The Dataset lacks {missing.sum():,} of the {len(missing):,} required {dim}s: {way}, or pass the name "
                "of the subject, and the bucket, instead of a Dataset."
            )
    found = data.sel({TRIAL: wanted[TRIAL].values, VOXEL: wanted[VOXEL].values})
    if "label" in data.coords and (found["label"].values != wanted["label"].values).any():
        raise ValueError(
            "The labels of the Dataset's trials differ from those in the bucket. Pass as bucket= the bucket from which "
            "the Dataset was opened."
        )
    return found if is_in_sd else zscore(found).isel({TRIAL: rows})


def _assembled(
    data: Any, whole: xr.Dataset, rows: NDArray[np.intp], brain: NDArray[np.int64], kind: Kind
) -> xr.DataArray:
    """Create an array with Brain-Score's coordinates."""
    import xarray as xr

    subject, n_voxels = str(whole["subject"].values), whole.sizes[VOXEL]
    region, roi = np.full(n_voxels, "IT", dtype=object), np.full(n_voxels, IT, dtype=object)
    inside = whole["in_roi"].transpose("roi", VOXEL).to_pandas()
    for name, parts in REGIONS.items():
        for part in parts:
            members = inside.loc[part].to_numpy(dtype=bool)
            region[members], roi[members] = name, part
    presentation = {"stimulus_id": whole["label"].values, "repetition": whole["repetition"].values.astype(np.int64)}
    if kind == "shared":
        presentation["subject_id_pres"] = np.full(len(rows), subject, dtype=object)
    else:
        presentation |= {name: whole[name].values for name in ("session", "run", "beta_index")}
    neuroid = {
        "subject_id": np.full(n_voxels, subject, dtype=object),
        "region": region,
        "roi": roi,
        "voxel_index_in_brain_mask": np.searchsorted(brain, whole[VOXEL].values).astype(np.int32),
        **{f"nc_{name}": whole[f"nc_{own}"].values for name, own in _CEILINGS.items()},
    }
    # As in the published files, trials are numbered over the whole subject, so that both kinds number them alike.
    return xr.DataArray(
        data,
        dims=("presentation", "neuroid"),
        coords={
            "presentation": rows.astype(np.int64),
            "neuroid": np.arange(n_voxels),
            **{name: ("presentation", values) for name, values in presentation.items()},
            **{name: ("neuroid", values) for name, values in neuroid.items()},
        },
        name="data",
    )


_CEILINGS = {"4rep": "4rep", "12rep": "12rep", "allrep": "all"}
"""From Brain-Score's name of a noise ceiling to that in this package."""
