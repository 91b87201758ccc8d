"""The assembler: keys, axes and one task per file become one labelled Dataset.

What every Dataset of this package holds is told in `open_betas`; the other functions return parts of the same, and what
the bucket holds besides: ROIs on surfaces, maps of sessions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiSelection, roi_coordinates, single_operands
from intake_laion_fmri.axes.trials import Stimuli
from intake_laion_fmri.axes.vertices import HEMISPHERES, SURFACE_SPACE, Hemisphere
from intake_laion_fmri.axes.voxels import (
    SESSION_MAPS,
    SUBJECT_MAPS,
    VOXEL,
    Mask,
    NoiseCeiling,
    VoxelAxis,
    grid_coordinates,
)
from intake_laion_fmri.discovery import SubjectContents, subject_contents
from intake_laion_fmri.errors import DataIntegrityError, NotInStoreError, Remarks
from intake_laion_fmri.formats.grid import GRID, Coordinates
from intake_laion_fmri.reading.arguments import (
    ALL,
    FORMATS,
    All,
    Format,
    GridForm,
    MapSelection,
    SessionSelection,
    check_argument,
    chosen,
)
from intake_laion_fmri.reading.assembly import BucketPlan, attributes, subject_coordinate
from intake_laion_fmri.reading.blocks import MapBlock, Step, lazy_rows
from intake_laion_fmri.reading.plans import (
    Fetched,
    MapPlan,
    MapQuery,
    TrialPlan,
    TrialQuery,
    VoxelPlan,
    VoxelQuery,
    no_rois,
)
from intake_laion_fmri.reading.roi_plans import RoiPlan
from intake_laion_fmri.reading.stored import StorePlan, with_stored
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.splits import Pool, Role, SplitName, find_source
from intake_laion_fmri.store.root import StoreRoot, open_store

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    import xarray as xr

__all__ = [
    "open_betas",
    "open_maps",
    "open_noise_ceilings",
    "open_rois",
    "open_trials",
    "roi_data",
]

SESSION = "session"
"""Dimension and index of maps of sessions; in the betas, a coordinate along ``trial``."""


def open_betas(
    subject: str,
    *,
    session: SessionSelection = ALL,
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    min_noise_ceiling: float | None = None,
    noise_ceiling: NoiseCeiling = "12rep",
    stimuli: Stimuli | None = None,
    split: SplitName | None = None,
    pool: Pool = "shared",
    role: Role = "both",
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    store: str | os.PathLike[str] | StoreRoot | None = None,
    store_options: Mapping[str, Any] | None = None,
    fallback: bool = False,
) -> xr.Dataset:
    """Open the single-trial betas of a subject as a lazy, labelled Dataset.

    Parameters
    ----------
    subject : str
        ``"sub-01"`` or ``"01"``.
    session : str, int or sequence of these, default "all"
        ``"all"`` is every public session found; ``"ses-01"``, ``"01"``, ``1``, or a list. The number counts: session 1
        may have the folder ``ses-001``. Trials always come in the order of the sessions' numbers.
    roi : str, sequence of str, or None, default None
        A name (``"FFA1"``, also ``"FFA-1"``), a category (``"face"``), ``"all"``, a list (union), or an expression
        with ``|``, ``&``, `` - `` and parentheses, as in ``"laionventral - (V1 | hV4)"``. ``V1``, ``V2`` and ``V3`` are
        the union of their v and d parts, where no ROI has that name. None is the whole mask.
    mask : {"rsquare", "anatomical"}, default "rsquare"
        The brain: voxels with a mean R2 above 0, or the wider anatomical mask. ROIs are cut to it.
    min_noise_ceiling : float, optional
        Keep voxels with a noise ceiling of at least so many **percent** (0 to 100). Fractions are refused.
    noise_ceiling : {"12rep", "4rep", "all"}, default "12rep"
        The map that `min_noise_ceiling` reads.
    stimuli : {"shared", "unique", "ood"}, optional
        Keep trials that show such images only. ``"shared"`` includes the out-of-distribution images.
    split : str, optional
        Keep trials whose image has a role in this train/test split: ``random_0`` to ``random_4``, ``cluster_k5_0`` to
        ``cluster_k5_4``, ``tau`` or ``ood``.
    pool : {"shared", "subject"}, default "shared"
        The images that the split is a partition of: those that all subjects saw, or all of this subject's. Do not
        mix pools in one analysis: test images of one are train images of the other.
    role : {"train", "test", "both"}, default "both"
        The side of the split.
    splits : str or path, optional
        Folder or URL with split files ``<pool>/<name>.json``. By default the environment variable
        ``LAION_FMRI_SPLITS``, or what `splits.find_source` finds.
    bucket : str or path, optional
        URL or folder with the bucket's layout. By default the environment variable ``LAION_FMRI_BUCKET``, or
        ``s3://laion-fmri``.
    storage_options : mapping, optional
        Options of the bucket's file system; for S3 anonymous and ``us-west-2`` by default.
    mirror : str or path, optional
        Local folder with a part of the bucket, such as ``intake-laion-fmri mirror`` fills. What is there, complete and
        as the bucket has it now, is read from there, the rest from the bucket. By default the folder that
        `config.dataset_initialize` has named in this process, or the environment variable ``LAION_FMRI_MIRROR``.
    mirror_only : bool, optional
        Whether to read the mirror alone: nothing is asked for over a network, and what is not there does not exist.
        By default the environment variable ``LAION_FMRI_MIRROR_ONLY``, or False.
    store : str or path, optional
        URL or folder of a store that `store.build_store` has built. Everything is read from there, and the bucket is
        not asked. A session's chunks can be read at random, so an ROI costs its own bytes and not a pass over every
        stream.
    store_options : mapping, optional
        Options of the store's file system. For S3 credentials and region are found as in every other program; a
        public store needs ``{"anon": True}``.
    fallback : bool, default False
        Where the store holds less than is asked for (or is not there), open the bucket, and read from the store what
        it holds: whole sessions, of which it holds every chosen voxel. Otherwise this is an error.

    Returns
    -------
    xarray.Dataset
        ``betas`` (trial, voxel), float32, a Dask array of one chunk per session with a selected trial. Coordinates:

        - along ``trial``: ``trial`` (index: session number x 10000 + beta_index), ``session``, ``run``,
          ``beta_index``, ``label``, ``shared``, ``dataset``, ``ood_type``, ``n_repeats``, ``repetition``;
        - along ``voxel``: ``voxel`` (index: C-order flat index into the grid, ascending), ``i j k``, ``x y z`` (mm,
          subject T1w space), ``nc_12rep``, ``nc_4rep``, ``nc_all`` (percent), ``r2_mean``;
        - ``in_roi`` (roi, voxel), with ``roi`` (names) and ``roi_category``: all ROIs of the subject, whichever
          were selected;
        - ``split_role`` (pool, split, trial): 0 unused, 1 train, 2 test, in every split of the shared pool and of the
          subject's own; its attributes tell the files' revision and SHA-256 sums;
        - ``subject`` and ``grid``, scalars. The attributes of ``grid`` are ``affine``, ``shape`` and ``space`` of the
          voxels; it stays with means and other results, which `to_nifti` puts back into a volume by it.

        Attributes: ``title``, ``affine``, ``grid_shape``, ``space``, ``mask``, ``mask_rule``, ``sources`` (JSON: key,
        size and ETag of every object; with a mirror also its ``origin``, ``"mirror"`` or ``"bucket"``), ``license``,
        ``references``, ``created_with``, ``project``, ``publisher_url``.

        A selection that leaves nothing gives a Dataset of length 0.

    Raises
    ------
    ValueError
        For an unknown subject, session, ROI or option (with the nearest valid ones), or a threshold that is no
        percentage.
    NotInBucketError
        If the bucket, or an object that the selection needs, does not exist.
    NotInStoreError
        If the store holds less than is asked for; it is a NotInBucketError too.
    AccessDeniedError
        For a held-out session.
    BucketUnreachableError
        If the bucket, or the store's server, does not answer.
    DataIntegrityError
        If a file that the selection needs is broken or contradicts another. For the betas themselves this is found when
        they are computed.

    Warns
    -----
    MissingFileWarning
        Once, if optional files are absent or of no use, and no selection needs them: their coordinates are left out.
    UnexpectedContentWarning
        Once, if a file differs a little from what is documented, such as a grid that lies up to 0.25 voxels beside the
        mask's. It is read.
    OtherSplitsWarning
        If split files of an installed ``laion_fmri`` are used that are of another revision than the pinned one.
    OfflineWarning
        If the bucket does not answer and a mirror's last listing stands in for it.

    Notes
    -----
    From a lossless store comes the identical Dataset. From one with rounded values, attributes of ``betas`` that begin
    with ``quantization`` tell how far they may be off. ``split_role`` is then what was found when the store was built,
    unless `splits` or ``LAION_FMRI_SPLITS`` is given. Opening 30 sessions costs some 160 small requests; computing one
    per run of chunks that lie side by side.

    From the bucket, opening makes two listings at once (three with the anatomical mask; then one more where the bucket
    is not the published one and neither `splits` nor ``LAION_FMRI_SPLITS`` is given) and reads only small files: the
    trial tables up to the last session, the subject's maps and its ROI volumes, about 75 requests for a whole subject,
    16 at a time; and 22 split files, which are fetched once, or read from the bucket where it holds its own. What the
    user's cache holds is not asked for again: the listings tell whether it is current.

    Computing reads each session's ``.nii.gz`` once, to its end, where its checksum is; a session without a selected
    trial is not read. It costs one unpacking of that stream, two requests that tell whether the object was replaced,
    and a GET per 8 MiB. Reading takes some 50 MB (100 MB from a remote bucket) beside the result. Dask's ``compute``
    then copies or joins the blocks, and holds them twice for a moment; ``read()`` of a catalog's source does not.

    Selections made here are pushed down to that reading; selections made later on the Dataset are not: they still read
    every voxel that was opened. Later, write ``ds.isel(voxel=ds.in_roi.sel(roi="FFA1", drop=True))``: without
    ``drop=True`` the condition carries a scalar ``roi`` into the selection, and xarray raises an IndexError.

    After `stimuli`, `split` or `role` only the selected trials are there, and a z-score over them has their mean and
    standard deviation instead of the session's (0.3 to 0.7 SD off for a split). Open all trials, z-score within each
    session, then select: ``ds.isel(trial=(ds.split_role.sel(pool="shared", split="tau", drop=True) == 2))``.

    Sessions differ in length, and the chunks of a Zarr array may not: `to_zarr` of lazy sessions writes chunks that
    divide them, often of 2 trials, and refuses to write more than 1,000. Load the Dataset first, or give the betas
    chunks of one length, which reads each session once: ``ds.assign(betas=ds.betas.chunk(trial=1000)).to_zarr(path)``.
    For whole brains there is `build_store`.

    Betas are in relative units, shrunk by a per-voxel ridge: comparable within a voxel, not across voxels. Some are
    NaN.
    """
    trial_query = TrialQuery.of(session, stimuli, split, pool, role)
    voxel_query = VoxelQuery.of(roi, mask, min_noise_ceiling, noise_ceiling)
    may_fall_back = check_argument("fallback", fallback)
    check_argument("store_options", store_options)
    name = layout.subject_name(subject)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    parts = None
    if store is not None:
        root = open_store(store, store_options)
        try:
            stored = StorePlan.of(root, name, trial_query, voxel_query)
            parts = stored.read(trial_query, voxel_query, splits=splits, bucket=place)
        except NotInStoreError:
            if not may_fall_back:
                raise
    if parts is None:
        contents = subject_contents(place, name, anatomy=voxel_query.needs_anatomy)
        source = find_source(splits, bucket=place)
        plan = BucketPlan.of(place, contents, trial_query, voxel_query)
        parts = plan.read(plan.fetch(), trial_query, source)
        if store is not None:
            parts = with_stored(parts, root)
    parts.remarks.warn(stacklevel=2)
    return parts.dataset()


def open_trials(
    subject: str,
    *,
    session: SessionSelection = ALL,
    stimuli: Stimuli | None = None,
    split: SplitName | None = None,
    pool: Pool = "shared",
    role: Role = "both",
    splits: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> pd.DataFrame:
    """Read the trial table of a subject.

    Parameters
    ----------
    subject, session, stimuli, split, pool, role, splits, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.

    Returns
    -------
    pandas.DataFrame
        One row per trial, with the index ``trial`` and the columns of `open_betas`'s coordinates along ``trial``.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`.
    """
    query = TrialQuery.of(session, stimuli, split, pool, role)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    contents = subject_contents(place, layout.subject_name(subject))
    plan = TrialPlan.of(place, contents, query)
    table, remarks = plan.read(place, Fetched(place, plan.tables.values()))
    remarks.warn(stacklevel=2)
    source = find_source(splits, bucket=place) if query.needs_files else None
    return table[query.select(table, contents.subject, source)]


def open_rois(
    subject: str,
    *,
    roi: RoiSelection | None = None,
    format: Format | All = "volume",
    hemi: Hemisphere | All = ALL,
    mask: Mask = "rsquare",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Read which voxels and which surface vertices belong to which ROI of a subject.

    Parameters
    ----------
    subject, mask, bucket, storage_options, mirror, mirror_only
        As in `open_betas`; the mask matters to volumes only.
    roi : str, sequence of str, or None, default None
        Chooses the voxels, the vertices and the entries of labels, not the ROIs: the membership of all ROIs is given
        for what was chosen. Vertices are chosen by the masks of their hemisphere, entries by the labels, each by the
        same expression as voxels. None keeps all.
    format : {"volume", "func.gii", "label", "all"}, default "volume"
        Voxels; vertices of the subject's own FreeSurfer surface; lists of such vertices; or all three.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres of the surfaces. Volumes hold both.

    Returns
    -------
    xarray.Dataset
        In memory, with ``roi`` (index: names) and ``roi_category`` of the ROIs that exist in the chosen formats, and

        - volume: ``in_roi`` (roi, voxel), bool, with the coordinates of `open_betas` that follow from the grid;
        - func.gii: ``in_roi_L`` (roi, vertex_L) and ``in_roi_R`` (roi, vertex_R), bool; ``vertex_L`` and ``vertex_R``
          (indices) are the numbers of the vertices, from 0;
        - label: the lists, as contiguous ragged arrays. Along ``entry_L``, ROI after ROI, each in the order of its
          file: ``label_vertex_L`` (the vertex), ``label_value_L``, ``label_roi_L`` (whose list it is), ``label_x_L``,
          ``label_y_L``, ``label_z_L`` (mm, as the file tells them); ``label_count_L`` (roi) is the length of each list.
          The same with ``_R``. One list is ``ds.label_vertex_L[ds.label_roi_L == "FFA1"]``.

        An ROI that is missing in one format, or on one hemisphere, is False everywhere there. Other than in the volume
        format, ``has_volume`` (roi), ``has_func_gii`` and ``has_label`` (roi, hemi) tell it from an empty one.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; NotInBucketError also where the subject has no ROI at all in these formats, or a selected
        one has not; DataIntegrityError also if a label lists a vertex that its surface has not, or the masks of a
        hemisphere have different numbers of vertices.

    Warns
    -----
    MissingFileWarning
        Once, if one of several formats or hemispheres is missing altogether: its variables are left out.

    Notes
    -----
    Three listings (four with the anatomical mask), then a request per file, 16 at a time: for 40 ROIs 41 for the
    volumes and their mask, 80 for each surface format (two more for labels alone, to know how many vertices there are).
    """
    import xarray as xr

    query = VoxelQuery.of(roi, mask)
    formats, hemis = chosen("format", format, FORMATS), chosen("hemi", hemi, HEMISPHERES)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    contents = _listed_rois(place, subject, query, formats)
    plan = RoiPlan.of(place, contents, query, formats=formats, hemis=hemis)
    parts = plan.read(place, Fetched(place, plan.files))
    parts.remarks.warn(stacklevel=2)
    if not parts.rois.names:
        raise no_rois(place, contents, formats)
    brain = parts.brain

    where = f"{contents.subject} in {place.url}"
    variables: Coordinates = {}
    coordinates = roi_coordinates(parts.rois) if brain is None else brain.coordinates()
    if "in_roi" in coordinates:
        variables["in_roi"] = coordinates.pop("in_roi")
        variables["in_roi"][2]["grid_mapping"] = GRID
    for surface in parts.surfaces:
        for exists, build in ((surface.masks, surface.mask_variables), (surface.labels, surface.label_variables)):
            if exists:
                more, beside = build(parts.rois, query.roi, where=where)
                variables |= more
                coordinates |= beside
    if format != "volume":
        coordinates |= parts.presence()
    attrs = attributes(
        f"regions of interest of {contents.subject}", plan.files, brain.axis.grid if brain else None, query.mask
    )
    attrs["format"] = format
    if parts.surfaces:
        attrs |= {"hemi": hemi, "surface_space": SURFACE_SPACE}
    if brain is not None:
        coordinates |= brain.axis.grid.coordinate(layout.SPACE)
    return xr.Dataset(variables, coords={**coordinates, "subject": subject_coordinate(contents.subject)}, attrs=attrs)


