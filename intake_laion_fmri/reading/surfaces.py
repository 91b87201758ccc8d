"""Surfaces of a subject's cortex as a Dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.vertices import HEMISPHERES, Hemisphere, named, vertex_coordinate
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError, Remarks, is_several, unknown_value
from intake_laion_fmri.formats.freesurfer import read_label
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.surfaces import (
    Geometry,
    is_patch,
    read_annotation,
    read_geometry,
    read_patch,
    read_values,
)
from intake_laion_fmri.reading.arguments import ALL, All, chosen
from intake_laion_fmri.reading.assembly import attributes, subject_coordinate
from intake_laion_fmri.reading.contents import Fetched, SubjectContents, subject_contents
from intake_laion_fmri.reading.roi_files import UNREADABLE
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import xarray as xr

FLAT, MIDTHICKNESS, WHITE, PIAL = "flat", "midthickness", "white", "pial"

_IN_THE_BRAIN = frozenset({WHITE, PIAL, MIDTHICKNESS, "orig", "smoothwm", "white.preaparc", "pial.T1", "pial.T2"})
"""Surfaces in the brain's own space: their positions become T1w millimetres."""

_VALUES = {
    "sulc": ("sulcal depth", ""),
    "curv": ("mean curvature", "1/mm"),
    "thickness": ("thickness of the cortex", "mm"),
}
_IS_PATCH = re.compile(r"(^|\.)(flat|patch)")
"""Pattern of the names of patches; "inflated" must not match."""

_SIDES = {"L": "lh", "R": "rh"}


