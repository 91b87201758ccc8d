"""`Subject`: the data set's own accessors, over the plans of Datasets.

Source: the interface of ``laion_fmri.subject`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import discovery, layout
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.trials import Stimuli
from intake_laion_fmri.axes.vertices import Hemisphere
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import (
    SubjectNotDownloadedError,
    SubjectNotFoundError,
    check_each,
    check_option,
    in_short,
    is_several,
    unknown_value,
)
from intake_laion_fmri.reading import rois
from intake_laion_fmri.reading.arguments import SessionSelection
from intake_laion_fmri.reading.contents import public_sessions, roi_files
from intake_laion_fmri.reading.pages import Page, counted, sized, spanned
from intake_laion_fmri.reading.recent_listings import recent_objects
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.subject.described_trials import Descriptions
from intake_laion_fmri.subject.images import TrialImages
from intake_laion_fmri.subject.reader import Flags, SubjectReader, one_or_each
from intake_laion_fmri.subject.runs import Runs
from intake_laion_fmri.subject.tables import Tables
from intake_laion_fmri.subject.templates import Templates
from intake_laion_fmri.subject.torch_items import Training
from intake_laion_fmri.subject.volumes import Volumes

Floats: TypeAlias = "NDArray[np.float32]"

_FORMATS = ("all", "volume", "nii.gz", "gii", "func.gii", "label")
_CEILINGS: Mapping[str, str] = {
    spelling: f"nc_{name}"
    for name, spelled in layout.NOISE_CEILINGS.items()
    for spelling in dict.fromkeys((name, spelled, f"Noiseceiling{spelled}"))
}


def load_subject(
    subject: str,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    store: str | os.PathLike[str] | Bucket | None = None,
    store_options: Mapping[str, Any] | None = None,
    fallback: bool = False,
) -> Subject:
    """Return one subject of the data set.

    Parameters
    ----------
    subject : str
        ``"sub-01"`` or ``"01"``.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`.
    store, store_options, fallback
        A store that `get_betas` reads, as in `intake_laion_fmri.open_betas`; everything else is read from the bucket. A
        store holds one mask, usually ``"rsquare"``: pass it as ``mask_source=``.

    Returns
    -------
    Subject

    Raises
    ------
    TypeError
        If `subject` is not a string.
    SubjectNotFoundError
        If `subject` is not a valid subject name.
    SubjectNotDownloadedError
        If the subject is not in the bucket, or in the folder that is read instead; the message lists the nearest
        names. It is a ValueError and a FileNotFoundError.
    NotInBucketError, BucketUnreachableError
        If the bucket does not exist, or does not respond.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    name = resolve_subject_id(subject)
    try:
        discovery.get_sessions(name, bucket=bucket)
    except SubjectNotFoundError as error:
        advice = (
            f" Copy it with intake_laion_fmri.download.download(subject={name!r})."
            if bucket.is_local or bucket.copies.mirror
            else ""
        )
        raise SubjectNotDownloadedError(f"{error}{advice}") from None
    root = None if store is None else open_store(store, store_options)
    return Subject(name, bucket, store=root, fallback=fallback)


def resolve_subject_id(subject: str) -> str:
    """Return a subject's name: ``"sub-01"`` for ``"01"``.

    Raises
    ------
    TypeError
        If `subject` is not a string.
    SubjectNotFoundError
        If it is not a valid subject name. The bucket is not consulted.
    """
    if not isinstance(subject, str):
        raise TypeError(f"subject must be a string such as 'sub-01', found {subject!r}.")
    try:
        return layout.subject_name(subject)
    except ValueError as error:
        raise SubjectNotFoundError(str(error)) from None


class Subject(Tables, Volumes, Templates, Descriptions, Runs, Training):
    """One subject of the bucket, created by `load_subject`.

    Voxels are those of a mask, in C order of the grid. ``mask_source`` is ``"anatomical"``; if the bucket has no
    anatomical tree of the subject, ``"rsquare"`` is used, with one warning. Positions are only meaningful together with
    their mask. ``roi=`` of an accessor is a name, a category, ``"all"``, a list (union) or an expression as in
    `intake_laion_fmri.open_betas`; ``mask=`` is instead a boolean array over the voxels of the mask.

    Parameters
    ----------
    subject : str
        ``"sub-01"``.
    bucket : Bucket
        Where to read from.
    store, fallback
        As in `load_subject`.
    """

    def __init__(self, subject: str, bucket: Bucket, *, store: Bucket | None = None, fallback: bool = False) -> None:
        self.subject = self.subject_id = subject
        self._bucket = bucket
        self._reader = SubjectReader(bucket, subject, store, fallback)

    @functools.cached_property
    def images(self) -> TrialImages:
        """Images of trials by row of `metadata`."""
        return TrialImages(self, self._bucket)

    def __repr__(self) -> str:
        return str(self._page())

    def _repr_html_(self) -> str:
        return self._page().html()

    def _page(self) -> Page:
        """Return the subject's page, as far as the bucket can be listed."""
        rows: list[tuple[str, ...]] = []
        with contextlib.suppress(OSError, ValueError):  # a repr must not fail: trees that cannot be listed are omitted
            objects: dict[str, layout.ObjectInfo] = {}
            for tree in layout.MAIN_TREES:
                objects |= recent_objects(self._bucket, tree.folder(self.subject), refresh=False)
            sessions = public_sessions(objects, ["betas"])
            parsed = {key: layout.parse_key(key) for key in objects if layout.is_of_public(key)}
            n_bytes = sum(objects[key].size for key, found in parsed.items() if found and found.kind == "betas")
            if sessions:
                rows.append((spanned(sessions), counted(len(sessions), "session"), "betas", sized(n_bytes)))
            categories: dict[str, dict[str, None]] = {}
            for file in roi_files(objects):
                categories.setdefault(file.category, {})[file.name] = None
            for category, rois in sorted(categories.items()):
                rows.append((in_short(list(rois), most=6), counted(len(rois), "ROI"), category, ""))
        return Page(f"Subject {self.subject} in {self._bucket.url}", ("names", "number", "of", "size"), rows)

    def get_sessions(self) -> list[str]:
        """List the public sessions with betas, ascending."""
        return discovery.get_sessions(self.subject, bucket=self._bucket)

    def get_available_rois(self, category: str | None = None) -> list[str]:
        """List ROI names, sorted; empty, with a warning, for unknown categories."""
        known = self.get_available_categories()
        if category is not None and category not in known:
            warnings.warn(str(unknown_value("ROI category", category, known, where=self._reader.where)), stacklevel=2)
            return []
        return discovery.get_rois(self.subject, category, bucket=self._bucket)

    def get_available_categories(self) -> list[str]:
        """List the categories of ROIs, sorted."""
        return discovery.get_categories(self.subject, bucket=self._bucket)

    def get_betas(
        self,
        session: SessionSelection,
        roi: RoiSelection | None = None,
        mask: Flags | None = None,
        nc_threshold: float | None = None,
        stimuli: Stimuli | None = None,
        streaming: bool = False,
        mask_source: Mask = "anatomical",
    ) -> Floats | dict[str, Floats]:
        """Read single-trial betas.

        Parameters
        ----------
        session : str, int or sequence of these
            ``"ses-01"``, ``"01"``, ``1``, a list of sessions, or ``"all"``.
        roi, mask
            The voxels: see `Subject`. Pass at most one of them; by default the whole mask.
        nc_threshold : float, optional
            Minimum noise ceiling of a voxel, in percent, in the map of **each session**: the voxels of several
            sessions may differ. For a common set of voxels use ``min_noise_ceiling`` of
            `intake_laion_fmri.open_betas`.
        stimuli : {"shared", "unique", "ood"}, optional
            Keep only trials that show such images.
        streaming : bool, default False
            Has no effect: sessions are always streamed, and only the selection is kept in memory.
        mask_source : {"anatomical", "rsquare"}, default "anatomical"
            The mask.

        Returns
        -------
        array of float32, shape (trial, voxel), in C order
            The union of the ROIs, each voxel once. For a list of sessions, or ``"all"``, a dict from session to array,
            in the order of the list.

        Raises
        ------
        ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
            As in `intake_laion_fmri.open_betas`; ValueError also if both `roi` and `mask` are given, or if `mask` does
            not have one value per voxel.

        Warns
        -----
        UserWarning
            If `nc_threshold` is between 0 and 1: the maps are in percent.

        Notes
        -----
        Each session is decompressed once, two at a time on two cores. The mask, the named ROIs, the trial tables and,
        with `nc_threshold`, the sessions' maps are read, too.
        """
        _check_threshold(nc_threshold)
        found = self._reader.betas(session, roi, mask, nc_threshold, stimuli, mask_source)
        return one_or_each(session, found)

    def get_roi_mask(self, query: RoiSelection, mask_source: Mask = "anatomical") -> NDArray[np.bool_]:
        """Read an ROI, category, list or expression as flags, shape (voxel,)."""
        return self._reader.roi_masks([query], mask_source)[0]

    def get_roi_masks(self, queries: Sequence[str], mask_source: Mask = "anatomical") -> dict[str, NDArray[np.bool_]]:
        """Read several ROI masks, as a dict from query to flags."""
        wanted = [queries] if isinstance(queries, str) else list(queries)
        return dict(zip(wanted, self._reader.roi_masks(wanted, mask_source), strict=True))

    def get_roi_data(
        self,
        query: RoiSelection,
        format: Literal["all", "volume", "nii.gz", "gii", "func.gii", "label"] | None = None,
        hemi: Hemisphere | Literal["all"] | None = None,
        mask_source: Mask = "anatomical",
    ) -> dict[str, dict[str, Any]]:
        """Read each ROI: ``{"FFA1": {"volume": …, "gii": {"hemi-L": {"func.gii": …, "label": …}}}}``.

        See `intake_laion_fmri.betas.roi_data`. ``"gii"`` stands for both formats of surfaces, None for all.
        """
        check_option("format", format, valid=_FORMATS, optional=True)
        form: Any = {None: "all", "nii.gz": "volume"}.get(format, format)
        name: Any = self._reader.listed(mask_source)[1] if form in ("all", "volume") else "rsquare"
        chosen: Any = "all" if form == "gii" else form
        hemis: Any = hemi or "all"
        found = rois.roi_data(self.subject, query, format=chosen, hemi=hemis, mask=name, bucket=self._bucket)
        if form != "gii":
            return found
        return {roi: {key: value for key, value in forms.items() if key == "gii"} for roi, forms in found.items()}

    def get_noise_ceiling(
        self,
        session: SessionSelection | None = None,
        desc: str | Sequence[str] | None = None,
        roi: RoiSelection | None = None,
        mask: Flags | None = None,
        mask_source: Mask = "anatomical",
    ) -> Floats | dict[str, Floats]:
        """Read noise ceilings in percent, shape (voxel,).

        Parameters
        ----------
        session : str, int or sequence of these, optional
            Session whose map is read; for a list, or ``"all"``, the map of each.
        desc : str or sequence of str, optional
            A map of the subject: ``"Noiseceiling12rep"``, ``"Noiseceiling4rep"`` or ``"NoiseceilingAllrep"``, or short
            ``"12rep"``, ``"4rep"``, ``"Allrep"`` or ``"all"``; or a list of these.
        roi, mask, mask_source
            The voxels: see `Subject`.

        Returns
        -------
        array of float32, shape (voxel,), or dict of these
            For a list, a dict with its names as keys, in its order.

        Raises
        ------
        ValueError
            If neither or both of `session` and `desc` are given.
        NotInBucketError
            If there is no such map; the message lists the available ones.
        """
        if (session is None) == (desc is None):
            raise ValueError(
                f"session={session!r}, desc={desc!r}: expected exactly one of them. Pass session= for the map of a "
                "session, or desc= for one of the subject, such as desc='Noiseceiling12rep'."
            )
        if session is not None:
            return one_or_each(session, self._reader.session_ceilings(session, roi, mask, mask_source))
        names = check_each("desc", desc, valid=_CEILINGS)
        wanted = [_CEILINGS[name] for name in names]
        _, brain = self._reader.brain(roi, mask, mask_source, maps=tuple(dict.fromkeys(wanted)))
        found = {name: brain.maps[map] for name, map in zip(names, wanted, strict=True)}
        return found if is_several(desc) else found[names[0]]


def _check_threshold(percent: object) -> None:
    """Raise ValueError for a non-numeric threshold; warn of a fraction."""
    if percent is None:
        return
    if isinstance(percent, bool) or not isinstance(percent, int | float | np.number) or math.isnan(percent):
        raise ValueError(f"nc_threshold must be a percentage such as 20, found {percent!r}.")
    if 0 < percent < 1:
        warnings.warn(
            f"nc_threshold={percent:g} means {percent:g} %: noise ceilings are in percent. Pass {percent * 100:g} for "
            f"{percent * 100:g} %.",
            stacklevel=3,
        )
