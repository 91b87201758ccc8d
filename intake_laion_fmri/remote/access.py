"""Says where data are: arguments, environment variables and defaults give a bucket, or a mirror before one.

What is opened of a bucket anywhere in this package is opened through the roots that are made here.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    BucketUnreachableError,
    DataIntegrityError,
    LeftAloneWarning,
    NotInBucketError,
    OfflineWarning,
)
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import addresses, data_folder
from intake_laion_fmri.remote.bucket import BUCKET_VARIABLE, MIRROR_VARIABLE, SMALL_FILES_IN_FLIGHT, Bucket, read_pinned
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.s3_settings import checked_by_type

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BUCKET_VARIABLE",
    "MIRROR_ONLY_VARIABLE",
    "MIRROR_VARIABLE",
    "SMALL_FILES_IN_FLIGHT",
    "Bucket",
    "MirrorOnly",
    "MirroredBucket",
    "ObjectInfo",
    "check_storage_options",
    "open_bucket",
    "open_place",
    "open_root",
    "open_source",
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

Root = TypeVar("Root", bound="Bucket")
T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class MirroredBucket(Bucket):
    """A bucket of which a local folder holds a part: what is there, complete and current, is read from there.

    The bucket's listing says what there is, and which copies are current. Where it does not answer, the listing of the
    last time that the mirror was filled stands in for it, with a warning.
    """

    mirror: MirrorFolder = field(kw_only=True)
    """The folder."""

    _elsewhere: ClassVar[str] = ", or copy what is missing to the mirror while there is one: 'intake-laion-fmri mirror'"

    def __dask_tokenize__(self) -> object:
        # What is read is the same: a worker may have no such folder.
        return Bucket(self.address, self.storage_options).__dask_tokenize__()

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List every object below a folder as `Bucket.find` does, and say where it will be read."""
        try:
            found = super().find(folder)
        except BucketUnreachableError as error:
            saved = self.mirror.listing(folder)
            if saved is None:
                raise
            self._go_offline(error)
            found = saved
        origin = {key: "bucket" if self.mirror.holds(info) is None else "mirror" for key, info in found.items()}
        if not self.is_local and any(
            self.mirror.untold(info) for key, info in found.items() if origin[key] == "bucket"
        ):
            # The same text each time, so that Python shows it once.
            warnings.warn(
                f"Files in the mirror {self.mirror.path} have names and sizes as in the bucket, but were copied by "
                "other means, and nothing tells whether they are the same: they are not read. Compare them once, by "
                f"'intake-laion-fmri mirror --to {self.mirror.path}'.",
                LeftAloneWarning,
                stacklevel=2,
            )
        return {key: replace(info, origin=origin[key]) for key, info in found.items()}

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders below one; of those in the mirror where the bucket does not answer."""
        try:
            return super().folders(folder)
        except BucketUnreachableError as error:
            copied = _root_of_folder(self.mirror.path).folders(folder)
            if not copied:
                raise
            self._go_offline(error)
            return copied

    def fetch(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None = None) -> dict[str, bytes]:
        """Read whole small objects: copies, and the rest as in `Bucket.fetch`."""
        wanted = list(objects)
        if failures is None:
            self._expect_small(wanted)
        with ThreadPoolExecutor(SMALL_FILES_IN_FLIGHT, thread_name_prefix="laion-fetch") as pool:
            contents = zip(wanted, pool.map(self.mirror.content_of, wanted), strict=True)
            copied = {info.key: content for info, content in contents if content is not None}
        fetched = super().fetch([info for info in wanted if info.key not in copied], failures)
        found = copied | fetched
        return {info.key: found[info.key] for info in wanted if info.key in found}

    @contextmanager
    def stream(self, info: ObjectInfo, received: Callable[[int], None] | None = None) -> Iterator[BinaryIO]:
        """Open an object for reading once from its start: the copy, or as in `Bucket.stream`."""
        path = self.mirror.proves(info)
        if path is None:
            with super().stream(info, received) as file:
                yield file
            return
        copy = _root_of_folder(path.parent)
        with copy.stream(copy.state(path.name), received) as file:
            yield file
        if self.mirror.holds(info) is None:
            raise DataIntegrityError(f"{path} was replaced while it was read. Open the data again.")

    def _ask(self, key: str, action: Callable[[float], T], *, size: int = 0) -> T:
        self._expect_patience(key)  # there is another way: a machine without a network waits once
        return super()._ask(key, action, size=size)

    def _go_offline(self, error: BucketUnreachableError) -> None:
        self._remember(error)
        # The same text each time, so that Python shows it once.
        warnings.warn(
            f"{self.url} does not answer: what is in the mirror {self.mirror.path} is read, by the listing of the last "
            "time that it was filled.",
            OfflineWarning,
            stacklevel=2,
        )


@dataclass(frozen=True, repr=False)
class MirrorOnly(Bucket):
    """A mirror as if it were the bucket: what is not there does not exist, and nothing is asked for over a network."""

    def missing(self, key: str, beside: Iterable[str]) -> NotInBucketError:
        """Describe an object that is needed and not in the mirror."""
        return NotInBucketError(
            f"{self.locate(key)} is not in the mirror, and mirror_only forbids to read the bucket. Copy it with "
            f"'intake-laion-fmri mirror --to {self.url}', or leave mirror_only away."
        )

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List every object below a folder as `Bucket.find` does, and say where it will be read."""
        known = MirrorFolder(Path(self.root)).known
        found = super().find(folder)
        return {key: replace(known(info), origin="mirror") for key, info in found.items()}

    def fetch(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None = None) -> dict[str, bytes]:
        """Read whole small files as `Bucket.fetch` does; one that is not what was copied there is an error."""
        wanted = list(objects)
        if failures is None:
            self._expect_small(wanted)
        recorded, found = MirrorFolder(Path(self.root)).recorded_content, {}
        rest = []
        for info in wanted:
            try:
                content = recorded(info.key, info.size)
            except DataIntegrityError as error:
                if failures is None:
                    raise
                failures[info.key] = error
                continue
            if content is None:
                rest.append(info)
            else:
                found[info.key] = content
        found |= super().fetch(rest, failures)
        return {info.key: found[info.key] for info in wanted if info.key in found}

    def state(self, key: str) -> ObjectInfo:
        """Return what there is of an object now."""
        return MirrorFolder(Path(self.root)).known(super().state(key))


