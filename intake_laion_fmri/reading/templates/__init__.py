"""From a subject's space to templates: fsaverage (surface) and MNI305 (volume)."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.projection import MIN_WEIGHT, Projection, between_spheres, from_volume, nearest_voxels
from intake_laion_fmri.axes.vertices import HEMISPHERES, Hemisphere, named, vertex_coordinate
from intake_laion_fmri.axes.voxels import VOXEL, grid_coordinates
from intake_laion_fmri.errors import DataIntegrityError, check_option
from intake_laion_fmri.formats.grid import GRID, Grid
from intake_laion_fmri.formats.lta import LinearTransform, read_lta
from intake_laion_fmri.reading.anatomy import image_header
from intake_laion_fmri.reading.arguments import ALL, All, chosen
from intake_laion_fmri.reading.contents import Fetched, SubjectContents, expect_object, subject_contents
from intake_laion_fmri.reading.origins import bucket_of
from intake_laion_fmri.reading.surfaces import WHITE, SurfacePlan, in_world
from intake_laion_fmri.reading.templates.carrying import GRID_MAPPING, Source, carried, gather, without_grid
from intake_laion_fmri.reading.templates.fsaverage import DENSITIES, template_sphere
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import xarray as xr

Density = Literal["fsaverage5", "fsaverage6", "fsaverage7"]
"""10,242, 40,962 or 163,842 vertices per hemisphere."""

MNI305 = Grid((172, 220, 156), (1, 0, 0, -86.095, 0, 1, 0, -126.51, 0, 0, 1, -68.25, 0, 0, 0, 1))
"""The grid of the average of 305 brains, 1 mm: that of MNI's own file, and of TemplateFlow's ``tpl-MNI305``."""

_IMAGES = ("orig", "T1", "brain", "norm", "aseg")
"""FreeSurfer images on the source grid of its transforms; the first existing one is used."""

MOST_KEPT = 4
"""Number of recently used projections kept per process: 2 MB per hemisphere on fsaverage5, 30 MB on fsaverage7."""

_kept: dict[bytes, Projection] = {}

_RULE = f"NaN where less than {MIN_WEIGHT:g} of the weight lies on finite values that were chosen"
NATIVE = "fsnative"


def to_fsaverage(
    values: xr.DataArray | xr.Dataset,
    density: Density | Literal["fsnative"] = "fsaverage5",
    *,
    hemi: Hemisphere | All = ALL,
    subject: str | None = None,
    freesurfer: str | os.PathLike[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Project values on voxels or vertices to fsaverage.

    fsLR is not supported, as its spheres are not in the data set.

    Parameters
    ----------
    values : xarray.DataArray or xarray.Dataset
        Data of this package along ``voxel``, or along ``vertex_L`` and ``vertex_R``; other dimensions, such as trials,
        are kept. In a Dataset, all numeric variables along these.
    density : {"fsaverage5", "fsaverage6", "fsaverage7", "fsnative"}, default "fsaverage5"
        10,242, 40,962 or 163,842 vertices per hemisphere; ``"fsnative"`` is the subject's own surface.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres.
    subject : str, optional
        The subject of the values, if they lack the coordinate ``subject``.
    freesurfer : str or path, optional
        FreeSurfer's subjects folder with fsaverage. By default ``$SUBJECTS_DIR``, ``$FREESURFER_HOME/subjects``, then
        nilearn, which includes fsaverage5 and downloads the denser ones once.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`, for the subject's surfaces. By default the bucket from which `values` were
        opened in this process.

    Returns
    -------
    xarray.Dataset
        For each variable and hemisphere, such as ``betas_L`` (…, vertex_L), float32, lazy for lazy `values`. Values on
        voxels are sampled on the white surface by trilinear interpolation, then projected to fsaverage through the
        registered spheres (``sphere.reg``) by barycentric interpolation. NaN are left out and the other weights
        rescaled; a vertex with less than half of its weight left is NaN. Attributes hold this rule and the number of
        vertices that no chosen voxel reaches.

    Raises
    ------
    TypeError, ValueError
        If the values are not of this package: without ``voxel``, ``grid`` or ``subject``.
    NotInBucketError
        If the subject has no surfaces, or fsaverage of this density is not found.
    ImportError
        Without SciPy, which the extra ``templates`` of this package installs.
    BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_betas`.

    Notes
    -----
    Three listings and four files. Computing the weights takes about 2 s for a real subject; recently used ones are kept
    for further calls with the same voxels. Each 16 trials take one sparse product. Voxel blocks of a store are joined
    first.
    """
    import xarray as xr

    check_option("density", density, valid=(*DENSITIES, NATIVE))
    source = Source.of(values, subject)
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    bucket = open_bucket(**bucket_of(values, where))
    hemis = source.hemispheres(chosen("hemi", hemi, HEMISPHERES))
    contents = subject_contents(bucket, source.subject, trees=(layout.FREESURFER,))
    surfaces = _Surfaces.read(bucket, contents, hemis, density, needs_white=source.dim(hemis[0]) == VOXEL)
    parts = []
    for side in hemis:
        dim = source.dim(side)
        projection = surfaces.projection(side, source, freesurfer)
        count = projection.weights.shape[0]
        vertices = vertex_coordinate(side, np.arange(count, dtype=np.int64))
        attrs = {"space": density, "comment": _RULE, "vertices_without_value": count - projection.n_reached}
        for name, array in source.arrays(dim).items():
            there = carried(
                array, dim, functools.partial(Projection.__call__, projection), {named("vertex", side): count}
            )
            there = there.assign_attrs(without_grid(array.attrs) | attrs).assign_coords(vertices)
            own_name = name if name.endswith(f"_{side}") else named(name, side)
            parts.append(there.drop_vars(GRID, errors="ignore").to_dataset(name=own_name))
    merged = xr.merge(parts, compat="override")
    return merged.assign_attrs(without_grid(values.attrs) | {"space": density})


