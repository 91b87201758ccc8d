"""Plans of voxels: from a selection to files and the voxel axis.

A query is a checked selection. A plan names its objects before any is read, so that all are fetched together. Absent
objects are an error if they are needed; otherwise they are left out and described. `read` takes their contents. Trials,
maps and ROIs on surfaces have such plans in their own modules.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiExpression, RoiMembership, RoiNames, roi_coordinates
from intake_laion_fmri.axes.voxels import MASKS, SUBJECT_MAPS, VOXEL, VoxelAxis
from intake_laion_fmri.errors import NotInBucketError, Remarks
from intake_laion_fmri.formats.grid import Coordinates, Gather
from intake_laion_fmri.formats.masks import mask_of
from intake_laion_fmri.formats.nifti import VolumeReader
from intake_laion_fmri.reading.arguments import check_argument
from intake_laion_fmri.reading.contents import SubjectContents, expect_object, roi_files
from intake_laion_fmri.reading.roi_files import (
    UNREADABLE,
    RoiFault,
    RoiForm,
    RoiListing,
    form_of,
    in_words,
)
from intake_laion_fmri.reading.volumes import read_map, read_volume
from intake_laion_fmri.remote.access import Bucket, ObjectInfo


@dataclass(frozen=True)
class VoxelQuery:
    """A checked selection of voxels."""

    roi: RoiExpression | None
    """None for the whole mask."""
    mask: str
    """One of `voxels.MASKS`."""
    min_noise_ceiling: float | None = None
    """Percent; None for no threshold."""
    noise_ceiling: str = "12rep"
    """The map that the threshold reads."""

    @classmethod
    def from_arguments(
        cls, roi: object, mask: str, min_noise_ceiling: float | None = None, noise_ceiling: str = "12rep"
    ) -> VoxelQuery:
        """Check the arguments of a user; ValueError if one is wrong."""
        check_argument("mask", mask)
        check_argument("noise_ceiling", noise_ceiling)
        percentage: Any = check_argument("min_noise_ceiling", min_noise_ceiling)
        return cls(None if roi is None else RoiExpression.parse(roi), mask, percentage, noise_ceiling)

    @property
    def needs_anatomy(self) -> bool:
        """True if the mask is an anatomical image."""
        return MASKS[self.mask].kind == "brain_mask"

    @property
    def threshold_map(self) -> str | None:
        """The threshold's map, or None."""
        return None if self.min_noise_ceiling is None else f"nc_{self.noise_ceiling}"


@dataclass(frozen=True, eq=False)
class Brain:
    """The voxel axis with its maps and ROIs, as read."""

    axis: VoxelAxis
    """The chosen voxels."""
    maps: Mapping[str, NDArray[Any]]
    """Map → shape (voxel,)."""
    rois: RoiMembership | None
    """Membership of these voxels; None if no ROI was read."""
    faults: tuple[RoiFault, ...] = ()
    """ROIs with unusable volumes that were not selected."""
    remarks: Remarks = field(default_factory=Remarks)
    """Remarks on files that were left out, or differ from the documentation."""

    def chosen(self, query: VoxelQuery, *, where: str) -> NDArray[np.intp]:
        """Return a query's voxel positions, ascending; `where` is for errors."""
        chosen = np.ones(len(self.axis), dtype=bool)
        if query.roi is not None and self.rois is not None:
            chosen = self.rois.select(query.roi, where=where)
        if query.threshold_map is not None:
            # False for NaN: such a voxel is not known to reach the threshold.
            chosen &= self.maps[query.threshold_map] >= query.min_noise_ceiling
        return np.flatnonzero(chosen)

    def take(self, positions: NDArray[np.intp]) -> Brain:
        """Return the voxels at some positions, in that order."""
        return replace(
            self,
            axis=VoxelAxis(self.axis.grid, self.axis.index[positions]),
            maps={name: values[positions] for name, values in self.maps.items()},
            rois=self.rois.keep(positions) if self.rois else None,
        )

    def only(self, rois: RoiNames) -> Brain:
        """Return the membership in some ROIs only."""
        if self.rois is None:
            return self
        rows = [self.rois.names.index(name) for name in rois.names]
        return replace(self, rois=RoiMembership(rois.names, rois.categories, self.rois.inside[rows]))

    def coordinates(self) -> Coordinates:
        """Return axis, maps and ROIs as coordinates."""
        coordinates = self.axis.coordinates(layout.SPACE)
        for name, values in self.maps.items():
            coordinates[name] = ((VOXEL,), values, dict(SUBJECT_MAPS[name].attrs))
        return coordinates | (roi_coordinates(self.rois) if self.rois else {})


