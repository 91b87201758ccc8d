"""A session's trials and images as torch tensors, under the data set's own names.

Source: the interface of ``laion_fmri.torch_data`` (ViCCo-Group/LAION-fMRI), September 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.rois import RoiSelection
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import is_several
from intake_laion_fmri.export.items import Transform, row_of, transformed
from intake_laion_fmri.subject.reader import Flags

if TYPE_CHECKING:
    import pandas as pd


class LaionFMRIDataset:
    """Map-style torch dataset of a session; see `Subject.to_torch_dataset`."""

    def __init__(
        self,
        subject: Training,
        session: str | int,
        roi: RoiSelection | None = None,
        mask: Flags | None = None,
        nc_threshold: float | None = None,
        image_transform: Transform | None = None,
        mask_source: Mask = "anatomical",
    ) -> None:
        if is_several(session) or session == "all":
            raise ValueError(f"session={session!r}: expected a single session such as 'ses-01'.")
        self._betas: NDArray[np.float32] = subject.get_betas(session, roi, mask, nc_threshold, mask_source=mask_source)
        self._images, self._transform = subject.images, image_transform
        trials: pd.DataFrame = subject.get_trial_info(session)
        self._labels = trials["label"].tolist()
        self._session = str(trials["session"].iloc[0])
        self._repetitions = trials.groupby("label").cumcount().tolist()

    def __len__(self) -> int:
        return len(self._betas)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        import torch

        row = row_of(idx, len(self))
        label = self._labels[row]
        pixels = np.asarray(self._images.named(label), dtype=np.float32) / 255
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if self._transform is not None:
            image = transformed(self._transform, image, f"item {row}, {label!r}")
        return {
            "betas": torch.from_numpy(self._betas[row].copy()),
            "image": image,
            "image_name": label,
            "session": self._session,
            "rep_index": self._repetitions[row],
        }


class Training:
    """Accessor of `Subject` for PyTorch."""

    get_betas: Callable[..., Any]
    get_trial_info: Callable[..., Any]
    images: Any

    def to_torch_dataset(
        self,
        session: str | int,
        roi: RoiSelection | None = None,
        mask: Flags | None = None,
        nc_threshold: float | None = None,
        image_transform: Transform | None = None,
        mask_source: Mask = "anatomical",
    ) -> LaionFMRIDataset:
        """Return a session's trials as a map-style torch dataset.

        For whole batches, several sessions or lazy betas, and without torch, use ``ds.laion.to_torch(images)``.

        Parameters
        ----------
        session : str or int
            ``"ses-01"``, ``"01"`` or ``1``.
        roi, mask, nc_threshold, mask_source
            As in `get_betas`.
        image_transform : callable, optional
            Called with the image's tensor.

        Returns
        -------
        LaionFMRIDataset
            Items are dicts: ``betas``, float32 (voxel,); ``image``, float32 (channel, y, x) from 0 to 1, as displayed;
            ``image_name``; ``session``; ``rep_index``, the number of earlier trials of the image within the session.

        Raises
        ------
        ValueError
            If several sessions are given.
        StimuliNotDownloadedError, AccessDeniedError
            When reading an item without images; the message says how to request access.
        ImportError
            When reading an item without torch installed.
        """
        return LaionFMRIDataset(self, session, roi, mask, nc_threshold, image_transform, mask_source)
