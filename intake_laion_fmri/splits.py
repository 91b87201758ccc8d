"""Train/test splits of the stimuli: who is train, who is test, in which pool.

The split files belong to the data set's own package and stay there: each is fetched from a pinned revision on first
use, checked against the SHA-256 sum that ships with this package, and kept in the user's cache. A folder or URL of
one's own, a bucket that holds splits, and an installed ``laion_fmri`` package are used without fetching anything.
``ood`` follows from the labels alone.

A split is a partition of a *pool*: the images that all subjects saw (``shared``), or everything that one subject saw.
Pools must not be mixed in one analysis: test images of one are train images of the other.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import importlib.resources
import importlib.util
import json
import os
import warnings
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.labels import OOD_TYPES, parse_label
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    NotInBucketError,
    OtherSplitsWarning,
    in_short,
    unknown_value,
)
from intake_laion_fmri.formats.split_file import MAX_SPLIT_BYTES, Split, parse_split
from intake_laion_fmri.remote.access import (
    Bucket,
    MirroredBucket,
    MirrorOnly,
    ObjectInfo,
    open_bucket,
    open_place,
    read_pinned,
)
from intake_laion_fmri.remote.cache import CACHE_VARIABLE, own_folder
from intake_laion_fmri.remote.copy import MirrorFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OOD",
    "POOL",
    "SHARED",
    "SPLIT",
    "SPLITS",
    "SPLITS_VARIABLE",
    "Pool",
    "Role",
    "SplitName",
    "SplitSource",
    "check_split",
    "copies_in",
    "find_source",
    "get_split_masks",
    "get_train_test_ids",
    "has_role",
    "list_ood_types",
    "list_pools",
    "list_splits",
    "load_all_splits",
    "load_split",
    "named_source",
    "published_sums",
    "role_mask",
    "split_roles",
    "upstream",
]

POOL = "pool"
SPLIT = "split"
"""Dimensions of ``split_role``, beside ``trial``."""

SHARED = "shared"
"""The pool of the images that all subjects saw."""

OOD = "ood"
"""The split whose test side is the out-of-distribution images, in every pool."""

SplitName = Literal[
    "random_0", "random_1", "random_2", "random_3", "random_4",
    "cluster_k5_0", "cluster_k5_1", "cluster_k5_2", "cluster_k5_3", "cluster_k5_4",
    "tau", "ood",
]  # fmt: skip
"""Name of a train/test split."""

SPLITS: tuple[SplitName, ...] = get_args(SplitName)

Pool = Literal["shared", "subject"]
"""The pool of the images that all subjects saw, or the subject's own."""

Role = Literal["train", "test", "both"]
"""The side of a split."""

ROLES: Mapping[str, int] = MappingProxyType({"unused": 0, "train": 1, "test": 2})
"""Name of a role → its flag in ``split_role``."""

SPLITS_VARIABLE = "LAION_FMRI_SPLITS"
"""Environment variable with a folder or URL of split files, used where no ``splits`` is given."""

REVISION = "cd9f1412a0dee64569f53f6cc44560c24dc4ebc6"
"""Commit of ViCCo-Group/LAION-fMRI whose split files the sums that ship here belong to. Upstream, ``random_*`` exists
in three revisions under the same names."""

ADDRESS = "https://raw.githubusercontent.com/ViCCo-Group/LAION-fMRI"
"""Where that repository's files are served."""

FILES_IN_FLIGHT = 8

_OF_THE_BUCKET = f"{layout.SPLITS_ROOT} of the bucket"
"""Names no place: a copy of the bucket gives the identical Dataset."""

_FOLDER_UPSTREAM = "laion_fmri/splits/data"


