"""Masks on surfaces and in volumes, as nibabel reads and writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np


def gifti(path: Path) -> np.ndarray:
    return nibabel.load(path).darrays[0].data


def gifti_bytes(values: np.ndarray, datatype: str = "NIFTI_TYPE_FLOAT32", **options: Any) -> bytes:
    array = nibabel.gifti.GiftiDataArray(values, intent="NIFTI_INTENT_NONE", datatype=datatype, **options)
    content: bytes = nibabel.gifti.GiftiImage(darrays=[array]).to_bytes()
    return content
