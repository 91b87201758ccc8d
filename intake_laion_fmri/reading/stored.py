"""Plans of stores: the same parts as from the bucket.

Sessions, trials, voxels, and the chunks that hold them are chosen before a Dask array is made.
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
from intake_laion_fmri.axes.stimulus_table import STIMULUS
from intake_laion_fmri.axes.trials import not_understood, stack_stored
from intake_laion_fmri.axes.voxels import SUBJECT_MAPS, VoxelAxis
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError, NotInStoreError, Remarks
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.reading.assembly import (
    BetasParts,
    choose_trials,
    scaling_attrs,
    scaling_groups,
    split_coordinates,
    volumes_of,
)
from intake_laion_fmri.reading.blocks import SessionBlock, Step, StoreBlock
from intake_laion_fmri.reading.plans.sessions import choose_sessions
from intake_laion_fmri.reading.plans.trials import TrialQuery
from intake_laion_fmri.reading.plans.voxels import Brain, VoxelQuery
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.splits import POOL, SPLIT
from intake_laion_fmri.splits.sources import find_source, named_source
from intake_laion_fmri.store.format import BETAS, StoredSession
from intake_laion_fmri.store.listing import public_sessions, read_options, read_sessions

if TYPE_CHECKING:
    import pandas as pd

_ROLE_ARRAYS = ("split_role", POOL, SPLIT)


@dataclass(frozen=True, eq=False)
class StorePlan:
    """Sessions of a store for a betas Dataset."""

    store: Bucket
    """The store."""
    subject: str
    """``"sub-01"``."""
    sessions: tuple[StoredSession, ...]
    """The chosen sessions, ascending."""

    @classmethod
    def from_store(cls, store: Bucket, subject: str, query: TrialQuery, voxels: VoxelQuery) -> StorePlan:
        """Find the sessions.

        Raises
        ------
        NotInStoreError
            If there is no such store, or it lacks a session or the mask.
        ValueError, AccessDeniedError
            If the subject or a session is unknown, or held out.
        DataIntegrityError
            If the store is broken, or its sessions do not belong together.
        """
        options = read_options(store)
        if options.mask != voxels.mask:
            raise NotInStoreError(
                f"{store.url} holds voxels of the mask {options.mask!r}, not {voxels.mask!r}. Choose "
                f"mask={options.mask!r} (for a Subject, mask_source={options.mask!r}), {_WAYS_OUT}"
            )
        known = public_sessions(store, subject)
        names = choose_sessions(store, subject, query.sessions, known, known)
        found = read_sessions(store, subject, names)
        lacking = [name for name in names if name not in found]
        if lacking:
            there = read_sessions(store, subject, known)
            raise NotInStoreError(
                f"{store.url} has no complete {', '.join(lacking)} of {subject}; it holds "
                f"{', '.join(there) or 'no session of this subject'}. Choose existing sessions with session=, build "
                f"the others, {_WAYS_OUT}"
            )
        sessions = tuple(found[name] for name in names)
        for session in sessions:
            if session.record.axis != sessions[0].record.axis or session.record.options != options:
                raise DataIntegrityError(
                    f"{store.locate(session.group)} was built from other maps or ROIs than {sessions[0].session}. Run "
                    "'intake-laion-fmri store build' again: it rebuilds the sessions whose sources were replaced."
                )
        if all("repetition" in session.arrays for session in sessions):
            for session in sessions:
                problem = session.counted_otherwise(sessions)
                if problem:
                    raise DataIntegrityError(f"{store.locate(session.group)} {problem}.")
        return cls(store, subject, sessions)

    def read(
        self,
        query: TrialQuery,
        voxels: VoxelQuery,
        *,
        splits: str | os.PathLike[str] | None,
        bucket: Bucket,
        zscore: str | None = None,
    ) -> BetasParts:
        """Read the parts of the Dataset.

        Parameters
        ----------
        query : TrialQuery
            The trials.
        voxels : VoxelQuery
            The voxels.
        splits, bucket
            Source of split files, as in `splits.find_source`. They are used only if the user names `splits`, the pool
            is that of all subjects, or the stored roles differ between sessions.
        zscore : {"session", "run"}, optional
            Groups of trials over which voxels are scaled.

        Raises
        ------
        NotInStoreError
            If the store lacks a chosen voxel.
        ValueError
            If an ROI is unknown.
        NotInBucketError
            If the selection needs a file that the bucket lacked when the store was built.
        """
        needs_files = named_source(splits) is not None or query.is_pooled or not self._same_roles()
        source = find_source(splits, bucket=bucket) if needs_files else None
        first = self.sessions[0]
        of_voxels = [name for name in first.arrays if name in _VOXEL_ARRAYS]
        numbered = self._numbered()
        of_trials = ["label", "run", *(["repetition"] if self._counts_repetitions else []), *numbered]
        keys = [first.key(name) for name in [*of_voxels, *(() if needs_files else (POOL, SPLIT))]]
        of_each = [*of_trials, *(() if needs_files else ("split_role",))]
        keys += [session.key(name) for session in self.sessions for name in of_each]
        contents = self.store.read_present(keys)

        brain = _stored_brain(first, contents, where=self.store.url)
        self._expect_needed(brain, voxels)
        positions = brain.chosen(voxels, where=f"{self.subject} in {self.store.url}")
        self._expect_kept(brain, voxels)
        positions = positions[np.argsort(brain.axis.index[positions], kind="stable")]
        table = stack_stored([self._table(session, contents, of_trials) for session in self.sessions])
        table.attrs = {name: dict(first.arrays[name]["attributes"]) for name in numbered}
        groups = scaling_groups(table, zscore)
        roles, unfetched = split_coordinates(table, self.subject, source) if source else (self._roles(contents), [])
        table, roles = choose_trials(table, roles, query, self.subject, source)
        remarks = Remarks((*self._missing(first), *unfetched), tuple(not_understood(table)))
        return BetasParts(
            self.subject,
            table,
            brain.take(positions),
            roles,
            _steps(self.store, self.sessions, table, positions, groups),
            tuple(info for session in self.sessions for info in session.sources),
            voxels.mask,
            remarks,
            {**first.record.options.rounding.attrs, **scaling_attrs(zscore)},
        )

    @property
    def _counts_repetitions(self) -> bool:
        return all("repetition" in session.arrays for session in self.sessions)

    def _numbered(self) -> list[str]:
        """Return [`STIMULUS`] if all sessions have it from the same table."""
        each = [session.arrays.get(STIMULUS, {}).get("attributes") for session in self.sessions]
        return [STIMULUS] if each[0] is not None and all(other == each[0] for other in each) else []

    def _same_roles(self) -> bool:
        """Return True if all sessions have roles of the same files."""
        if not all(set(_ROLE_ARRAYS) <= set(session.arrays) for session in self.sessions):
            return False
        roles = [
            (
                session.arrays["split_role"]["attributes"],
                *(session.record.objects[f"{name}/c/0"] for name in (POOL, SPLIT)),
            )
            for session in self.sessions
        ]
        return all(others == roles[0] for others in roles)

    def _roles(self, contents: Mapping[str, bytes]) -> Coordinates:
        first = self.sessions[0]
        roles: Coordinates = {}
        for name in (POOL, SPLIT):
            values = first.value(name, contents, where=self.store.url)
            roles[name] = ((name,), values, dict(first.arrays[name]["attributes"]))
        every = [session.value("split_role", contents, where=self.store.url) for session in self.sessions]
        attrs = dict(first.arrays["split_role"]["attributes"])
        return {**roles, "split_role": ((POOL, SPLIT, "trial"), np.concatenate(every, axis=-1), attrs)}

    def _table(
        self, session: StoredSession, contents: Mapping[str, bytes], columns: Sequence[str]
    ) -> tuple[int, pd.DataFrame]:
        """Return a session's table without columns derived from labels."""
        import pandas as pd

        table = {
            "session": np.full(session.grid.n_trials, session.session, dtype=object),
            "beta_index": np.arange(session.grid.n_trials),
        }
        table |= {name: session.value(name, contents, where=self.store.url) for name in columns}
        return layout.session_number(session.session), pd.DataFrame(table)

    def _expect_needed(self, brain: Brain, voxels: VoxelQuery) -> None:
        """Raise NotInBucketError if required files were absent at building."""
        if voxels.roi is not None and brain.rois is None:
            raise NotInBucketError(
                f"{self.store.url} holds no ROI of {self.subject}: the bucket had none when the store was built. Fetch "
                "the ROIs, and build the store again."
            )
        needed = voxels.threshold_map
        if needed is not None and needed not in brain.maps:
            raise NotInBucketError(
                f"{self.store.url} holds no {needed} of {self.subject}: the bucket had no such map when the store was "
                "built. Fetch the map, and build the store again."
            )

    def _expect_kept(self, brain: Brain, voxels: VoxelQuery) -> None:
        """Raise NotInStoreError if selected voxels were left out at building."""
        record = self.sessions[0].record
        wanted = record.left_out.wanted(brain.rois, voxels.roi, voxels.threshold_map, voxels.min_noise_ceiling)
        if wanted:
            kept = record.options.roi
            raise NotInStoreError(
                f"{self.store.url} holds the voxels of roi={kept!r} only; the selection has up to {wanted} more. "
                f"Choose an ROI within {kept!r}, {_WAYS_OUT}"
            )

    def _missing(self, first: StoredSession) -> list[str]:
        """List the coordinates whose files were absent at building."""
        absent = [name for name in (*SUBJECT_MAPS, "in_roi") if name not in first.arrays]
        if not self._counts_repetitions:
            absent.append("repetition")
        return [f"{name} (the bucket lacked its files when {self.store.url} was built)" for name in absent]


