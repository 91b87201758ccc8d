"""Plans of ROIs in volumes and on surfaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import ROI, RoiExpression, RoiNames
from intake_laion_fmri.axes.vertices import HEMI, Surface
from intake_laion_fmri.errors import DataIntegrityError, Remarks
from intake_laion_fmri.formats.freesurfer import VertexList, read_label
from intake_laion_fmri.formats.gifti import read_func_gii
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.reading.contents import SubjectContents, roi_files
from intake_laion_fmri.reading.plans.voxels import (
    Brain,
    VoxelPlan,
    VoxelQuery,
    no_rois,
    raise_if_selected,
    raise_unless_known,
)
from intake_laion_fmri.reading.roi_files import (
    UNREADABLE,
    RoiFault,
    RoiForm,
    RoiListing,
    form_of,
    in_words,
)
from intake_laion_fmri.remote.access import Bucket, ObjectInfo


@dataclass
class _Gathered:
    """Faults and notes of surface files, collected during reading."""

    faults: list[tuple[RoiForm, RoiFault]] = field(default_factory=list)
    """Files that cannot be used."""
    notes: list[str] = field(default_factory=list)
    """Files that differ from the documentation and were read."""

    def leave_out(self, form: RoiForm, error: Exception) -> None:
        """Record an unusable file."""
        self.faults.append((form, RoiFault(form.name, (form.category,), error)))


@dataclass(frozen=True)
class SurfacePlan:
    """Files of the hemispheres' axes."""

    forms: tuple[RoiForm, ...]
    """Masks and labels, sorted by ROI."""
    rulers: tuple[RoiForm, ...]
    """A mask for each hemisphere with labels alone: its length is the number of vertices."""

    @classmethod
    def from_forms(cls, forms: Iterable[RoiForm], beside: Sequence[RoiForm]) -> SurfacePlan:
        """Select the surface files; `beside` are all ROI files."""
        chosen = tuple(form for form in forms if form.hemi)
        rulers = []
        for hemi in sorted({form.hemi for form in chosen} - {form.hemi for form in chosen if form.kind == "roi_gii"}):
            masks = [form for form in beside if (form.kind, form.hemi) == ("roi_gii", hemi)]
            rulers += [replace(form, infos=form.infos[:1]) for form in masks[:1]]
        return cls(chosen, tuple(rulers))

    @property
    def infos(self) -> list[ObjectInfo]:
        """All objects to read, without repeats."""
        return [info for form in (*self.forms, *self.rulers) for info in form.infos]

    def read(self, bucket: Bucket, files: Mapping[str, bytes], gathered: _Gathered) -> list[Surface]:
        """Read the hemispheres; unusable files are recorded and left out."""
        hemis = sorted({form.hemi for form in self.forms})
        return [self._read(hemi, bucket, files, gathered) for hemi in hemis]

    def _read(self, hemi: str, bucket: Bucket, files: Mapping[str, bytes], gathered: _Gathered) -> Surface:
        def mask(content: bytes, name: str) -> np.ndarray:
            return read_func_gii(content, name=name, hemi=hemi, note=gathered.notes.append)

        masks = {}
        for form in self._forms("roi_gii", hemi):
            try:
                masks[form.name] = form, form.read(bucket, files, mask, np.array_equal)
            except UNREADABLE as error:
                gathered.leave_out(form, error)
        n_vertices = self._n_vertices(masks, bucket, gathered)
        for form in (ruler for ruler in self.rulers if ruler.hemi == hemi):
            try:
                n_vertices = len(form.read(bucket, files, mask, np.array_equal))
            except UNREADABLE as error:
                gathered.notes.append(
                    f"labels of hemisphere {hemi}, without a check that their vertices exist ({error})"
                )

        def label(content: bytes, name: str) -> VertexList:
            return read_label(content, name=name, n_vertices=n_vertices)

        labels = {}
        for form in self._forms("roi_label", hemi):
            try:
                labels[form.name] = form.read(bucket, files, label, VertexList.equals)
            except UNREADABLE as error:
                gathered.leave_out(form, error)
        return Surface(hemi, {name: inside for name, (_, inside) in masks.items()}, labels)

    def _forms(self, kind: str, hemi: str) -> list[RoiForm]:
        return [form for form in self.forms if (form.kind, form.hemi) == (kind, hemi)]

    def _n_vertices(
        self, masks: dict[str, tuple[RoiForm, np.ndarray]], bucket: Bucket, gathered: _Gathered
    ) -> int | None:
        """Return the majority's vertex count, or None; drop other masks."""
        lengths = Counter(len(inside) for _, inside in masks.values())
        if not lengths:
            return None
        (expected, most), *_ = lengths.most_common()
        is_clear = 2 * most > len(masks)
        for form, inside in masks.values():
            if len(inside) == expected and is_clear:
                continue
            # Without a majority, each mask contradicts another.
            other, expected_mask = next(pair for pair in masks.values() if len(pair[1]) != len(inside))
            error = DataIntegrityError(
                f"{bucket.locate(form.infos[0].key)}: expected {len(expected_mask)} vertices, as in "
                f"{bucket.locate(other.infos[0].key)}, found {len(inside)}. Fetch both files again; if it persists, "
                "report it."
            )
            gathered.leave_out(form, error)
        for form, _ in gathered.faults:
            if form.kind == "roi_gii" and masks.get(form.name, (None, None))[0] is form:
                del masks[form.name]
        return expected if is_clear else None


