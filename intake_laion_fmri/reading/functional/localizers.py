"""Localizers, as a Dataset or as a coordinate of betas."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.contrasts import (
    CONTRAST,
    LOCALIZER_MAPS,
    RUN,
    VARIABLES,
    Stat,
    contrast_coordinates,
    run_coordinate,
)
from intake_laion_fmri.axes.rois import RoiSelection, roi_coordinates
from intake_laion_fmri.axes.vertices import SURFACE_SPACE, Hemisphere, named, vertex_coordinate
from intake_laion_fmri.axes.voxels import VOXEL, Mask, VoxelAxis, grid_coordinates
from intake_laion_fmri.errors import Remarks
from intake_laion_fmri.formats.gifti import read_vertex_values
from intake_laion_fmri.formats.grid import GRID, Coordinates, Grid
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.nifti import MAX_VOXELS, VolumeReader
from intake_laion_fmri.reading.arguments import ALL, All, check_argument
from intake_laion_fmri.reading.assembly import attributes, subject_coordinate
from intake_laion_fmri.reading.blocks import MapBlock, Step
from intake_laion_fmri.reading.contents import Fetched, SubjectContents, subject_contents
from intake_laion_fmri.reading.functional.localizer_plans import FITTED, LocalizerPlan, LocalizerQuery
from intake_laion_fmri.reading.functional.sidecars import sidecar_attribute
from intake_laion_fmri.reading.functional.surface_blocks import SurfaceBlock
from intake_laion_fmri.reading.lazy_arrays import lazy_rows
from intake_laion_fmri.reading.origins import with_origin
from intake_laion_fmri.reading.plans.rois import RoiPlan
from intake_laion_fmri.reading.plans.voxels import VoxelPlan, VoxelQuery
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

Variables = dict[str, tuple[tuple[str, ...], "da.Array", dict[str, Any]]]
"""Name → dimensions, lazy values, attributes."""


@dataclass(frozen=True, eq=False)
class _Parts:
    """The maps on their axis."""

    variables: Variables
    """The maps."""
    coordinates: Coordinates
    """Coordinates of voxels, volumes or vertices."""
    files: tuple[ObjectInfo, ...] = ()
    """Files that were read for the axis."""
    remarks: Remarks = field(default_factory=Remarks)
    """Remarks on these files."""
    grid: Grid | None = None
    """Grid of voxels and volumes."""


def open_localizers(
    subject: str,
    *,
    task: str | None = None,
    contrast: str | Sequence[str] | None = None,
    stat: Stat = "z",
    space: Literal["T1w", "fsnative"] = "T1w",
    res: Literal["1pt8", "1pt5"] = "1pt8",
    roi: RoiSelection | None = None,
    hemi: Hemisphere | All = ALL,
    mask: Mask = "rsquare",
    sidecars: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open the localizers of a subject: contrasts, or conditions in each run.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    task : str, optional
        The localizer: ``"floc"``, ``"oloc"``, ``"MotionLoc"``, ``"MotionLeft"``, ``"MotionRight"``; by default all
        except the last two, whose runs ``MotionLoc`` pools.
    contrast : str or sequence of str, optional
        Names of contrasts, such as ``"faceVsObject"``, or for effects of conditions, such as ``"face"``. By default all
        of the task.
    stat : {"z", "effect"}, default "z"
        The contrasts' z-values over all runs, or the conditions' effects in each run of a single task.
    space : {"T1w", "fsnative"}, default "T1w"
        Voxels, or vertices of the subject's own FreeSurfer surface. Both are fitted, neither is projected.
    res : {"1pt8", "1pt5"}, default "1pt8"
        Resolution of volumes: on the betas' voxels, or as fitted, whole volumes on a grid of 1.5 mm.
    roi : str, sequence of str, or None, default None
        As in `open_betas`; on the surface it selects vertices, as in `open_rois`. Not for ``res="1pt5"``.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres of the surface. Volumes hold both.
    mask : {"rsquare", "anatomical", "rsquare_or_nan"}, default "rsquare"
        As in `open_betas`; it applies to the betas' voxels only.
    sidecars : bool, default False
        Whether to read the JSON files beside the maps, into the attribute ``sidecars``: JSON, key → content.

    Returns
    -------
    xarray.Dataset
        Lazy, float32, a block per file. ``z_value`` (contrast, voxel), or ``effect`` (contrast, run, voxel) in percent
        signal change:

        - on the betas' voxels, with the coordinates of `open_maps`. Values are interpolated trilinearly from the
          fitted ones, and NaN where less than half of the weight was fitted;
        - with ``res="1pt5"`` along (contrast, i, j, k);
        - on the surface ``z_value_L`` (contrast, vertex_L) and ``z_value_R``, with ``in_roi_L`` and
          ``in_roi_R`` where `roi` is given.

        Coordinates are ``contrast`` (index), ``localizer_task`` and ``localizer_session`` (contrast), and for effects
        ``run`` (index).

    Raises
    ------
    ValueError
        For an unknown task or contrast, a contrast of another task, effects of several tasks, or `roi` with
        ``res="1pt5"``.
    NotInBucketError
        If the subject has no localizers, or no such maps of the task: ``MotionLoc`` has no runs of its own.
    AccessDeniedError
        For a task of a held-out session. The object localizer of ``ses-31`` is public.
    BucketUnreachableError, DataIntegrityError
        As in `open_maps`.

    Warns
    -----
    MissingFileWarning
        Once, if a run lacks a chosen condition: the run is left out.

    Notes
    -----
    On voxels four listings (five with the anatomical mask) and the requests of `open_maps` for mask and ROIs; on the
    surface three listings, one file a hemisphere, and the ROIs' masks if `roi` is given. A map costs one request when
    it is computed.
    """
    import xarray as xr

    query = LocalizerQuery.from_arguments(task, contrast, stat, space, res, hemi)
    voxel_query = VoxelQuery.from_arguments(roi, mask)
    if roi is not None and query.hemis == ("",) and res == FITTED:
        raise ValueError(f"roi={roi!r} is on the betas' grid, but res='1pt5' is a different one: omit roi= or res=.")
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    on_voxels = space != SURFACE_SPACE and res != FITTED
    contents = subject_contents(
        bucket,
        layout.subject_name(subject),
        anatomy=on_voxels and voxel_query.needs_anatomy,
        trees=(layout.LOCALIZERS,),
    )
    plan = LocalizerPlan.from_listing(bucket, contents.subject, contents.objects, query)
    if space == SURFACE_SPACE:
        parts = _on_vertices(bucket, contents, plan, query, voxel_query)
    elif res == FITTED:
        parts = _as_volumes(bucket, plan, query)
    else:
        parts = _on_voxels(bucket, contents, plan, query, voxel_query)
    extras, faults = sidecar_attribute(
        bucket, contents.objects, plan.files.values(), wanted=check_argument("sidecars", sidecars)
    )
    (Remarks(plan.missing) + parts.remarks + faults).warn(stacklevel=2)
    coordinates = {
        **contrast_coordinates(plan.contrasts, plan.tasks, plan.sessions),
        **(run_coordinate(plan.runs) if stat == "effect" else {}),
        **parts.coordinates,
        "subject": subject_coordinate(contents.subject),
    }
    used = [*plan.files.values(), *parts.files]
    attrs = attributes(f"localizers of {contents.subject}", used, parts.grid, mask if on_voxels else None)
    if space == SURFACE_SPACE:
        attrs["surface_space"] = SURFACE_SPACE
    return with_origin(xr.Dataset(parts.variables, coords=coordinates, attrs=attrs | extras), bucket)


