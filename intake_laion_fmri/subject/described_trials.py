"""What describes the images of a subject's trials: embeddings, captions and segmentations by a trial's position.

Source: the interface of ``laion_fmri.subject`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

import builtins
import functools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.arguments import SessionSelection, check_sessions
from intake_laion_fmri.subject.descriptions import Captions, Segmentations, load_embeddings
from intake_laion_fmri.subject.reader import SubjectReader

if TYPE_CHECKING:
    import pandas as pd


class _OfTrials:
    """A description of the image of a trial, by the trial's position in the subject's `metadata`."""

    def __init__(self, metadata: Any, described: Any) -> None:
        self._metadata, self._described = metadata, described

    def _name(self, trial_idx: int) -> str:
        return str(self._metadata["image_name"].iloc[int(trial_idx)])


class TrialEmbeddings(_OfTrials):
    """Embeddings of the images of a subject's trials."""

    @property
    def models(self) -> list[str]:
        """The models that there are."""
        return list(self._described.models)

    def get(self, model: str, trial_idx: int) -> NDArray[np.float16]:
        """Return the embedding of a trial's image: (feature,)."""
        row: NDArray[np.float16] = self._described.get(model, self._name(trial_idx))
        return row

    def all(self, model: str, session: SessionSelection | None = None) -> NDArray[np.float16]:
        """Return those of all trials, or of the trials of sessions: (trial, feature), repeats included."""
        table = self._metadata
        sessions = None if session is None else check_sessions(session)
        chosen = table if sessions is None else table[table["session"].isin(sessions)]
        rows: NDArray[np.float16] = self._described.get(model, chosen["image_name"])
        return rows


class TrialCaptions(_OfTrials):
    """Captions of the images of a subject's trials; methods as of `Captions`."""

    def list(self, trial_idx: int, source: Literal["human", "ai"] | None = None) -> builtins.list[str]:
        """List the captions of a trial's image."""
        return [*self._described.list(self._name(trial_idx), source)]

    def human(self, trial_idx: int, limit: int | None = None) -> builtins.list[str]:
        """List what people wrote of it."""
        return [*self._described.human(self._name(trial_idx), limit)]

    def ai(self, trial_idx: int) -> str | None:
        """Return what a model wrote of it, or None."""
        text: str | None = self._described.ai(self._name(trial_idx))
        return text

    def for_image(self, trial_idx: int) -> pd.DataFrame:
        """Return the table of its captions."""
        table: pd.DataFrame = self._described.get(self._name(trial_idx))
        return table


class TrialSegmentations(_OfTrials):
    """Masks of the images of a subject's trials; methods as of `Segmentations`."""

    def has_image(self, trial_idx: int) -> bool:
        """Return True if a trial's image has masks."""
        return bool(self._described.has_image(self._name(trial_idx)))

    def nouns(self, trial_idx: int, localized_only: bool = True) -> list[str]:
        """List its nouns."""
        return list(self._described.nouns(self._name(trial_idx), localized_only))

    def for_image(self, trial_idx: int) -> pd.DataFrame:
        """Return the table of its masks."""
        table: pd.DataFrame = self._described.for_image(self._name(trial_idx))
        return table

    def get(self, trial_idx: int, noun: str, instance: int = 0) -> NDArray[np.uint8]:
        """Return a mask of it: (y, x)."""
        mask: NDArray[np.uint8] = self._described.get(self._name(trial_idx), noun, instance)
        return mask


class Descriptions:
    """Accessors of `Subject` for what describes the images of its trials, by position in ``metadata``."""

    _reader: SubjectReader
    metadata: Any

    @functools.cached_property
    def embeddings(self) -> TrialEmbeddings:
        """Embeddings: ``models``, ``get(model, trial)`` and ``all(model, session=None)``; see `open_embeddings`."""
        return TrialEmbeddings(self.metadata, load_embeddings(bucket=self._reader.place))

    @functools.cached_property
    def captions(self) -> TrialCaptions:
        """Captions: ``list``, ``human``, ``ai`` and ``for_image`` of a trial; see `open_captions`."""
        return TrialCaptions(self.metadata, Captions(bucket=self._reader.place))

    @functools.cached_property
    def segmentations(self) -> TrialSegmentations:
        """Masks: ``has_image``, ``nouns``, ``for_image`` and ``get`` of a trial; see `open_segmentations`."""
        return TrialSegmentations(self.metadata, Segmentations(bucket=self._reader.place))
