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
"""10,242, 40,962 or 163,842 vertices a hemisphere."""

MNI305 = Grid((172, 220, 156), (1, 0, 0, -86.095, 0, 1, 0, -126.51, 0, 0, 1, -68.25, 0, 0, 0, 1))
"""The grid of the average of 305 brains, 1 mm: that of MNI's own file, and of TemplateFlow's ``tpl-MNI305``."""

_IMAGES = ("orig", "T1", "brain", "norm", "aseg")
"""Images of FreeSurfer that have the grid that its transforms come from; the first that is there is looked at."""

MOST_KEPT = 4
"""Weights that a process keeps, those used last: 2 MB a hemisphere on fsaverage5, 30 MB on fsaverage7."""

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

    There is no way to fsLR: its spheres are not in the data set.

    Parameters
    ----------
    values : xarray.DataArray or xarray.Dataset
        Of this package, along ``voxel``, or along ``vertex_L`` and ``vertex_R``; other dimensions, such as trials,
        stay. Of a Dataset, every variable of numbers along these.
    density : {"fsaverage5", "fsaverage6", "fsaverage7", "fsnative"}, default "fsaverage5"
        10,242, 40,962 or 163,842 vertices a hemisphere; ``"fsnative"`` stays on the subject's own surface.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres.
    subject : str, optional
        Whose values they are, where the coordinate ``subject`` does not tell.
    freesurfer : str or path, optional
        A folder of FreeSurfer's subjects with fsaverage. By default ``$SUBJECTS_DIR``, ``$FREESURFER_HOME/subjects``,
        then nilearn, which brings fsaverage5 along and downloads the denser ones once.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`: where the subject's surfaces are read. By default where `values` were
        opened in this process.

    Returns
    -------
    xarray.Dataset
        For each variable, and hemisphere, ``betas_L`` (…, vertex_L), float32, lazy where `values` are. Values on voxels
        are sampled on the white surface, linearly; from there the registered spheres (``sphere.reg``) lead to
        fsaverage, barycentrically. NaN are left out, and what is left is weighted anew; a vertex of which less than
        half of the weight is left is NaN. Attributes tell this rule, and how many vertices no chosen voxel reaches.

    Raises
    ------
    TypeError, ValueError
        If the values are none of this package: without ``voxel``, ``grid`` or ``subject``.
    NotInBucketError
        If the subject has no surfaces, or fsaverage of this density is nowhere.
    ImportError
        Without SciPy, which the extra ``templates`` of this package installs.
    BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_betas`.

    Notes
    -----
    Three listings and four files. The weights are computed in about 2 s for a real subject, and those used last are
    kept: another call for the same voxels finds them. A session of 1,044 trials takes one sparse product for each 16
    trials. Voxels of a store's blocks are joined first.
    """
    import xarray as xr

    check_option("density", density, valid=(*DENSITIES, NATIVE))
    source = Source.of(values, subject)
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    place = open_bucket(**bucket_of(values, where))
    hemis = source.hemispheres(chosen("hemi", hemi, HEMISPHERES))
    contents = subject_contents(place, source.subject, trees=(layout.FREESURFER,))
    surfaces = _Surfaces.read(place, contents, hemis, density, needs_white=source.dim(hemis[0]) == VOXEL)
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
    is that of ``talairach.lta``; ``talairach.xfm``, which does not tell its volumes, is not read.

    Parameters
    ----------
    values : xarray.DataArray or xarray.Dataset
        Of this package, along ``voxel``; other dimensions, such as trials, stay.
    subject : str, optional
        Whose values they are, where the coordinate ``subject`` does not tell.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`: where the transform is read. By default where `values` were opened in
        this process.

    Returns
    -------
    xarray.Dataset
        Each variable along (…, i, j, k), float32, of shape (172, 220, 156), 1 mm, lazy where `values` are: the nearest
        voxel, NaN where that is not chosen. With ``grid``, so that `to_nifti` writes it.

    Raises
    ------
    TypeError, ValueError
        If the values are none of this package: without ``voxel``, ``grid`` or ``subject``.
    NotInBucketError
        If the subject has no transform.
    DataIntegrityError
        If the transform is broken, or was made for another volume than the subject's.
    BucketUnreachableError
        As in `intake_laion_fmri.open_betas`.

    Notes
    -----
    Three listings and two small requests. A map takes 24 MB; of many trials, compute some at a time.
    """
    import xarray as xr

    source = Source.of(values, subject)
    where = {"bucket": bucket, "storage_options": storage_options, "mirror": mirror, "mirror_only": mirror_only}
    place = open_bucket(**bucket_of(values, where))
    contents = subject_contents(place, source.subject, trees=(layout.FREESURFER,))
    transform = _talairach(place, contents)
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

    place: Bucket
    plans: Mapping[tuple[str, str], SurfacePlan]
    files: Mapping[str, bytes]
    density: str

    @classmethod
    def read(
        cls, place: Bucket, contents: SubjectContents, hemis: Sequence[str], density: str, *, needs_white: bool
    ) -> _Surfaces:
        names = [*([WHITE] if needs_white else []), *([] if density == NATIVE else ["sphere.reg"])]
        plans = {
            (side, name): SurfacePlan.from_listing(place, contents, side, name, values=())
            for side in hemis
            for name in names
        }
        files = Fetched(place, [info for plan in plans.values() for info in plan.files])
        return cls(place, plans, files, density)

    def projection(self, hemi: str, source: Source, freesurfer: str | os.PathLike[str] | None) -> Projection:
        """Return the projection to fsaverage, kept for equal sources."""
        points = None if self.density == NATIVE else template_sphere(self.density, hemi, freesurfer)
        dim = source.dim(hemi)
        digest = hashlib.sha256(repr((dim, source.grid if dim == VOXEL else None)).encode())
        files = [self.files[info.key] for (side, _), plan in self.plans.items() if side == hemi for info in plan.files]
        for content in (source.values[dim].values.tobytes(), *files, b"" if points is None else points.tobytes()):
            digest.update(hashlib.sha256(content).digest())
        found = _kept.pop(digest.digest(), None) or self._built(hemi, source, points)
        _kept[digest.digest()] = found  # the last in the order of use
        for key in list(_kept)[:-MOST_KEPT]:
            _kept.pop(key, None)
        return found

    def _built(self, hemi: str, source: Source, points: NDArray[np.float32] | None) -> Projection:
        first = None
        if (hemi, WHITE) in self.plans:
            plan = self.plans[hemi, WHITE]
            name = self.place.locate(plan.files[0].key)
            first = from_volume(in_world(plan.geometry(self.place, self.files), name), source.grid, source.voxels)
        if points is None:
            if first is None:
                raise ValueError("The values are on the subject's own vertices already: choose density='fsaverage5'.")
            return first
        plan = self.plans[hemi, "sphere.reg"]
        sphere, key = plan.geometry(self.place, self.files), self.place.locate(plan.files[0].key)
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


def _talairach(place: Bucket, contents: SubjectContents) -> LinearTransform:
    """Read the transform to MNI305, and check its subject."""
    key = layout.key("transform", subject=contents.subject, transform="talairach")
    info = expect_object(place, key, contents.objects)
    name = place.locate(key)
    transform = read_lta(place.fetch([info])[key], name=name)
    image = next(filter(None, (contents.find("freesurfer_image", image=name) for name in _IMAGES)), None)
    if image is not None:
        grid = image_header(place, image).grid
        if grid.difference(transform.source):
            way = "the opposite transform" if not grid.difference(transform.target) else "another subject's transform"
            raise DataIntegrityError(
                f"{name} is {way}: for the volume of {image.key}, {grid.difference(transform.source)}. Fetch both "
                "files again; if it persists, report it."
            )
    return transform
