"""The arrays of a subject as nibabel and NumPy read them from the files of the demo bucket: the oracle of `Subject`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
from demo_files import betas_file, brain, map_file, roi_file, session_file, trials, volume

__all__ = ["betas", "ceiling", "flags", "labels", "mask", "roi", "session_ceiling"]

BRAIN_MASK = (
    "derivatives/anatomical/{0}/ses-PrismaAnat/anat/{0}_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask.nii.gz"
)


def mask(bucket: Path, source: str = "anatomical", subject: str = "sub-01") -> np.ndarray:
    """Flat indices of a mask's voxels."""
    if source == "rsquare":
        return brain(bucket, subject)
    return np.flatnonzero(volume(bucket / BRAIN_MASK.format(subject)) > 0)


def flags(bucket: Path, names: Iterable[str], source: str = "anatomical", subject: str = "sub-01") -> np.ndarray:
    """Which voxels of a mask are in the union of some ROIs."""
    inside = np.any([volume(roi_file(bucket, subject, name)).reshape(-1) > 0 for name in names], axis=0)
    return np.asarray(inside[mask(bucket, source, subject)])


def roi(bucket: Path, names: Iterable[str], source: str = "anatomical", subject: str = "sub-01") -> np.ndarray:
    """Flat indices of the voxels of a mask in the union of some ROIs."""
    return np.asarray(mask(bucket, source, subject)[flags(bucket, names, source, subject)])


def betas(bucket: Path, session: str, index: np.ndarray, subject: str = "sub-01") -> np.ndarray:
    """The betas of some voxels, shape (trial, voxel)."""
    values = np.asarray(nibabel.load(betas_file(bucket, subject, session)).dataobj, dtype=np.float32)
    return np.asarray(values.reshape(-1, values.shape[-1])[index].T)


def session_ceiling(bucket: Path, session: str, index: np.ndarray, subject: str = "sub-01") -> np.ndarray:
    path = session_file(bucket, subject, session, "space-T1w_desc-Noiseceiling_statmap.nii.gz")
    return np.asarray(volume(path).reshape(-1)[index])


def ceiling(bucket: Path, name: str, index: np.ndarray, subject: str = "sub-01") -> np.ndarray:
    """A map of the subject: ``"12rep"``, ``"4rep"`` or ``"Allrep"``."""
    return np.asarray(volume(map_file(bucket, subject, f"desc-Noiseceiling{name}")).reshape(-1)[index])


def labels(bucket: Path, session: str, subject: str = "sub-01") -> np.ndarray:
    return np.array([row["label"] for row in trials(bucket, subject, session)])
