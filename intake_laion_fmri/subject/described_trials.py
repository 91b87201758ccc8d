"""Descriptions of a subject's trials by position: embeddings, captions, segmentations.

Source: the interface of ``laion_fmri.subject`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

import builtins
import functools
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.arguments import SessionSelection
from intake_laion_fmri.subject.descriptions import Captions, Embeddings, Segmentations, load_embeddings
from intake_laion_fmri.subject.reader import SubjectReader
from intake_laion_fmri.subject.tables import image_of_trial, rows_of_sessions

if TYPE_CHECKING:
    import pandas as pd


Described = TypeVar("Described")


class _OfTrials(Generic[Described]):
    """Descriptions of trials' images, by position in `metadata`."""

    def __init__(self, metadata: pd.DataFrame, described: Described) -> None:
        self._metadata, self._described = metadata, described

    def _name(self, trial_idx: int) -> str:
        return image_of_trial(self._metadata, trial_idx)


class TrialEmbeddings(_OfTrials[Embeddings]):
    """Embeddings of trials' images."""

    @property
    def models(self) -> list[str]:
        """Available models."""
        return list(self._described.models)

    def get(self, model: str, trial_idx: int) -> NDArray[np.float16]:
        """Return the embedding of a trial's image, (feature,)."""
        return self._described.get(model, self._name(trial_idx))

    def all(self, model: str, session: SessionSelection | None = None) -> NDArray[np.float16]:
        """Return embeddings of all or some sessions' trials, (trial, feature).

        Repeated images are included; an unknown session raises ValueError.
        """
        chosen = rows_of_sessions(self._metadata, session)
        return self._described.get(model, chosen["image_name"])


class TrialCaptions(_OfTrials[Captions]):
    """Captions of trials' images, with the methods of `Captions`."""

    def list(self, trial_idx: int, source: Literal["human", "ai"] | None = None) -> builtins.list[str]:
        """List the captions of a trial's image."""
        return self._described.list(self._name(trial_idx), source)

    def human(self, trial_idx: int, limit: int | None = None) -> builtins.list[str]:
        """List the human captions of a trial's image."""
        return self._described.human(self._name(trial_idx), limit)

    def ai(self, trial_idx: int) -> str | None:
        """Return the AI caption of a trial's image, or None."""
        return self._described.ai(self._name(trial_idx))

    def for_image(self, trial_idx: int) -> pd.DataFrame:
        """Return the captions of a trial's image as a table."""
        return self._described.get(self._name(trial_idx))


class TrialSegmentations(_OfTrials[Segmentations]):
    """Masks of trials' images, with the methods of `Segmentations`."""

    def has_image(self, trial_idx: int) -> bool:
        """Return True if a trial's image has masks."""
        return self._described.has_image(self._name(trial_idx))

    def nouns(self, trial_idx: int, localized_only: bool = True) -> list[str]:
        """List the nouns of a trial's image."""
        return self._described.nouns(self._name(trial_idx), localized_only)

    def for_image(self, trial_idx: int) -> pd.DataFrame:
        """Return the masks of a trial's image as a table."""
        return self._described.for_image(self._name(trial_idx))

    def get(self, trial_idx: int, noun: str, instance: int = 0) -> NDArray[np.uint8]:
        """Return a mask of a trial's image, (y, x)."""
        return self._described.get(self._name(trial_idx), noun, instance)


class Descriptions:
    """Accessors of `Subject` for descriptions of trials' images."""

    _reader: SubjectReader
    metadata: Any

    @functools.cached_property
    def embeddings(self) -> TrialEmbeddings:
        """Embeddings by trial: ``models``, ``get`` and ``all``; see `open_embeddings`."""
        return TrialEmbeddings(self.metadata, load_embeddings(bucket=self._reader.bucket))

    @functools.cached_property
    def captions(self) -> TrialCaptions:
        """Captions by trial: ``list``, ``human``, ``ai``, ``for_image``; see `open_captions`."""
        return TrialCaptions(self.metadata, Captions(bucket=self._reader.bucket))

    @functools.cached_property
    def segmentations(self) -> TrialSegmentations:
        """Masks by trial: ``has_image``, ``nouns``, ``for_image``, ``get``; see `open_segmentations`."""
        return TrialSegmentations(self.metadata, Segmentations(bucket=self._reader.bucket))