_WAYS_OUT = "or add fallback=True to stream what is missing from the bucket."

_VOXEL_ARRAYS = {"voxel", *SUBJECT_MAPS, "in_roi", "roi", "roi_category"}
"""Arrays read along voxels and ROIs; other coordinates follow from these and the grid."""


def _stored_brain(session: StoredSession, contents: Mapping[str, bytes], *, where: str) -> Brain:
    """Return a session's voxels in stored order."""

    def value(name: str) -> NDArray[Any]:
        return session.value(name, contents, where=where)

    rois = None
    if "in_roi" in session.arrays:
        rois = RoiMembership(
            tuple(value("roi")), tuple(value("roi_category")), value("in_roi").astype(bool, copy=False)
        )
    maps = {name: value(name) for name in SUBJECT_MAPS if name in session.arrays}
    return Brain(VoxelAxis(session.voxel_grid, value("voxel")), maps, rois)


def _steps(
    store: Bucket,
    sessions: Sequence[StoredSession],
    table: pd.DataFrame,
    positions: NDArray[np.int64],
    groups: Mapping[str, tuple[int, ...]],
) -> dict[str, Step]:
    """Return the reading steps of a table's trials at stored positions."""
    widths = {session.grid.width for session in sessions}  # usually a single one
    chunks = {width: np.flatnonzero(np.bincount(positions // width)) for width in widths}
    steps, volumes = {}, volumes_of(table)
    for session in sessions:
        block = StoreBlock(
            store,
            f"{session.group}/{BETAS}",
            session.checksum,
            session.grid,
            tuple(session.grid.parts(chunks[session.grid.width], session.record.chunks)),
            volumes.get(session.session, ()),
            groups.get(session.session),
        )
        steps[session.session] = Step(StoreBlock.read, block, positions)
    return steps


def with_stored(parts: BetasParts, store: Bucket) -> BetasParts:
    """Replace reading steps by those of a store where it is current.

    A session is replaced if the store holds all chosen voxels and was built from the bucket's current objects.
    """
    try:
        options = read_options(store)
    except NotInStoreError:
        return parts
    if options.mask != parts.mask:
        return parts
    now = set(parts.sources)
    found = {
        name: session
        for name, session in read_sessions(store, parts.subject, parts.steps).items()
        if set(session.session_sources) <= now
    }
    by_axis = {session.record.axis: session for session in found.values()}
    contents = store.read_present([session.key("voxel") for session in by_axis.values()])
    positions = {
        axis: _positions(session.value("voxel", contents, where=store.url), parts.brain.axis.index)
        for axis, session in by_axis.items()
    }
    steps, attrs = dict(parts.steps), parts.betas_attrs
    for session in found.values():
        stored_at = positions[session.record.axis]
        if stored_at is not None:
            block = parts.steps[session.session].block
            groups = {session.session: block.groups} if isinstance(block, SessionBlock) and block.groups else {}
            steps |= _steps(store, [session], parts.table, stored_at, groups)
            attrs = {**attrs, **options.rounding.attrs}
    return dataclasses.replace(parts, steps=steps, betas_attrs=attrs)


def _positions(stored: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return the stored positions of voxels; None if one is absent."""
    # Idea: the store orders voxels by ROIs, so sort them and look up each wanted voxel by bisection.
    # Reference: numpy.searchsorted with `sorter`; docs/store-format.md for the order.
    # Cost: O((stored + wanted) log stored), without a dictionary of voxels.
    sorting = np.argsort(stored, kind="stable")
    ranks = np.searchsorted(stored, wanted, sorter=sorting)
    if len(wanted) and (not len(stored) or ranks.max() >= len(stored)):
        return None
    positions: NDArray[np.int64] = sorting[ranks]
    return positions if np.array_equal(stored[positions], wanted) else None