@dataclass(frozen=True)
class SplitSource:
    """A place that split files are read from, as ``<pool>/<name>.json``."""

    revision: str
    """What to call it: the commit upstream, the folder or URL, or that it is the bucket's own."""
    root: Bucket
    """The folder or URL."""
    cache: Path | None = None
    """Where fetched files are kept; None where nothing is."""
    pinned: bool = False
    """Whether they are the published files, whose sums are known; others are read as they are."""
    was_found: bool = False
    """Whether they were found installed: nobody has chosen their revision."""
    listing: Mapping[str, ObjectInfo] | None = field(default=None, compare=False, repr=False)
    """What was found there, where it was listed: then copies in the user's cache are known to be current."""
    folder: str = ""
    """Folder below the root that the files are in."""
    copies: tuple[Path, ...] = field(default=(), compare=False)
    """Folders on this machine with copies of published files, which are looked at first; their sums are checked."""
    is_offline: bool = False
    """Whether nothing but these copies may be read, as with a mirror alone."""

    def read(self, pool: str, name: str) -> bytes:
        """Return the content of a split file.

        Raises
        ------
        NotInBucketError
            If there is no such file.
        BucketUnreachableError
            If it has to be fetched and cannot be; names the ways out.
        DataIntegrityError
            If what was fetched is not the published file.
        """
        key = f"{pool}/{name}.json"
        if not self.pinned:
            place = self.place(key)
            try:
                if self.listing and place in self.listing:
                    return self.root.fetch([self.listing[place]])[place]
                return self.root.read_within(place)
            except NotInBucketError as error:
                raise NotInBucketError(
                    f"{self.root.locate(place)} does not exist. {self._beside(pool)} Expected a folder with split "
                    f"files <pool>/<name>.json: add the file, or name another folder with splits= or {SPLITS_VARIABLE}."
                ) from error
        sums = _published_sums()
        if key not in sums:
            raise NotInBucketError(
                f"There is no published split file {key!r}: they are for the pools {', '.join(list_pools())}. Name a "
                f"folder with split files of your own, with splits= or the environment variable {SPLITS_VARIABLE}."
            )
        for folder in self.copies:
            content = _copied(folder / key, sums[key])
            if content is not None:
                return content
        if self.is_offline:
            raise NotInBucketError(
                f"The split file {key} is not in the mirror, and mirror_only forbids to fetch it. Copy it with "
                "'intake-laion-fmri mirror --group splits' once there is a network; or name a folder that holds split "
                f"files as <pool>/<name>.json, with splits= or the environment variable {SPLITS_VARIABLE}."
            )
        try:
            return read_pinned(self.root, key, sha256=sums[key], cache=self.cache)
        except NotInBucketError as error:
            raise NotInBucketError(self._ways_out(f"there is no {key}")) from error
        except (AccessDeniedError, BucketUnreachableError) as error:
            raise BucketUnreachableError(self._ways_out(str(error.__cause__ or "") or str(error))) from error

    def place(self, key: str) -> str:
        """Return where a split file is, below the root."""
        return f"{self.folder}/{key}" if self.folder else key

    def _beside(self, pool: str) -> str:
        try:
            names = sorted(key.rpartition("/")[2] for key in self.root.find(self.place(pool)))
        except OSError:  # it was asked for the message only
            names = []
        return f"Beside it: {in_short(names)}." if names else "Nothing is listed beside it."

    def _ways_out(self, reason: str) -> str:
        return (
            f"The split files could not be fetched from {self.root.url}: {reason}. Three ways out: connect to the "
            f"network once, so that they are kept in {self.cache or f'the folder that {CACHE_VARIABLE} names'}; name a "
            f"folder that holds them as <pool>/<name>.json, with splits= or the environment variable "
            f"{SPLITS_VARIABLE}; or install the data set's own package, laion_fmri."
        )


