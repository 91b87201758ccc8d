"""Checks of users' arguments that need no bucket."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from intake_laion_fmri import layout
from intake_laion_fmri.axes.events import COLUMNS as EVENT_COLUMNS
from intake_laion_fmri.axes.images import named_images
from intake_laion_fmri.axes.rois import check_selection
from intake_laion_fmri.axes.trials import STIMULI
from intake_laion_fmri.axes.vertices import Hemisphere
from intake_laion_fmri.axes.voxels import MapName, Mask, NoiseCeiling
from intake_laion_fmri.errors import check_each, check_option, is_several, unknown_value
from intake_laion_fmri.remote.access import check_storage_options, open_bucket, open_root, open_store
from intake_laion_fmri.splits import SPLITS, Pool, Role

All = Literal["all"]
ALL: All = "all"
"""Every session, map, format or hemisphere that there is."""

Format = Literal["volume", "func.gii", "label"]
"""A format of ROIs."""

FORMATS: tuple[Format, ...] = get_args(Format)

ZScore = Literal["session", "run"]
"""Trials over which a voxel is scaled."""

Chunks = Literal["session", "voxel"] | Mapping[str, int]
"""Blocks of lazy betas: a session each, or all trials and some thousand voxels, or ``{"voxel": 1024}``."""

GridForm = Literal["voxel", "volume"]
"""The form of a map: the chosen voxels, or the grid as a whole."""

MapSelection = All | MapName | Sequence[MapName]
"""``"all"``, a map, or a list of maps."""

SessionSelection = str | int | Sequence[str | int]
"""``"all"``, a session, or a list of sessions."""


def check_argument(name: str, value: object) -> object:
    """Return an argument in canonical form.

    Raises
    ------
    ValueError, TypeError
        If the value is wrong in every bucket.
    """
    return _CHECKS[name](value)


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, object], *, where: str) -> None:
    """Check the arguments of an opener by name and value.

    Parameters
    ----------
    function : callable
        The opener.
    arguments : mapping of str to object
        Name → value.
    where : str
        Name of the opener for errors.

    Raises
    ------
    TypeError
        If the opener has no such argument, with the nearest names.
    ValueError, TypeError
        If a value is wrong in every bucket.
    """
    names = inspect.signature(function).parameters
    for name, value in arguments.items():
        if name not in names:
            raise TypeError(str(unknown_value("argument", name, names, where=where)))
        if name in _CHECKS:  # other arguments are checked by the opener itself
            check_argument(name, value)


def labels_alone(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Replace Datasets and tables of images by their labels for saving."""
    return {name: _check_images(value) if name == "images" else value for name, value in arguments.items()}


def _check_images(images: object) -> object:
    return images if images is None or isinstance(images, str) else named_images(images)


def check_chunks(chunks: object) -> Chunks:
    """Return the chunking of lazy betas, checked.

    Raises
    ------
    ValueError
        If `chunks` is not ``"session"``, ``"voxel"`` or ``{"voxel": n}``.
    """
    if isinstance(chunks, Mapping):
        width = chunks.get("voxel")
        if set(chunks) == {"voxel"} and isinstance(width, int) and not isinstance(width, bool) and width > 0:
            return {"voxel": width}
    elif chunks in ("session", "voxel"):
        return chunks
    raise ValueError(
        f"chunks={chunks!r}: expected 'session', 'voxel', or a number of voxels such as {{'voxel': 1024}}. The "
        "trials of a session are never split."
    )


def check_sessions(session: object) -> tuple[str, ...] | None:
    """Return the chosen sessions, ascending, without repeats; None for all.

    Raises
    ------
    ValueError
        If a value is not a session, or the list is empty.
    """
    names = _check_names("session", session, layout.session_name)
    return None if names is None else tuple(sorted(names, key=layout.session_number))


def check_subjects(subjects: object) -> tuple[str, ...] | None:
    """Return the chosen subjects, sorted, without repeats; None for all.

    Raises
    ------
    ValueError
        If a value is not a subject, or the list is empty.
    """
    names = _check_names("subjects", subjects, layout.subject_name)
    return None if names is None else tuple(sorted(names))


def _check_names(argument: str, value: object, canonical: Callable[[object], str]) -> set[str] | None:
    """Return the names in an argument; None for ``"all"``."""
    if isinstance(value, str) and value.strip() == ALL:
        return None
    if not is_several(value):
        return {canonical(value)}
    names = {canonical(name) for name in value}  # type: ignore[attr-defined]
    if not names:
        noun = argument.removesuffix("s")
        raise ValueError(
            f"{argument}=[] is empty. Expected 'all', a {noun} such as {canonical(1)!r}, or a list of them."
        )
    return names


def chosen(name: str, value: str, valid: Iterable[str]) -> tuple[str, ...]:
    """Return the chosen values, or all valid ones for ``"all"``."""
    check_argument(name, value)
    return tuple(valid) if value == ALL else (value,)


