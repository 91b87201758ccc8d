"""From a selection and a store's metadata to the parts of a Dataset: the same as from the bucket, of other origin.

Everything is chosen before a Dask array is made: sessions, trials, voxels, and from these the chunks that hold them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiMembership
from intake_laion_fmri.axes.trials import not_understood, stack_stored
from intake_laion_fmri.axes.voxels import SUBJECT_MAPS, VoxelAxis
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError, NotInStoreError, Remarks
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.reading.assembly import BetasParts, choose_trials, split_coordinates, volumes_of
from intake_laion_fmri.reading.blocks import StoreBlock
from intake_laion_fmri.reading.lazy_arrays import Step
from intake_laion_fmri.reading.sessions import choose_sessions
from intake_laion_fmri.reading.trial_plans import TrialQuery
from intake_laion_fmri.reading.voxel_plans import Brain, VoxelQuery
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.split_sources import find_source, named_source
from intake_laion_fmri.splits import POOL, SPLIT
from intake_laion_fmri.store.format import BETAS, StoredSession
from intake_laion_fmri.store.listing import public_sessions, read_options, read_sessions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StorePlan", "with_stored"]

_ROLE_ARRAYS = ("split_role", POOL, SPLIT)


@dataclass(frozen=True, eq=False)
class StorePlan:
    """What has to be read of a store for a Dataset of betas."""

    root: Bucket
    """The store."""
    subject: str
    """``"sub-01"``."""
    sessions: tuple[StoredSession, ...]
    """The chosen sessions, ascending."""

    @classmethod
    def of(cls, root: Bucket, subject: str, query: TrialQuery, voxels: VoxelQuery) -> StorePlan:
        """Find the sessions.

        Raises
        ------
        NotInStoreError
            If there is no such store, or it lacks a session or the mask.
        ValueError, AccessDeniedError
            If the subject or a session is unknown, or held out.
        DataIntegrityError
            If the store cannot be understood, or its sessions do not belong together.
        """
        options = read_options(root)
        if options.mask != voxels.mask:
            raise NotInStoreError(
                f"{root.url} holds voxels of the mask {options.mask!r}, not {voxels.mask!r}. Choose "
                f"mask={options.mask!r}, {_WAYS_OUT}"
            )
        known = public_sessions(root, subject)
        names = choose_sessions(root, subject, query.sessions, known, known)
        found = read_sessions(root, subject, names)
        lacking = [name for name in names if name not in found]
        if lacking:
            there = read_sessions(root, subject, known)
            raise NotInStoreError(
                f"{root.url} holds no complete {', '.join(lacking)} of {subject}; it holds "
                f"{', '.join(there) or 'no session of this subject'}. Name the sessions that are there with session=, "
                f"build the others, {_WAYS_OUT}"
            )
        sessions = tuple(found[name] for name in names)
        for one in sessions:
            if one.record.axis != sessions[0].record.axis or one.record.options != options:
                raise DataIntegrityError(
                    f"{root.locate(one.group)} was built from other maps or ROIs than {sessions[0].session}. Run "
                    "'intake-laion-fmri store build' again: it renews the sessions whose sources were replaced."
                )
        if all("repetition" in one.arrays for one in sessions):
            for one in sessions:
                problem = one.counted_otherwise(sessions)
                if problem:
                    raise DataIntegrityError(f"{root.locate(one.group)} {problem}.")
        return cls(root, subject, sessions)

    def read(
        self,
        query: TrialQuery,
        voxels: VoxelQuery,
        *,
        splits: str | os.PathLike[str] | None,
        bucket: Bucket,
    ) -> BetasParts:
        """Return the parts of the Dataset.

        Parameters
        ----------
        query, voxels
            The selection.
        splits, bucket
            Where split files are, as in `splits.find_source`: looked at only where the user names them, a split
            is of the pool of all subjects, or the store does not tell the same of all sessions.

        Raises
        ------
        NotInStoreError
            If the store lacks a chosen voxel.
        ValueError
            If an ROI is unknown.
        NotInBucketError
            If the selection needs what the bucket had not when the store was built.
        """
        asks_files = named_source(splits) is not None or query.is_pooled or not self._same_roles()
        source = find_source(splits, bucket=bucket) if asks_files else None
        first = self.sessions[0]
        of_voxels = [name for name in first.arrays if name in _VOXEL_ARRAYS]
        of_trials = ["label", "run", *(["repetition"] if self._counts_repetitions else [])]
        keys = [first.key(name) for name in [*of_voxels, *(() if asks_files else (POOL, SPLIT))]]
        of_each = [*of_trials, *(() if asks_files else ("split_role",))]
        contents = self.root.read_present([*keys, *(one.key(name) for one in self.sessions for name in of_each)])

        brain = _stored_brain(first, contents, where=self.root.url)
        self._expect_needed(brain, voxels)
        places = brain.chosen(voxels, where=f"{self.subject} in {self.root.url}")
        wanted = first.record.left_out.wanted(brain.rois, voxels.roi, voxels.threshold_map, voxels.min_noise_ceiling)
        if wanted:
            kept = first.record.options.roi
            raise NotInStoreError(
                f"{self.root.url} holds the voxels of roi={kept!r} only; the selection has up to {wanted} more. Choose "
                f"an ROI within {kept!r}, {_WAYS_OUT}"
            )
        places = places[np.argsort(brain.axis.index[places], kind="stable")]
        table = stack_stored([self._table(one, contents, of_trials) for one in self.sessions])
        unfetched: list[str] = []
        if source is None:
            roles = self._roles(contents)
        else:
            roles, unfetched = split_coordinates(table, self.subject, source)
        table, roles = choose_trials(table, roles, query, self.subject, source)
        remarks = Remarks((*self._missing(first), *unfetched), tuple(not_understood(table)))
        return BetasParts(
            self.subject,
            table,
            brain.take(places),
            roles,
            _steps(self.root, self.sessions, table, places),
            tuple(info for one in self.sessions for info in one.sources),
            voxels.mask,
            remarks,
            first.record.options.rounding.attrs,
        )

    @property
    def _counts_repetitions(self) -> bool:
        return all("repetition" in one.arrays for one in self.sessions)

    def _same_roles(self) -> bool:
        """Whether all sessions tell roles, of the same files."""
        if not all(set(_ROLE_ARRAYS) <= set(one.arrays) for one in self.sessions):
            return False
        told = [
            (one.arrays["split_role"]["attributes"], *(one.record.objects[f"{name}/c/0"] for name in (POOL, SPLIT)))
            for one in self.sessions
        ]
        return all(one == told[0] for one in told)

    def _roles(self, contents: Mapping[str, bytes]) -> Coordinates:
        first = self.sessions[0]
        roles: Coordinates = {}
        for name in (POOL, SPLIT):
            values = first.value(name, contents, where=self.root.url)
            roles[name] = ((name,), values, dict(first.arrays[name]["attributes"]))
        every = [one.value("split_role", contents, where=self.root.url) for one in self.sessions]
        attrs = dict(first.arrays["split_role"]["attributes"])
        return {**roles, "split_role": ((POOL, SPLIT, "trial"), np.concatenate(every, axis=-1), attrs)}

    def _table(
        self, one: StoredSession, contents: Mapping[str, bytes], columns: Sequence[str]
    ) -> tuple[int, pd.DataFrame]:
        """Return a session's table, without what follows from its labels."""
        import pandas as pd

        table = {
            "session": np.full(one.grid.n_trials, one.session, dtype=object),
            "beta_index": np.arange(one.grid.n_trials),
        }
        table |= {name: one.value(name, contents, where=self.root.url) for name in columns}
        return layout.session_number(one.session), pd.DataFrame(table)

    def _expect_needed(self, brain: Brain, voxels: VoxelQuery) -> None:
        """Raise where the selection needs what the store has not, because the bucket had not."""
        if voxels.roi is not None and brain.rois is None:
            raise NotInBucketError(
                f"{self.root.url} tells no ROI of {self.subject}: the bucket had none when it was built. Fetch the "
                "ROIs, and build the store again."
            )
        needed = voxels.threshold_map
        if needed is not None and needed not in brain.maps:
            raise NotInBucketError(
                f"{self.root.url} tells no {needed} of {self.subject}: the bucket had no such map when it was built. "
                "Fetch the map, and build the store again."
            )

    def _missing(self, first: StoredSession) -> list[str]:
        """Tell the coordinates that the bucket had not when the store was built."""
        absent = [name for name in (*SUBJECT_MAPS, "in_roi") if name not in first.arrays]
        if not self._counts_repetitions:
            absent.append("repetition")
        return [f"{name} (the bucket had not what it needs when {self.root.url} was built)" for name in absent]


