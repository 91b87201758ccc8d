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
import os
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.labels import OOD_TYPES, parse_label
from intake_laion_fmri.errors import unknown_value
from intake_laion_fmri.forks import concurrently
from intake_laion_fmri.formats.split_file import Split
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.split_sources import (
    FILES_IN_FLIGHT,
    SplitSource,
    find_source,
    published_pools,
    read_split,
    revision_of,
)

__all__ = [
    "OOD",
    "POOL",
    "SHARED",
    "SPLIT",
    "SPLITS",
    "Pool",
    "Role",
    "SplitName",
    "check_split",
    "get_split_masks",
    "get_train_test_ids",
    "has_role",
    "list_ood_types",
    "list_pools",
    "list_splits",
    "load_all_splits",
    "load_split",
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


def list_pools() -> list[str]:
    """Return the pools of the published splits: ``shared`` and one per subject, sorted."""
    return published_pools()


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
    return dataclasses.replace(split, revision=revision_of(source, [split]))


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
    read = concurrently(lambda name: _load_split(source, pool, name), SPLITS, FILES_IN_FLIGHT, name="splits")
    revision = revision_of(source, read)
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
        roles = ood_roles(given, pool, chosen)
    else:
        place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
        split = load_split(name, pool, splits=splits, bucket=place)
        roles = roles_in(given, split)
    return roles == ROLES["train"], roles == ROLES["test"]


def has_role(roles: NDArray[np.int8], role: str) -> NDArray[np.bool_]:
    """Return True for the flags of a role in a split; ``"both"`` is train and test."""
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


def roles_in(labels: NDArray[np.object_], split: Split) -> NDArray[np.int8]:
    """Return the role of each label in a split, as flags."""
    (variant, *_) = split.variants
    sides = dict.fromkeys(variant.train_ids, ROLES["train"]) | dict.fromkeys(variant.test_ids, ROLES["test"])
    return np.fromiter((sides.get(label, 0) for label in labels), dtype=np.int8, count=len(labels))


def ood_roles(labels: NDArray[np.object_], pool: str, types: frozenset[str] | None = None) -> NDArray[np.int8]:
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
    """Return True if an out-of-distribution image is of a type; None stands for all types."""
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


def _load_split(source: SplitSource, pool: str, name: str) -> Split:
    split = read_split(source, pool, name)
    # The parsed file is remembered: what is given away must not be a part of it that can be changed.
    return dataclasses.replace(split, params=copy.deepcopy(split.params))