def find_source(
    splits: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> SplitSource:
    """Say where split files are read from.

    Parameters
    ----------
    splits : str or path, optional
        Folder or URL of one's own, with files ``<pool>/<name>.json``. By default, in this order: the environment
        variable ``LAION_FMRI_SPLITS``; the bucket, where it holds splits of its own; an installed ``laion_fmri``
        package, with a warning where its files are of another revision; the published files of the pinned revision,
        from a mirror or through the user's cache.
    bucket, storage_options, mirror, mirror_only
        The bucket in use, as in `intake_laion_fmri.open_betas`.

    Returns
    -------
    SplitSource
        Nothing is read yet; the bucket is listed once where nothing was given and it is not the published one.

    Raises
    ------
    BucketUnreachableError
        If the bucket does not answer.
    """
    given = named_source(splits)
    if given is not None:
        root = open_place(given, argument=SPLITS_VARIABLE if splits is None or splits == "" else "splits")
        return SplitSource(root.url, root)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    # The published bucket has none: it is not asked.
    published = open_place(layout.BUCKET_URL)
    is_published = (place.address, place.storage_options) == (published.address, published.storage_options)
    if not is_published:
        own = SplitSource(_OF_THE_BUCKET, place, folder=layout.SPLITS_ROOT)
        try:
            listing = place.find(layout.SPLITS_ROOT)
        except BucketUnreachableError:
            if not isinstance(place, MirroredBucket):
                raise
            return own  # others may not stand in for it: it fails where it is read
        if listing:
            return dataclasses.replace(own, listing=listing)
    package = importlib.util.find_spec("laion_fmri")
    for location in (package.submodule_search_locations or []) if package else []:
        folder = Path(location) / "splits" / "data"
        if folder.is_dir():
            return SplitSource(f"laion_fmri package in {location}", open_place(folder), was_found=True)
    return _upstream_beside(place)


def named_source(splits: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    """Return the folder or URL of split files that the user named, by the argument or the environment variable."""
    if splits is None or (isinstance(splits, str) and not splits):
        return os.environ.get(SPLITS_VARIABLE) or None
    return splits


def upstream(address: str | None = None, cache: Path | None = None) -> SplitSource:
    """Return the published split files of the pinned revision.

    Parameters
    ----------
    address : str, optional
        Where the repository's files are served; by default `ADDRESS`.
    cache : path, optional
        Where fetched files are kept; by default in the user's cache folder.
    """
    # As other clients do, and unlike aiohttp by itself: through the proxy that the environment names.
    options = {"client_kwargs": {"trust_env": True}}
    root = open_place(f"{address or ADDRESS}/{REVISION}/{_FOLDER_UPSTREAM}", options)
    folder = cache or own_folder()
    return SplitSource(REVISION, root, folder and folder / "splits" / REVISION, pinned=True)


def copies_in(mirror: Path) -> Path:
    """Return where a mirror keeps the published split files of the pinned revision, as ``<pool>/<name>.json``."""
    return MirrorFolder(mirror).metadata / "splits" / REVISION


def published_sums() -> Mapping[str, str]:
    """Return the SHA-256 of each published split file: ``<pool>/<name>.json`` → sum."""
    return _published_sums()


def _upstream_beside(place: Bucket) -> SplitSource:
    """Return the published split files, with the copies that a mirror holds of them."""
    source, copies = upstream(), []
    if isinstance(place, MirroredBucket):
        copies.append(copies_in(place.mirror.path))
    elif place.is_local:
        copies.append(copies_in(Path(place.root)))
    if isinstance(place, MirrorOnly) and source.cache:
        copies.append(source.cache)
    return dataclasses.replace(source, copies=tuple(copies), is_offline=isinstance(place, MirrorOnly))


def _copied(path: Path, sha256: str) -> bytes | None:
    """Return the content of a file if it has this sum."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SPLIT_BYTES + 1)
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def list_pools() -> list[str]:
    """Return the pools of the published splits: ``shared`` and one per subject, sorted."""
    return sorted({key.partition("/")[0] for key in _published_sums()})


def list_splits() -> list[SplitName]:
    """Return the names of the published splits."""
    return list(SPLITS)


def list_ood_types() -> list[str]:
    """Return the types of out-of-distribution images, sorted."""
    return sorted(OOD_TYPES)


def load_split(
    name: SplitName,
    pool: str = SHARED,
    *,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Split:
    """Read one split of one pool.

    Parameters
    ----------
    name : str
        One of `list_splits`.
    pool : str, default "shared"
        ``"shared"`` or a subject, ``"sub-01"``.
    splits, bucket, storage_options, mirror, mirror_only
        As in `find_source`.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        For an unknown split or pool, with the nearest valid ones.
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        If the file is absent, cannot be fetched, or is broken.

    References
    ----------
    ``laion_fmri.splits`` of the data set's own package.
    """
    check_split(name)
    _check_pool(pool)
    source = find_source(splits, bucket=bucket, storage_options=storage_options, mirror=mirror, mirror_only=mirror_only)
    split = _load_split(source, pool, name)
    return dataclasses.replace(split, revision=_revision(source, [split]))


def load_all_splits(
    pool: str = SHARED,
    *,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> dict[str, Split]:
    """Read every split of one pool: name → split; arguments and errors as in `load_split`."""
    _check_pool(pool)
    source = find_source(splits, bucket=bucket, storage_options=storage_options, mirror=mirror, mirror_only=mirror_only)
    with _threads() as threads:
        read = list(threads.map(lambda name: _load_split(source, pool, name), SPLITS))
    revision = _revision(source, read)
    return {split.name: dataclasses.replace(split, revision=revision) for split in read}


def get_train_test_ids(
    name: SplitName,
    pool: str = SHARED,
    *,
    ood_types: Collection[str] | None = None,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> tuple[list[str], list[str]]:
    """Return the labels of both sides of a split.

    Parameters
    ----------
    name, pool, splits, bucket, storage_options, mirror, mirror_only
        As in `load_split`.
    ood_types : collection of str, optional
        For the split ``ood``: keep test images of these types only (see `list_ood_types`).

    Returns
    -------
    tuple of list of str
        Train labels and test labels, in the file's order.

    Raises
    ------
    ValueError
        As in `load_split`; for an unknown type, or types with a split that has none.
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `load_split`.
    """
    check_split(name)
    chosen = _check_ood_types(name, ood_types)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    split = load_split(name, pool, splits=splits, bucket=place)
    (variant, *_) = split.variants
    return list(variant.train_ids), [label for label in variant.test_ids if _is_of_type(label, chosen)]


def get_split_masks(
    labels: Iterable[str],
    name: SplitName,
    pool: str = SHARED,
    *,
    ood_types: Collection[str] | None = None,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which trials or images are on which side of a split.

    Parameters
    ----------
    labels : iterable of str
        Stimulus labels, such as a trial table's column or a Dataset's coordinate ``label``.
    name, pool, ood_types, splits, bucket, storage_options, mirror, mirror_only
        As in `get_train_test_ids`; ``ood`` is derived from the labels and reads no file.

    Returns
    -------
    tuple of array of bool, shape (label,)
        Train and test; a label of neither side is False in both.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `get_train_test_ids`.
    """
    check_split(name)
    _check_pool(pool)
    chosen = _check_ood_types(name, ood_types)
    given = np.asarray(labels if hasattr(labels, "__array__") else list(labels), dtype=object)
    if name == OOD:
        roles = _ood_roles(given, pool, chosen)
    else:
        place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
        split = load_split(name, pool, splits=splits, bucket=place)
        roles = _roles(given, split)
    return roles == ROLES["train"], roles == ROLES["test"]


def split_roles(
    trials: pd.DataFrame, subject: str, source: SplitSource
) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    """Return the roles of trials in every split of the shared pool and of the subject's own.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the column ``label``.
    subject : str
        ``"sub-01"``.
    source : SplitSource
        Where the files are.

    Returns
    -------
    dict
        ``split_role`` (pool, split, trial), int8: 0 unused, 1 train, 2 test, as CF flags, with the revision and the
        files' sums in its attributes; ``pool`` and ``split``. As xarray takes coordinates.

    Raises
    ------
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        As `SplitSource.read`.
    """
    import pandas as pd

    pools = (SHARED, subject)
    files = [(pool, name) for pool in pools for name in SPLITS if name != OOD]
    with _threads() as threads:
        read = dict(zip(files, threads.map(lambda file: _read_split(source, *file), files), strict=True))
    codes, labels = pd.factorize(trials["label"].to_numpy(dtype=object))
    roles = np.zeros((len(pools), len(SPLITS), len(labels)), dtype=np.int8)
    sums = {}
    for row, pool in enumerate(pools):
        for column, name in enumerate(SPLITS):
            if name == OOD:
                roles[row, column] = _ood_roles(labels, pool)
            else:
                split = read[pool, name]
                roles[row, column] = _roles(labels, split)
                sums[f"{pool}/{name}"] = split.sha256
    flags = {
        "long_name": "role of the trial's image in the split of the pool",
        "flag_values": list(ROLES.values()),
        "flag_meanings": " ".join(ROLES),
        "revision": _revision(source, read.values()),
        "sha256": json.dumps(sums),
    }
    return {
        POOL: ((POOL,), np.array(pools, dtype=object), {"long_name": "images that the split is a partition of"}),
        SPLIT: ((SPLIT,), np.array(SPLITS, dtype=object), {"long_name": "train/test split"}),
        "split_role": ((POOL, SPLIT, "trial"), roles[:, :, codes], flags),
    }


def role_mask(
    trials: pd.DataFrame, subject: str, *, split: str, pool: str, role: str, source: SplitSource | None
) -> NDArray[np.bool_]:
    """Tell which trials have a role in a split.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the column ``label``.
    subject
        As in `split_roles`.
    source : SplitSource or None
        Where the files are; not needed for ``ood``.
    split : str
        One of `list_splits`.
    pool : {"shared", "subject"}
        The pool of the images that all subjects saw, or the subject's own.
    role : {"train", "test", "both"}
        The side of the split.

    Returns
    -------
    array of bool, shape (trial,)
    """
    folder = SHARED if pool == SHARED else subject
    labels = trials["label"].to_numpy(dtype=object)
    if split == OOD:
        roles = _ood_roles(labels, folder)
    else:
        assert source is not None, "every split but ood is in a file"
        found = _read_split(source, folder, split)
        _revision(source, [found])
        roles = _roles(labels, found)
    return has_role(roles, role)


def has_role(roles: NDArray[np.int8], role: str) -> NDArray[np.bool_]:
    """Tell which trials have a role, from their flags in one split; ``"both"`` stands for train and test."""
    mask: NDArray[np.bool_] = roles > 0 if role == "both" else roles == ROLES[role]
    return mask


def check_split(name: object) -> object:
    """Return the name of a split, or raise ValueError with the nearest ones."""
    if name not in SPLITS:
        raise unknown_value("split", name, SPLITS)
    return name


def _check_pool(pool: object) -> None:
    if pool not in list_pools():
        raise unknown_value("pool", pool, list_pools())


def _roles(labels: NDArray[np.object_], split: Split) -> NDArray[np.int8]:
    (variant, *_) = split.variants
    sides = dict.fromkeys(variant.train_ids, ROLES["train"]) | dict.fromkeys(variant.test_ids, ROLES["test"])
    return np.fromiter((sides.get(label, 0) for label in labels), dtype=np.int8, count=len(labels))


def _ood_roles(labels: NDArray[np.object_], pool: str, types: frozenset[str] | None = None) -> NDArray[np.int8]:
    """Derive the roles of the split ``ood``: test is every out-of-distribution image, train the rest of the pool."""
    participant = layout.PARTICIPANT_CODES.get(pool)

    def role(label: str) -> int:
        parsed = parse_label(label)
        if parsed is None:
            return ROLES["unused"]
        if parsed.dataset == "OOD":
            return ROLES["test" if _is_of_type(label, types) else "unused"]
        is_own = pool != SHARED and participant in (None, parsed.participant)
        return ROLES["train" if parsed.shared or is_own else "unused"]

    return np.fromiter((role(label) for label in labels), dtype=np.int8, count=len(labels))


def _is_of_type(label: str, types: frozenset[str] | None) -> bool:
    """Tell whether an out-of-distribution image is of one of the types; None stands for all."""
    parsed = parse_label(label)
    return types is None or (parsed is not None and parsed.ood_type in types)


def _check_ood_types(name: str, ood_types: Collection[str] | None) -> frozenset[str] | None:
    if ood_types is None:
        return None
    if name != OOD:
        raise ValueError(f"ood_types={ood_types!r} goes with the split 'ood' only, found {name!r}.")
    types = [ood_types] if isinstance(ood_types, str) else list(ood_types)
    for one in types:
        if one not in OOD_TYPES:
            raise unknown_value("OOD type", one, list_ood_types())
    return frozenset(types)


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(FILES_IN_FLIGHT, thread_name_prefix="laion-splits")


def _revision(source: SplitSource, read: Collection[Split]) -> str:
    """Return the revision of split files, and warn of another one that nobody has chosen."""
    if not source.was_found:
        return source.revision
    sums = _published_sums()
    others = sorted(key for one in read if sums.get(key := f"{one.pool}/{one.name}.json") != one.sha256)
    if not others:
        return REVISION
    warnings.warn(
        f"The splits are those of the installed {source.revision}: {in_short(others, most=3)} there "
        f"{'is' if len(others) == 1 else 'are'} not of the revision {REVISION[:10]} that this package pins. One name, "
        "such as random_0, stands for other splits in other revisions. Name the files that you mean, with splits= or "
        f"the environment variable {SPLITS_VARIABLE}: splits={source.root.url!r} keeps these.",
        OtherSplitsWarning,
        stacklevel=3,
    )
    return source.revision


def _load_split(source: SplitSource, pool: str, name: str) -> Split:
    split = _read_split(source, pool, name)
    # The parsed file is remembered: what is given away must not be a part of it that can be changed.
    return dataclasses.replace(split, params=copy.deepcopy(split.params))


def _read_split(source: SplitSource, pool: str, name: str) -> Split:
    where = source.root.locate(source.place(f"{pool}/{name}.json"))
    return parse_split(source.read(pool, name), pool, name, source.revision, where)


@functools.cache
def _published_sums() -> Mapping[str, str]:
    """Key → SHA-256 of the published split files."""
    text = (importlib.resources.files("intake_laion_fmri") / "splits.sha256").read_text(encoding="ascii")
    pairs = (line.split() for line in text.splitlines())
    return MappingProxyType({key: digest for digest, key in pairs})
