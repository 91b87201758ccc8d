"""Downloads under the data set's own names, thin over `mirror.mirror_bucket`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    BucketUnreachableError,
    NoMatchingDataError,
    NotInBucketError,
    OfflineWarning,
    UnknownValueError,
    is_several,
)
from intake_laion_fmri.mirror.gated import fetch_stimuli
from intake_laion_fmri.mirror.report import MirrorPlan, MirrorProgress
from intake_laion_fmri.mirror.run import NOTICE, fill_mirror, licence_notice, plan_mirror
from intake_laion_fmri.mirror.selection import AVERAGES, MirrorSelection
from intake_laion_fmri.remote.access import Bucket, open_source
from intake_laion_fmri.remote.data_folder import get_data_dir

__all__ = [
    "AVERAGES",
    "accept_license",
    "accept_licenses",
    "download",
    "download_captions",
    "download_embeddings",
    "download_raw",
    "download_segmentations",
    "download_stimuli",
    "request_stimulus_access",
]

_RAW = ["raw", "events"]


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
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy a part of the bucket to the data folder.

    The folder is that of `config.dataset_initialize`. Prints a summary.

    What is opened afterwards is read from there. A second call copies what is missing or was replaced.
    The first one into a folder prints a notice on the data's licence; nothing is asked.

    Parameters
    ----------
    subject : str or sequence of str, optional
        ``"sub-01"`` or ``"01"``; all by default.
    ses : str, int or sequence of these, optional
        ``"ses-01"``, ``"01"``, ``1``; ``"averages"`` for the files of a subject as a whole. With a session comes what
        reading it needs of its subject: noise ceilings, ROIs, and in any case the mean R2 and the brain mask.
    task, space, desc, stat, suffix, extension : str or sequence of str, optional
        BIDS entities that the files' names must have, with or without the prefix. A file in whose name an entity does
        not occur is copied.
    include_stimuli : bool, default False
        Whether to fetch the images too, as `download_stimuli` does: they are given under a data use agreement only.
    include_embeddings : bool or sequence of str, default False
        Whether to copy the embeddings of the images; or the models whose embeddings, such as ``["CLIP"]``.
    include_freesurfer, include_anatomical, include_localizers : bool, default False
        Whether to copy these trees of the subjects, whole: `ses` and the entities do not choose among their files. The
        brain mask and one image on the grid of the betas always come along, because masks and pictures need them.
    include_raw : bool, default False
        Whether to copy the raw data of the sessions: hundreds of GB a subject. The entities choose among these too, and
        may be of these alone: ``suffix="events"``. `download_raw` chooses runs and echoes.
    n_jobs : int, default 1
        Large files at a time.
    bucket, storage_options
        As in `intake_laion_fmri.open_betas`.
    progress : bool or callable, optional
        As in `mirror.mirror_bucket`.

    Raises
    ------
    ValueError
        If an argument cannot be what it should, or `n_jobs` is below 1.
    NoMatchingDataError
        If a subject, session or entity is unknown, with the nearest names, or nothing is all of what was asked for. It
        is a ValueError and a FileNotFoundError.
    DataDirNotSetError
        If no folder was named with `config.dataset_initialize`.
    AccessDeniedError
        If a held-out session is asked for.
    LicenseNotAcceptedError
        If the images are asked for, and the data set's authors have not given them: says where to ask.
    NotInBucketError, BucketUnreachableError, DataIntegrityError, OSError
        As in `mirror.mirror_bucket`.

    Warns
    -----
    OfflineWarning
        If the bucket does not respond, and all that is chosen is there by the listing of the last time.
    """
    entities = {"task": task, "space": space, "desc": desc, "stat": stat, "suffix": suffix, "extension": extension}
    of_sessions = {"subjects": subject, "sessions": ses, "entities": entities}
    is_filtered = any(entities.values())  # then they are looked for in all of it; else there has to be raw data
    besides = {"include_stimuli": include_stimuli, "include_raw": include_raw and is_filtered}
    choices: list[dict[str, Any]] = [{**of_sessions, **besides}]
    trees = {"freesurfer": include_freesurfer, "anatomy": include_anatomical, "localizers": include_localizers}
    if any(trees.values()):
        choices.append({"subjects": subject, "kinds": [tree for tree, is_wanted in trees.items() if is_wanted]})
    if include_raw and not is_filtered:
        choices.append({**of_sessions, "kinds": _RAW})
    if include_embeddings is not False:
        choices.append(_of_models("all" if include_embeddings is True else include_embeddings))
    _copy(choices, None, n_jobs, bucket, storage_options, progress)
    if include_stimuli and open_source(bucket, storage_options).url == layout.BUCKET_URL:
        download_stimuli()  # a bucket of one's own has no service that gives them


