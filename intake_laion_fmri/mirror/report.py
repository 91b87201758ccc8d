"""Plan, progress and report of a mirror."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from intake_laion_fmri.errors import in_short
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.access import Bucket

__all__ = ["MirrorPlan", "MirrorProgress", "MirrorReport", "left_alone_message"]


@dataclass(frozen=True)
class MirrorPlan:
    """Objects to copy, by the bucket's listing and the mirror's files."""

    to: Path
    """The mirror."""
    bucket: Bucket
    """The bucket."""
    objects: tuple[ObjectInfo, ...]
    """All that was chosen and may be read."""
    complete: tuple[ObjectInfo, ...]
    """Those of which there is a current copy, with a record."""
    unrecorded: tuple[ObjectInfo, ...]
    """Those of which there seems to be one, copied by other means: it is compared with what the bucket tells."""
    fetch: tuple[ObjectInfo, ...]
    """Those that are to be fetched."""
    n_bytes: int
    """Of all objects."""
    bytes_to_fetch: int
    """Of those to be fetched, without what earlier runs have received of them."""
    held_out: int
    """Objects of held-out sessions, which cannot be read."""
    gated: int
    """Objects that require a data use agreement."""
    refused: tuple[tuple[str, str], ...]
    """Keys that cannot be files of a mirror, and why."""
    left_alone: tuple[tuple[str, str], ...]
    """Keys in whose places is what this project did not write, and what that is. More of them may be found when files
    are compared."""
    free_bytes: int
    """Of the mirror's disk."""
    notes: tuple[str, ...] = ()
    """What else users should know, in words."""
    listings: Mapping[str, Mapping[str, ObjectInfo]] = field(default_factory=dict, repr=False)
    """Folder → what the bucket holds there, to be kept in the mirror."""
    pools: tuple[str, ...] = ()
    """Pools whose published split files are brought along, as the bucket has none of its own."""


@dataclass(frozen=True)
class MirrorProgress:
    """Progress of copying, without files that were there before."""

    files: int
    """Files that are done."""
    n_files: int
    """Files to be fetched or checked."""
    bytes: int
    """Bytes that have been received."""
    n_bytes: int
    """Bytes to be received."""
    seconds: float
    """Since the first request."""
    finished: str | None = None
    """Key of the file that has just been finished."""

    @property
    def counted(self) -> str:
        """Finished files in words."""
        return f"{self.files:,} of {self.n_files:,} files"

    @property
    def rate(self) -> float | None:
        """Bytes per second so far; None before the first."""
        return self.bytes / self.seconds if self.bytes and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Remaining time at this rate; None without a rate."""
        return (self.n_bytes - self.bytes) / self.rate if self.rate else None


@dataclass(frozen=True)
class MirrorReport:
    """Result of copying."""

    plan: MirrorPlan = field(repr=False)
    """What was to be copied, and what of it is held out, gated or refused."""
    n_files: int
    """Files of the choice that are complete now: all but those that were left alone."""
    n_bytes: int
    """Their bytes."""
    fetched: int
    """Files that were fetched by this run."""
    adopted: int
    """Files that were there without a record and proved to be the bucket's."""
    replaced: int
    """Fetched files that replaced an outdated or damaged copy of an earlier run."""
    bytes_received: int
    """Bytes that came over the network, or from the folder that was copied."""
    left_alone: tuple[tuple[str, str], ...]
    """Keys in whose places is what this project did not write, and what that is: it was neither read as the bucket's
    nor touched."""
    seconds: float
    """Copying took."""
    notes: tuple[str, ...] = ()
    """Those of the plan, and what else users should know, in words."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Objects left out, with reasons, in words."""
        plan = self.plan
        held_out = f"{plan.held_out} objects of held-out sessions were left out: they cannot be read."
        gated = f"{plan.gated} objects that require a data use agreement were left out."
        refused = [f"{key!r} was left out: it {reason}." for key, reason in plan.refused]
        alone = [left_alone_message(plan.to, self.left_alone)] if self.left_alone else []
        return (*([held_out] if plan.held_out else []), *([gated] if plan.gated else []), *refused, *alone, *self.notes)


def left_alone_message(to: Path, found: Sequence[tuple[str, str]]) -> str:
    """Describe the files left alone, and the next step."""
    named = in_short([f"{key!r} ({what})" for key, what in found], most=5)
    return (
        f"{len(found)} of the bucket's objects were not copied to {to}. What this package did not write is left "
        f"alone: {named}. Move it away and mirror again to have the bucket's files."
    )