def roi_data(
    subject: str,
    roi: RoiSelection,
    *,
    format: Format | All = ALL,
    hemi: Hemisphere | All = ALL,
    mask: Mask = "rsquare",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> dict[str, dict[str, Any]]:
    """Read some ROIs as plain arrays, in the form of the data set's own package.

    Parameters
    ----------
    subject, format, hemi, mask, bucket, storage_options, mirror, mirror_only
        As in `open_rois`.
    roi : str or sequence of str
        A name, a category, ``"all"``, or a list of these. Each ROI has its own entry, so expressions are refused.

    Returns
    -------
    dict
        ROI → its files, in the order of the names::

            {"FFA1": {"volume": array of bool, shape (voxel,): the voxels of the mask,
                      "gii": {"hemi-L": {"func.gii": array of bool, shape (vertex,),
                                         "label": array of int64, the listed vertices},
                              "hemi-R": {...}}}}

        What the bucket has not, or was not asked for, is no key. An ROI that was asked for as part of a category or of
        ``"all"``, and has none of the formats, is left out.

    Raises
    ------
    ValueError
        For an expression, an unknown ROI, format or hemisphere.
    NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_rois`; NotInBucketError also where an ROI that was named has none of the formats.

    Notes
    -----
    Reads the files of these ROIs only: two listings (three with the anatomical mask), then a request per file.
    """
    query = VoxelQuery.of(None, mask)
    formats, hemis = chosen("format", format, FORMATS), chosen("hemi", hemi, HEMISPHERES)
    only = single_operands(roi)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    contents = _listed_rois(place, subject, query, formats)
    plan = RoiPlan.of(place, contents, query, formats=formats, hemis=hemis, only=only)
    parts = plan.read(place, Fetched(place, plan.files))
    brain = parts.brain
    Remarks(noted=parts.remarks.noted).warn(stacklevel=2)

    result: dict[str, dict[str, Any]] = {name: {} for name in parts.rois.names}
    if brain is not None and brain.rois is not None:
        for name, inside in zip(brain.rois.names, brain.rois.inside, strict=True):
            if name in parts.present["volume", ""]:
                result[name]["volume"] = inside
    for surface in parts.surfaces:
        for name in result:
            forms: dict[str, NDArray[Any]] = {}
            if name in surface.masks:
                forms["func.gii"] = surface.masks[name]
            if name in surface.labels:
                forms["label"] = surface.labels[name].vertices
            if forms:
                result[name].setdefault("gii", {})[f"hemi-{surface.hemi}"] = forms
    return result


def open_maps(
    subject: str,
    *,
    session: SessionSelection | None = None,
    maps: MapSelection = ALL,
    grid: GridForm = "voxel",
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open the maps of a subject, or of its sessions: noise ceilings, R2, HRF index and ridge fraction.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    session : str, int, sequence of these, or None, default None
        None for the maps of the whole subject; otherwise sessions as in `open_betas`, for the maps of each.
    maps : str or sequence of str, default "all"
        Of the whole subject: ``nc_12rep``, ``nc_4rep``, ``nc_all`` and ``r2_mean``. Of a session: ``noise_ceiling``,
        ``r2``, ``hrf_index`` and ``ridge_fraction``.
    grid : {"voxel", "volume"}, default "voxel"
        The voxels of the mask, or the whole volume.
    roi : str, sequence of str, or None, default None
        As in `open_betas`. In a volume, what is not selected is NaN (-1 in ``hrf_index``), and None leaves the file
        as it is, outside the mask too.
    mask : {"rsquare", "anatomical"}, default "rsquare"
        As in `open_betas`. In a volume it matters to `roi` only.

    Returns
    -------
    xarray.Dataset
        Variables with ``long_name``, ``units`` and ``valid_range`` (of R2 ``valid_max``: it has no lower end):

        - ``nc_12rep``, ``nc_4rep``, ``nc_all``, ``r2_mean``: float32, percent;
        - ``noise_ceiling`` and ``r2`` within the session: float32, percent; ``hrf_index``: int32, 0 to 19, or -1 where
          the file has none; ``ridge_fraction``: float32, 0 to 1.

        Along (voxel), with the coordinates of `open_betas` that follow from the grid and the ROIs; or along (i, j, k),
        with these grid indices; ``grid`` tells the affine either way. Maps of sessions have ``session`` (index: names)
        first.

        The maps of the whole subject on the voxel axis are in memory; all others are Dask arrays.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; ValueError also for a session's map without `session`, or the other way round;
        NotInBucketError also where a map that was named, or every map, is absent. A broken file is found when it is
        read: of a Dask array, when that is computed.

    Warns
    -----
    MissingFileWarning
        Once, if maps are absent that were not named: they are left out. A map is absent if a chosen session lacks it.

    Notes
    -----
    Three listings (two for maps of sessions; one more with the anatomical mask), and a request for the mask and each
    ROI volume; of a volume without `roi` for the mask alone. A lazy map is one task per file: it streams that file
    once, with a request per 8 MiB and two that tell whether it was replaced, and holds the chosen voxels, or 11.7 MB
    for a whole volume. 30 sessions of one map are 33 MB on the voxels of the mask.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    return _open_maps(subject, session, maps, grid, roi, mask, place)[0]


def open_noise_ceilings(
    subject: str,
    *,
    session: SessionSelection | None = None,
    grid: GridForm = "voxel",
    roi: RoiSelection | None = None,
    mask: Mask = "rsquare",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Open the noise ceilings of a subject, and its mean R2, or the noise ceilings within its sessions.

    Parameters
    ----------
    subject, session, grid, roi, mask, bucket, storage_options, mirror, mirror_only
        As in `open_maps`.

    Returns
    -------
    xarray.Dataset
        Of `open_maps`: of the whole subject ``nc_12rep``, ``nc_4rep``, ``nc_all`` and ``r2_mean``; of sessions
        ``noise_ceiling``.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_maps`; NotInBucketError also where there is no noise ceiling.

    Warns
    -----
    MissingFileWarning
        As in `open_maps`.
    """
    maps: str | tuple[str, ...] = ALL if session is None else ("noise_ceiling",)
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    dataset, contents = _open_maps(subject, session, maps, grid, roi, mask, place)
    if set(dataset.data_vars) == {"r2_mean"}:
        raise place.missing(SUBJECT_MAPS["nc_12rep"].key(contents.subject), contents.objects)
    return dataset


def _open_maps(
    subject: str,
    session: SessionSelection | None,
    maps: str | Sequence[str],
    grid: str,
    roi: RoiSelection | None,
    mask: str,
    place: Bucket,
) -> tuple[xr.Dataset, SubjectContents]:
    import xarray as xr

    query, voxel_query = MapQuery.of(session, maps, grid), VoxelQuery.of(roi, mask)
    is_volume, is_whole = grid == "volume", grid == "volume" and roi is None
    contents = subject_contents(place, layout.subject_name(subject), anatomy=voxel_query.needs_anatomy)
    plan = MapPlan.of(place, contents, query)
    at_once = () if is_volume or query.per_session else tuple(plan.files)
    voxel_plan = VoxelPlan.of(
        place,
        contents,
        voxel_query,
        maps=at_once,
        needed=at_once if query.named else (),
        volumes=() if is_whole else None,
    )
    brain = voxel_plan.read(place, Fetched(place, voxel_plan.files))

    coordinates = grid_coordinates(brain.axis.grid) if is_volume else brain.coordinates()
    variables: dict[str, Any] = {name: coordinates.pop(name) for name in at_once if name in coordinates}
    for name, blocks in plan.blocks(place, brain.axis.grid).items():
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
    remarks = Remarks(plan.missing) + brain.remarks
    if not variables:
        raise DataIntegrityError(f"None of the maps can be read: {'; '.join(remarks.left_out)}.")
    remarks.warn(stacklevel=3)
    return dataset, contents


def _listed_rois(place: Bucket, subject: str, query: VoxelQuery, formats: Sequence[str]) -> SubjectContents:
    """List what the bucket holds of a subject, for ROIs in some formats."""
    return subject_contents(
        place,
        layout.subject_name(subject),
        anatomy=query.needs_anatomy and "volume" in formats,
    )


def _lazy_map(
    name: str, blocks: Sequence[MapBlock], query: MapQuery, axis: VoxelAxis, *, is_volume: bool, is_whole: bool
) -> tuple[tuple[str, ...], da.Array, dict[str, Any]]:
    """Return a map as xarray takes a variable, with a block per file."""
    spec = (SESSION_MAPS if query.per_session else SUBJECT_MAPS)[name]
    dims, shape = (tuple("ijk"), axis.grid.shape) if is_volume else ((VOXEL,), (len(axis),))
    read = MapBlock.read_volume if is_volume else MapBlock.read
    steps = [Step(read, block, None if is_whole else axis.index) for block in blocks]
    rows = lazy_rows(name, steps, shape=shape, dtype=spec.dtype)
    return ((SESSION, *dims), rows, dict(spec.attrs)) if query.per_session else (dims, rows[0], dict(spec.attrs))