@dataclass(frozen=True)
class VoxelPlan:
    """Files of the voxel axis."""

    subject: str
    """``"sub-01"``."""
    query: VoxelQuery
    """The selection."""
    mask: ObjectInfo
    """The map that the mask's rule reads."""
    maps: Mapping[str, ObjectInfo]
    """Coordinate → its map."""
    needed: frozenset[str]
    """Coordinates that must be readable."""
    volumes: tuple[RoiForm, ...]
    """The volumes of ROIs."""
    rois: RoiNames
    """The ROIs along ``roi``."""
    keeps_rows: bool
    """True if an ROI without a usable volume is kept, without voxels."""
    faults: tuple[RoiFault, ...]
    """ROIs that are unusable according to the listing."""
    missing: tuple[str, ...]
    """Descriptions of files that are left out."""

    @classmethod
    def from_listing(
        cls,
        bucket: Bucket,
        contents: SubjectContents,
        query: VoxelQuery,
        *,
        maps: Iterable[str] = tuple(SUBJECT_MAPS),
        needed: Iterable[str] = (),
        volumes: Sequence[RoiForm] | None = None,
        rois: RoiNames | None = None,
    ) -> VoxelPlan:
        """Find the objects of a selection.

        Parameters
        ----------
        bucket : Bucket
            Where to read from.
        contents : SubjectContents
            The subject's listing.
        query : VoxelQuery
            The selection.
        maps : iterable of str
            Maps of the subject that become coordinates.
        needed : iterable of str
            Maps that must be readable.
        volumes : sequence of RoiForm, optional
            ROIs to read; by default all with a volume.
        rois : RoiNames, optional
            The ROIs along ``roi``, by default those of `volumes` that can be read.

        Raises
        ------
        NotInBucketError
            If the mask, or an object that the selection needs, is absent.
        ValueError
            If the selection names an unknown ROI.
        """
        key = layout.key(MASKS[query.mask].kind, subject=contents.subject)
        mask = expect_object(bucket, key, contents.objects)
        listing = RoiListing.from_files(bucket, contents.rois if volumes is None else ())
        wanted = listing.forms if volumes is None else tuple(volumes)
        names = listing.names if rois is None else rois
        if query.roi is not None:
            if not wanted and not listing.faults:
                raise no_rois(bucket, contents, ["volume"])
            if rois is None:
                raise_unless_known(bucket, contents, query.roi, names, [("volume", "")])
            raise_if_selected(query.roi, names, listing.faults)
        keys = {name: SUBJECT_MAPS[name].key(contents.subject) for name in maps}
        found = {name: contents.objects[key] for name, key in keys.items() if key in contents.objects}
        threshold = query.threshold_map
        if threshold is not None:
            expect_object(bucket, keys[threshold], contents.objects)
        missing = [f"{name} (no {bucket.locate(key)})" for name, key in keys.items() if name not in found]
        if volumes is None and not contents.rois:
            missing.append(f"in_roi (no {bucket.locate(layout.ROIS.folder(contents.subject))})")
        return cls(
            contents.subject,
            query,
            mask,
            found,
            frozenset(needed) | ({threshold} if threshold else frozenset()),
            wanted,
            names,
            rois is not None,
            listing.faults,
            tuple(missing),
        )

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """All objects to read, without repeats."""
        infos = [self.mask, *self.maps.values(), *(info for form in self.volumes for info in form.infos)]
        return tuple({info.key: info for info in infos}.values())

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> Brain:
        """Read the chosen voxels with all usable maps and ROIs."""
        mask = VolumeReader(io.BytesIO(files[self.mask.key]), name=bucket.locate(self.mask.key))
        axis = VoxelAxis(mask.header.grid, mask.where(MASKS[self.query.mask]))
        left_out, noted = list(self.missing), list[str]()
        if mask.header.note:
            noted.append(f"{bucket.locate(self.mask.key)}: {mask.header.note}")
        gather = Gather.from_voxels(axis.index, axis.grid.shape)
        maps = {}
        for map, info in self.maps.items():
            name = bucket.locate(info.key)
            try:
                file = io.BytesIO(files[info.key])
                maps[map] = read_map(map, file, name=name, grid=axis.grid, gather=gather, note=noted.append)
            except UNREADABLE as error:
                if map in self.needed:
                    raise
                left_out.append(f"{map} ({error})")

        def inside(content: bytes, name: str) -> NDArray[np.bool_]:
            values = read_volume(io.BytesIO(content), name=name, grid=axis.grid, gather=gather, note=noted.append)
            return mask_of(values, name=name, note=noted.append)

        masks, faults = {}, list(self.faults)
        for form in self.volumes:
            try:
                masks[form.name] = form.read(bucket, files, inside, np.array_equal)
            except UNREADABLE as error:
                faults.append(RoiFault(form.name, (form.category,), error))
        raise_if_selected(self.query.roi, self.rois, faults)
        left_out += [str(fault) for fault in faults]
        rois = self._membership(masks, len(axis))
        brain = Brain(axis, maps, rois, tuple(faults), Remarks(tuple(left_out), tuple(noted)))
        return brain.take(brain.chosen(self.query, where=f"{self.subject} in {bucket.url}"))

    def _membership(self, masks: Mapping[str, NDArray[np.bool_]], n_voxels: int) -> RoiMembership | None:
        if not masks and not (self.volumes and self.keeps_rows):
            return None
        pairs = zip(self.rois.names, self.rois.categories, strict=True)
        kept = [(name, category) for name, category in pairs if self.keeps_rows or name in masks]
        none = np.zeros(n_voxels, dtype=bool)
        inside = np.array([masks.get(name, none) for name, _ in kept])
        return RoiMembership(tuple(name for name, _ in kept), tuple(category for _, category in kept), inside)


