"""Differences between two inventories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from intake_laion_fmri.catalog.inventory import Inventory, SubjectRecord


@dataclass(frozen=True, order=True)
class Change:
    """A difference between a known and a current inventory."""

    subject: str
    """``"sub-01"``; empty for a file."""
    kind: str
    """``subject``, ``session``, ``roi``, ``roi_count`` or ``file``."""
    name: str
    """Name of the session, ROI, category or file."""
    change: str
    """``new``, ``gone`` or ``changed``."""
    detail: str = ""
    """The item, or its old and new values."""

    def __str__(self) -> str:
        items = {"subject": self.subject, "session": f"{self.subject} {self.name}", "file": f"file {self.name}"}
        line = f"{self.change:<8} " + items.get(self.kind, f"{self.subject} {self.kind} {self.name}")
        return f"{line}: {self.detail}" if self.detail else line


def compare(known: Inventory, found: Inventory) -> list[Change]:
    """List new, gone and changed items between two inventories, sorted.

    Sizes or formats that one of them does not know do not count as differences. ROIs whose names were unknown are new,
    and their number is compared with the documented one.
    """
    changes = []
    for subject in {*known.subjects, *found.subjects}:
        was, now = known.subjects.get(subject), found.subjects.get(subject)
        if was is None:
            changes.append(Change(subject, "subject", "", "new", str(now)))
        elif now is None:
            changes.append(Change(subject, "subject", "", "gone", str(was)))
        else:
            before = {record.session: record for record in was.sessions}
            after = {record.session: record for record in now.sessions}
            changes += _compare_records(subject, "session", before, after)
            changes += _compare_rois(subject, was, now)
    return sorted(changes)


def _compare_rois(subject: str, was: SubjectRecord, now: SubjectRecord) -> Iterator[Change]:
    if now.rois is None:
        return
    before = {record.roi: record for record in was.rois or ()}
    yield from _compare_records(subject, "roi", before, {record.roi: record for record in now.rois})
    if was.rois is None:
        for category, count in was.roi_counts.items():
            counted = sum(category in ("all", record.category) for record in now.rois)
            if counted != count:
                yield Change(subject, "roi_count", category, "changed", f"{count} documented, {counted} found")


def _compare_records(subject: str, kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in {*before, *after}:
        was, now = before.get(name), after.get(name)
        if was is None:
            yield Change(subject, kind, name, "new", str(now))
        elif now is None:
            yield Change(subject, kind, name, "gone", str(was))
        else:
            values = [(field.name, getattr(was, field.name), getattr(now, field.name)) for field in fields(was)]
            differences = [
                f"{name} {_text(old)} -> {_text(new)}"
                for name, old, new in values
                if old != new and None not in (old, new)
            ]
            if differences:
                yield Change(subject, kind, name, "changed", "; ".join(differences))


def _text(value: object) -> str:
    return (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    )
