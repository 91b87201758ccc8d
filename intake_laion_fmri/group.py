"""Groups of subjects, under the data set's own names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import discovery
from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import check_option, unknown_value
from intake_laion_fmri.reading.arguments import SessionSelection, check_subjects
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.subject import Subject, load_subject

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

__all__ = ["Group", "load_subjects"]


def load_subjects(
    subjects: str | Sequence[str] = "all",
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> Group:
    """Return several subjects.

    Parameters
    ----------
    subjects : str or sequence of str, default "all"
        ``"all"``, a subject, or a list of subjects, whose order is kept.
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`.

    Raises
    ------
    ValueError, NotInBucketError, BucketUnreachableError
        As in `subject.load_subject`.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    check_subjects(subjects)
    if isinstance(subjects, str):
        subjects = discovery.get_subjects(bucket=bucket) if subjects.strip() == "all" else [subjects]
    return Group([load_subject(subject, bucket=bucket) for subject in subjects])


class Group:
    """Several subjects, created by `load_subjects`.

    ``group["sub-01"]`` and ``group[0]`` return a `Subject`; iteration yields pairs of name and `Subject`.

    Parameters
    ----------
    subjects : sequence of Subject
        The subjects in order, without repeats.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = {subject.subject_id: subject for subject in subjects}

    def __repr__(self) -> str:
        return f"<Group of {', '.join(self._subjects)}>"

    def __len__(self) -> int:
        return len(self._subjects)

    def __iter__(self) -> Iterator[tuple[str, Subject]]:
        return iter(self._subjects.items())

    def __getitem__(self, subject: int | str) -> Subject:
        if not isinstance(subject, str):
            return list(self._subjects.values())[subject]
        if subject not in self._subjects:
            raise KeyError(str(unknown_value("subject", subject, self._subjects, where="this group")))
        return self._subjects[subject]

    def get_shared_betas(
        self,
        session: SessionSelection,
        roi: RoiSelection | None = None,
        mask: NDArray[np.bool_] | Sequence[bool] | None = None,
        nc_threshold: float | None = None,
        mask_source: Mask = "anatomical",
    ) -> dict[str, Any]:
        """Read betas of the images that all subjects saw.

        Returns
        -------
        dict
            From subject to the result of `Subject.get_betas`.

        Warns
        -----
        UserWarning
            Always: rows are trials in each subject's own order, so that the same row shows different images.
        """
        warnings.warn(
            "Rows of get_shared_betas are not aligned between subjects: each subject has its own order of trials. "
            "Match them by the labels of get_trial_info that begin with 'shared_'.",
            stacklevel=2,
        )
        return {
            name: subject.get_betas(session, roi, mask, nc_threshold, "shared", mask_source=mask_source)
            for name, subject in self
        }

    def get_shared_images(self, format: Literal["pil", "numpy"] = "pil") -> list[Image.Image] | NDArray[np.uint8]:
        """Read the images that all subjects saw, as displayed.

        Their order is that of `get_shared_stimulus_metadata`.

        Parameters
        ----------
        format : {"pil", "numpy"}, default "pil"
            A list of Pillow images, or one uint8 array (image, y, x, 3) of 4.5 GB. For smaller images, read lazily, use
            ``intake_laion_fmri.open_stimuli("shared", size=224)``.
        """
        check_option("format", format, valid=("pil", "numpy"))
        images = self[0].images
        return images.shared_array() if format == "numpy" else images.shared()

    def get_shared_stimulus_metadata(self) -> pd.DataFrame:
        """Return the stimulus table of the images that all subjects saw."""
        table = self[0].get_stimulus_metadata()
        return table[table["unique_or_shared"] == "shared"].reset_index(drop=True)
