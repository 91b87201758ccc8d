"""Sources of split files: a user's folder, the bucket, a package, pinned files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.resources
import importlib.util
import os
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    NotInBucketError,
    OtherSplitsWarning,
    in_short,
)
from intake_laion_fmri.formats.split_file import MAX_SPLIT_BYTES, Split, parse_split
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket, open_root, read_pinned
from intake_laion_fmri.remote.cache import CACHE_VARIABLE, own_folder
from intake_laion_fmri.remote.copy import MirrorFolder

SPLITS_VARIABLE = "LAION_FMRI_SPLITS"
"""Environment variable with a folder or URL of split files, used if ``splits`` is not given."""

REVISION = "cd9f1412a0dee64569f53f6cc44560c24dc4ebc6"
"""Commit of ViCCo-Group/LAION-fMRI with the split files whose checksums ship with this package. Upstream, ``random_*``
exists in three revisions under the same names."""

PINNED, UNPINNED = "2026-05", "2026-09"
REVISIONS = (PINNED, UNPINNED)
"""Revisions of the published splits by month of release: the pinned revision, and a later one that keeps duplicate
images in the same set, which is part of ``laion_fmri`` since then. The one of the summer between has no name here."""

FILES_IN_FLIGHT = 8
"""Maximum number of split files read at the same time."""

ADDRESS = "https://raw.githubusercontent.com/ViCCo-Group/LAION-fMRI"
"""URL of that repository's files."""

_OF_THE_BUCKET = f"{layout.SPLITS_ROOT} of the bucket"
"""Without the bucket's URL, so that a copy of the bucket gives an identical Dataset."""

_FOLDER_UPSTREAM = "laion_fmri/splits/data"


@dataclass(frozen=True)
class SplitSource:
    """A folder or URL of split files, as ``<pool>/<name>.json``."""

    revision: str
    """Name of the revision: the commit upstream, a folder or URL, or a text for the bucket's own files."""
    root: Bucket
    """The folder or URL."""
    cache: Path | None = None
    """Folder for downloaded files; None to keep none."""
    pinned: bool = False
    """True for the published files, whose checksums are known; others are read without a check."""
    was_found: bool = False
    """True for files of an installed package, whose revision the user has not chosen."""
    listing: Mapping[str, ObjectInfo] | None = field(default=None, compare=False, repr=False)
    """Listing of the files, if any: with it, copies in the user's cache are known to be up to date."""
    folder: str = ""
    """Folder of the files below the root."""
    copies: tuple[Path, ...] = field(default=(), compare=False)
    """Folders on this machine with copies of published files, which are read first, if their checksums match."""
    is_offline: bool = False
    """True if only these copies may be read, as with a mirror alone."""
    unwarned: list[bool] = field(default_factory=lambda: [True], compare=False, repr=False)
    """Emptied once the user was warned that these files are of another revision."""

    def read(self, pool: str, name: str) -> bytes:
        """Return the content of a split file.

        Raises
        ------
        NotInBucketError
            If there is no such file.
        BucketUnreachableError
            If it cannot be downloaded; the message lists alternatives.
        DataIntegrityError
            If the downloaded file is not the published one.
        """
        key = f"{pool}/{name}.json"
        if not self.pinned:
            path = self.path(key)
            try:
                if self.listing and path in self.listing:
                    return self.root.fetch([self.listing[path]])[path]
                return self.root.read_within(path)
            except NotInBucketError as error:
                raise NotInBucketError(
                    f"{self.root.locate(path)} does not exist. {self._beside(pool)} Expected a folder with split "
                    f"files <pool>/<name>.json: add the file, or pass another folder as splits= or {SPLITS_VARIABLE}."
                ) from error
        sums = published_sums()
        if key not in sums:
            raise NotInBucketError(
                f"There is no published split file {key!r}: the published pools are {', '.join(published_pools())}. "
                "For your own split files, pass their folder as splits=, or set the environment variable "
                f"{SPLITS_VARIABLE}."
            )
        for folder in self.copies:
            content = copied(folder / key, sums[key])
            if content is not None:
                return content
        if self.is_offline:
            raise NotInBucketError(
                f"The split file {key} is not in the mirror, and mirror_only=True prevents downloading it. Copy it "
                "with 'intake-laion-fmri mirror --group splits' when there is a network, or pass a folder with split "
                f"files <pool>/<name>.json as splits= or the environment variable {SPLITS_VARIABLE}."
            )
        try:
            return read_pinned(self.root, key, sha256=sums[key], cache=self.cache)
        except NotInBucketError as error:
            raise NotInBucketError(self._ways_out(f"there is no {key}")) from error
        except (AccessDeniedError, BucketUnreachableError) as error:
            raise BucketUnreachableError(self._ways_out(str(error.__cause__ or "") or str(error))) from error

    def names(self) -> dict[str, list[str]]:
        """List the splits, as a dict from pool to names, unsorted.

        Costs a listing, except for the published files.

        Raises
        ------
        AccessDeniedError, BucketUnreachableError
            If the folder cannot be listed.
        """
        if self.pinned:
            keys: Iterable[str] = published_sums()
        else:
            found = self.root.find(self.folder) if self.listing is None else self.listing
            keys = (key.removeprefix(f"{self.folder}/") for key in found)
        names: dict[str, list[str]] = {}
        for key in keys:
            pool, _, file = key.partition("/")
            if file.endswith(".json") and "/" not in file:
                names.setdefault(pool, []).append(file.removesuffix(".json"))
        return names

    def path(self, key: str) -> str:
        """Return the path of a split file below the root."""
        return f"{self.folder}/{key}" if self.folder else key

    def _beside(self, pool: str) -> str:
        try:
            names = sorted(key.rpartition("/")[2] for key in self.root.find(self.path(pool)))
        except OSError:  # listed for the message only
            names = []
        return f"Beside it: {in_short(names)}." if names else "Nothing is listed beside it."

    def _ways_out(self, reason: str) -> str:
        return (
            f"The split files could not be downloaded from {self.root.url}: {reason}. Connect to the network once, to "
            f"keep them in {self.cache or f'the folder of {CACHE_VARIABLE}'}; or pass a folder with files "
            f"<pool>/<name>.json as splits= or the environment variable {SPLITS_VARIABLE}; or install the data set's "
            "own package, laion_fmri."
        )


