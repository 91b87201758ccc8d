"""Train/test splits of stimuli, by pool.

The split files belong to the data set's own package and are not copied here: each is downloaded from a pinned revision
on first use, verified by the SHA-256 sum that ships with this package, and kept in the user's cache. A user's folder or
URL, a bucket with splits, and an installed ``laion_fmri`` package are used without downloading. The split ``ood``
follows from the labels alone.

A split is a partition of a *pool*: the images that all subjects saw (``shared``), all images that one subject saw, or
all that any subject saw (``pooled``). Do not mix pools in one analysis: test images of one are training images of
another. The name ``random_0``, for example, has been used for three different partitions, which differ in
`Split.revision`.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.labels import OOD_TYPES, labels_of
from intake_laion_fmri.axes.roles import OOD, ROLES, SHARED, is_of_type, ood_roles, roles_in
from intake_laion_fmri.errors import NotInBucketError, unknown_value
from intake_laion_fmri.formats.split_file import Split, SplitVariant
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.splits.sources import (
    FILES_IN_FLIGHT,
    SPLITS_VARIABLE,
    SplitSource,
    find_source,
    named_source,
    published_pools,
    read_split,
    revision_of,
    upstream,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = [
    "POOL",
    "POOLED",
    "SPLIT",
    "SPLITS",
    "Pool",
    "Role",
    "SplitName",
    "SplitVariant",
    "check_split",
    "get_split_masks",
    "get_train_test_ids",
    "list_ood_types",
    "list_pools",
    "list_splits",
    "load_all_splits",
    "load_split",
]

POOL = "pool"
SPLIT = "split"
"""Dimensions of ``split_role``, beside ``trial``."""

POOLED = "pooled"
"""The pool of all images that any subject saw. Its files are newer than the pinned revision."""

SplitName = Literal[
    "random_0", "random_1", "random_2", "random_3", "random_4",
    "cluster_k5_0", "cluster_k5_1", "cluster_k5_2", "cluster_k5_3", "cluster_k5_4",
    "tau", "ood",
]  # fmt: skip
"""Name of a train/test split."""

SPLITS: tuple[SplitName, ...] = get_args(SplitName)

Pool = Literal["shared", "subject", "pooled"]
"""The pool of the images that all subjects saw, that a subject saw, or that any subject saw."""

Role = Literal["train", "test", "both"]
"""Part of a split."""


def list_pools(*, splits: str | os.PathLike[str] | None = None) -> list[str]:
    """List the pools with splits.

    Parameters
    ----------
    splits : str or path, optional
        Folder or URL of split files, as in `find_source`. By default the environment variable ``LAION_FMRI_SPLITS``,
        or else the published files of the pinned revision, which costs no reading.

    Returns
    -------
    list of str
        Sorted, with ``"pooled"`` last, if there is such a pool.

    Raises
    ------
    AccessDeniedError, BucketUnreachableError
        If the folder cannot be listed.

    References
    ----------
    ``laion_fmri.splits`` of the data set's own package.
    """
    return sorted(_named_splits(splits), key=lambda pool: (pool == POOLED, pool))


def list_splits(pool: str | None = None, *, splits: str | os.PathLike[str] | None = None) -> list[str]:
    """List the names of splits.

    Parameters
    ----------
    pool : str, optional
        One of `list_pools`. By default the names in any pool.
    splits : str or path, optional
        As in `list_pools`.

    Returns
    -------
    list of str
        In the order of the published names, followed by the user's own, sorted.

    Raises
    ------
    ValueError
        If the pool is unknown; the message lists the nearest names.
    AccessDeniedError, BucketUnreachableError
        If the folder cannot be listed.
    """
    found = _named_splits(splits)
    if pool is not None and pool not in found:
        raise unknown_value("pool", pool, sorted(found))
    names = {name for each, several in found.items() if pool in (None, each) for name in several}
    return _in_order(names)


def list_ood_types() -> list[str]:
    """List the out-of-distribution types, sorted."""
    return sorted(OOD_TYPES)


def load_split(
    name: str,
    pool: str = SHARED,
    *,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Split:
    """Read a split of a pool.

    Parameters
    ----------
    name : str
        One of `list_splits`, or of the files in the user's folder.
    pool : str, default "shared"
        ``"shared"``, a subject such as ``"sub-01"``, ``"pooled"`` if the files have it, or the user's own pool.
    splits, bucket, storage_options, mirror, mirror_only
        As in `find_source`.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If the split or pool is unknown; the message lists the nearest names.
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        If the file does not exist, cannot be downloaded, or is damaged.

    References
    ----------
    ``laion_fmri.splits`` of the data set's own package.
    """
    source = find_source(splits, bucket=bucket, storage_options=storage_options, mirror=mirror, mirror_only=mirror_only)
    _check_names(source, pool, name)
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
    """Read all splits of a pool, by name; see `load_split`."""
    source = find_source(splits, bucket=bucket, storage_options=storage_options, mirror=mirror, mirror_only=mirror_only)
    names = _in_order(_check_names(source, pool, None))
    read = concurrently(lambda name: _load_split(source, pool, name), names, FILES_IN_FLIGHT, name="splits")
    revision = revision_of(source, read)
    return {split.name: dataclasses.replace(split, revision=revision) for split in read}


def get_train_test_ids(
    name: str,
    pool: str = SHARED,
    variant_id: int = 0,
    ood_types: Collection[str] | None = None,
    *,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> tuple[list[str], list[str]]:
    """Return the training and test labels of a split.

    Parameters
    ----------
    name, pool, splits, bucket, storage_options, mirror, mirror_only
        As in `load_split`.
    variant_id : int, default 0
        Number of the partition; the published files have one each.
    ood_types : collection of str, optional
        For the split ``ood``, keep only test images of these types; see `list_ood_types`.

    Returns
    -------
    tuple of list of str
        Training labels and test labels, in the file's order.

    Raises
    ------
    ValueError
        As in `load_split`; also if a variant or type is unknown, or types are given for another split than ``ood``.
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `load_split`.
    """
    chosen = _check_ood_types(name, ood_types)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    variant = load_split(name, pool, splits=splits, bucket=bucket).variant(variant_id)
    return list(variant.train_ids), [label for label in variant.test_ids if is_of_type(label, chosen)]


def get_split_masks(
    trials: pd.DataFrame | pd.Series | xr.DataArray | Iterable[str],
    name: str,
    pool: str = SHARED,
    variant_id: int = 0,
    ood_types: Collection[str] | None = None,
    *,
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return flags of training and of test trials or images.

    Parameters
    ----------
    trials : pandas.DataFrame, or iterable of str
        Trials with the column ``label``; or the labels themselves, such as that column, a Dataset's coordinate
        ``label``, an array or a list.
    name, pool, variant_id, ood_types, splits, bucket, storage_options, mirror, mirror_only
        As in `get_train_test_ids`; ``ood`` is derived from the labels without reading a file.

    Returns
    -------
    tuple of array of bool, shape (trial,)
        Flags of training and of test trials; unused labels are False in both.

    Raises
    ------
    TypeError
        If `trials` is a string or a mapping, or a table without the column ``label``.
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `get_train_test_ids`.
    """
    chosen = _check_ood_types(name, ood_types)
    labels = labels_of(trials)
    if name == OOD and pool in (*published_pools(), POOLED):
        roles = ood_roles(labels, pool, chosen)
    else:
        bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
        roles = roles_in(labels, load_split(name, pool, splits=splits, bucket=bucket), variant_id)
    return roles == ROLES["train"], roles == ROLES["test"]