def to_mni305(
    values: xr.DataArray | xr.Dataset,
    *,
    subject: str | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Resample values on voxels to MNI305 by FreeSurfer's transform.

    MNI305 is not MNI152: the brains differ by some millimetres, and the data set has no warp to MNI152. The transform
    is read from ``talairach.lta``, because ``talairach.xfm`` does not name its volumes.

    Parameters
    ----------
    values : xarray.DataArray or xarray.Dataset
        Data of this package along ``voxel``; other dimensions, such as trials, are kept.
    subject : str, optional
        The subject of the values, if they lack the coordinate ``subject``.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`, for the transform. By default the bucket from which `values` were opened
        in this process.

    Returns
    -------
    xarray.Dataset
        Each variable along (…, i, j, k), float32, of shape (172, 220, 156), 1 mm, lazy for lazy `values`: the value of
        the nearest voxel, NaN if that is not chosen. With ``grid``, for `to_nifti`.

    Raises
    ------
    TypeError, ValueError
        If the values are not of this package: without ``voxel``, ``grid`` or ``subject``.
    NotInBucketError
        If the subject has no transform.
    DataIntegrityError
        If the transform is broken, or was made for another volume than the subject's.
    BucketUnreachableError
        As in `intake_laion_fmri.open_betas`.

    Notes
    -----
    Three listings and two small requests. A map takes 24 MB, so compute many trials in parts.
    """
    import xarray as xr

    source = Source.of(values, subject)
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    bucket = open_bucket(**bucket_of(values, where))
    contents = subject_contents(bucket, source.subject, trees=(layout.FREESURFER,))
    transform = _talairach(bucket, contents)
    index = nearest_voxels(MNI305, np.linalg.inv(transform.matrix).astype(np.float64), source.grid, source.voxels)
    sizes = dict(zip("ijk", MNI305.shape, strict=True))
    coordinates = {**grid_coordinates(MNI305), **MNI305.coordinate("MNI305")}
    found = {
        name: carried(array, VOXEL, functools.partial(gather, index), sizes).assign_attrs(
            array.attrs | {GRID_MAPPING: GRID}
        )
        for name, array in source.arrays(VOXEL).items()
    }
    result = xr.Dataset({name: array.drop_vars(GRID) for name, array in found.items()})
    attrs = without_grid(values.attrs) | {"space": "MNI305", "comment": "nearest voxel; NaN where it is not chosen"}
    return result.assign_coords(coordinates).assign_attrs(attrs)


@dataclass(frozen=True, eq=False)
class _Surfaces:
    """A subject's surfaces on the way to fsaverage."""

    bucket: Bucket
    plans: Mapping[tuple[str, str], SurfacePlan]
    files: Mapping[str, bytes]
    density: str

    @classmethod
    def read(
        cls, bucket: Bucket, contents: SubjectContents, hemis: Sequence[str], density: str, *, needs_white: bool
    ) -> _Surfaces:
        names = [*([WHITE] if needs_white else []), *([] if density == NATIVE else ["sphere.reg"])]
        plans = {
            (side, name): SurfacePlan.from_listing(bucket, contents, side, name, values=())
            for side in hemis
            for name in names
        }
        files = Fetched(bucket, [info for plan in plans.values() for info in plan.files])
        return cls(bucket, plans, files, density)

    def projection(self, hemi: str, source: Source, freesurfer: str | os.PathLike[str] | None) -> Projection:
        """Return the projection to fsaverage, kept for equal sources."""
        points = None if self.density == NATIVE else template_sphere(self.density, hemi, freesurfer)
        dim = source.dim(hemi)
        digest = hashlib.sha256(repr((dim, source.grid if dim == VOXEL else None)).encode())
        files = [self.files[info.key] for (side, _), plan in self.plans.items() if side == hemi for info in plan.files]
        for content in (source.values[dim].values.tobytes(), *files, b"" if points is None else points.tobytes()):
            digest.update(hashlib.sha256(content).digest())
        found = _kept.pop(digest.digest(), None) or self._built(hemi, source, points)
        _kept[digest.digest()] = found  # most recently used last
        for key in list(_kept)[:-MOST_KEPT]:
            _kept.pop(key, None)
        return found

    def _built(self, hemi: str, source: Source, points: NDArray[np.float32] | None) -> Projection:
        first = None
        if (hemi, WHITE) in self.plans:
            plan = self.plans[hemi, WHITE]
            name = self.bucket.locate(plan.files[0].key)
            first = from_volume(in_world(plan.geometry(self.bucket, self.files), name), source.grid, source.voxels)
        if points is None:
            if first is None:
                raise ValueError("The values are on the subject's own vertices already: choose density='fsaverage5'.")
            return first
        plan = self.plans[hemi, "sphere.reg"]
        sphere, key = plan.geometry(self.bucket, self.files), self.bucket.locate(plan.files[0].key)
        second = between_spheres(sphere.xyz, sphere.faces, points)
        if first is None:
            vertices, count = source.values[named("vertex", hemi)].values, second.weights.shape[1]
            if len(vertices) and not 0 <= vertices.min() <= vertices.max() < count:
                raise ValueError(f"Expected vertices from 0 to {count - 1}, those of {key}; found {vertices.max()}.")
            return Projection(second.weights[:, vertices])
        if first.weights.shape[0] != len(sphere.xyz):
            raise DataIntegrityError(
                f"{key}: expected the {first.weights.shape[0]} vertices of the white surface, found {len(sphere.xyz)}. "
                "Fetch both files again; if it persists, report it."
            )
        return second.of(first)


def _talairach(bucket: Bucket, contents: SubjectContents) -> LinearTransform:
    """Read the transform to MNI305, and check its subject."""
    key = layout.key("transform", subject=contents.subject, transform="talairach")
    info = expect_object(bucket, key, contents.objects)
    name = bucket.locate(key)
    transform = read_lta(bucket.fetch([info])[key], name=name)
    image = next(filter(None, (contents.find("freesurfer_image", image=name) for name in _IMAGES)), None)
    if image is not None:
        grid = image_header(bucket, image).grid
        if grid.difference(transform.source):
            way = "the opposite transform" if not grid.difference(transform.target) else "another subject's transform"
            raise DataIntegrityError(
                f"{name} is {way}: for the volume of {image.key}, {grid.difference(transform.source)}. Fetch both "
                "files again; if it persists, report it."
            )
    return transform