def open_surfaces(
    subject: str,
    *,
    surface: str = WHITE,
    hemi: Hemisphere | All = ALL,
    annotation: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> xr.Dataset:
    """Read a FreeSurfer surface of a subject, with values per vertex.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    surface : str, default "white"
        ``"white"``, ``"pial"``, ``"inflated"``, ``"sphere"``, ``"sphere.reg"`` or another file in ``surf/``, named
        without its hemisphere; ``"midthickness"``, the mean of white and pial; ``"flat"``, the flat patch.
    hemi : {"L", "R", "all"}, default "all"
        Hemispheres.
    annotation : str, sequence of str, or None, default None
        Parcellations of ``label/``: ``"aparc"``, ``"aparc.a2009s"``.
    label : str, sequence of str, or None, default None
        Areas of ``label/``: ``"cortex"``, ``"V1_exvivo"``.

    Returns
    -------
    xarray.Dataset
        In memory, for each hemisphere, here the left one:

        - ``xyz_L`` (vertex_L, axis), float32, mm. White, pial, midthickness and other surfaces within the brain are in
          the subject's T1w space, like ``x y z`` of the betas; others keep the positions of their file;
        - ``faces_L`` (face_L, corner), int32: rows of ``xyz_L``, from 0;
        - ``vertex_L``, the index: numbers of vertices from 0, as in `open_rois`. A patch has a part of these,
          ascending, and ``cut_L`` (vertex_L), bool: whether the vertex lies on its border;
        - ``sulc_L``, ``curv_L``, ``thickness_L`` (vertex_L), float32;
        - for each annotation ``aparc_L`` (vertex_L), the name of its region, or an empty text; for each label
          ``cortex_L`` (vertex_L), bool.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError, DataIntegrityError
        As in `open_betas`; ValueError also for an unknown surface, annotation or label, with the nearest names, and for
        ``"flat"`` if there are several patches; NotInBucketError also for a patch without its white surface;
        DataIntegrityError also if files of a hemisphere have different numbers of vertices.

    Warns
    -----
    MissingFileWarning
        Once, if sulc, curv or thickness are absent or broken: they are left out.

    Notes
    -----
    Three listings, and a request for each file, 16 at a time: 8 for the white surface, some 25 MB.
    """
    import xarray as xr

    hemis = chosen("hemi", hemi, HEMISPHERES)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    contents = subject_contents(bucket, layout.subject_name(subject), trees=(layout.FREESURFER,))
    plans = [
        SurfacePlan.from_listing(bucket, contents, side, surface, annotations=_names(annotation), labels=_names(label))
        for side in hemis
    ]
    files = Fetched(bucket, [info for plan in plans for info in plan.files])
    variables: Coordinates = {}
    coordinates: Coordinates = {"axis": (("axis",), np.array(["x", "y", "z"], dtype=object), {"long_name": "axis"})}
    remarks = Remarks()
    for plan in plans:
        of_hemi, more, noted = plan.read(bucket, files)
        variables |= of_hemi
        coordinates |= more
        remarks += noted
    remarks.warn(stacklevel=2)
    used = [info for plan in plans for info in plan.files]
    return xr.Dataset(
        variables,
        coords={**coordinates, "subject": subject_coordinate(contents.subject)},
        attrs={**attributes(f"surfaces of {contents.subject}", used, None, None), "surface": surface},
    )


@dataclass(frozen=True)
class SurfacePlan:
    """Files of one hemisphere."""

    hemi: str
    """``L`` or ``R``."""
    surface: str
    """Name of the surface in the user's call."""
    shapes: Mapping[str, ObjectInfo]
    """Surface → its file: the requested surface, or those that it is made of."""
    values: Mapping[str, ObjectInfo]
    """Existing names of `_VALUES` → their files."""
    annotations: Mapping[str, ObjectInfo]
    """Annotation → its file."""
    labels: Mapping[str, ObjectInfo]
    """Label → its file."""
    missing: tuple[str, ...]
    """Descriptions of what is left out."""

    @classmethod
    def from_listing(
        cls,
        bucket: Bucket,
        contents: SubjectContents,
        hemi: str,
        surface: str,
        *,
        annotations: Sequence[str] = (),
        labels: Sequence[str] = (),
        values: Sequence[str] = tuple(_VALUES),
    ) -> SurfacePlan:
        """Find the files; ValueError or NotInBucketError if one is absent."""
        listing = _Listing(bucket, contents, _SIDES[hemi])
        found = {name: listing.of("surface").get(name) for name in values}
        absent = [name for name, info in found.items() if info is None]
        return cls(
            hemi,
            surface,
            {name: listing.find("surface", name) for name in listing.needed(surface)},
            {name: info for name, info in found.items() if info},
            {name: listing.find("annotation", name) for name in annotations},
            {name: listing.find("surface_label", name) for name in labels},
            tuple(f"{named(name, hemi)} (no {bucket.locate(listing.key('surface', name))})" for name in absent),
        )

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """All objects to read."""
        parts = (self.shapes, self.values, self.annotations, self.labels)
        return tuple(info for part in parts for info in part.values())

    def geometry(self, bucket: Bucket, files: Mapping[str, bytes]) -> Geometry:
        """Read the surface, or for a patch its whole surface."""
        read = {
            name: read_geometry(files[info.key], name=bucket.locate(info.key))
            for name, info in self.shapes.items()
            if not is_patch(files[info.key])
        }
        if self.surface != MIDTHICKNESS:
            return next(read[name] for name in reversed(list(self.shapes)) if name in read)  # white for a patch
        white, pial = read[WHITE], read[PIAL]
        if not np.array_equal(white.faces, pial.faces) or white.xyz.shape != pial.xyz.shape:
            key = bucket.locate(self.shapes[PIAL].key)
            raise DataIntegrityError(f"{key}: expected the triangles of the white surface. Fetch both files again.")
        return Geometry(np.mean([white.xyz, pial.xyz], axis=0, dtype=np.float32), white.faces, white.to_world)

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> tuple[Coordinates, Coordinates, Remarks]:
        """Return variables, coordinates and remarks."""
        shape = self.geometry(bucket, files)
        n_vertices = len(shape.xyz)
        beside, left_out = self._values(bucket, files, n_vertices)
        for name, info in self.annotations.items():
            where = bucket.locate(info.key)
            beside[name] = read_annotation(files[info.key], name=where, n_vertices=n_vertices).texts(), "region"
        for name, info in self.labels.items():
            listed = read_label(files[info.key], name=bucket.locate(info.key), n_vertices=n_vertices)
            inside = np.zeros(n_vertices, dtype=bool)
            inside[listed.vertices] = True
            beside[name] = inside, f"whether the vertex belongs to {name}"
        patch = next((info for info in self.shapes.values() if is_patch(files[info.key])), None)
        if patch is None:
            vertices, faces, xyz = np.arange(n_vertices, dtype=np.int64), shape.faces, shape.xyz
            if self.surface in _IN_THE_BRAIN:
                xyz = in_world(shape, bucket.locate(next(iter(self.shapes.values())).key))
        else:
            cut = read_patch(files[patch.key], name=bucket.locate(patch.key), n_vertices=n_vertices)
            vertices, faces, xyz = cut.vertices, cut.faces_of(shape.faces, n_vertices), cut.xyz
            beside = {name: (values[vertices], text) for name, (values, text) in beside.items()}
            beside["cut"] = cut.is_cut, "whether the vertex lies on the border of the patch"
        axis, index = named("vertex", self.hemi), vertex_coordinate(self.hemi, vertices)
        space = layout.SPACE if self.surface in _IN_THE_BRAIN else self.surface
        attrs = {"long_name": f"position on the {self.surface} surface", "units": "mm", "space": space}
        corners = {"long_name": f"rows of {named('xyz', self.hemi)} at the corners of a triangle"}
        variables: Coordinates = {
            named("xyz", self.hemi): ((axis, "axis"), xyz, attrs),
            named("faces", self.hemi): ((named("face", self.hemi), "corner"), faces, corners),
        }
        for name, (values, text) in beside.items():
            units = _VALUES.get(name, ("", ""))[1]
            about = {"long_name": text, **({"units": units} if units else {})}
            index[named(name, self.hemi)] = ((axis,), values, about)
        return variables, index, Remarks((*self.missing, *left_out))

    def _values(
        self, bucket: Bucket, files: Mapping[str, bytes], n_vertices: int
    ) -> tuple[dict[str, tuple[NDArray[Any], str]], list[str]]:
        """Read values per vertex; unreadable files are described."""
        found: dict[str, tuple[NDArray[Any], str]] = {}
        left_out = []
        for name, info in self.values.items():
            try:
                values = read_values(files[info.key], name=bucket.locate(info.key), n_vertices=n_vertices)
                found[name] = values, _VALUES[name][0]
            except UNREADABLE as error:
                left_out.append(f"{named(name, self.hemi)} ({error})")
        return found, left_out


def in_world(shape: Geometry, name: str) -> NDArray[np.float32]:
    """Return positions in T1w millimetres.

    Raises
    ------
    DataIntegrityError
        If the file has no volume geometry.
    """
    if shape.to_world is None:
        raise Broken(name)("expected a volume geometry, found none, so the surface's position in the brain is unknown")
    return (shape.xyz @ shape.to_world[:3, :3].T + shape.to_world[:3, 3]).astype(np.float32)


@dataclass(frozen=True)
class _Listing:
    """FreeSurfer's files of a hemisphere."""

    bucket: Bucket
    contents: SubjectContents
    side: str

    def of(self, kind: str) -> dict[str, ObjectInfo]:
        """Return the files of a kind by name."""
        found = {}
        for key, info in self.contents.objects.items():
            parsed = layout.parse_key(key)
            if parsed and parsed.kind == kind and parsed.entities["side"] == self.side:
                own = next(value for name, value in parsed.entities.items() if name not in ("subject", "side"))
                found[own] = info
        return found

    def key(self, kind: str, name: str) -> str:
        """Return the key that a file would have."""
        entities = dict.fromkeys(("surface", "atlas", "area"), name)
        return layout.key(kind, subject=self.contents.subject, side=self.side, **entities)

    def needed(self, surface: object) -> list[str]:
        """Return the names of a surface's files."""
        if surface == MIDTHICKNESS:
            return [WHITE, PIAL]
        if surface == FLAT:
            flat = sorted(name for name in self.of("surface") if _IS_PATCH.search(name) and "flat" in name)
            if len(flat) > 1 and FLAT not in flat:
                raise ValueError(
                    f"surface='flat' matches {', '.join(flat)} of {self.contents.subject}: choose one of these."
                )
            return [WHITE, FLAT if FLAT in flat or not flat else flat[0]]
        return [WHITE, str(surface)] if _IS_PATCH.search(str(surface)) else [str(surface)]

    def find(self, kind: str, name: str) -> ObjectInfo:
        """Return a file by name."""
        known = {own: info for own, info in self.of(kind).items() if kind != "surface" or own not in _VALUES}
        if name in known:
            return known[name]
        absent = self.bucket.missing(self.key(kind, name), self.contents.objects)
        if not known:
            raise absent
        argument = {"surface": "surface", "annotation": "annotation", "surface_label": "label"}[kind]
        if argument == "surface" and name in (WHITE, PIAL, FLAT):  # may be needed for another surface
            raise NotInBucketError(f"{absent} Flat patches and midthickness also need white and pial.")
        where = f"{self.contents.subject} in {self.bucket.url}"
        valid = sorted({*known, MIDTHICKNESS} if argument == "surface" else known)
        raise unknown_value(argument, name, valid, where=where)


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return tuple(dict.fromkeys(given)) if is_several(given) else (str(given),)