def no_rois(bucket: Bucket, contents: SubjectContents, formats: Sequence[str]) -> NotInBucketError:
    """Return the error for a subject without ROIs in some formats."""
    folder = layout.ROIS.folder(contents.subject)
    return NotInBucketError(
        f"{bucket.locate(folder)} holds no ROI in the format {' or '.join(formats)}. If this is a partial copy, fetch "
        "that folder; roi=None opens betas and maps of the whole mask."
    )


def raise_if_selected(roi: RoiExpression | None, names: RoiNames, faults: Sequence[RoiFault]) -> None:
    """Raise the first fault of an ROI that the expression includes."""
    if roi is None or not faults:
        return
    faulty = tuple((fault.name, category) for fault in faults for category in fault.categories)
    every = RoiNames(names.names, names.categories, faulty)
    for operand in roi.operands:
        needed = every.meant(operand)
        for fault in faults:
            if fault.name in needed:
                raise fault.error


def raise_unless_known(
    bucket: Bucket,
    contents: SubjectContents,
    roi: RoiExpression,
    rois: RoiNames,
    asked: Sequence[tuple[str, str]],
) -> None:
    """Raise unless every selected ROI exists in the requested formats."""
    for operand in roi.operands:
        if rois.meant(operand):
            continue
        every = roi_files(bucket.find(layout.ROIS.folder(contents.subject)))
        names = RoiListing.from_files(bucket, every).names.meant(operand)
        if not names:
            raise rois.unknown(operand, where=f"{contents.subject} in {bucket.url}")
        others = dict.fromkeys(in_words(*form_of(file)) for file in every if file.name in names)
        raise NotInBucketError(
            f"{operand!r} of {contents.subject} has no {' or '.join(in_words(*form) for form in asked)} in "
            f"{bucket.locate(layout.ROIS.folder(contents.subject))}. It exists as {', '.join(others)}: choose "
            "that format, or fetch the file."
        )
