"""Images under the data set's own names, by name, row or trial.

Source: the interface of ``laion_fmri.stimuli`` and of ``Subject.images`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import NotInBucketError, StimuliNotDownloadedError
from intake_laion_fmri.reading.arguments import SessionSelection
from intake_laion_fmri.reading.stimuli.image_file import ImageFile, as_displayed_rgb
from intake_laion_fmri.reading.stimuli.images import lazy_images
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.subject.descriptions import Captions, Embeddings, NoOpenFile, Segmentations, load_embeddings
from intake_laion_fmri.subject.tables import image_of_trial, rows_of_sessions

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from intake_laion_fmri.subject.tables import Tables

__all__ = ["Images", "Stimuli", "TrialImages", "as_displayed_rgb", "load_stimuli"]


def load_stimuli(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror_only: bool | None = None,
) -> Stimuli:
    """Return the images of the data set.

    Parameters
    ----------
    data_dir : str or path, optional
        Folder to read first; by default the one set with `config.dataset_initialize`.
    bucket, storage_options, mirror_only
        As in `intake_laion_fmri.open_stimuli`.

    Returns
    -------
    Stimuli

    Raises
    ------
    StimuliNotDownloadedError
        If there are no images; the message says how to request access.
    AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_stimuli`.
    """
    return Stimuli(bucket=open_bucket(bucket, storage_options, mirror=data_dir, mirror_only=mirror_only))


class Images:
    """Images by name or row of the stimulus table."""

    def __init__(self, file: ImageFile) -> None:
        self._file = file

    def __len__(self) -> int:
        return len(self._file.table)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield names and encoded images, in table order."""
        return ((name, self[name]) for name in self.names())

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            return key in self._file.table.index
        return isinstance(key, int | np.integer) and 0 <= int(key) < len(self)

    def __getitem__(self, key: str | int) -> bytes:
        """Return an encoded image: JPEG or PNG."""
        return self._file.encoded(self._name(key))

    def get(self, key: str | int, *, as_displayed: bool = True) -> Image.Image:
        """Return a Pillow image, as displayed or with transparency."""
        return self._file.get(self._name(key), displayed=as_displayed)

    def names(self) -> list[str]:
        """Return all image names, in table order."""
        return [str(name) for name in self._file.table.index]

    def index_of(self, name: str) -> int:
        """Return an image's row; KeyError with the nearest names."""
        if name not in self._file.table.index:
            try:
                self._file.choose([name])
            except ValueError as error:
                raise KeyError(str(error)) from None
        return int(self._file.table["row"].loc[name])

    def _name(self, key: str | int) -> str:
        if isinstance(key, str):
            self.index_of(key)
            return key
        row = operator.index(key)
        if not 0 <= row < len(self):
            raise IndexError(f"No image {row}: expected a row from 0 to {len(self) - 1}, or a name.")
        return str(self._file.table.index[row])


class Stimuli(NoOpenFile, Images):
    """Images with their table, created by `load_stimuli`.

    Parameters
    ----------
    data_dir : str or path, optional
        As in `load_stimuli`.
    bucket : Bucket, optional
        Where to read from; `data_dir` is ignored then.
    """

    def __init__(self, data_dir: str | os.PathLike[str] | None = None, *, bucket: Bucket | None = None) -> None:
        bucket = bucket or open_bucket(mirror=data_dir)
        try:
            super().__init__(ImageFile.from_bucket(bucket))
        except NotInBucketError as error:
            raise StimuliNotDownloadedError(str(error)) from error

    @property
    def images(self) -> Images:
        """The images by name or row: this object itself."""
        return self

    def __repr__(self) -> str:
        return f"<Stimuli: {len(self)} images in {self._file.root.url}>"

    @functools.cached_property
    def metadata(self) -> pd.DataFrame:
        """Stimulus table: ``image_name, dataset, participant, unique_or_shared, n_reps``."""
        table = self._file.table.reset_index().drop(columns=["row", "subject"])
        table["n_reps"] = [f"{n}rep" for n in table["n_reps"]]
        return table

    @functools.cached_property
    def embeddings(self) -> Embeddings:
        """Embeddings of the images."""
        return load_embeddings(bucket=self._file.root)

    @functools.cached_property
    def captions(self) -> Captions:
        """Captions of the images."""
        return Captions(bucket=self._file.root)

    @functools.cached_property
    def segmentations(self) -> Segmentations:
        """Segmentations of the shared images."""
        return Segmentations(bucket=self._file.root)


class TrialImages:
    """Images of a subject's trials, by row of `Subject.metadata`."""

    def __init__(self, subject: Tables, bucket: Bucket) -> None:
        self._subject, self._bucket = subject, bucket

    @functools.cached_property
    def _stimuli(self) -> Stimuli:
        return Stimuli(bucket=self._bucket)

    def __len__(self) -> int:
        return len(self._subject.metadata)

    def __getitem__(self, trial: int) -> bytes:
        """Return a trial's encoded image."""
        return self._stimuli.images[self._label(trial)]

    def get(self, trial: int, *, as_displayed: bool = True) -> Image.Image:
        """Return a trial's Pillow image, as displayed or with transparency."""
        return self._stimuli.get(self._label(trial), as_displayed=as_displayed)

    def named(self, label: str) -> Image.Image:
        """Return an image by label, as displayed."""
        return self._stimuli.get(label)

    def all(self, session: SessionSelection | None = None) -> Iterator[Image.Image]:
        """Yield images of all or some sessions' trials, as displayed."""
        return (self._stimuli.get(label) for label in self._labels(session))

    def array(self, session: SessionSelection | None = None) -> NDArray[np.uint8]:
        """Return the images of sessions' trials, uint8 (trial, y, x, 3).

        An image takes 3 MB. `intake_laion_fmri.open_stimuli` returns images lazily, and in any size.
        """
        return self._array(self._labels(session))

    def shared(self) -> list[Image.Image]:
        """Return the shared images as displayed, in stimulus table order."""
        return [self._stimuli.get(str(label)) for label in self._stimuli._file.choose("shared").labels]

    def shared_array(self) -> NDArray[np.uint8]:
        """Return the shared images as an array, uint8 (image, y, x, 3)."""
        return self._array("shared")

    def _label(self, trial: int) -> str:
        return image_of_trial(self._subject.metadata, trial)

    def _labels(self, session: SessionSelection | None) -> list[str]:
        return [str(label) for label in rows_of_sessions(self._subject.metadata, session)["image_name"]]

    def _array(self, images: str | list[str]) -> NDArray[np.uint8]:
        file = self._stimuli._file
        return np.asarray(lazy_images(file, file.choose(images), None, "RGB", None).compute())
