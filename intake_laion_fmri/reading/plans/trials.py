"""Plans of trials: from a selection to files and the trial axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.roles import OOD, SHARED, has_role
from intake_laion_fmri.axes.stimulus_table import STIMULUS, with_stimuli
from intake_laion_fmri.axes.trial_table import read_trials
from intake_laion_fmri.axes.trials import not_understood, stack_sessions, stimuli_of
from intake_laion_fmri.errors import Remarks, in_short
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.reading.arguments import check_argument, check_sessions
from intake_laion_fmri.reading.contents import SubjectContents, expect_object, odd_sessions, public_sessions
from intake_laion_fmri.reading.plans.sessions import choose_sessions
from intake_laion_fmri.reading.roi_files import UNREADABLE
from intake_laion_fmri.reading.roles import role_mask
from intake_laion_fmri.remote.access import Bucket, ObjectInfo
from intake_laion_fmri.splits import POOLED, SPLITS
from intake_laion_fmri.splits.sources import SplitSource

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrialQuery:
    """A checked selection of trials."""

    sessions: tuple[str, ...] | None
    """Ascending; None for all."""
    stimuli: str | None
    """One of `trials.STIMULI`, or None for all."""
    split: str | None
    """One of `splits.SPLITS`, or None for all trials."""
    pool: str
    """Pool of the split."""
    role: str
    """Side of the split."""

    @classmethod
    def from_arguments(cls, session: object, stimuli: object, split: object, pool: object, role: object) -> TrialQuery:
        """Check the arguments of a user; ValueError if one is wrong."""
        values = {"stimuli": stimuli, "split": split, "pool": pool, "role": role}
        checked: dict[str, Any] = {name: check_argument(name, value) for name, value in values.items()}
        for name, value, default in (("role", role, "both"), ("pool", pool, SHARED)):
            if split is None and value != default:
                raise ValueError(f"{name}={value!r} needs a split: add split=, one of {', '.join(SPLITS)}.")
        return cls(check_sessions(session), **checked)

    @property
    def needs_files(self) -> bool:
        """True if the selection needs split files; ``ood`` does not."""
        return self.split not in (None, OOD)

    @property
    def is_pooled(self) -> bool:
        """True for a split of the pooled images, which has no coordinate."""
        return self.split is not None and self.pool == POOLED

    def select(
        self, table: pd.DataFrame, subject: str, source: SplitSource | None, roles: Coordinates | None = None
    ) -> NDArray[np.bool_]:
        """Return flags of the chosen trials of a stacked table.

        Parameters
        ----------
        table : pandas.DataFrame
            The stacked table.
        subject : str
            ``"sub-01"``.
        source : SplitSource or None
            Source of split files; not needed with `roles`, or if `needs_files` is False.
        roles : dict, optional
            Coordinates of the table from `roles.split_roles`; empty if split files are missing.
        """
        chosen = np.ones(len(table), dtype=bool)
        if self.stimuli is not None:
            chosen &= stimuli_of(table, self.stimuli)
        if self.split is not None:
            if roles and not self.is_pooled:
                every = roles["split_role"][1]
                chosen &= has_role(every[int(self.pool != SHARED), SPLITS.index(self.split)], self.role)
            else:
                chosen &= role_mask(table, subject, split=self.split, pool=self.pool, role=self.role, source=source)
        return chosen


@dataclass(frozen=True)
class TrialPlan:
    """Files of the trial axis."""

    sessions: tuple[str, ...]
    """The chosen sessions, ascending."""
    betas: Mapping[str, ObjectInfo]
    """Their betas."""
    tables: Mapping[str, ObjectInfo]
    """Trial tables of the chosen sessions, and of earlier ones if repetitions can be counted."""
    counts_repetitions: bool
    """True if all sessions up to the last chosen one have a table."""
    missing: tuple[str, ...]
    """Descriptions of files that are left out."""
    images: ObjectInfo | None = None
    """The stimulus table, if it was listed."""

    @classmethod
    def from_listing(cls, bucket: Bucket, contents: SubjectContents, query: TrialQuery) -> TrialPlan:
        """Find the objects; NotInBucketError if one is absent."""
        with_table = public_sessions(contents.objects, ["trials"])
        known = {*contents.sessions, *with_table}
        sessions = choose_sessions(bucket, contents.subject, query.sessions, contents.sessions, known)
        if not sessions:
            raise bucket.missing(layout.key("betas", subject=contents.subject, session="ses-01"), contents.objects)
        needed = {}
        for session in sessions:
            for kind in ("trials", "betas"):
                key = layout.key(kind, subject=contents.subject, session=session)
                needed[kind, session] = expect_object(bucket, key, contents.objects)
        betas = {session: needed["betas", session] for session in sessions}
        tables = {session: needed["trials", session] for session in sessions}
        earlier, gap = _earlier_sessions(contents, with_table, last=sessions[-1], chosen=sessions)
        if not gap:
            found = {session: contents.find("trials", session=session) for session in earlier}
            tables = {session: info for session, info in found.items() if info is not None} | tables
        missing = [gap] if gap else []
        if query.sessions is None:
            skipped = sorted(known - set(contents.sessions))
            if skipped:
                missing.append(f"the trials of {in_short(skipped)} (a trial table, but no betas)")
            odd = odd_sessions(contents.subject, contents.objects)
            if odd:
                where = bucket.locate(layout.BETAS.folder(contents.subject))
                expected = "expected the name ses-<number>, also in the names of the files"
                missing.append(f"the folders {in_short(list(map(repr, odd)))} of {where} ({expected})")
        images = contents.objects.get(layout.STIMULUS_METADATA)
        return cls(sessions, betas, tables, not gap, tuple(missing), images)

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """All objects that `read` reads."""
        return (*self.tables.values(), *([self.images] if self.images else []))

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> tuple[pd.DataFrame, Remarks]:
        """Read the chosen sessions' rows, with derived columns and remarks."""
        tables, gap = [], ""
        for session in sorted(self.tables, key=layout.session_number):
            info = self.tables[session]
            parsed = layout.parse_key(info.key)
            participant = layout.PARTICIPANT_CODES.get(parsed.entities["subject"]) if parsed else None
            name = bucket.locate(info.key)
            try:
                table = read_trials(files[info.key], name=name, session=session, participant=participant)
            except UNREADABLE as error:
                if session in self.sessions:
                    raise
                gap = f"repetition (it is counted from the first session on; {error})"
                continue
            tables.append((layout.session_number(session), table))
        stacked = stack_sessions(tables)
        if gap or not self.counts_repetitions:
            stacked = stacked.drop(columns="repetition")
        chosen = stacked[stacked["session"].isin(self.sessions)]
        left_out = [gap] if gap else []
        if self.images:
            try:
                chosen = with_stimuli(chosen, files[self.images.key], name=bucket.locate(self.images.key))
            except UNREADABLE as error:
                left_out.append(f"{STIMULUS} ({error})")
        return chosen, Remarks((*self.missing, *left_out), tuple(not_understood(chosen)))


def _earlier_sessions(
    contents: SubjectContents, with_table: Sequence[str], *, last: str, chosen: Sequence[str]
) -> tuple[list[str], str]:
    """Return all public sessions up to the last chosen one.

    Returns
    -------
    sessions : list of str
        Empty if repetitions cannot be counted.
    reason : str
        Why repetitions cannot be counted; empty if they can.
    """
    reason = "repetition (it is counted from the first session on; {})".format
    until = layout.session_number(last)
    names: dict[int, set[str]] = {}
    for session in with_table:
        names.setdefault(layout.session_number(session), set()).add(session)
    public = [number for number in range(1, until) if number not in layout.HELD_OUT_SESSIONS]
    absent = [f"ses-{number:02d}" for number in public if number not in names]
    if absent:
        return [], reason(f"no trial table of {in_short(absent)}")
    earlier: list[str] = []
    for number in sorted(number for number in names if number <= until):
        same = names[number]
        for preferred in (same & set(chosen), same & set(contents.sessions)):
            same = preferred or same
        if len(same) > 1:
            return [], reason(f"session {number} has several folders, {in_short(sorted(same))}")
        earlier += same
    return earlier, ""
