"""Downloading, under the function name of the data set's own package: thin over `mirror.mirror_bucket`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.config import get_data_dir
from intake_laion_fmri.errors import (
    BucketUnreachableError,
    NoMatchingDataError,
    NotInBucketError,
    NotYetError,
    OfflineWarning,
    UnknownValueError,
)
from intake_laion_fmri.mirror.report import MirrorPlan
from intake_laion_fmri.mirror.run import fill_mirror, licence_notice, plan_mirror
from intake_laion_fmri.mirror.selection import AVERAGES, MirrorSelection
from intake_laion_fmri.remote.access import Bucket

__all__ = ["AVERAGES", "download"]


def download(
    subject: str | Sequence[str] | None = None,
    ses: str | int | Sequence[str | int] | None = None,
    task: str | Sequence[str] | None = None,
    space: str | Sequence[str] | None = None,
    desc: str | Sequence[str] | None = None,
    stat: str | Sequence[str] | None = None,
    suffix: str | Sequence[str] | None = None,
    extension: str | Sequence[str] | None = None,
    include_stimuli: bool = False,
    include_embeddings: bool | Sequence[str] = False,
    include_freesurfer: bool = False,
    include_anatomical: bool = False,
    include_raw: bool = False,
    include_localizers: bool = False,
    n_jobs: int = 1,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Copy a part of the bucket to the folder that `config.dataset_initialize` has named, and print what was copied.

    What is opened afterwards is read from there. A second call copies what is missing or was replaced.
    The first one into a folder prints a notice on the data's licence; nothing is asked.

    Parameters
    ----------
    subject : str or sequence of str, optional
        ``"sub-01"`` or ``"01"``; all by default.
    ses : str, int or sequence of these, optional
        ``"ses-01"``, ``"01"``, ``1``; ``"averages"`` for the files of a subject as a whole. With a session comes what
        reading it needs of its subject: noise ceilings, mean R2, ROIs and the brain mask.
    task, space, desc, stat, suffix, extension : str or sequence of str, optional
        BIDS entities that the files' names must have, with or without the prefix. A file in whose name an entity does
        not occur is copied.
    include_stimuli : bool, default False
        Whether to copy the public tables about the stimuli too. The images are given by the data set's authors only.
    include_anatomical : bool, default False
        Accepted and without effect: the anatomy of a subject always comes along, because masks and pictures need it.
    include_embeddings, include_freesurfer, include_raw, include_localizers : bool, default False
        Not here yet: see Raises.
    n_jobs : int, default 1
        Large files at a time.
    bucket, storage_options
        As in `intake_laion_fmri.open_betas`.

    Raises
    ------
    ValueError
        If an argument cannot be what it should, or `n_jobs` is below 1.
    NoMatchingDataError
        If a subject, session or entity is unknown, with the nearest names, or nothing is all of what was asked for. It
        is a ValueError and a FileNotFoundError.
    NotYetError
        If files are asked for that this package cannot copy yet.
    DataDirNotSetError
        If no folder was named with `config.dataset_initialize`.
    AccessDeniedError
        If a held-out session is asked for, or the images.
    NotInBucketError, BucketUnreachableError, DataIntegrityError, OSError
        As in `mirror.mirror_bucket`.

    Warns
    -----
    OfflineWarning
        If the bucket does not answer, and all that is chosen is there by the listing of the last time.

    References
    ----------
    ``laion_fmri.download`` of the data set's own package.
    """
    _expect_none(
        embeddings=include_embeddings,
        freesurfer=include_freesurfer,
        raw=include_raw,
        localizers=include_localizers,
    )
    entities = {"task": task, "space": space, "desc": desc, "stat": stat, "suffix": suffix, "extension": extension}
    MirrorSelection.from_arguments(subjects=subject, sessions=ses, entities=entities, include_stimuli=include_stimuli)
    if n_jobs < 1:
        raise ValueError(f"n_jobs must be at least 1, found {n_jobs!r}.")
    to = Path(get_data_dir())
    notice = licence_notice(to)
    if notice:
        print(notice)
    choice: dict[str, Any] = {
        "bucket": bucket,
        "storage_options": storage_options,
        "subjects": subject,
        "sessions": ses,
        "entities": entities,
        "include_stimuli": include_stimuli,
    }
    try:
        plan = plan_mirror(to, **choice)
    except UnknownValueError as error:
        raise NoMatchingDataError(str(error)) from None
    except BucketUnreachableError as error:
        plan = _expect_complete(to, choice, error)
        print(f"All {len(plan.objects)} files are in {to}, by the listing of the last download.")
        return
    report = fill_mirror(plan, jobs=n_jobs)
    received = f"{report.fetched} of {report.n_files} files ({report.bytes_received / 1e6:.1f} MB) were copied"
    print(
        f"{received} to {report.to}; the others were there."
        if report.fetched < report.n_files
        else f"{received} to {report.to}."
    )
    for line in report.left_out:
        print(line)


def _expect_none(**wanted: bool | Sequence[str]) -> None:
    """Raise NotYetError for the first tree that is wanted."""
    for tree, is_wanted in wanted.items():
        if is_wanted:
            raise NotYetError(
                f"include_{tree}=True: these files are not copied yet. Until then copy that part of "
                f"{layout.BUCKET_URL} with any S3 client; what lies in the folder stays there."
            )


def _expect_complete(to: Path, choice: Mapping[str, Any], error: BucketUnreachableError) -> MirrorPlan:
    """Return what was chosen, by the last listing; raise the error unless all of it is there."""
    try:
        plan = plan_mirror(to, **choice, offline=True)
    except (NotInBucketError, ValueError):
        raise error from error.__cause__
    if plan.fetch:
        raise error
    warnings.warn(f"{plan.bucket.url} does not answer: nothing was copied. ({error})", OfflineWarning, stacklevel=3)
    return plan
