"""From a selection of contrasts to their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from intake_laion_fmri import layout
from intake_laion_fmri.axes.contrasts import POOLED_TASKS, Stat
from intake_laion_fmri.axes.vertices import HEMISPHERES, SURFACE_SPACE
from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    NotInBucketError,
    check_option,
    in_short,
    is_several,
    unknown_value,
)
from intake_laion_fmri.reading.arguments import check_argument, chosen
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

ON_BETAS = "1pt8"
"""Resolution of the maps on the betas' grid."""

FITTED = "1pt5"
"""Resolution of the maps as they were fitted, on a grid of their own."""

_KINDS = {
    ("z", layout.SPACE): "localizer",
    ("z", SURFACE_SPACE): "localizer_gii",
    ("effect", layout.SPACE): "localizer_run",
    ("effect", SURFACE_SPACE): "localizer_run_gii",
}


@dataclass(frozen=True)
class LocalizerQuery:
    """A checked selection of contrasts."""

    task: str | None
    """None for all tasks except the parts of a pooled one."""
    contrasts: tuple[str, ...] | None
    """None for all."""
    stat: str
    """``z`` or ``effect``."""
    space: str
    """``T1w`` or ``fsnative``."""
    res: str
    """Resolution of volumes: `ON_BETAS` or `FITTED`."""
    hemis: tuple[str, ...]
    """Hemispheres of surfaces; a single empty text for volumes."""

    @classmethod
    def from_arguments(
        cls,
        task: object,
        contrast: object = None,
        stat: str = "z",
        space: str = layout.SPACE,
        res: str = ON_BETAS,
        hemi: str = "all",
    ) -> LocalizerQuery:
        """Check the arguments of a user; ValueError if one is wrong."""
        check_option("stat", stat, valid=get_args(Stat))
        check_option("space", space, valid=(layout.SPACE, SURFACE_SPACE))
        check_option("res", res, valid=(ON_BETAS, FITTED))
        hemis = chosen("hemi", hemi, HEMISPHERES)
        checked: Any = check_argument("task", task)
        names = None if contrast is None else tuple(contrast) if is_several(contrast) else (contrast,)  # type: ignore[arg-type]
        if names is not None and not (names and all(isinstance(name, str) for name in names)):
            raise ValueError(
                f"contrast={contrast!r} is not a contrast. Expected a name such as 'faceVsObject', a list of names, or "
                "None."
            )
        on_surface = space == SURFACE_SPACE
        wanted = None if names is None else tuple(dict.fromkeys(map(str, names)))
        return cls(checked, wanted, stat, space, res, hemis if on_surface else ("",))

    @property
    def form(self) -> str:
        """Description of the requested files."""
        return _form(self.stat, self.space, self.res)


def _form(stat: str, space: str, res: str) -> str:
    return f"stat={stat!r}, space={space!r}" + ("" if space == SURFACE_SPACE else f", res={res!r}")


@dataclass(frozen=True)
class _File:
    """A localizer map, as described by its key."""

    info: ObjectInfo
    kind: str
    task: str
    session: str
    contrast: str
    run: int
    """0 for maps over all runs."""
    stat: str
    res: str
    hemi: str

    def is_of(self, query: LocalizerQuery) -> bool:
        """Return True if the map has the requested form."""
        is_form = self.stat == query.stat and self.kind == _KINDS[query.stat, query.space]
        return is_form and (self.hemi in query.hemis if self.hemi else self.res == query.res)


def _files(objects: Mapping[str, ObjectInfo]) -> Iterator[_File]:
    for key, info in objects.items():
        parsed = layout.parse_key(key)
        if parsed and parsed.kind in _KINDS.values():
            found = parsed.entities
            run = found.get("run", "0")
            if not run.isdecimal():
                continue
            more = (found["contrast"], int(run), found["stat"], found.get("res", ""), found.get("hemi", ""))
            yield _File(info, parsed.kind, found["task"], found["session"], *more)