def find_source(
    splits: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> SplitSource:
    """Find the split files to read.

    Parameters
    ----------
    splits : str or path, optional
        Folder or URL with files ``<pool>/<name>.json``; or one of `REVISIONS`, regardless of the bucket and an
        installed package. By default, in this order: the environment variable ``LAION_FMRI_SPLITS``; the bucket, if it
        has splits; an installed ``laion_fmri`` package, with a warning if its files are of another revision; the
        published files of the pinned revision, from a mirror or through the user's cache.
    bucket, storage_options, mirror, mirror_only
        The bucket in use, as in `intake_laion_fmri.open_betas`.

    Returns
    -------
    SplitSource
        No file is read yet. If `splits` is not given, buckets other than the published one are listed once.

    Raises
    ------
    BucketUnreachableError
        If the bucket does not respond.
    NotInBucketError
        If the revision is not on this machine.
    """
    named = named_source(splits)
    if named in REVISIONS:
        bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
        return _upstream_beside(bucket) if named == PINNED else _installed_revision()
    if named is not None:
        root = open_root(named, argument=SPLITS_VARIABLE if splits is None or splits == "" else "splits")
        return SplitSource(root.url, root)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    # The published bucket has no splits, so it is not listed.
    published = open_root(layout.BUCKET_URL)
    is_published = (bucket.address, bucket.storage_options) == (published.address, published.storage_options)
    if not is_published:
        own = SplitSource(_OF_THE_BUCKET, bucket, folder=layout.SPLITS_ROOT)
        try:
            listing = bucket.find(layout.SPLITS_ROOT)
        except BucketUnreachableError:
            if bucket.copies.mirror is None:
                raise
            return own  # other files must not replace the bucket's: reading them raises
        if listing:
            return dataclasses.replace(own, listing=listing)
    return _installed() or _upstream_beside(bucket)


def named_source(splits: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    """Return the user's split files, by argument or environment variable."""
    if splits is None or (isinstance(splits, str) and not splits):
        return os.environ.get(SPLITS_VARIABLE) or None
    return splits


def upstream(address: str | None = None, cache: Path | None = None) -> SplitSource:
    """Return the published split files of the pinned revision.

    By default they are downloaded from `ADDRESS`, and kept in the user's cache folder.
    """
    # Use the proxy of the environment, as other clients do; aiohttp does not by default.
    options = {"client_kwargs": {"trust_env": True}}
    root = open_root(f"{address or ADDRESS}/{REVISION}/{_FOLDER_UPSTREAM}", options)
    folder = cache or own_folder()
    return SplitSource(REVISION, root, folder and folder / "splits" / REVISION, pinned=True)


def copies_in(mirror: Path) -> Path:
    """Return the folder of pinned split files in a mirror."""
    return MirrorFolder(mirror).metadata / "splits" / REVISION


def published_pools() -> list[str]:
    """List the pools of the published files, sorted."""
    return sorted({key.partition("/")[0] for key in published_sums()})


def _installed() -> SplitSource | None:
    """Return an installed package's split files, or None."""
    package = importlib.util.find_spec("laion_fmri")
    for location in (package.submodule_search_locations or []) if package else []:
        folder = Path(location) / "splits" / "data"
        if folder.is_dir():
            return SplitSource(f"laion_fmri package in {location}", open_root(folder), was_found=True)
    return None


def _installed_revision() -> SplitSource:
    """Return an installed package's split files of revision `UNPINNED`."""
    found = _installed()
    files = found.root.find("") if found else {}
    drawn = [key for key in files if key.endswith("/random_0.json") and layout.is_subject(key.partition("/")[0])]
    if found and drawn:
        split = read_split(found, drawn[0].partition("/")[0], "random_0")
        if split.params.get("revision") == _REVISION_OF_FILES:
            return dataclasses.replace(found, revision=UNPINNED, was_found=False)
    reason = f"{found.root.url} has another revision" if found else "no package laion_fmri is installed"
    raise NotInBucketError(
        f"splits={UNPINNED!r}: the files of this revision are part of the data set's own package, but {reason}. "
        f"Install laion_fmri of September 2026 or later, pass a folder with files <pool>/<name>.json, or pass "
        f"splits={PINNED!r}."
    )


_REVISION_OF_FILES = 2
"""Value of ``params["revision"]`` in the files of `UNPINNED`."""


def _upstream_beside(bucket: Bucket) -> SplitSource:
    """Return the published split files, with a mirror's copies."""
    source, copies = upstream(), []
    if bucket.copies.mirror is not None:
        copies.append(copies_in(bucket.copies.mirror.path))
    elif bucket.is_local:
        copies.append(copies_in(Path(bucket.root)))
    is_offline = bucket.copies.are_alone
    if is_offline and source.cache:
        copies.append(source.cache)
    return dataclasses.replace(source, copies=tuple(copies), is_offline=is_offline)


def copied(path: Path, sha256: str) -> bytes | None:
    """Return a file's content if its checksum matches."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SPLIT_BYTES + 1)
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


@functools.cache
def published_sums() -> Mapping[str, str]:
    """Return the SHA-256 of each published file, by ``<pool>/<name>.json``."""
    text = (importlib.resources.files("intake_laion_fmri.splits") / "published.sha256").read_text(encoding="ascii")
    pairs = (line.split() for line in text.splitlines())
    return MappingProxyType({key: digest for digest, key in pairs})


def read_split(source: SplitSource, pool: str, name: str) -> Split:
    """Read and parse a split file."""
    where = source.root.locate(source.path(f"{pool}/{name}.json"))
    return parse_split(source.read(pool, name), pool, name, source.revision, where)


def revision_of(source: SplitSource, read: Collection[Split]) -> str:
    """Return the revision of split files; warn about an unpinned one."""
    if not source.was_found:
        return source.revision
    sums = published_sums()
    others = sorted(key for split in read if sums.get(key := f"{split.pool}/{split.name}.json") != split.sha256)
    if not others:
        return REVISION
    try:
        source.unwarned.pop()  # succeeds in one thread only
    except IndexError:
        return source.revision
    warnings.warn(
        f"Using the splits of the installed {source.revision}, where {in_short(others, most=3)} "
        f"{'differs' if len(others) == 1 else 'differ'} from the revision {REVISION[:10]} that this package pins. A "
        "name such as random_0 means different splits in different revisions. Choose the files with splits= or the "
        f"environment variable {SPLITS_VARIABLE}; splits={source.root.url!r} keeps these.",
        OtherSplitsWarning,
        stacklevel=3,
    )
    return source.revision
