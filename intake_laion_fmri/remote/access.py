"""Open a bucket, a mirror or a store from arguments and environment variables.

Every module that opens data does so through the roots created here.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import addresses, data_folder
from intake_laion_fmri.remote.bucket import Bucket
from intake_laion_fmri.remote.cache import SmallFileCache, keep, read_kept
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.messages import BUCKET_VARIABLE, MIRROR_VARIABLE, OF_STORES, Wording
from intake_laion_fmri.remote.mirrored import Copies, MirrorAlone, MirrorFirst
from intake_laion_fmri.remote.requests import SMALL_FILES_IN_FLIGHT
from intake_laion_fmri.remote.retry import NetworkPolicy, network_policy
from intake_laion_fmri.remote.s3_settings import checked_by_type

__all__ = [
    "BUCKET_VARIABLE",
    "MIRROR_ONLY_VARIABLE",
    "MIRROR_VARIABLE",
    "SMALL_FILES_IN_FLIGHT",
    "Bucket",
    "ObjectInfo",
    "check_storage_options",
    "kept_of",
    "mirror_alone",
    "open_bucket",
    "open_root",
    "open_source",
    "open_store",
    "parts_of",
    "read_pinned",
]

MIRROR_ONLY_VARIABLE = "LAION_FMRI_MIRROR_ONLY"
"""Environment variable: where it is 1, nothing but the mirror is read."""

S3_DEFAULTS: Mapping[str, Any] = {
    "anon": True,
    "client_kwargs": {"region_name": layout.REGION},
}
"""Options of s3fs where the user says nothing else: public data, read without an account."""

_CREDENTIALS = {"anon", "key", "secret", "token", "username", "password", "profile", "session"}

_BEHIND_A_MIRROR = Wording(
    elsewhere=", or copy the missing files to the mirror once it works: 'intake-laion-fmri mirror'. mirror_only=True "
    "or bucket=FOLDER reads a local folder alone"
)


def open_bucket(
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Bucket:
    """Return the bucket, and the mirror before it, without contacting them.

    Parameters
    ----------
    bucket : str or path, optional
        URL that fsspec knows, or a local folder, with the bucket's layout. By default the environment variable
        ``LAION_FMRI_BUCKET``, or ``s3://laion-fmri`` where it is not set.
    storage_options : mapping, optional
        Options of the file system. For S3 they are added to anonymous access, the region ``us-west-2`` and the
        time-outs of `config.NetworkPolicy`; any credentials switch the anonymous access off.
    mirror : str or path, optional
        Local folder with a part of the bucket, which is read first. By default the folder that
        `config.dataset_initialize` has named in this process, or else the environment variable ``LAION_FMRI_MIRROR``,
        or the folder that an earlier process has named so.
    mirror_only : bool, optional
        Whether to read the mirror alone, without a network. By default the environment variable
        ``LAION_FMRI_MIRROR_ONLY`` (1 or 0), or False.

    Returns
    -------
    Bucket
        Nothing is contacted yet.

    Raises
    ------
    ValueError
        If fsspec knows no such protocol.
    TypeError
        If `bucket` or `mirror` is neither a text nor a path, or `storage_options` is no mapping.
    NotInBucketError
        If there is no such folder as `mirror`.
    NotADirectoryError
        If it is a file.
    """
    if isinstance(bucket, Bucket) and mirror is None and not mirror_only:
        return bucket
    root = bucket if isinstance(bucket, Bucket) else _given_bucket(bucket, storage_options)
    folder = _mirror_folder(mirror)
    if _only_mirror(mirror_only):
        if folder is None:
            raise ValueError(
                f"mirror_only=True needs a mirror: give its folder with mirror= or {MIRROR_VARIABLE}, or call "
                "config.dataset_initialize."
            )
        return mirror_alone(folder, root.network)
    if folder is None or root.address == folder.path.as_posix():
        return root
    return replace(root, copies=MirrorFirst(folder), wording=_BEHIND_A_MIRROR)


def mirror_alone(folder: MirrorFolder, network: NetworkPolicy | None = None) -> Bucket:
    """Return a mirror as a bucket of its own.

    Objects that the mirror lacks are treated as absent.
    """
    return Bucket(folder.path.as_posix(), network=network or network_policy(), copies=MirrorAlone(folder))


def open_source(
    bucket: str | os.PathLike[str] | Bucket | None = None, storage_options: Mapping[str, Any] | None = None
) -> Bucket:
    """Return the bucket without a mirror.

    Arguments and errors are those of `open_bucket`.
    """
    if isinstance(bucket, Bucket) and isinstance(bucket.copies, MirrorFirst):
        return replace(bucket, copies=Copies(), wording=Wording())
    return bucket if isinstance(bucket, Bucket) else _given_bucket(bucket, storage_options)


def open_store(store: str | os.PathLike[str] | Bucket, store_options: Mapping[str, Any] | None = None) -> Bucket:
    """Return a store's root without contacting it.

    The location is a URL that fsspec understands, or a local folder.

    For S3 credentials and region are found as in every other program; a public store needs ``{"anon": True}``. Errors
    are those of `open_bucket`.
    """
    if isinstance(store, Bucket):
        return store
    # A user's own bucket: credentials and region are looked up as other programs do.
    return open_root(store, store_options, s3_defaults={}, wording=OF_STORES)


def _given_bucket(bucket: str | os.PathLike[str] | None, storage_options: Mapping[str, Any] | None) -> Bucket:
    if not (bucket is None or (isinstance(bucket, str) and not bucket)):
        return open_root(bucket, storage_options)
    variable = os.environ.get(BUCKET_VARIABLE) or layout.BUCKET_URL
    return open_root(variable, storage_options, argument=BUCKET_VARIABLE)


def _mirror_folder(mirror: object) -> MirrorFolder | None:
    """Return the folder that is read first, if any."""
    if mirror is None or (isinstance(mirror, str) and not mirror):
        mirror = data_folder.data_dir() or os.environ.get(MIRROR_VARIABLE) or None
    if mirror is None:
        return _kept_mirror()
    folder = MirrorFolder.from_argument(mirror)
    if folder.path.is_dir():
        return folder
    if folder.path.exists():
        raise NotADirectoryError(errno.ENOTDIR, f"The mirror {str(folder.path)!r} is a file: expected a folder.")
    raise NotInBucketError(
        f"There is no mirror {str(folder.path)!r}. Create it with 'intake-laion-fmri mirror --to {folder.path}', or "
        f"remove mirror= and {MIRROR_VARIABLE}."
    )


def _kept_mirror() -> MirrorFolder | None:
    """Return the data folder named in an earlier process, if it exists."""
    kept = data_folder.kept_data_dir()
    if kept is None:
        return None
    if kept.is_dir():
        return MirrorFolder(kept)
    warnings.warn(
        f"The data folder {kept} is not there: the bucket alone is read. {data_folder.settings_file()} names it; name "
        "another with config.dataset_initialize or 'intake-laion-fmri config --data-dir FOLDER'.",
        MissingFileWarning,
        stacklevel=4,
    )
    return None


def _only_mirror(given: bool | None) -> bool:
    if given is not None:
        if not isinstance(given, bool):
            raise TypeError(f"mirror_only must be True or False, found {given!r}.")
        return given
    text = os.environ.get(MIRROR_ONLY_VARIABLE, "").strip().lower()
    if text not in ("", "0", "1", "false", "true"):
        raise ValueError(f"{MIRROR_ONLY_VARIABLE}={text!r}: expected 1 or 0.")
    return text in ("1", "true")


def parts_of(bucket: Bucket, info: ObjectInfo) -> Callable[[int, int], bytes]:
    """Return a reader of byte ranges of an object.

    The reader uses the object's local copy if there is one, and requests otherwise.
    """
    path = bucket.copies.path_of(info)
    if path is None:
        return functools.partial(bucket.requests.read_part, info)
    folder = Bucket(path.parent.as_posix())
    return functools.partial(folder.requests.read_part, folder.state(path.name))


def kept_of(bucket: Bucket, info: ObjectInfo, what: str, make: Callable[[], bytes]) -> bytes:
    """Return a derived value, cached until its object changes.

    Parameters
    ----------
    bucket, info
        The object.
    what : str
        Name of what is made, with its version.
    make : callable
        Makes it, and is not called where it is kept. Of local files nothing is kept.
    """
    if bucket.is_local or not info.etag or info.key == layout.GATED:
        return make()
    cache, name = SmallFileCache.of_user(), f"{bucket.name_in_cache(info)}\n{what}"
    kept = cache.get(name)
    if kept is None:
        kept = make()
        cache.put(name, kept)
        cache.trim()
    return kept


def read_pinned(root: Bucket, key: str, *, sha256: str, cache: Path | None) -> bytes:
    """Read a small file of known checksum, cached after the first time.

    A cached file with another sum is fetched again. A file appears in `cache` whole and checked, or not at all; several
    processes may fetch it at a time. Where the folder cannot be written to, the file is used without being kept.

    Raises
    ------
    NotInBucketError, AccessDeniedError, BucketUnreachableError
        If it cannot be fetched: within `PINNED_SECONDS`, however slow the server. After a failure a root is not asked
        again for `PATIENCE_SECONDS`.
    DataIntegrityError
        If what was fetched has another sum.
    """
    kept = read_kept(cache / key) if cache else None
    if kept is not None and hashlib.sha256(kept).hexdigest() == sha256:
        return kept
    content = root.read_within(key)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataIntegrityError(
            f"{root.locate(key)}: expected the SHA-256 {sha256}, found {found}. It was discarded; try again."
        )
    if cache:
        keep(cache / key, content)
    return content


def open_root(
    given: object,
    storage_options: Mapping[str, Any] | None = None,
    *,
    s3_defaults: Mapping[str, Any] = S3_DEFAULTS,
    wording: Wording | None = None,
    argument: str = "",
) -> Bucket:
    """Return a root, such as that of split files, without contacting it.

    `s3_defaults` are added to its options for S3: by default those of public data. `wording` has the texts of its kind,
    by default those of a bucket, and `argument` is what it was given by, for errors, which are those of `open_bucket`.
    """
    wording = wording or Wording()
    check_storage_options(storage_options, wording.options_argument)
    url, options = addresses.resolved(given, argument or wording.argument), dict(storage_options or {})
    for link in addresses.links(url):
        protocol = addresses.protocol_of(link)
        if protocol not in ("s3", "s3a"):
            continue
        if link == url:
            options = _with_s3_defaults(checked_by_type(options, wording.options_argument), s3_defaults)
        else:  # in a chain each file system has options of its own, by its protocol
            own, name = options.get(protocol) or {}, f"{wording.options_argument}[{protocol!r}]"
            check_storage_options(own, name)
            options[protocol] = _with_s3_defaults(checked_by_type(own, name), s3_defaults)
    return Bucket(url, options, wording=wording)


def check_storage_options(storage_options: object, argument: str = "storage_options") -> object:
    """Return file-system options, checked.

    Raises TypeError unless they are a mapping or None.
    """
    if storage_options is not None and not isinstance(storage_options, Mapping):
        raise TypeError(f"{argument} must be a mapping of options, found a {type(storage_options).__name__}.")
    return storage_options


def _with_s3_defaults(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {**defaults, **options}
    if "client_kwargs" in defaults:
        merged["client_kwargs"] = {**defaults["client_kwargs"], **options.get("client_kwargs", {})}
    if "anon" not in options and _CREDENTIALS.intersection(options):
        merged["anon"] = False
    return merged