def download_raw(
    subject: str | Sequence[str] | None = None,
    ses: str | int | Sequence[str | int] | None = None,
    task: str | Sequence[str] | None = None,
    run: str | int | Sequence[str | int] | None = None,
    echo: str | int | Sequence[str | int] | None = None,
    part: str | Sequence[str] | None = None,
    suffix: str | Sequence[str] | None = None,
    extension: str | Sequence[str] | None = None,
    n_jobs: int = 1,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy raw data and tables of events to the data folder.

    Parameters
    ----------
    subject, ses, task, suffix, extension, n_jobs, bucket, storage_options, progress
        As in `download`. Sessions with names, such as ``ses-PrismaAnat``, come where `ses` is not given.
    run, echo : str, int or sequence of these, optional
        Runs (``1`` or ``"01"``) and echoes (1 to 3).
    part : str or sequence of str, optional
        ``"mag"`` or ``"phase"``. A file in whose name an entity does not occur is copied.

    Raises
    ------
    ValueError, NoMatchingDataError, DataDirNotSetError, AccessDeniedError, NotInBucketError, BucketUnreachableError
        As in `download`, as are DataIntegrityError and OSError.
    """
    entities = {"task": task, "part": part, "suffix": suffix, "extension": extension}
    entities |= {"run": _numbers(run, "02d"), "echo": _numbers(echo, "d")}
    choice = {"subjects": subject, "sessions": ses, "entities": entities, "kinds": _RAW}
    _copy([choice], None, n_jobs, bucket, storage_options, progress)


def download_embeddings(
    models: str | Sequence[str] = "all",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy embeddings of the images to the data folder.

    50 MB a model: ``"CLIP"``, or a list of models; by default all.

    The folder is `data_dir`, or the one that `config.dataset_initialize` has named; errors are those of `download`.
    """
    _copy([_of_models(models)], data_dir, 1, bucket, storage_options, progress)


def download_captions(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy the captions of the images.

    Folder and errors are those of `download_embeddings`.
    """
    _copy([{"kinds": "captions"}], data_dir, 1, bucket, storage_options, progress)


def download_segmentations(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy the segmentations of the shared images, 68 MB.

    Folder and errors are those of `download_embeddings`.
    """
    _copy([{"kinds": "segmentations"}], data_dir, 1, bucket, storage_options, progress)


def download_stimuli(data_dir: str | os.PathLike[str] | None = None, server_url: str | None = None) -> dict[str, Path]:
    """Fetch the images and their table, once access was granted.

    Prints their paths.

    Parameters
    ----------
    data_dir : str or path, optional
        The folder; by default the one that `config.dataset_initialize` has named.
    server_url : str, optional
        Address of the access service; by default ``LAION_FMRI_ACCESS_URL``, or the data set's.

    Returns
    -------
    dict
        Name of each file → where it is. The images may be read by this user alone.

    Raises
    ------
    LicenseNotAcceptedError
        If there is no request id, in ``LAION_FMRI_REQUEST_ID`` or where the data set's own package keeps it, or the
        service does not give the images for it: says what to do. No form is filled in here.
    DataDirNotSetError, BucketUnreachableError, DataIntegrityError, FileExistsError, OSError
        As in `download`; what was received is kept, and the next call goes on with it.
    """
    found = fetch_stimuli(get_data_dir() if data_dir is None else data_dir, server_url=server_url)
    for path in found.values():
        print(path)
    return found


def accept_license() -> None:
    """Print the licence of the data.

    Only the images need an agreement.
    """
    print(NOTICE)


def accept_licenses(include_stimuli: bool = False) -> None:
    """Do what `accept_license` does, under the name that it had before; `include_stimuli` has no effect."""
    accept_license()


def request_stimulus_access() -> str:
    """Print and return the address of the images' request form.

    No connection is made.
    """
    print(
        "The images require a data use agreement. Request access with your name, institution, institutional "
        f"e-mail address and purpose: {layout.REQUEST_URL}"
    )
    return layout.REQUEST_URL


def _numbers(given: object, form: str) -> Any:
    """Format numbers as in names, such as ``"01"``; other values are unchanged."""
    if is_several(given):
        return [_numbers(one, form) for one in given]  # type: ignore[attr-defined]
    text = str(given).rpartition("-")[2]
    return given if given is None or not text.isdecimal() else format(int(text), form)


def _of_models(models: str | Sequence[str]) -> dict[str, Any]:
    names = [models] if isinstance(models, str) else list(models)
    return {"kinds": "embeddings", "entities": {} if names == ["all"] else {"desc": names}}


def _copy(
    choices: Sequence[Mapping[str, Any]],
    data_dir: str | os.PathLike[str] | None,
    n_jobs: int,
    bucket: str | os.PathLike[str] | Bucket | None,
    storage_options: Mapping[str, Any] | None,
    progress: bool | Callable[[MirrorProgress], None] | None,
) -> None:
    """Copy parts of the bucket after all of them were found.

    Prints a summary.
    """
    for choice in choices:
        MirrorSelection.from_arguments(**choice)
    if n_jobs < 1:
        raise ValueError(f"n_jobs must be at least 1, found {n_jobs!r}.")
    to = Path(get_data_dir() if data_dir is None else data_dir)
    notice = licence_notice(to)
    if notice:
        print(notice)
    plans = [
        plan
        for choice in choices
        if (plan := _planned(to, {**choice, "bucket": bucket, "storage_options": storage_options}))
    ]
    reports = [fill_mirror(plan, jobs=n_jobs, progress=progress) for plan in plans]
    if reports:
        fetched, n_files = sum(report.fetched for report in reports), sum(report.n_files for report in reports)
        received = f"{sum(report.bytes_received for report in reports) / 1e6:.1f} MB"
        others = "; the others were there" if fetched < n_files else ""
        print(f"{fetched} of {n_files} files ({received}) were copied to {to}{others}.")
    for line in dict.fromkeys(line for report in reports for line in report.left_out):
        print(line)


def _planned(to: Path, choice: Mapping[str, Any]) -> MirrorPlan | None:
    """Plan a part of the bucket.

    None, with a warning, if the bucket does not respond and the part is complete.
    """
    try:
        return plan_mirror(to, **choice)
    except UnknownValueError as error:
        raise NoMatchingDataError(str(error)) from None
    except BucketUnreachableError as error:
        try:
            plan = plan_mirror(to, **choice, offline=True)
        except (NotInBucketError, ValueError):
            raise error from error.__cause__
        if plan.fetch:
            raise
        warnings.warn(
            f"{plan.bucket.url} does not respond: nothing was copied. ({error})", OfflineWarning, stacklevel=4
        )
        print(f"All {len(plan.objects)} files are in {to}, by the listing of the last download.")
        return None
