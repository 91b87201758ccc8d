"""Downloads under the data set's own names, built on `mirror.mirror_bucket`."""

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

    Prints a summary. The folder is the one set with `config.dataset_initialize`; later reads use it. A second call
    copies only files that are missing or were replaced in the bucket. The first call for a folder prints a notice on
    the data's licence, without asking for confirmation.

    Parameters
    ----------
    subject : str or sequence of str, optional
        ``"sub-01"`` or ``"01"``; by default all subjects.
    ses : str, int or sequence of these, optional
        ``"ses-01"``, ``"01"``, ``1``; ``"averages"`` for the files of a subject as a whole. The subject's files that
        reading a session needs are copied with it: noise ceilings, ROIs, and always the mean R2 and the brain mask.
    task, space, desc, stat, suffix, extension : str or sequence of str, optional
        BIDS entities that the file names must have, with or without the prefix. Files whose names do not contain an
        entity are copied regardless of it.
    include_stimuli : bool, default False
        Whether to download the images as well, as `download_stimuli` does. They require a data use agreement.
    include_embeddings : bool or sequence of str, default False
        Whether to copy the embeddings of the images, or the models to copy, such as ``["CLIP"]``.
    include_freesurfer, include_anatomical, include_localizers : bool, default False
        Whether to copy these trees of the subjects, as a whole: `ses` and the entities do not apply to their files. The
        brain mask and one image on the grid of the betas are always copied, because masks and pictures need them.
    include_raw : bool, default False
        Whether to copy the raw data of the sessions: hundreds of GB per subject. The entities apply to these too, and
        may occur only there, such as ``suffix="events"``. To select runs and echoes use `download_raw`.
    n_jobs : int, default 1
        Number of large files copied at the same time.
    bucket, storage_options
        As in `intake_laion_fmri.open_betas`.
    progress : bool or callable, optional
        As in `mirror.mirror_bucket`.

    Raises
    ------
    ValueError
        If an argument is invalid, or `n_jobs` is below 1.
    NoMatchingDataError
        If a subject, session or entity is unknown, or no file matches all of the selection; the message lists the
        nearest names. It is a ValueError and a FileNotFoundError.
    DataDirNotSetError
        If no folder was set with `config.dataset_initialize`.
    AccessDeniedError
        If a held-out session is requested.
    LicenseNotAcceptedError
        If the images are requested without access to them; the message says how to request it.
    NotInBucketError, BucketUnreachableError, DataIntegrityError, OSError
        As in `mirror.mirror_bucket`.

    Warns
    -----
    OfflineWarning
        If the bucket does not respond, and by the last listing the folder already has all selected files.
    """
    entities = {"task": task, "space": space, "desc": desc, "stat": stat, "suffix": suffix, "extension": extension}
    of_sessions = {"subjects": subject, "sessions": ses, "entities": entities}
    # With entities, one selection covers all trees; without, raw data is a selection that must not be empty.
    is_filtered = any(entities.values())
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
        download_stimuli()  # only the data set's own bucket has an access service


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
    """Copy raw data and event tables to the data folder.

    Parameters
    ----------
    subject, ses, task, suffix, extension, n_jobs, bucket, storage_options, progress
        As in `download`. Without `ses`, sessions with names such as ``ses-PrismaAnat`` are included.
    run, echo : str, int or sequence of these, optional
        Runs (``1`` or ``"01"``) and echoes (1 to 3).
    part : str or sequence of str, optional
        ``"mag"`` or ``"phase"``. Files whose names do not contain an entity are copied regardless of it.

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

    `models` is a model such as ``"CLIP"``, or a list of models; by default all. Each is 50 MB. The folder is
    `data_dir`, or the one set with `config.dataset_initialize`; errors are those of `download`.
    """
    _copy([_of_models(models)], data_dir, 1, bucket, storage_options, progress)


def download_captions(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy the captions of the images; otherwise as `download_embeddings`."""
    _copy([{"kinds": "captions"}], data_dir, 1, bucket, storage_options, progress)


def download_segmentations(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | Callable[[MirrorProgress], None] | None = None,
) -> None:
    """Copy the segmentations (68 MB); otherwise as `download_embeddings`."""
    _copy([{"kinds": "segmentations"}], data_dir, 1, bucket, storage_options, progress)


def download_stimuli(data_dir: str | os.PathLike[str] | None = None, server_url: str | None = None) -> dict[str, Path]:
    """Download the images and their table, and print their paths.

    The data set's authors must have granted access; see `request_stimulus_access`.

    Parameters
    ----------
    data_dir : str or path, optional
        The folder; by default the one set with `config.dataset_initialize`.
    server_url : str, optional
        URL of the access service; by default ``LAION_FMRI_ACCESS_URL``, or that of the data set.

    Returns
    -------
    dict
        From the name of each file to its path. Only this user can read the images.

    Raises
    ------
    LicenseNotAcceptedError
        If there is no request id, in ``LAION_FMRI_REQUEST_ID`` or where the data set's own package keeps it, or the
        service refuses it; the message says what to do. This function does not submit a request.
    DataDirNotSetError, BucketUnreachableError, DataIntegrityError, FileExistsError, OSError
        As in `download`; received bytes are kept, and the next call resumes from them.
    """
    found = fetch_stimuli(get_data_dir() if data_dir is None else data_dir, server_url=server_url)
    for path in found.values():
        print(path)
    return found


def accept_license() -> None:
    """Print the licence of the data; only the images need an agreement."""
    print(NOTICE)


def accept_licenses(include_stimuli: bool = False) -> None:
    """Alias of `accept_license`; `include_stimuli` has no effect."""
    accept_license()


def request_stimulus_access() -> str:
    """Print and return the URL of the images' request form, without connecting."""
    print(
        "The images require a data use agreement. Request access with your name, institution, institutional "
        f"e-mail address and purpose: {layout.REQUEST_URL}"
    )
    return layout.REQUEST_URL


def _numbers(given: object, form: str) -> Any:
    """Format numbers as in file names, such as ``"01"``; keep other values."""
    if is_several(given):
        return [_numbers(number, form) for number in given]  # type: ignore[attr-defined]
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
    """Plan all parts of the bucket, copy them, and print a summary."""
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
        others = "; the others were already there" if fetched < n_files else ""
        print(f"Copied {fetched} of {n_files} files ({received}) to {to}{others}.")
    for line in dict.fromkeys(line for report in reports for line in report.left_out):
        print(line)


def _planned(to: Path, choice: Mapping[str, Any]) -> MirrorPlan | None:
    """Plan a part of the bucket, if it responds.

    Otherwise return None, with a warning, if the part is already complete, or raise.
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
        print(f"All {len(plan.objects)} files are in {to}, according to the listing of the last download.")
        return None