_WAYS_OUT = "or add fallback=True to stream what is missing from the bucket."

_VOXEL_ARRAYS = {"voxel", *SUBJECT_MAPS, "in_roi", "roi", "roi_category"}
"""What is read along voxels and ROIs; the other coordinates follow from these and the grid."""


def _stored_brain(one: StoredSession, contents: Mapping[str, bytes], *, where: str) -> Brain:
    """Return the voxels of a session, in the order in which they are stored."""

    def value(name: str) -> NDArray[Any]:
        return one.value(name, contents, where=where)

    rois = None
    if "in_roi" in one.arrays:
        rois = RoiMembership(
            tuple(value("roi")), tuple(value("roi_category")), value("in_roi").astype(bool, copy=False)
        )
    maps = {name: value(name) for name in SUBJECT_MAPS if name in one.arrays}
    return Brain(VoxelAxis(one.voxel_grid, value("voxel")), maps, rois)


def _steps(
    root: Bucket, sessions: Sequence[StoredSession], table: pd.DataFrame, places: NDArray[np.int64]
) -> dict[str, Step]:
    """Return the steps that read the trials of a table, at some positions of the stored voxels."""
    widths = {one.grid.width for one in sessions}  # one, as a rule
    chunks = {width: np.flatnonzero(np.bincount(places // width)) for width in widths}
    return {one.session: _step(root, one, table, places, chunks[one.grid.width]) for one in sessions}


def _step(
    root: Bucket, one: StoredSession, table: pd.DataFrame, places: NDArray[np.int64], chunks: NDArray[np.intp]
) -> Step:
    parts = tuple(one.grid.parts(chunks, one.record.chunks))
    block = StoreBlock(root, f"{one.group}/{BETAS}", one.checksum, one.grid, parts, volumes_of(table, one.session))
    return Step(StoreBlock.read, block, places)


def with_stored(parts: BetasParts, root: Bucket) -> BetasParts:
    """Read sessions of a Dataset from a store instead of the bucket, where it holds them.

    Parameters
    ----------
    parts : BetasParts
        From the bucket.
    root : Bucket
        The store.

    Returns
    -------
    BetasParts
        With the same labels. A session is read from the store where that holds all the chosen voxels, and was built
        from the objects that the bucket holds now.
    """
    try:
        options = read_options(root)
    except NotInStoreError:
        return parts
    if options.mask != parts.mask:
        return parts
    now = set(parts.sources)
    found = {
        session: one
        for session, one in read_sessions(root, parts.subject, parts.steps).items()
        if set(one.session_sources) <= now
    }
    by_axis = {one.record.axis: one for one in found.values()}
    contents = root.read_present([one.key("voxel") for one in by_axis.values()])
    places = {
        axis: _places(one.value("voxel", contents, where=root.url), parts.brain.axis.index)
        for axis, one in by_axis.items()
    }
    steps, attrs = dict(parts.steps), parts.betas_attrs
    for one in found.values():
        here = places[one.record.axis]
        if here is not None:
            steps |= _steps(root, [one], parts.table, here)
            attrs = options.rounding.attrs
    return dataclasses.replace(parts, steps=steps, betas_attrs=attrs)


def _places(stored: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the positions of voxels among the stored ones; None if a voxel is absent."""
    # Idea: sort the stored voxels, whose order is by ROIs, and search each wanted voxel in that.
    # Reference: numpy.searchsorted with `sorter`; docs/store-format.md for the order.
    # Cost: O((stored + wanted) log stored), without a dictionary of voxels.
    sorting = np.argsort(stored, kind="stable")
    ranks = np.searchsorted(stored, wanted, sorter=sorting)
    if len(wanted) and (not len(stored) or ranks.max() >= len(stored)):
        return None
    places: NDArray[np.int64] = sorting[ranks]
    return places if np.array_equal(stored[places], wanted) else None
