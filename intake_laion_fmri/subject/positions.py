"""Conversion of voxel positions between masks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.voxels import MASKS, Mask
from intake_laion_fmri.errors import DataIntegrityError, check_option
from intake_laion_fmri.reading.contents import Fetched, subject_contents
from intake_laion_fmri.reading.plans.voxels import VoxelPlan, VoxelQuery
from intake_laion_fmri.remote.access import Bucket, open_bucket

__all__ = ["convert_positions"]


def convert_positions(
    positions: ArrayLike,
    from_mask: Mask,
    to_mask: Mask,
    subject: str,
    *,
    missing: Literal["raise", "drop"] = "raise",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> NDArray[np.int64]:
    """Convert voxel positions from one mask to another.

    Files saved with the data set's package in May and June 2026, and Brain-Score's files, hold positions on
    ``"rsquare_or_nan"``. The default of that package is ``"anatomical"`` today, that of `open_betas` ``"rsquare"``.

    Parameters
    ----------
    positions : array of int
        Positions on `from_mask`, from 0, in any order and shape. Convert flags with `numpy.flatnonzero`.
    from_mask, to_mask : {"rsquare", "anatomical", "rsquare_or_nan"}
        The mask of the given positions, and the mask of the result.
    subject : str
        ``"sub-01"`` or ``"01"``.
    missing : {"raise", "drop"}, default "raise"
        What to do about voxels outside `to_mask`. With ``"drop"`` the result is one-dimensional, in the given order.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`.

    Returns
    -------
    array of int64
        Positions on `to_mask`, in the shape of `positions`.

    Raises
    ------
    TypeError
        If the positions are not integers.
    ValueError
        If a position is not on `from_mask`, or with ``missing="raise"`` not on `to_mask`; or if a mask or the subject
        is unknown.
    NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_betas`.

    Notes
    -----
    Costs two listings, or three with the anatomical mask, and the files of both masks.
    """
    check_option("missing", missing, valid=("raise", "drop"))
    for name, mask in (("from_mask", from_mask), ("to_mask", to_mask)):
        check_option(name, mask, valid=MASKS)
    given = np.asarray(positions)
    if given.dtype.kind not in "iu":
        raise TypeError(f"positions must be integers, found {given.dtype}. For flags, use numpy.flatnonzero.")
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    queries = [VoxelQuery.from_arguments(None, mask) for mask in (from_mask, to_mask)]
    needs_anatomy = any(query.needs_anatomy for query in queries)
    contents = subject_contents(bucket, layout.subject_name(subject), anatomy=needs_anatomy)
    plans = [VoxelPlan.from_listing(bucket, contents, query, maps=(), volumes=()) for query in queries]
    files = Fetched(bucket, [info for plan in plans for info in plan.files])
    first, second = (plan.read(bucket, files).axis for plan in plans)
    difference = first.grid.difference(second.grid)
    if difference:
        raise DataIntegrityError(f"{bucket.locate(plans[1].mask.key)}: {difference}, unlike {plans[0].mask.key}.")
    here, there = first.index, second.index
    outside = (given < 0) | (given >= len(here))
    if outside.any():
        raise ValueError(
            f"Position {given[outside][0]} is not on the mask {from_mask!r} of {subject}, which has {len(here)} voxels."
        )
    voxels = here[given]
    found = np.searchsorted(there, voxels)
    is_there = np.isin(voxels, there)
    if is_there.all():
        return np.asarray(found, dtype=np.int64)
    if missing == "raise":
        raise ValueError(
            f"{np.count_nonzero(~is_there)} of {given.size} voxels are not on the mask {to_mask!r}, the first at "
            f"position {given[~is_there][0]} of {from_mask!r}. Pass missing='drop' to leave them out."
        )
    return np.asarray(found[is_there], dtype=np.int64)