@dataclass(frozen=True, eq=False)
class RoiParts:
    """ROIs in some formats, as read."""

    rois: RoiNames
    """The ROIs along ``roi``."""
    present: Mapping[tuple[str, str], frozenset[str]]
    """Requested format and hemisphere (empty for volumes) → the ROIs with such a file."""
    brain: Brain | None
    """The voxel axis; None if no volume is read."""
    surfaces: list[Surface]
    """The ROIs on each hemisphere."""
    remarks: Remarks
    """Remarks on files that were left out, or differ from the documentation."""

    def presence(self) -> Coordinates:
        """Return coordinates that distinguish a missing ROI from an empty one."""

        def has(format: str, hemi: str) -> list[bool]:
            return [name in self.present[format, hemi] for name in self.rois.names]

        hemis = sorted({hemi for _, hemi in self.present if hemi})
        coordinates: Coordinates = {}
        if hemis:
            coordinates[HEMI] = ((HEMI,), np.array(hemis, dtype=object), {"long_name": "hemisphere"})
        for format in dict.fromkeys(format for format, _ in self.present):
            attrs = {"long_name": f"whether the bucket holds the ROI as {format}"}
            if format == "volume":
                coordinates["has_volume"] = ((ROI,), np.array(has(format, ""), dtype=bool), attrs)
            else:
                values = np.array([has(format, hemi) for hemi in hemis], dtype=bool).T
                coordinates[f"has_{format.replace('.', '_')}"] = ((ROI, HEMI), values, attrs)
        return coordinates


@dataclass(frozen=True)
class RoiPlan:
    """Files of ROIs in some formats."""

    roi: RoiExpression | None
    """The ROIs that must be readable; None if all are optional."""
    listing: RoiListing
    """The ROIs with a file in any of the formats and hemispheres."""
    asked: tuple[tuple[str, str], ...]
    """Requested formats and hemispheres (empty for volumes)."""
    voxels: VoxelPlan | None
    """Plan of the voxel axis; None if no volume is read."""
    surfaces: SurfacePlan
    """Plan of the hemispheres' axes."""
    missing: tuple[str, ...]
    """Descriptions of files that are left out."""

    @classmethod
    def from_listing(
        cls,
        bucket: Bucket,
        contents: SubjectContents,
        query: VoxelQuery,
        *,
        formats: Sequence[str],
        hemis: Sequence[str],
        only: RoiExpression | None = None,
    ) -> RoiPlan:
        """Find the objects of ROIs, by default of all.

        Raises
        ------
        NotInBucketError
            If a selected ROI has no file of these formats, or volumes are read and the mask is absent.
        ValueError
            If the selection names an unknown ROI.
        DataIntegrityError
            If the files of a selected ROI contradict each other.
        """
        every = roi_files(contents.objects)
        asked = tuple((format, hemi) for format in formats for hemi in ([""] if format == "volume" else hemis))
        listing = RoiListing.from_files(bucket, (file for file in every if form_of(file) in asked))
        roi = query.roi if only is None else only
        if roi is not None:
            if not listing.forms and not listing.faults:
                raise no_rois(bucket, contents, formats)
            raise_unless_known(bucket, contents, roi, listing.names, asked)
            raise_if_selected(roi, listing.names, listing.faults)
        if only is not None:
            names = {name for operand in only.operands for name in listing.names.meant(operand)}
            listing = RoiListing(tuple(form for form in listing.forms if form.name in names), ())
        folder = bucket.locate(layout.ROIS.folder(contents.subject))
        there = {form_of(form) for form in listing.forms}
        missing = [f"{_variable(*form)} (no {in_words(*form)} in {folder})" for form in asked if form not in there]
        volumes = [form for form in listing.forms if not form.hemi]
        rois = RoiNames(listing.names.names, listing.names.categories)
        voxels = (
            VoxelPlan.from_listing(bucket, contents, query, maps=(), volumes=volumes, rois=rois) if volumes else None
        )
        surfaces = SurfacePlan.from_forms(listing.forms, RoiListing.from_files(bucket, every).forms)
        return cls(roi, listing, asked, voxels, surfaces, tuple(missing))

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """All objects to read, without repeats."""
        return (*(self.voxels.files if self.voxels else ()), *self.surfaces.infos)

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> RoiParts:
        """Read the voxel axis and the hemispheres.

        Raises
        ------
        DataIntegrityError, NotInBucketError, AccessDeniedError
            If a file of a requested ROI is unusable, or if all files are.
        """
        brain = self.voxels.read(bucket, files) if self.voxels else None
        gathered = _Gathered()
        surfaces = self.surfaces.read(bucket, files, gathered)
        of_volumes = brain.faults if brain else ()
        faults = [*self.listing.faults, *of_volumes, *(fault for _, fault in gathered.faults)]
        names = self.listing.names
        raise_if_selected(self.roi, names, faults)
        useless = {("volume", "", fault.name) for fault in of_volumes}
        useless |= {(*form_of(form), form.name) for form, _ in gathered.faults}
        present = {
            form: frozenset(
                roi.name for roi in self.listing.forms if form_of(roi) == form and (*form, roi.name) not in useless
            )
            for form in self.asked
        }
        kept = [row for row, name in enumerate(names.names) if any(name in there for there in present.values())]
        if faults and not kept:
            raise faults[0].error
        rois = RoiNames(tuple(names.names[row] for row in kept), tuple(names.categories[row] for row in kept))
        remarks = Remarks((*self.missing, *map(str, faults)), tuple(gathered.notes))
        if brain is not None:
            brain = brain.only(rois)
            remarks += Remarks((), brain.remarks.noted)
        return RoiParts(rois, present, brain, surfaces, remarks)


def _variable(format: str, hemi: str) -> str:
    """Return the variable's name for a format."""
    return {"volume": "in_roi", "func.gii": f"in_roi_{hemi}", "label": f"label_vertex_{hemi}"}[format]