@dataclass(frozen=True)
class LocalizerPlan:
    """Files of contrasts, read when they are computed."""

    contrasts: tuple[str, ...]
    """In the order of the result."""
    tasks: tuple[str, ...]
    """Task of each."""
    sessions: tuple[str, ...]
    """Session of each."""
    runs: tuple[int, ...]
    """Ascending; a single 0 for maps over all runs."""
    files: Mapping[tuple[str, str, int], ObjectInfo]
    """Hemisphere (empty for volumes), contrast and run → file."""
    missing: tuple[str, ...]
    """Descriptions of files that are left out."""

    @classmethod
    def from_listing(
        cls, bucket: Bucket, subject: str, objects: Mapping[str, ObjectInfo], query: LocalizerQuery
    ) -> LocalizerPlan:
        """Find the objects of a selection.

        Raises
        ------
        ValueError
            For an unknown task or contrast, and for effects of several tasks.
        NotInBucketError
            If the subject has no localizer maps, or none in the requested form.
        AccessDeniedError
            If the task was recorded in a held-out session and is not public.
        """
        every = list(_files(objects))
        public = [file for file in every if layout.is_of_public(file.info.key)]
        where = bucket.locate(layout.LOCALIZERS.folder(subject))
        if not public:
            raise NotInBucketError(
                f"{where} holds no localizer map. If this is a partial copy, fetch that folder: "
                "'intake-laion-fmri mirror --group localizers'."
            )
        of_tasks = _of_tasks(query, every, public, where=where)
        in_form = [file for file in of_tasks if file.is_of(query)]
        if not in_form:
            task = f" of task {query.task!r}" if query.task else ""
            spaces = [SURFACE_SPACE if file.hemi else layout.SPACE for file in of_tasks]
            there = sorted({_form(file.stat, space, file.res) for file, space in zip(of_tasks, spaces, strict=True)})
            raise NotInBucketError(f"{where} holds no maps{task} with {query.form}. Choose from: {'; '.join(there)}.")
        names = _chosen_contrasts(query, in_form, [file for file in public if file.is_of(query)], where)
        in_form = [file for file in in_form if file.contrast in names]
        tasks = sorted({file.task for file in in_form})
        if query.stat == "effect" and len(tasks) > 1:
            raise ValueError(
                f"stat='effect' needs a single task, because runs count within a task: choose task= from "
                f"{in_short(tasks)}."
            )
        found = _each_once(bucket, in_form)
        names, runs, missing = _complete(bucket, query, names, in_form, found)
        first = {file.contrast: file for file in in_form}
        return cls(
            names,
            tuple(first[name].task for name in names),
            tuple(first[name].session for name in names),
            runs,
            {key: file.info for key, file in found.items() if key[1] in names and key[2] in runs},
            missing,
        )

    def infos(self, hemi: str = "") -> list[list[ObjectInfo]]:
        """Return each contrast's files by run."""
        return [[self.files[hemi, name, run] for run in self.runs] for name in self.contrasts]


def _of_tasks(query: LocalizerQuery, every: Sequence[_File], public: Sequence[_File], where: str) -> list[_File]:
    """Return the chosen tasks' files."""
    known = sorted({file.task for file in public}, key=str.casefold)
    if query.task is None:
        return [file for file in public if POOLED_TASKS.get(file.task) not in known]
    held_out = {file.task: file.session for file in every if not layout.is_of_public(file.info.key)}
    if query.task not in known and query.task in held_out:
        raise AccessDeniedError(
            f"Task {query.task!r} was recorded in {held_out[query.task]}, which is held out by the data set's authors. "
            f"Use one of {in_short(known)}, or ask {layout.CONTACT}."
        )
    if query.task not in known:
        raise unknown_value("task", query.task, known, where=where)
    return [file for file in public if file.task == query.task]


def _chosen_contrasts(
    query: LocalizerQuery, files: Sequence[_File], others: Sequence[_File], where: str
) -> tuple[str, ...]:
    """Return the names of the chosen contrasts; ValueError if one is absent."""
    known = sorted(files, key=lambda file: (file.task.casefold(), file.contrast.casefold()))
    names = tuple(dict.fromkeys(file.contrast for file in known))
    for name in query.contrasts or ():
        if name in names:
            continue
        elsewhere = sorted({file.task for file in others if file.contrast == name})
        if elsewhere:
            raise ValueError(
                f"contrast={name!r} belongs to task {' and '.join(map(repr, elsewhere))}. Choose "
                f"task={elsewhere[0]!r}, or one of the contrasts {in_short(names)}."
            )
        raise unknown_value("contrast", name, names, where=where)
    return query.contrasts or names


def _each_once(bucket: Bucket, files: Sequence[_File]) -> dict[tuple[str, str, int], _File]:
    found: dict[tuple[str, str, int], _File] = {}
    for file in files:
        other = found.setdefault((file.hemi, file.contrast, file.run), file)
        if other is not file:
            raise DataIntegrityError(
                f"{bucket.locate(other.info.key)} and {bucket.locate(file.info.key)} are files of the same contrast. "
                "Choose task= if they belong to two tasks; otherwise remove the wrong one."
            )
    return found


def _complete(
    bucket: Bucket,
    query: LocalizerQuery,
    names: Sequence[str],
    files: Sequence[_File],
    found: Mapping[tuple[str, str, int], _File],
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Return complete contrasts and runs, and descriptions of the others.

    An incomplete contrast is left out unless the user named it; for effects, the incomplete run is left out.
    """
    runs = sorted({file.run for file in files})
    keys = [(hemi, name, run) for run in runs for name in names for hemi in query.hemis]
    gaps = [key for key in keys if key not in found]
    by_run = query.stat == "effect"
    kept = tuple(name for name in names if by_run or all(name != gap[1] for gap in gaps))
    complete = tuple(run for run in runs if not by_run or all(run != gap[2] for gap in gaps))
    words = [
        f"{name}" + (f" in run {run}" if by_run else "") + (f" on hemisphere {hemi}" if hemi else "")
        for hemi, name, run in gaps
    ]
    if gaps and not (kept and complete and (by_run or query.contrasts is None)):
        where = bucket.locate(files[0].info.key).rpartition("/")[0]
        raise NotInBucketError(
            f"{where} has no map of {words[0]} ({query.form}). Choose contrast= or hemi= without it, or fetch the file."
        )
    missing = [f"run {gap[2]}" if by_run else f"contrast {gap[1]}" for gap in gaps]
    reasons = dict(zip(reversed(missing), reversed(words), strict=True))
    return kept, complete, tuple(f"{name} (no map of {reason})" for name, reason in reasons.items())
