"""ROIs of a subject, as a Dataset or as arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiExpression, RoiSelection, roi_coordinates
from intake_laion_fmri.axes.vertices import HEMISPHERES, SURFACE_SPACE, Hemisphere
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import Remarks
from intake_laion_fmri.formats.grid import GRID, Coordinates
from intake_laion_fmri.reading.arguments import ALL, FORMATS, All, Format, chosen
from intake_laion_fmri.reading.assembly import attributes, subject_coordinate
from intake_laion_fmri.reading.contents import Fetched, subject_contents
from intake_laion_fmri.reading.origins import with_origin
from intake_laion_fmri.reading.plans.rois import RoiPlan
from intake_laion_fmri.reading.plans.voxels import VoxelQuery, no_rois
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import xarray as xr


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
    """Read a subject's ROIs: voxels and surface vertices.

    Parameters
    ----------
    subject, mask, bucket, storage_options, mirror, mirror_only
        As in `open_betas`; the mask applies to volumes only.
    roi : str, sequence of str, or None, default None
        As in `open_betas`. It selects voxels, vertices and label entries, not ROIs: the result has the membership of
        all ROIs. The same expression selects voxels by volumes, vertices by the masks of their hemisphere, and entries
        by labels. None keeps all.
    format : {"volume", "func.gii", "label", "all"}, default "volume"
        Voxels, vertices, lists of vertices, or all three. Vertices are those of the subject's FreeSurfer surface.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres of vertices and label lists. Volumes hold both.

    Returns
    -------
    xarray.Dataset
        In memory, with ``roi`` (index: names) and ``roi_category`` of the ROIs that exist in the chosen formats, and

        - volume: ``in_roi`` (roi, voxel), bool, with the coordinates of `open_betas` that follow from the grid;
        - func.gii: ``in_roi_L`` (roi, vertex_L) and ``in_roi_R`` (roi, vertex_R), bool; ``vertex_L`` and ``vertex_R``
          (indices) are the numbers of the vertices, from 0;
        - label: the lists, as contiguous ragged arrays. Along ``entry_L``, ROI after ROI, each in the order of its
          file: ``label_vertex_L`` (the vertex), ``label_value_L``, ``label_roi_L`` (the ROI), ``label_x_L``,
          ``label_y_L``, ``label_z_L`` (mm, from the file); ``label_count_L`` (roi) is the length of each list.
          The same with ``_R``. One list is ``ds.label_vertex_L[ds.label_roi_L == "FFA1"]``.

        An ROI that is missing in a format or on a hemisphere is False everywhere there. Except with
        ``format="volume"``, ``has_volume`` (roi), ``has_func_gii`` and ``has_label`` (roi, hemi) distinguish it from an
        empty one.

    Raises
    ------
    ValueError, NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; NotInBucketError also if the subject has no ROI in these formats, or lacks a selected one;
        DataIntegrityError also if a label lists a vertex outside its surface, or the masks of a hemisphere have
        different numbers of vertices.

    Warns
    -----
    MissingFileWarning
        Once, if one of several formats or hemispheres is missing altogether: its variables are left out.

    Notes
    -----
    Three listings (four with the anatomical mask), then a request per file, 16 at a time: for 40 ROIs 41 for the
    volumes and their mask, 80 for each surface format (two more for labels alone, for the number of vertices).
    """
    import xarray as xr

    query = VoxelQuery.from_arguments(roi, mask)
    formats, hemis = chosen("format", format, FORMATS), chosen("hemi", hemi, HEMISPHERES)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    anatomy = query.needs_anatomy and "volume" in formats
    contents = subject_contents(bucket, layout.subject_name(subject), anatomy=anatomy)
    plan = RoiPlan.from_listing(bucket, contents, query, formats=formats, hemis=hemis)
    parts = plan.read(bucket, Fetched(bucket, plan.files))
    parts.remarks.warn(stacklevel=2)
    if not parts.rois.names:
        raise no_rois(bucket, contents, formats)
    brain = parts.brain

    where = f"{contents.subject} in {bucket.url}"
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
    coordinates["subject"] = subject_coordinate(contents.subject)
    return with_origin(xr.Dataset(variables, coords=coordinates, attrs=attrs), bucket)


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
    """Read ROIs as plain arrays, in the data set's own form.

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

        Absent or unrequested forms have no key. An ROI of a requested category or of ``"all"`` that has none of the
        formats is left out.

    Raises
    ------
    ValueError
        For an expression, an unknown ROI, format or hemisphere.
    NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `open_rois`; NotInBucketError also if a named ROI has none of the formats.

    Notes
    -----
    Reads the files of these ROIs only: two listings (three with the anatomical mask), then a request per file.
    """
    query = VoxelQuery.from_arguments(None, mask)
    formats, hemis = chosen("format", format, FORMATS), chosen("hemi", hemi, HEMISPHERES)
    only = RoiExpression.parse(roi)
    only.raise_unless_separate()
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    anatomy = query.needs_anatomy and "volume" in formats
    contents = subject_contents(bucket, layout.subject_name(subject), anatomy=anatomy)
    plan = RoiPlan.from_listing(bucket, contents, query, formats=formats, hemis=hemis, only=only)
    parts = plan.read(bucket, Fetched(bucket, plan.files))
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
