"""Maps of a subject or of its sessions as one Dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.voxels import SESSION_MAPS, SUBJECT_MAPS, VOXEL, Mask, VoxelAxis, grid_coordinates
from intake_laion_fmri.errors import DataIntegrityError, Remarks
from intake_laion_fmri.formats.grid import GRID
from intake_laion_fmri.reading.arguments import ALL, GridForm, MapSelection, SessionSelection, check_argument
from intake_laion_fmri.reading.assembly import attributes, subject_coordinate
from intake_laion_fmri.reading.blocks import MapBlock, Step
from intake_laion_fmri.reading.contents import Fetched, SubjectContents, subject_contents
from intake_laion_fmri.reading.functional.sidecars import sidecar_attribute
from intake_laion_fmri.reading.lazy_arrays import lazy_rows
from intake_laion_fmri.reading.origins import with_origin
from intake_laion_fmri.reading.plans.maps import MapPlan, MapQuery
from intake_laion_fmri.reading.plans.voxels import VoxelPlan, VoxelQuery
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

SESSION = "session"
"""Dimension and index of maps of sessions; in the betas, a coordinate along ``trial``."""


def open_maps(
    subject: str,
    *,
    session: SessionSelection | None = None,
    maps: MapSelection = ALL,
    grid: GridForm = "voxel",
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open maps: noise ceilings, R2, HRF index and ridge fraction.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    session : str, int, sequence of these, or None, default None
        ``"all"``, a session or a list of sessions, for the maps of each; None for the maps of the whole subject.
    maps : str or sequence of str, default "all"
        ``nc_12rep``, ``nc_4rep``, ``nc_all`` and ``r2_mean`` of the whole subject; ``noise_ceiling``, ``r2``,
        ``hrf_index`` and ``ridge_fraction`` of a session.
    grid : {"voxel", "volume"}, default "voxel"
        The voxels of the mask, or the whole volume.
    roi : str, sequence of str, or None, default None
        As in `open_betas`. In a volume, unselected voxels are NaN (-1 in ``hrf_index``); None keeps the whole file,
        also outside the mask.
    mask : {"rsquare", "anatomical", "rsquare_or_nan"}, default "rsquare"
        As in `open_betas`. In a volume it only limits `roi`.
    sidecars : bool, default False
        Whether to read the JSON files beside the maps, into the attribute ``sidecars``: JSON, key → content. Those of
        noise ceilings list the sessions that they were computed from.

    Returns
    -------
    xarray.Dataset
        Variables with ``long_name``, ``units`` and ``valid_range`` (of R2 ``valid_max``: it has no lower end):

        - ``nc_12rep``, ``nc_4rep``, ``nc_all``, ``r2_mean``: float32, percent;
        - ``noise_ceiling`` and ``r2`` within the session: float32, percent; ``hrf_index``: int32, 0 to 19, or -1 for
          missing; ``ridge_fraction``: float32, 0 to 1.

        Along (voxel), with the coordinates of `open_betas` that follow from the grid and the ROIs; or along (i, j, k),
        with these grid indices; ``grid`` holds the affine in both cases. Maps of sessions have ``session`` (index:
        names) as first dimension.

        The maps of the whole subject on the voxel axis are in memory; all others are Dask arrays.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; ValueError also for a session's map without `session`, or a subject's map with it;
        NotInBucketError also if a named map, or every map, is absent. A broken file is found when it is read: for a
        Dask array, when it is computed.

    Warns
    -----
    MissingFileWarning
        Once, if maps that were not named are absent: they are left out. A map is absent if a chosen session lacks it.

    Notes
    -----
    Three listings (two for maps of sessions; one more with the anatomical mask), and a request for the mask and each
    ROI volume; for a volume without `roi` only for the mask. A lazy map is one task per file: it streams the file once,
    with a request per 8 MiB and two to check that it was not replaced, and holds the chosen voxels, or 11.7 MB for a
    whole volume. 30 sessions of one map are 33 MB on the voxels of the mask.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    return _open_maps(subject, session, maps, grid, roi, mask, sidecars, bucket)[0]


def open_noise_ceilings(
    subject: str,
    *,
    session: SessionSelection | None = None,
    grid: GridForm = "voxel",
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open noise ceilings and mean R2, or noise ceilings of sessions.

    Parameters
    ----------
    subject, session, grid, roi, mask, sidecars, bucket, storage_options, mirror, mirror_only
        As in `open_maps`.

    Returns
    -------
    xarray.Dataset
        As from `open_maps`, with ``nc_12rep``, ``nc_4rep``, ``nc_all`` and ``r2_mean`` for the whole subject, or
        ``noise_ceiling`` for sessions.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_maps`; NotInBucketError also if there is no noise ceiling.

    Warns
    -----
    MissingFileWarning
        As in `open_maps`.
    """
    maps: str | tuple[str, ...] = ALL if session is None else ("noise_ceiling",)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    dataset, contents = _open_maps(subject, session, maps, grid, roi, mask, sidecars, bucket)
    if set(dataset.data_vars) == {"r2_mean"}:
        raise bucket.missing(SUBJECT_MAPS["nc_12rep"].key(contents.subject), contents.objects)
    return dataset


