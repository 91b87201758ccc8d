"""The stimulus table: a row for each image of the data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.images import Images, choose_images
from intake_laion_fmri.axes.stimulus_table import read_stimulus_table
from intake_laion_fmri.formats.hdf5 import open_hdf5
from intake_laion_fmri.reading.contents import expect_object
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket, parts_of
from intake_laion_fmri.remote.stream import RangedFile

if TYPE_CHECKING:
    import pandas as pd


def open_stimulus_table(
    subject: str | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> pd.DataFrame:
    """Read the table of images.

    It has 25,052 rows in the published bucket.

    Parameters
    ----------
    subject : str, optional
        A subject, ``"sub-01"``: keep the images planned for it, 6,204 in the published bucket. By default all.
    bucket, storage_options, mirror, mirror_only
        As in `open_betas`.

    Returns
    -------
    pandas.DataFrame
        One row per image, in the order of the image file. Index ``image_name``: the label, as in the trial tables and
        on the ``image`` axis. Columns:

        - ``row``: the row in the image file, also the coordinate ``stimulus`` of betas;
        - ``dataset``: LAION, NSD, THINGS, THINGS+ or OOD;
        - ``participant``: the code of the only subject who saw it, spelled as in the file; ``subject``: that subject,
          empty for shared images. Codes are not in the order of subjects: p04 is sub-03;
        - ``unique_or_shared``; ``n_reps``: planned presentations to each subject, 4 or 12.

    Raises
    ------
    ValueError
        If the images of the subject are unknown.
    NotInBucketError
        If the bucket has no such table, as in early releases.
    BucketUnreachableError, DataIntegrityError
        As in `open_betas`.

    Notes
    -----
    One listing and one request of 1.5 MB, which the user's cache keeps. No agreement is needed. The file is
    ``stimuli/task-images_metadata.csv``.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    table = stimulus_table(bucket, listed_stimuli(bucket))
    if subject is None:
        return table
    chosen = choose_images(layout.subject_name(subject), table.index.tolist(), where=bucket.url)
    return table.iloc[chosen.rows]


def listed_stimuli(bucket: Bucket) -> dict[str, ObjectInfo]:
    """List the stimuli folder, a dozen files."""
    return bucket.find(layout.STIMULI.root)


def stimulus_table(bucket: Bucket, listing: Mapping[str, ObjectInfo]) -> pd.DataFrame:
    """Read a listed stimulus table; NotInBucketError if there is none."""
    key = layout.STIMULUS_METADATA
    info = expect_object(bucket, key, listing)
    return read_stimulus_table(bucket.fetch([info])[key], name=bucket.locate(key))


def chosen_labels(
    bucket: Bucket, listing: Mapping[str, ObjectInfo], images: Images, otherwise: Callable[[], list[str]]
) -> NDArray[np.object_]:
    """Return the labels of a user's selection of images; see `choose_images`.

    Valid labels are those of the stimulus table, or without a table those that `otherwise` returns.
    """
    has_table = layout.STIMULUS_METADATA in listing
    known = stimulus_table(bucket, listing).index.tolist() if has_table else otherwise()
    return choose_images(images, known, where=bucket.url).labels


def shape_of(bucket: Bucket, info: ObjectInfo, name: str, *, ndim: int) -> tuple[int, ...]:
    """Read a numeric data set's shape from the head of its file."""
    head = RangedFile(parts_of(bucket, info), info.size)
    with open_hdf5(head, name=bucket.locate(info.key)) as file:  # type: ignore[arg-type]
        return tuple(map(int, file.dataset(name, "number", ndim=ndim).shape))
