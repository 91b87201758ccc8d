"""Arrays behind `Subject`, read by the plans that open Datasets.

Only the files that an array needs are read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiExpression, RoiNames, RoiSelection
from intake_laion_fmri.axes.trials import COLUMNS
from intake_laion_fmri.axes.voxels import MASKS, SUBJECT_MAPS, VOXEL, VoxelAxis
from intake_laion_fmri.errors import MissingFileWarning, NotInStoreError, Remarks, check_option, is_several
from intake_laion_fmri.reading.arguments import check_sessions
from intake_laion_fmri.reading.assembly import BetasParts, BucketPlan
from intake_laion_fmri.reading.blocks import Step
from intake_laion_fmri.reading.contents import Fetched, SubjectContents, expect_object, subject_contents
from intake_laion_fmri.reading.lazy_arrays import lazy_rows, load_each
from intake_laion_fmri.reading.plans.maps import MapPlan, MapQuery
from intake_laion_fmri.reading.plans.rois import RoiPlan
from intake_laion_fmri.reading.plans.trials import TrialPlan, TrialQuery
from intake_laion_fmri.reading.plans.voxels import Brain, VoxelPlan, VoxelQuery, raise_if_selected
from intake_laion_fmri.reading.roi_files import RoiForm
from intake_laion_fmri.reading.stored import StorePlan, with_stored
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.remote.mirrored import LYING

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


T = TypeVar("T")

Flags: TypeAlias = "NDArray[np.bool_] | Sequence[bool]"
"""True for the chosen voxels of a mask; shape (voxel,)."""

NEEDED_BY_USER = 4
"""Stack level of a warning in `SubjectReader.listed`: above it are a method of the reader and one of `Subject`."""


class SubjectReader:
    """Reads arrays of one subject.

    Parameters
    ----------
    bucket : Bucket
        Where to read from.
    subject : str
        ``"sub-01"``.
    store : Bucket, optional
        The store to read betas from.
    fallback : bool, default False
        Whether to read betas from the bucket if the store does not hold them.
    """

    def __init__(self, bucket: Bucket, subject: str, store: Bucket | None = None, fallback: bool = False) -> None:
        self.bucket = bucket
        self.subject = subject
        self._store = store
        self._fallback = fallback
        self._has_warned = False

    @property
    def where(self) -> str:
        """Subject and bucket, for errors."""
        return f"{self.subject} in {self.bucket.url}"

    def listed(self, source: str) -> tuple[SubjectContents, str]:
        """List the subject's objects; return them with the mask to use.

        If the bucket has no anatomical tree of the subject, as in the first releases, ``"rsquare"`` replaces
        ``"anatomical"``, with one warning. An incomplete folder that is read without the bucket is an error instead:
        the bucket may have the tree.
        """
        check_option("mask_source", source, valid=MASKS)
        needs_anatomy = VoxelQuery(None, source).needs_anatomy
        contents = subject_contents(self.bucket, self.subject, anatomy=needs_anatomy)
        folder = f"{layout.ANATOMY.folder(self.subject)}/"
        if not needs_anatomy or any(key.startswith(folder) for key in contents.objects):
            return contents, source
        if any(info.origin == LYING for info in contents.objects.values()):
            raise self.bucket.missing(layout.key("brain_mask", subject=self.subject), contents.objects)
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"There is no {self.bucket.locate(folder)}: using the mask 'rsquare' instead of 'anatomical', which "
                "changes the positions of voxels. Download that folder, or pass mask_source='rsquare'.",
                MissingFileWarning,
                stacklevel=NEEDED_BY_USER,
            )
        return contents, "rsquare"

    def brain(
        self, roi: RoiSelection | None, mask: object, source: str, maps: Sequence[str] = ()
    ) -> tuple[SubjectContents, Brain]:
        """Read the selected voxels, with their ROIs and the given maps."""
        _check_one_of(roi, mask)
        contents, name = self.listed(source)
        for map in maps:
            expect_object(self.bucket, SUBJECT_MAPS[map].key(self.subject), contents.objects)
        plan = self._voxel_plan(contents, VoxelQuery.from_arguments(roi, name), maps)
        brain = plan.read(self.bucket, Fetched(self.bucket, plan.files))
        Remarks(noted=brain.remarks.noted).warn(stacklevel=NEEDED_BY_USER - 1)
        return contents, brain if mask is None else brain.take(np.flatnonzero(flags(mask, len(brain.axis))))

    def labelled(self, values: object, axis: VoxelAxis) -> xr.DataArray:
        """Label values of shape (voxel,) or (other, voxel) with their coordinates.

        Raises
        ------
        ValueError
            If the last axis does not have one value per voxel.
        """
        import xarray as xr

        given = np.asarray(values)
        if given.ndim not in (1, 2) or given.shape[-1] != len(axis):
            raise ValueError(
                f"Expected values for the {len(axis)} chosen voxels of {self.subject} along the last axis, found shape "
                f"{given.shape}. For values of an ROI, first fill an array of NaN by means of "
                "get_roi_mask, or pass roi= where it is accepted."
            )
        coordinates = {VOXEL: axis.index, **axis.grid.coordinate(layout.SPACE)}
        return xr.DataArray(given, dims=("other", VOXEL)[-given.ndim :], coords=coordinates, name="values")

    def roi_masks(self, queries: Sequence[RoiSelection], source: str) -> list[NDArray[np.bool_]]:
        """Read the voxels of each selection; each file is read once."""
        contents, name = self.listed(source)
        expressions = [RoiExpression.parse(() if query is None else query) for query in queries]
        if not expressions:
            return []
        wanted = RoiExpression.union(expressions)
        query = VoxelQuery.from_arguments(None, name)
        forms, names = self._needed(contents, query, wanted)
        plan = VoxelPlan.from_listing(self.bucket, contents, query, maps=(), volumes=forms, rois=names)
        brain = plan.read(self.bucket, Fetched(self.bucket, plan.files))
        raise_if_selected(wanted, names, brain.faults)
        Remarks(noted=brain.remarks.noted).warn(stacklevel=NEEDED_BY_USER - 1)
        assert brain.rois is not None
        return [brain.rois.select(expression, where=self.where) for expression in expressions]

    def session_ceilings(
        self, session: object, roi: RoiSelection | None, mask: object, source: str
    ) -> dict[str, NDArray[np.float32]]:
        """Read the noise ceilings within chosen sessions, ascending."""
        query = MapQuery.from_arguments(session, ("noise_ceiling",), "voxel")
        contents, brain = self.brain(roi, mask, source)
        return self._ceilings(contents, query, brain.axis)

    def betas(
        self,
        session: object,
        roi: RoiSelection | None,
        mask: object,
        threshold: float | None,
        stimuli: object,
        source: str,
    ) -> dict[str, NDArray[np.float32]]:
        """Read betas of chosen sessions, ascending; each stream once."""
        _check_one_of(roi, mask)
        query = TrialQuery.from_arguments(session, stimuli, None, "shared", "both")
        contents, name = self.listed(source)
        parts = self._parts(contents, query, VoxelQuery.from_arguments(roi, name))
        Remarks(noted=parts.remarks.noted).warn(stacklevel=NEEDED_BY_USER - 1)
        steps = dict(parts.steps)
        brain = parts.brain
        if mask is not None:
            positions = np.flatnonzero(flags(mask, len(brain.axis)))
            steps = {name: _only(step, positions) for name, step in steps.items()}
            brain = brain.take(positions)
        if threshold is not None:
            maps = self._ceilings(
                contents, MapQuery.from_arguments(list(steps), ("noise_ceiling",), "voxel"), brain.axis
            )
            # NaN compares as False: voxels of unknown ceiling are dropped.
            steps = {name: _only(step, np.flatnonzero(maps[name] >= threshold)) for name, step in steps.items()}
        lengths = [0 if step.voxels is None else len(step.voxels) for step in steps.values()]
        rows = [lazy_rows("betas", [step], shape=(n,)) for step, n in zip(steps.values(), lengths, strict=True)]
        return dict(zip(steps, load_each(rows), strict=True))

    def trials(self, session: object) -> dict[str, pd.DataFrame]:
        """Read trial tables of chosen sessions, ascending."""
        tables, noted = self.trials_and_notes(session)
        Remarks(noted=noted).warn(stacklevel=NEEDED_BY_USER - 1)
        return tables

    def trials_and_notes(self, session: object) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
        """Read trial tables, with notes on them."""
        contents = subject_contents(self.bucket, self.subject)
        plan = TrialPlan.from_listing(
            self.bucket, contents, TrialQuery.from_arguments(session, None, None, "shared", "both")
        )
        table, remarks = plan.read(self.bucket, Fetched(self.bucket, plan.tables.values()))
        rows = table[list(COLUMNS)]
        tables = {name: rows[rows["session"] == name].reset_index(drop=True) for name in plan.sessions}
        return tables, remarks.noted

    def _parts(self, contents: SubjectContents, trials: TrialQuery, voxels: VoxelQuery) -> BetasParts:
        """Plan the betas of a selection, from the store where possible."""
        if self._store is not None:
            try:
                stored = StorePlan.from_store(self._store, self.subject, trials, voxels)
                return stored.read(trials, voxels, splits=None, bucket=self.bucket)
            except NotInStoreError:
                if not self._fallback:
                    raise
        plan = BucketPlan(
            self.bucket,
            self.subject,
            TrialPlan.from_listing(self.bucket, contents, trials),
            self._voxel_plan(contents, voxels),
        )
        parts = plan.read(plan.fetch(), trials, None)
        return parts if self._store is None else with_stored(parts, self._store)

    def _voxel_plan(self, contents: SubjectContents, query: VoxelQuery, maps: Sequence[str] = ()) -> VoxelPlan:
        forms, names = ((), None) if query.roi is None else self._needed(contents, query, query.roi)
        return VoxelPlan.from_listing(self.bucket, contents, query, maps=maps, needed=maps, volumes=forms, rois=names)

    def _needed(
        self, contents: SubjectContents, query: VoxelQuery, wanted: RoiExpression
    ) -> tuple[tuple[RoiForm, ...], RoiNames]:
        """Return the wanted ROIs' files and names, or raise an error."""
        plan = RoiPlan.from_listing(self.bucket, contents, query, formats=("volume",), hemis=(), only=wanted)
        return plan.listing.forms, plan.listing.names

    def _ceilings(self, contents: SubjectContents, query: MapQuery, axis: VoxelAxis) -> dict[str, NDArray[np.float32]]:
        plan = MapPlan.from_listing(self.bucket, contents, query)
        blocks = plan.blocks(self.bucket, axis.grid)["noise_ceiling"]
        steps = [Step(type(block).read, block, axis.index) for block in blocks]
        rows = lazy_rows("noise_ceiling", steps, shape=(len(axis),)).compute()
        return dict(zip(plan.sessions or (), rows, strict=True))