def check_split(name: object) -> object:
    """Return the name of a published split, or raise ValueError."""
    if name not in SPLITS:
        raise unknown_value("split", name, SPLITS)
    return name


def _in_order(names: Collection[str]) -> list[str]:
    return [*(name for name in SPLITS if name in names), *sorted({*names}.difference(SPLITS))]


def _named_splits(splits: str | os.PathLike[str] | None) -> Mapping[str, Collection[str]]:
    """List splits by pool: the user's, or the published ones."""
    named = named_source(splits)
    return (find_source(named) if named is not None else upstream()).names()


def _check_names(source: SplitSource, pool: object, name: str | None) -> Collection[str]:
    """Return the names of a pool's splits, or raise ValueError."""
    if pool in published_pools() and name in SPLITS:
        return SPLITS  # reading will raise if the file does not exist
    if source.pinned and pool == POOLED:
        raise NotInBucketError(
            f"The pool {POOLED!r} is not part of the revision {source.revision[:10]} that this package pins. Pass the "
            "folder with split files of a newer laion_fmri as splits=, or set the environment variable "
            f"{SPLITS_VARIABLE}."
        )
    try:
        found = source.names()
    except OSError:  # a server without listings
        found = {key: [*SPLITS] for key in published_pools()}
    if pool not in found:
        raise unknown_value("pool", pool, sorted(found or published_pools()))
    if name is not None and name not in found[str(pool)]:
        raise unknown_value("split", name, found[str(pool)])
    return found[str(pool)]


def _check_ood_types(name: str, ood_types: Collection[str] | None) -> frozenset[str] | None:
    if ood_types is None:
        return None
    if name != OOD:
        check_split(name)
        raise ValueError(f"ood_types={ood_types!r} is only valid with the split 'ood', found {name!r}.")
    types = [ood_types] if isinstance(ood_types, str) else list(ood_types)
    for name in types:
        if name not in OOD_TYPES:
            raise unknown_value("OOD type", name, list_ood_types())
    return frozenset(types)


def _load_split(source: SplitSource, pool: str, name: str) -> Split:
    split = read_split(source, pool, name)
    # The parsed file is cached, so return a copy of its mutable parameters.
    return dataclasses.replace(split, params=copy.deepcopy(split.params))