def localizer_coordinates(
    bucket: Bucket, subject: str, task: object, axis: VoxelAxis
) -> tuple[Coordinates, list[ObjectInfo]]:
    """Read contrasts of a localizer on the betas' voxels.

    Parameters
    ----------
    bucket : Bucket
        Where to read from.
    subject : str
        ``"sub-01"``.
    task : object
        The user's value, checked here.
    axis : VoxelAxis
        The voxels.

    Returns
    -------
    coordinates : dict
        ``localizer`` (contrast, voxel), in memory, ``contrast`` and the coordinates along it.
    infos : list of ObjectInfo
        The files.
    """
    if task is None:
        return {}, []
    query = LocalizerQuery.from_arguments(task)
    plan = LocalizerPlan.from_listing(bucket, subject, bucket.find(layout.LOCALIZERS.folder(subject)), query)
    values = _stacked("z", _steps(bucket, plan, "z", axis.grid, axis.index), (len(axis),)).compute()
    attrs = {**LOCALIZER_MAPS[VARIABLES["z"]].attrs, "grid_mapping": GRID}
    coordinates: Coordinates = {"localizer": ((CONTRAST, VOXEL), values, attrs)}
    coordinates |= contrast_coordinates(plan.contrasts, plan.tasks, plan.sessions)
    return coordinates, list(plan.files.values())


