"""Files of each ROI, and faults of unusable ones.

A broken or contradictory file affects only its own ROI, which is left out unless it is selected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiNames
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.reading.contents import RoiFile
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

UNREADABLE = (DataIntegrityError, NotInBucketError, AccessDeniedError)
"""Errors for which a file is left out, unless it is selected."""

T = TypeVar("T")


@dataclass(frozen=True)
class RoiForm:
    """An ROI in one format, on one hemisphere."""

    name: str
    """Public name."""
    category: str
    """The category's folder."""
    kind: str
    """One of `layout.ROI_KINDS`."""
    hemi: str
    """``L`` or ``R`` on a surface, empty for a volume."""
    infos: tuple[ObjectInfo, ...]
    """Its file, and those of other spellings (``FFA-1``, ``FFA1``) that must have the same content."""

    def read(
        self,
        bucket: Bucket,
        files: Mapping[str, bytes],
        read: Callable[[bytes, str], T],
        same: Callable[[T, T], bool],
    ) -> T:
        """Read the file and compare it with those of other spellings.

        Parameters
        ----------
        bucket : Bucket
            Bucket of the files.
        files : mapping of str to bytes
            Key → content.
        read : callable
            Called with content and name of a file.
        same : callable
            Called with two results of `read`; returns True if they are equal.

        Raises
        ------
        DataIntegrityError
            If a file of another spelling differs.
        """
        first, *others = self.infos
        content = files[first.key]
        value = read(content, bucket.locate(first.key))
        for info in others:
            if files[info.key] != content and not same(value, read(files[info.key], bucket.locate(info.key))):
                raise DataIntegrityError(
                    f"Two ROIs are named {self.name!r}: {bucket.locate(first.key)} and {bucket.locate(info.key)}. "
                    "Expected one file, or the same content: remove the older file; if the bucket holds both, report "
                    "it."
                )
        return value


@dataclass(frozen=True)
class RoiFault:
    """Reason why an ROI is unusable, in some or all formats."""

    name: str
    """Public name."""
    categories: tuple[str, ...]
    """Categories with this ROI."""
    error: Exception
    """One of `UNREADABLE`."""

    def __str__(self) -> str:
        return f"the ROI {self.name} ({self.error})"


@dataclass(frozen=True)
class RoiListing:
    """ROIs of some files."""

    forms: tuple[RoiForm, ...]
    """Sorted by name."""
    faults: tuple[RoiFault, ...]
    """ROIs that cannot be used."""

    @classmethod
    def from_files(cls, bucket: Bucket, files: Iterable[RoiFile]) -> RoiListing:
        """Group files by ROI; an ROI in two categories is a fault."""
        first: dict[str, RoiFile] = {}
        faults: dict[str, RoiFault] = {}
        same: dict[tuple[str, str, str], dict[tuple[int, str] | str, ObjectInfo]] = {}
        for file in sorted(files, key=lambda file: (file.name, file.kind, file.hemi, file.info.key)):
            other = first.setdefault(file.name, file)
            if file.category != other.category:
                error = DataIntegrityError(
                    f"The ROI {file.name!r} is in two categories: {bucket.locate(other.info.key)} and "
                    f"{bucket.locate(file.info.key)}. Expected one category; if the bucket holds both, report it."
                )
                faults[file.name] = RoiFault(file.name, (other.category, file.category), error)
            # Files with equal size and ETag are read once.
            content = (file.info.size, file.info.etag) if file.info.etag else file.info.key
            same.setdefault((file.name, file.kind, file.hemi), {}).setdefault(content, file.info)
        forms = [
            RoiForm(name, first[name].category, kind, hemi, tuple(infos.values()))
            for (name, kind, hemi), infos in same.items()
            if name not in faults
        ]
        return cls(tuple(forms), tuple(faults.values()))

    @property
    def names(self) -> RoiNames:
        """All ROIs, unusable ones included."""
        categories = {form.name: form.category for form in self.forms}
        faulty = [(fault.name, category) for fault in self.faults for category in fault.categories]
        return RoiNames(
            tuple(sorted(categories)), tuple(categories[name] for name in sorted(categories)), tuple(faulty)
        )


def form_of(file: RoiFile | RoiForm) -> tuple[str, str]:
    """Return format and hemisphere; a volume's hemisphere is empty."""
    return layout.ROI_KINDS[file.kind], file.hemi


def in_words(format: str, hemi: str) -> str:
    """Describe format and hemisphere for a message."""
    return f"{format} of hemisphere {hemi}" if hemi else format
