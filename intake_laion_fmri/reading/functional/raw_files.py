"""Files of functional runs, selected by session, task and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import NotInBucketError, in_short, is_several, unknown_value
from intake_laion_fmri.reading.arguments import ALL, check_argument
from intake_laion_fmri.reading.contents import find_each, subjects
from intake_laion_fmri.reading.plans.sessions import choose_sessions
from intake_laion_fmri.remote.access import Bucket, ObjectInfo


@dataclass(frozen=True)
class RunFile:
    """A file of a run, as described by its key."""

    session: str
    """``"ses-01"``."""
    run: int
    """From 1."""
    info: ObjectInfo
    """The object."""
    entities: Mapping[str, str]
    """Entities of its key."""


@dataclass(frozen=True)
class RunFiles:
    """A subject's functional files in a tree."""

    subject: str
    """``"sub-01"``."""
    files: tuple[RunFile, ...]
    """Files of one kind and task, by session and run."""
    objects: Mapping[str, ObjectInfo]
    """All objects in the listed folders."""

    @classmethod
    def from_bucket(
        cls, bucket: Bucket, subject: str, tree: layout.Tree, kind: str, *, session: object, run: object, task: str
    ) -> RunFiles:
        """List the chosen sessions' folders and select files.

        Raises
        ------
        ValueError
            For an unknown subject, session, task or run.
        AccessDeniedError
            If a session is held out.
        NotInBucketError
            If the tree is absent, or has no such file.
        """
        runs: Any = check_argument("run", run)
        root = tree.folder(subject)
        folders = [name for name in bucket.folders(root) if name.startswith("ses-")]
        if not folders:
            known = subjects(bucket)
            if known and subject not in known:
                raise unknown_value("subject", subject, known, where=bucket.url)
            raise NotInBucketError(
                f"There is no session folder in {bucket.locate(root)}. If this is a partial copy, fetch the files: "
                f"'intake-laion-fmri mirror --group {layout.KINDS[kind].group}'."
            )
        sessions = _chosen(bucket, subject, session, folders)
        objects: dict[str, ObjectInfo] = {}
        for found in find_each(bucket, [f"{root}/{name}/func" for name in sessions]):
            objects |= found
        parsed = {key: entry for key in objects if (entry := layout.parse_key(key)) and entry.kind == kind}
        tasks = {entry.entities.get("task", "images") for entry in parsed.values()}
        where = f"{subject} in {bucket.url}"
        if tasks and task not in tasks:
            raise unknown_value("task", task, sorted(tasks), where=where)
        files = [
            RunFile(entry.entities["session"], int(entry.entities["run"]), objects[key], entry.entities)
            for key, entry in parsed.items()
            if entry.entities.get("task", "images") == task and entry.entities["run"].isdecimal()
        ]
        if not files:
            raise NotInBucketError(
                f"{bucket.locate(root)} has no {layout.KINDS[kind].group} of task {task!r} in {in_short(sessions)}. If "
                f"this is a partial copy, fetch them: 'intake-laion-fmri mirror --group {layout.KINDS[kind].group}'."
            )
        there = sorted({file.run for file in files})
        for number in runs or ():
            if number not in there:
                raise unknown_value("run", str(number), list(map(str, there)), where=where)
        kept = [file for file in files if runs is None or file.run in runs]
        order = {name: number for number, name in enumerate(sessions)}
        kept.sort(key=lambda file: (order[file.session], file.run, file.info.key))
        return cls(subject, tuple(kept), objects)


def _chosen(bucket: Bucket, subject: str, session: object, folders: list[str]) -> tuple[str, ...]:
    """Return the chosen sessions' folders, named ones of localizers included."""
    numbered = [name for name in folders if layout.is_session(name)]
    public = [name for name in numbered if not layout.is_held_out(name)]
    named = [name for name in folders if name not in numbered]
    public.sort(key=lambda name: (layout.session_number(name), name))
    if isinstance(session, str) and session.strip() == ALL:
        return (*choose_sessions(bucket, subject, None, public, public), *named)
    asked = list(session) if is_several(session) else [session]  # type: ignore[call-overload]
    chosen = [name for name in named if any(session in (name, name.removeprefix("ses-")) for session in asked)]
    rest = [session for session in asked if not any(session in (name, name.removeprefix("ses-")) for name in named)]
    numbers: Any = check_argument("session", rest) if rest or not asked else ()
    return (*choose_sessions(bucket, subject, numbers, public, numbered), *chosen)