def _on_voxels(
    bucket: Bucket, contents: SubjectContents, plan: LocalizerPlan, query: LocalizerQuery, voxels: VoxelQuery
) -> _Parts:
    voxel_plan = VoxelPlan.from_listing(bucket, contents, voxels, maps=())
    brain = voxel_plan.read(bucket, Fetched(bucket, voxel_plan.files))
    axis = brain.axis
    rows = _stacked(query.stat, _steps(bucket, plan, query.stat, axis.grid, axis.index), (len(axis),))
    coordinates = brain.coordinates() | axis.grid.coordinate(layout.SPACE)
    return _Parts(
        _variable(query.stat, "", (VOXEL,), rows, {"grid_mapping": GRID}),
        coordinates,
        voxel_plan.files,
        brain.remarks,
        axis.grid,
    )


def _as_volumes(bucket: Bucket, plan: LocalizerPlan, query: LocalizerQuery) -> _Parts:
    first = plan.infos()[0][0]
    with bucket.stream(first) as file:
        grid = VolumeReader(file, name=bucket.locate(first.key)).header.grid
    if grid.size > MAX_VOXELS:
        raise Broken(bucket.locate(first.key))(f"expected a grid of at most {MAX_VOXELS} voxels, found {grid.shape}")
    rows = _stacked(query.stat, _steps(bucket, plan, query.stat, grid, None), grid.shape)
    coordinates = grid_coordinates(grid) | grid.coordinate(layout.SPACE)
    return _Parts(_variable(query.stat, "", tuple("ijk"), rows, {"grid_mapping": GRID}), coordinates, grid=grid)


def _on_vertices(
    bucket: Bucket, contents: SubjectContents, plan: LocalizerPlan, query: LocalizerQuery, voxels: VoxelQuery
) -> _Parts:
    parts = None
    rulers = {hemi: plan.infos(hemi)[0][0] for hemi in query.hemis}
    files: tuple[ObjectInfo, ...] = ()
    if voxels.roi is not None:
        rois = RoiPlan.from_listing(bucket, contents, voxels, formats=("func.gii",), hemis=query.hemis)
        files, parts = rois.files, rois.read(bucket, Fetched(bucket, rois.files))
    contents_of_rulers = bucket.fetch(rulers.values())
    masks = {surface.hemi: surface for surface in parts.surfaces} if parts else {}
    where = f"{contents.subject} in {bucket.url}"
    variables: Variables = {}
    coordinates = roi_coordinates(parts.rois) if parts else {}
    for hemi, info in rulers.items():
        name = bucket.locate(info.key)
        n_vertices = len(read_vertex_values(contents_of_rulers[info.key], name=name, hemi=hemi))
        vertices = np.arange(n_vertices if parts is None else 0, dtype=np.int64)
        if parts is not None and hemi in masks:
            inside, beside = masks[hemi].mask_variables(parts.rois, voxels.roi, where=where)
            coordinates |= inside
            vertices = beside[named("vertex", hemi)][1]
        coordinates |= vertex_coordinate(hemi, vertices)
        blocks = [[SurfaceBlock(bucket, file, hemi, n_vertices) for file in row] for row in plan.infos(hemi)]
        steps = [[Step(SurfaceBlock.read, block, vertices) for block in row] for row in blocks]
        rows = _stacked(query.stat, steps, (len(vertices),))
        variables |= _variable(query.stat, f"_{hemi}", (named("vertex", hemi),), rows, {})
    return _Parts(variables, coordinates, files, parts.remarks if parts else Remarks())


def _steps(
    bucket: Bucket, plan: LocalizerPlan, stat: str, grid: Grid, voxels: NDArray[np.int64] | None
) -> list[list[Step]]:
    """Return each map's reading steps by run; whole volumes without `voxels`."""
    read = MapBlock.read_volume if voxels is None else MapBlock.read
    return [[Step(read, MapBlock(bucket, info, grid, VARIABLES[stat]), voxels) for info in row] for row in plan.infos()]


def _stacked(stat: str, steps: Sequence[Sequence[Step]], shape: tuple[int, ...]) -> da.Array:
    """Stack the maps: (contrast, …), or (contrast, run, …) for effects."""
    import dask.array as da

    if stat == "z":
        return lazy_rows(stat, [row[0] for row in steps], shape=shape)
    stacked: da.Array = da.stack([lazy_rows(stat, row, shape=shape) for row in steps])
    return stacked


def _variable(stat: str, ending: str, dims: tuple[str, ...], rows: da.Array, more: dict[str, str]) -> Variables:
    first = (CONTRAST,) if stat == "z" else (CONTRAST, RUN)
    return {VARIABLES[stat] + ending: ((*first, *dims), rows, {**LOCALIZER_MAPS[VARIABLES[stat]].attrs, **more})}