def _check_maps(maps: object) -> tuple[str, ...] | None:
    """Return the chosen maps, in order, without repeats; None for all."""
    if isinstance(maps, str) and maps == ALL:
        return None
    names = check_each("map", maps, valid=get_args(MapName))
    if not names:
        raise ValueError("maps=[] is empty. Expected 'all', a map such as 'nc_12rep', or a list of them.")
    return tuple(dict.fromkeys(names))


def _check_pool(pool: object) -> str:
    if is_several(pool) and len(pools := {str(name) for name in pool}) > 1:  # type: ignore[attr-defined]
        raise ValueError(
            f"pool={sorted(pools)} asks for several pools in one call. That leaks test data: test images of one pool "
            "are training images of another. Choose pool='shared' or pool='subject' for the whole analysis."
        )
    check_option("pool", pool, valid=get_args(Pool))
    return str(pool)


def check_flag(name: str, value: object) -> bool:
    """Return a truth value; TypeError for anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, found {value!r}.")
    return value


def _check_task(name: str, value: object) -> str | None:
    """Return a task's name; the bucket decides whether it exists."""
    if value is not None and not (isinstance(value, str) and value.isalnum()):
        raise ValueError(f"{name}={value!r} is not a task. Expected a name such as 'floc', or None.")
    return value


def _check_runs(run: object) -> tuple[int, ...] | None:
    """Return the numbers of runs, without repeats; None for all."""
    if run is None:
        return None
    asked: list[Any] = list(run) if is_several(run) else [run]  # type: ignore[call-overload]
    for number in asked or [None]:
        if isinstance(number, bool) or not isinstance(number, numbers.Integral) or int(number) < 1:
            raise ValueError(f"run={run!r} is not a run. Expected a positive integer, a list of them, or None.")
    return tuple(dict.fromkeys(map(int, asked)))


def _check_events(columns: object) -> tuple[str, ...]:
    """Return the columns of events, without repeats."""
    return () if columns is None else tuple(dict.fromkeys(check_each("events", columns, valid=EVENT_COLUMNS)))


def _check_percentage(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"min_noise_ceiling must be a percentage from 0 to 100, found {value!r}.")
    try:
        percentage = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        percentage = math.inf
    if not math.isfinite(percentage):
        raise ValueError(f"min_noise_ceiling must be a percentage from 0 to 100, found {percentage}.")
    if 0 < percentage < 1:
        raise ValueError(
            f"min_noise_ceiling={percentage} looks like a fraction, but the maps are in percent. "
            f"Write {percentage * 100:g} for {percentage * 100:g} %."
        )
    if not 0 <= percentage <= 100:
        raise ValueError(f"min_noise_ceiling must be a percentage from 0 to 100, found {percentage:g}.")
    return percentage


_CHECKS: Mapping[str, Callable[[Any], object]] = {
    "subject": layout.subject_name,
    "chunks": check_chunks,
    "zscore": lambda value: check_option("zscore", value, valid=get_args(ZScore), optional=True),
    # None selects the maps of the whole subject; the other openers refuse it themselves.
    "session": lambda session: None if session is None else check_sessions(session),
    "roi": check_selection,
    "format": functools.partial(check_option, "format", valid=(*FORMATS, ALL)),
    "hemi": functools.partial(check_option, "hemi", valid=(*get_args(Hemisphere), ALL)),
    "maps": _check_maps,
    "grid": functools.partial(check_option, "grid", valid=get_args(GridForm)),
    "mask": functools.partial(check_option, "mask", valid=get_args(Mask)),
    "min_noise_ceiling": _check_percentage,
    "noise_ceiling": functools.partial(check_option, "noise_ceiling", valid=get_args(NoiseCeiling)),
    "stimuli": functools.partial(check_option, "stimuli", valid=STIMULI, optional=True),
    "split": functools.partial(check_option, "split", valid=SPLITS, optional=True),
    "pool": _check_pool,
    "role": functools.partial(check_option, "role", valid=get_args(Role)),
    "events": _check_events,
    "sidecars": functools.partial(check_flag, "sidecars"),
    "run": _check_runs,
    "localizers": functools.partial(_check_task, "localizers"),
    "task": functools.partial(_check_task, "task"),
    "splits": lambda splits: None if splits is None else open_root(splits, argument="splits"),
    "images": _check_images,
    "refresh": functools.partial(check_flag, "refresh"),
    "bucket": lambda bucket: None if bucket is None else open_root(bucket),
    "storage_options": check_storage_options,
    "mirror": lambda mirror: None if mirror is None else open_bucket(mirror=mirror),
    "mirror_only": lambda only: None if only is None else check_flag("mirror_only", only),
    "store": lambda store: None if store is None else open_store(store),
    "store_options": functools.partial(check_storage_options, argument="store_options"),
    "fallback": functools.partial(check_flag, "fallback"),
}
"""Argument → its check, for `check_argument`."""
