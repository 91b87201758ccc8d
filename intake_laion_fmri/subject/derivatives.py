"""Paths of localizer files, under the data set's own names.

Source: the interface of ``laion_fmri.derivatives`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from intake_laion_fmri import layout
from intake_laion_fmri.errors import check_option
from intake_laion_fmri.mirror.one_file import path_of_object
from intake_laion_fmri.reading.contents import expect_object
from intake_laion_fmri.remote.access import Bucket, open_bucket

__all__ = ["LOCALIZER_TASKS", "VOLUME_RESOLUTIONS", "localizer_effect_path", "localizer_statmap_path"]

LOCALIZER_TASKS = ("floc", "oloc", "MotionLoc", "MotionLeft", "MotionRight")
VOLUME_RESOLUTIONS = ("1pt8", "1pt5")

_POOLED = "MotionLoc"
"""The task that pools two others and therefore has no runs."""


def localizer_statmap_path(
    subject: str,
    task: str,
    contrast: str,
    session: str | int,
    space: Literal["fsnative", "T1w"] = "fsnative",
    hemi: Literal["L", "R"] | None = None,
    res: Literal["1pt8", "1pt5"] = "1pt5",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror_only: bool | None = None,
) -> Path:
    """Return the path of a contrast's z-values; see also `open_localizers`.

    Parameters
    ----------
    subject : str
        ``"sub-01"`` or ``"01"``.
    task, contrast : str
        One of `LOCALIZER_TASKS`, and a contrast such as ``"faceVsObject"``.
    session : str or int
        Such as ``"ses-4BarScreenfLoc"``, with or without the prefix.
    space : {"fsnative", "T1w"}, default "fsnative"
        On the surface, or in the volume.
    hemi : {"L", "R"}, optional
        Hemisphere, needed on the surface.
    res : {"1pt8", "1pt5"}, default "1pt5"
        Resolution of volumes: that of the betas, or that of the fit.
    data_dir : str or path, optional
        Folder to look in first and to download to; by default the one set with `config.dataset_initialize`.
    bucket, storage_options, mirror_only
        As in `intake_laion_fmri.open_betas`.

    Returns
    -------
    path
        A remote file is downloaded once, to the folder if there is one, otherwise to the user's cache.

    Raises
    ------
    ValueError
        If `task`, `space`, `res` or `hemi` is unknown.
    NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        If there is no such file, or it cannot be downloaded.
    """
    bucket = open_bucket(bucket, storage_options, mirror=data_dir, mirror_only=mirror_only)
    entities = {"contrast": contrast, "stat": "z"}
    return _path(bucket, "localizer", subject, task, session, space, hemi, res, entities)


def localizer_effect_path(
    subject: str,
    task: str,
    condition: str,
    session: str | int,
    run: str | int,
    space: Literal["fsnative", "T1w"] = "fsnative",
    hemi: Literal["L", "R"] | None = None,
    res: Literal["1pt8", "1pt5"] = "1pt5",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror_only: bool | None = None,
) -> Path:
    """Return the path of a condition's percent signal change in one run.

    `condition` is a name such as ``"face"``, `run` is ``1`` or ``"01"``; the other parameters, the file and the errors
    are those of `localizer_statmap_path`. ``MotionLoc`` raises ValueError: it pools the runs of two tasks, and has no
    effects.
    """
    if task == _POOLED:
        raise ValueError(
            "task='MotionLoc' pools two tasks and has no runs of its own: use 'MotionLeft' or 'MotionRight'."
        )
    bucket = open_bucket(bucket, storage_options, mirror=data_dir, mirror_only=mirror_only)
    number = str(run).removeprefix("run-")
    entities = {"contrast": condition, "stat": "effect", "run": number.zfill(2)}
    return _path(bucket, "localizer_run", subject, task, session, space, hemi, res, entities)


def _path(
    bucket: Bucket,
    kind: str,
    subject: str,
    task: str,
    session: str | int,
    space: str,
    hemi: str | None,
    res: str,
    entities: Mapping[str, str],
) -> Path:
    check_option("task", task, valid=LOCALIZER_TASKS)
    check_option("space", space, valid=("fsnative", "T1w"))
    check_option("res", res, valid=VOLUME_RESOLUTIONS)
    check_option("hemi", hemi, valid=("L", "R"), optional=space == "T1w")
    name = layout.subject_name(subject)
    folder = f"ses-{str(session).removeprefix('ses-')}"
    where = {"hemi": str(hemi)} if space == "fsnative" else {"res": res}
    ending = "_gii" if space == "fsnative" else ""
    key = layout.key(f"{kind}{ending}", subject=name, session=folder, task=task, **where, **entities)
    return path_of_object(bucket, expect_object(bucket, key, bucket.find(layout.LOCALIZERS.folder(name))))