def _open_maps(
    subject: str,
    session: SessionSelection | None,
    maps: str | Sequence[str],
    grid: str,
    roi: RoiSelection | None,
    mask: str,
    sidecars: bool,
    bucket: Bucket,
) -> tuple[xr.Dataset, SubjectContents]:
    import xarray as xr

    query, voxel_query = MapQuery.from_arguments(session, maps, grid), VoxelQuery.from_arguments(roi, mask)
    is_volume, is_whole = grid == "volume", grid == "volume" and roi is None
    contents = subject_contents(bucket, layout.subject_name(subject), anatomy=voxel_query.needs_anatomy)
    plan = MapPlan.from_listing(bucket, contents, query)
    at_once = () if is_volume or query.per_session else tuple(plan.files)
    voxel_plan = VoxelPlan.from_listing(
        bucket,
        contents,
        voxel_query,
        maps=at_once,
        needed=at_once if query.named else (),
        volumes=() if is_whole else None,
    )
    brain = voxel_plan.read(bucket, Fetched(bucket, voxel_plan.files))

    coordinates = grid_coordinates(brain.axis.grid) if is_volume else brain.coordinates()
    variables: dict[str, Any] = {name: coordinates.pop(name) for name in at_once if name in coordinates}
    for name, blocks in plan.blocks(bucket, brain.axis.grid).items():
        if name not in at_once:
            variables[name] = _lazy_map(name, blocks, query, brain.axis, is_volume=is_volume, is_whole=is_whole)
    coordinates |= brain.axis.grid.coordinate(layout.SPACE)
    for *_, attrs in variables.values():
        attrs["grid_mapping"] = GRID
    if plan.sessions is not None:
        coordinates[SESSION] = ((SESSION,), np.array(plan.sessions, dtype=object), {"long_name": "session"})
    used = [*voxel_plan.files, *(info for infos in plan.files.values() for info in infos)]
    dataset = xr.Dataset(
        variables,
        coords={**coordinates, "subject": subject_coordinate(contents.subject)},
        attrs=attributes(f"maps of {contents.subject}", used, brain.axis.grid, None if is_whole else mask),
    )
    described = (info for infos in plan.files.values() for info in infos)
    extras, faults = sidecar_attribute(bucket, contents.objects, described, wanted=check_argument("sidecars", sidecars))
    remarks = Remarks(plan.missing) + brain.remarks + faults
    if not variables:
        raise DataIntegrityError(f"None of the maps can be read: {'; '.join(remarks.left_out)}.")
    remarks.warn(stacklevel=3)
    return with_origin(dataset.assign_attrs(extras), bucket), contents


def _lazy_map(
    name: str, blocks: Sequence[MapBlock], query: MapQuery, axis: VoxelAxis, *, is_volume: bool, is_whole: bool
) -> tuple[tuple[str, ...], da.Array, dict[str, Any]]:
    """Return a map as an xarray variable, one block per file."""
    spec = (SESSION_MAPS if query.per_session else SUBJECT_MAPS)[name]
    dims, shape = (tuple("ijk"), axis.grid.shape) if is_volume else ((VOXEL,), (len(axis),))
    read = MapBlock.read_volume if is_volume else MapBlock.read
    steps = [Step(read, block, None if is_whole else axis.index) for block in blocks]
    rows = lazy_rows(name, steps, shape=shape, dtype=spec.dtype)
    return ((SESSION, *dims), rows, dict(spec.attrs)) if query.per_session else (dims, rows[0], dict(spec.attrs))