def open_bucket(
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    *,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Bucket:
    """Say where the data are.

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
        `config.dataset_initialize` has named in this process, or else the environment variable ``LAION_FMRI_MIRROR``.
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
    place = bucket if isinstance(bucket, Bucket) else _given_place(bucket, storage_options)
    folder = _mirror_folder(mirror)
    if _only_mirror(mirror_only):
        if folder is None:
            raise ValueError(
                f"mirror_only=True needs a mirror: name the folder with mirror= or {MIRROR_VARIABLE}, or call "
                "config.dataset_initialize."
            )
        return MirrorOnly(folder.path.as_posix(), network=place.network)
    if folder is None or place.address == folder.path.as_posix():
        return place
    return MirroredBucket(place.address, place.storage_options, place.network, mirror=folder)


def open_source(
    bucket: str | os.PathLike[str] | Bucket | None = None, storage_options: Mapping[str, Any] | None = None
) -> Bucket:
    """Return the bucket itself, whatever mirror is named to be read first: arguments and errors as in `open_bucket`."""
    if isinstance(bucket, MirroredBucket):
        return Bucket(bucket.address, bucket.storage_options, bucket.network)
    return bucket if isinstance(bucket, Bucket) else _given_place(bucket, storage_options)


def open_place(
    url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, *, argument: str = "bucket"
) -> Bucket:
    """Return another root than the bucket, such as one of split files: arguments and errors as in `open_bucket`."""
    check_storage_options(storage_options)
    return open_root(Bucket, url, storage_options, s3_defaults=S3_DEFAULTS, argument=argument)


def _given_place(bucket: str | os.PathLike[str] | None, storage_options: Mapping[str, Any] | None) -> Bucket:
    if not (bucket is None or (isinstance(bucket, str) and not bucket)):
        return open_place(bucket, storage_options)
    variable = os.environ.get(BUCKET_VARIABLE) or layout.BUCKET_URL
    return open_place(variable, storage_options, argument=BUCKET_VARIABLE)


def _mirror_folder(mirror: object) -> MirrorFolder | None:
    """Return the folder that is read first, if there is one."""
    if mirror is None or (isinstance(mirror, str) and not mirror):
        mirror = data_folder.data_dir() or os.environ.get(MIRROR_VARIABLE) or None
    if mirror is None:
        return None
    folder = MirrorFolder.of(mirror)
    if folder.path.is_dir():
        return folder
    if folder.path.exists():
        raise NotADirectoryError(errno.ENOTDIR, f"The mirror {str(folder.path)!r} is a file: expected a folder.")
    raise NotInBucketError(
        f"There is no mirror {str(folder.path)!r}. Make one with 'intake-laion-fmri mirror --to {folder.path}', or "
        f"leave mirror= and {MIRROR_VARIABLE} away."
    )


def _only_mirror(given: bool | None) -> bool:
    if given is not None:
        if not isinstance(given, bool):
            raise TypeError(f"mirror_only must be True or False, found {given!r}.")
        return given
    text = os.environ.get(MIRROR_ONLY_VARIABLE, "").strip().lower()
    if text not in ("", "0", "1", "false", "true"):
        raise ValueError(f"{MIRROR_ONLY_VARIABLE}={text!r}: expected 1 or 0.")
    return text in ("1", "true")


def _root_of_folder(folder: Path) -> Bucket:
    return Bucket(folder.as_posix())


def open_root(
    kind: type[Root],
    given: object,
    storage_options: Mapping[str, Any] | None,
    *,
    s3_defaults: Mapping[str, Any],
    argument: str = "",
) -> Root:
    """Return a root of some kind, as `open_bucket` does for the bucket.

    Parameters
    ----------
    kind : type
        `Bucket` or a subclass.
    given : str or path
        URL or folder.
    storage_options : mapping or None
        Options of the file system.
    s3_defaults : mapping
        Options that are added for S3.
    argument : str, optional
        Name of the argument that it was given by, for errors; by default that of its kind.
    """
    url, options = addresses.resolved(given, argument or kind.argument), dict(storage_options or {})
    for link in addresses.links(url):
        protocol = addresses.protocol_of(link)
        if protocol not in ("s3", "s3a"):
            continue
        if link == url:
            options = _with_s3_defaults(checked_by_type(options, kind.options_argument), s3_defaults)
        else:  # in a chain each file system has options of its own, by its protocol
            own, place = options.get(protocol) or {}, f"{kind.options_argument}[{protocol!r}]"
            check_storage_options(own, place)
            options[protocol] = _with_s3_defaults(checked_by_type(own, place), s3_defaults)
    return kind(url, options)


def check_storage_options(storage_options: object, argument: str = "storage_options") -> object:
    """Return the options of a file system, or raise TypeError if they are neither a mapping nor None."""
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