def one_or_each(session: object, found: Mapping[str, T]) -> T | dict[str, T]:
    """Return one session's value, or a dict in the requested order."""
    if check_sessions(session) is None:
        return dict(found)
    if not is_several(session):
        return next(iter(found.values()))
    requested: Iterable[Any] = session  # type: ignore[assignment]
    names = [name for given in requested for name in layout.same_session(layout.session_name(given), found)]
    return {name: found[name] for name in names}


def flags(mask: object, n_voxels: int) -> NDArray[np.bool_]:
    """Return a voxel selection as flags, or raise ValueError."""
    if isinstance(mask, str):
        raise ValueError(
            f"mask={mask!r}: expected a boolean array with one value for each of {n_voxels} voxels. To choose a mask "
            "by name, pass mask_source=."
        )
    given = np.asarray(mask)
    if given.dtype != np.bool_ or given.shape != (n_voxels,):
        raise ValueError(
            f"mask= must be a boolean array of shape ({n_voxels},), one value per voxel of the mask; found shape "
            f"{given.shape} and dtype {given.dtype}. get_roi_mask returns such an array."
        )
    return given


def _check_one_of(roi: object, mask: object) -> None:
    if roi is not None and mask is not None:
        raise ValueError(f"roi={roi!r} and mask= are mutually exclusive: both select voxels. Pass one of them.")


def _only(step: Step, positions: NDArray[np.intp]) -> Step:
    """Restrict a step to some voxels."""
    assert step.voxels is not None
    return Step(step.read, step.block, step.voxels[positions])
