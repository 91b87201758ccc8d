"""One subject as NumPy arrays, under the names of the data set's own package.

Thin: every method asks the functions behind the catalog and drops the labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import discovery, layout
from intake_laion_fmri.axes import voxels
from intake_laion_fmri.axes.rois import ALL, RoiMembership, RoiSelection
from intake_laion_fmri.axes.trials import COLUMNS, Stimuli
from intake_laion_fmri.axes.vertices import Hemisphere
from intake_laion_fmri.axes.voxels import Mask, NoiseCeiling
from intake_laion_fmri.reading import betas
from intake_laion_fmri.reading.arguments import All, Format, SessionSelection, check_argument, check_sessions
from intake_laion_fmri.reading.lazy_arrays import load_rows
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import nibabel
    import pandas as pd
    import xarray as xr

__all__ = ["Subject", "load_subject"]


def load_subject(
    subject: str,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Subject:
    """Return a subject.

    Parameters
    ----------
    subject : str
        ``"sub-01"`` or ``"01"``.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`.

    Returns
    -------
    Subject

    Raises
    ------
    ValueError
        If the bucket has no such subject, with the nearest ones.
    NotInBucketError, BucketUnreachableError
        If there is no such bucket, or it does not answer.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    name = layout.subject_name(subject)
    discovery.get_sessions(name, bucket=place)
    return Subject(name, place)


class Subject:
    """One subject of the bucket; made by `load_subject`.

    Parameters
    ----------
    subject : str
        ``"sub-01"``.
    bucket : Bucket
        Where to read from.
    """

    def __init__(self, subject: str, bucket: Bucket) -> None:
        self.subject = subject
        self._bucket = bucket

    def __repr__(self) -> str:
        return f"<Subject {self.subject} in {self._bucket.url}>"

    def get_sessions(self) -> list[str]:
        """Return the public sessions with betas, ascending."""
        return discovery.get_sessions(self.subject, bucket=self._bucket)

    def get_trial_info(self, session: SessionSelection = "all") -> pd.DataFrame:
        """Return the trial table of some sessions: columns ``session, run, beta_index, label``, a row per trial."""
        table = betas.open_trials(self.subject, session=session, bucket=self._bucket)
        return table[list(COLUMNS)].reset_index(drop=True)

    def get_available_rois(self, category: str | None = None) -> list[str]:
        """Return the names of the ROIs, sorted."""
        return discovery.get_rois(self.subject, category, bucket=self._bucket)

    def get_available_categories(self) -> list[str]:
        """Return the categories of the ROIs, sorted."""
        return discovery.get_categories(self.subject, bucket=self._bucket)

    def get_betas(
        self,
        session: SessionSelection = "all",
        roi: RoiSelection | None = None,
        mask: Mask = "rsquare",
        nc_threshold: float | None = None,
        stimuli: Stimuli | None = None,
    ) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
        """Return single-trial betas.

        Parameters
        ----------
        session, roi, mask, stimuli
            As in `intake_laion_fmri.open_betas`.
        nc_threshold : float, optional
            Least noise ceiling of a voxel, in percent, of the map of images shown 12 times.

        Returns
        -------
        array of float32, shape (trial, voxel), or dict of these
            An array for one ROI, an expression, or None (the whole mask); for a category, ``"all"`` or a list a dict
            with an array per ROI. Each session is streamed once, however many ROIs there are.

        Raises
        ------
        ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
            As in `intake_laion_fmri.open_betas`.
        """
        dataset = betas.open_betas(
            self.subject,
            session=session,
            roi=roi,
            mask=mask,
            min_noise_ceiling=nc_threshold,
            stimuli=stimuli,
            bucket=self._bucket,
        )
        values: NDArray[np.float32] = load_rows(dataset["betas"].data)
        parts = _parts(dataset, roi)
        return values if parts is None else {name: values[:, inside] for name, inside in parts.items()}

    def get_roi_mask(self, roi: RoiSelection, mask: Mask = "rsquare") -> NDArray[np.bool_]:
        """Return which voxels of the mask belong to an ROI, a category, a list or an expression; shape (voxel,)."""
        whole = self._voxels(None, mask)["voxel"]
        return np.isin(whole, self._voxels(roi, mask)["voxel"])

    def get_roi_data(
        self, roi: RoiSelection, format: Format | All = "all", hemi: Hemisphere | All = "all", mask: Mask = "rsquare"
    ) -> dict[str, dict[str, Any]]:
        """Return an ROI in its formats; see `intake_laion_fmri.betas.roi_data`."""
        return betas.roi_data(self.subject, roi, format=format, hemi=hemi, mask=mask, bucket=self._bucket)

    def get_noise_ceiling(
        self,
        desc: NoiseCeiling = "12rep",
        session: SessionSelection | None = None,
        roi: RoiSelection | None = None,
        mask: Mask = "rsquare",
    ) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
        """Return noise ceilings in percent, shape (voxel,).

        Parameters
        ----------
        desc : {"12rep", "4rep", "all"}, default "12rep"
            Which map of the subject; of no account where a session is given.
        session : str, int or sequence of these, optional
            The map of this session; of several, or of ``"all"``, the map of each.
        roi, mask
            As in `intake_laion_fmri.open_betas`.

        Returns
        -------
        array of float32, shape (voxel,), or dict of these
            A dict, with the names of the sessions in the order they were asked for, where `session` is a list or
            ``"all"``.
        """
        check_argument("noise_ceiling", desc)
        maps = betas.open_noise_ceilings(self.subject, session=session, roi=roi, mask=mask, bucket=self._bucket)
        if session is None:
            single: NDArray[np.float32] = maps[f"nc_{desc}"].values
            return single
        by_session: dict[str, NDArray[np.float32]] = dict(
            zip(maps["session"].values.tolist(), maps["noise_ceiling"].values, strict=True)
        )
        if check_sessions(session) is None:
            return by_session
        if isinstance(session, str) or not isinstance(session, Iterable):
            return next(iter(by_session.values()))
        asked = [name for one in session for name in layout.same_session(layout.session_name(one), by_session)]
        return {name: by_session[name] for name in asked}

    def get_brain_mask(self, mask: Mask = "rsquare") -> NDArray[np.bool_]:
        """Return the mask as a volume, shape (i, j, k)."""
        dataset = self._voxels(None, mask)
        volume = np.zeros(dataset.attrs["grid_shape"], dtype=bool)
        volume.reshape(-1)[dataset["voxel"].values] = True
        return volume

    def get_n_voxels(self, roi: RoiSelection | None = None, mask: Mask = "rsquare") -> int:
        """Return the number of voxels of the mask, or of an ROI inside it."""
        return int(self._voxels(roi, mask).sizes["voxel"])

    def get_voxel_coordinates(self, roi: RoiSelection | None = None, mask: Mask = "rsquare") -> NDArray[np.float32]:
        """Return world coordinates in the subject's T1w space, millimetres, shape (voxel, 3)."""
        dataset = self._voxels(roi, mask)
        return np.stack([dataset[name].values for name in "xyz"], axis=1)

    def to_nifti(
        self,
        values: NDArray[Any],
        roi: RoiSelection | None = None,
        mask: Mask = "rsquare",
        *,
        fill: float = np.nan,
    ) -> nibabel.Nifti1Image:
        """Put values of shape (voxel,), or (other, voxel), of a mask or an ROI back into a volume."""
        import xarray as xr

        dataset = self._voxels(roi, mask)
        given = np.asarray(values)
        if given.ndim not in (1, 2) or given.shape[-1] != dataset.sizes["voxel"]:
            raise ValueError(
                f"Expected values for the {dataset.sizes['voxel']} voxels of roi={roi!r}, mask={mask!r} along the last "
                f"axis, found shape {given.shape}."
            )
        array = xr.DataArray(given, dims=("other", "voxel")[-given.ndim :], coords={"voxel": dataset["voxel"]})
        return voxels.to_nifti(array, dataset, fill=fill)

    def has_stimuli(self) -> bool:
        """Tell whether the bucket holds the public table about the stimuli; early releases do not."""
        return layout.STIMULUS_METADATA in self._bucket.find(layout.STIMULI_ROOT)

    def get_stimulus_metadata(self) -> pd.DataFrame:
        """Return the public table about the stimuli: a row per image.

        Raises
        ------
        NotInBucketError
            If the bucket has none.
        """
        import io

        import pandas as pd

        listing = self._bucket.find(layout.STIMULI_ROOT)
        if layout.STIMULUS_METADATA not in listing:
            raise self._bucket.missing(layout.STIMULUS_METADATA, listing)
        content = self._bucket.fetch([listing[layout.STIMULUS_METADATA]])[layout.STIMULUS_METADATA]
        return pd.read_csv(io.BytesIO(content), keep_default_na=False)

    def _voxels(self, roi: RoiSelection | None, mask: Mask) -> xr.Dataset:
        return betas.open_rois(self.subject, roi=roi, mask=mask, bucket=self._bucket)


def _parts(dataset: xr.Dataset, roi: RoiSelection | None) -> dict[str, NDArray[np.bool_]] | None:
    """Return the voxels of each ROI that a selection stands for; None where it stands for one set of voxels."""
    if roi is None or "in_roi" not in dataset.coords:
        return None
    names, categories = dataset["roi"].values.tolist(), dataset["roi_category"].values.tolist()
    membership = RoiMembership(tuple(names), tuple(categories), dataset["in_roi"].values)

    def several(expression: str) -> list[str]:
        if layout.clean_label(expression) in names:
            return [layout.clean_label(expression)]
        within = [name for name, category in zip(names, categories, strict=True) if expression in (category, ALL)]
        return within or [expression]

    if isinstance(roi, str) and several(roi) in ([roi], [layout.clean_label(roi)]):
        return None
    keys = dict.fromkeys(key for one in ([roi] if isinstance(roi, str) else roi) for key in several(one))
    return {key: membership.select(key, where="this subject") for key in keys}
