"""Floats as the bits that they are."""

from __future__ import annotations

import numpy as np


def bits(values: np.ndarray) -> np.ndarray:
    """What tells NaN from NaN, and 0 from -0."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
