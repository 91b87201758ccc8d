"""What has to be read for ROIs in some formats, of volumes and surfaces, and what comes of it; see `plans`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.access import Bucket, ObjectInfo
from intake_laion_fmri.discovery import RoiFile, SubjectContents, roi_files
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.plans import Brain, VoxelPlan, VoxelQuery, expect_known, form_of, in_words, names_of, no_rois
from intake_laion_fmri.rois import ROI, RoiNames, read_func_gii, read_label
from intake_laion_fmri.surfaces import HEMI, Surface
from intake_laion_fmri.voxels import Coordinates

__all__ = ["RoiPlan", "SurfacePlan"]


@dataclass(frozen=True)
class SurfacePlan:
    """What has to be read for the axes of the hemispheres."""

    files: tuple[RoiFile, ...]
    """Masks and labels, sorted by ROI."""
    rulers: tuple[RoiFile, ...]
    """For each hemisphere of which labels are read and no masks: a mask that tells the number of vertices."""

    @classmethod
    def of(cls, files: Iterable[RoiFile], beside: Sequence[RoiFile]) -> SurfacePlan:
        """Pick the surface files; `beside` are all ROI files of the subject."""
        chosen = tuple(file for file in files if file.hemi)
        rulers = []
        for hemi in sorted({file.hemi for file in chosen} - {file.hemi for file in chosen if file.kind == "roi_gii"}):
            rulers += [file for file in beside if (file.kind, file.hemi) == ("roi_gii", hemi)][:1]
        return cls(chosen, tuple(rulers))

    @property
    def infos(self) -> list[ObjectInfo]:
        """Every object to read, each once."""
        return [file.info for file in (*self.files, *self.rulers)]

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> list[Surface]:
        """Return the hemispheres; DataIntegrityError where files of one have different numbers of vertices."""
        hemis = sorted({file.hemi for file in self.files})
        return [self._read(hemi, bucket, files) for hemi in hemis]

    def _read(self, hemi: str, bucket: Bucket, files: Mapping[str, bytes]) -> Surface:
        def of(chosen: Iterable[RoiFile], kind: str) -> list[tuple[str, bytes, str]]:
            """Return ROI, content and name of the files of a kind."""
            found = [file for file in chosen if (file.kind, file.hemi) == (kind, hemi)]
            return [(file.name, files[file.info.key], bucket.locate(file.info.key)) for file in found]

        masks = {roi: read_func_gii(content, name=name) for roi, content, name in of(self.files, "roi_gii")}
        lengths = {name: len(masks[roi]) for roi, _, name in of(self.files, "roi_gii")}
        for name, length in lengths.items():
            first, expected = next(iter(lengths.items()))
            if length != expected:
                raise DataIntegrityError(
                    f"{name}: expected {expected} vertices, as in {first}, found {length}. Fetch both files again; if "
                    "it stays so, report it."
                )
        for _, content, name in of(self.rulers, "roi_gii"):
            lengths[name] = len(read_func_gii(content, name=name))
        n_vertices = next(iter(lengths.values()), None)
        labels = {
            roi: read_label(content, name=name, n_vertices=n_vertices)
            for roi, content, name in of(self.files, "roi_label")
        }
        return Surface(hemi, masks, labels)


@dataclass(frozen=True)
class RoiPlan:
    """What has to be read for ROIs in some formats."""

    rois: RoiNames
    """The ROIs along ``roi``: those that have a file of any of the formats and hemispheres."""
    present: Mapping[tuple[str, str], frozenset[str]]
    """Format and hemisphere (empty for volumes) → the ROIs that have such a file, for all that were asked for."""
    voxels: VoxelPlan | None
    """For the voxel axis; None where no volume is read."""
    surfaces: SurfacePlan
    """For the axes of the hemispheres."""
    missing: tuple[str, ...]
    """What is left out, in words."""

    @classmethod
    def of(
        cls,
        bucket: Bucket,
        contents: SubjectContents,
        query: VoxelQuery,
        *,
        formats: Sequence[str],
        hemis: Sequence[str],
        only: Sequence[str] | None = None,
    ) -> RoiPlan:
        """Find the objects.

        Parameters
        ----------
        bucket : Bucket
            Where to read from.
        contents : SubjectContents
            The subject's listing.
        query : VoxelQuery
            The selection of voxels and vertices.
        formats, hemis : sequence of str
            What to read.
        only : sequence of str, optional
            Names and categories of the ROIs to read; by default all.

        Raises
        ------
        NotInBucketError
            If a selected ROI has no file of these formats, or volumes are read and the mask is absent.
        ValueError
            If the selection names an unknown ROI.
        """
        every = roi_files(bucket, contents.objects)
        asked = [(format, hemi) for format in formats for hemi in ([""] if format == "volume" else hemis)]
        files = [file for file in every if form_of(file) in asked]
        rois = names_of(bucket, files)
        selection = query.roi if only is None else only
        if selection is not None:
            if not files:
                raise no_rois(bucket, contents, formats)
            expect_known(bucket, contents, selection, rois, asked)
        if only is not None:
            names = {rois.names[row] for operand in only for row in rois.rows(operand)}
            files = [file for file in files if file.name in names]
            rois = names_of(bucket, files)
        present = {form: frozenset(file.name for file in files if form_of(file) == form) for form in asked}
        folder = bucket.locate(layout.roi_folder(contents.subject))
        missing = [f"{_variable(*form)} (no {in_words(*form)} in {folder})" for form in asked if not present[form]]
        volumes = [file for file in files if not file.hemi]
        voxels = VoxelPlan.of(bucket, contents, query, maps=(), volumes=volumes, rois=rois) if volumes else None
        return cls(rois, present, voxels, SurfacePlan.of(files, every), tuple(missing))

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """Every object to read, each once."""
        return (*(self.voxels.files if self.voxels else ()), *self.surfaces.infos)

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> tuple[Brain | None, list[Surface]]:
        """Return what is on the voxel axis, and what is on each hemisphere."""
        return self.voxels.read(bucket, files) if self.voxels else None, self.surfaces.read(bucket, files)

    def presence(self) -> Coordinates:
        """Return which ROI has which files: a missing one and an empty one are both False everywhere."""

        def has(format: str, hemi: str) -> list[bool]:
            return [name in self.present[format, hemi] for name in self.rois.names]

        hemis = sorted({hemi for _, hemi in self.present if hemi})
        coordinates: Coordinates = {}
        if hemis:
            coordinates[HEMI] = ((HEMI,), np.array(hemis, dtype=object), {"long_name": "hemisphere"})
        for format in dict.fromkeys(format for format, _ in self.present):
            attrs = {"long_name": f"whether the bucket holds the ROI as {format}"}
            if format == "volume":
                coordinates["has_volume"] = ((ROI,), np.array(has(format, "")), attrs)
            else:
                values = np.array([has(format, hemi) for hemi in hemis]).T
                coordinates[f"has_{format.replace('.', '_')}"] = ((ROI, HEMI), values, attrs)
        return coordinates


def _variable(format: str, hemi: str) -> str:
    """Return the name of the variable that tells an ROI in this form."""
    return {"volume": "in_roi", "func.gii": f"in_roi_{hemi}", "label": f"label_vertex_{hemi}"}[format]
