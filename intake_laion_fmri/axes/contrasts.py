"""The axes of a localizer: contrasts or conditions, and runs.

This module owns the names of the coordinates along ``contrast``. Contrasts are named as in the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np

from intake_laion_fmri.axes.voxels import VoxelMap
from intake_laion_fmri.formats.grid import Coordinates

CONTRAST = "contrast"
"""Dimension and index: the name of a contrast, or of a condition, as keys spell it."""

RUN = "run"
"""Dimension and index of effects: the number of the run; in the betas, a coordinate along ``trial``."""

Stat = Literal["z", "effect"]
"""A contrast's z-values over all runs, or a condition's effect in each run."""

POOLED_TASKS: Mapping[str, str] = MappingProxyType({"MotionLeft": "MotionLoc", "MotionRight": "MotionLoc"})
"""Task → the task that pools its runs, with contrasts of the same names."""

LOCALIZER_MAPS: Mapping[str, VoxelMap] = MappingProxyType(
    {
        "z_value": VoxelMap(
            "localizer", MappingProxyType({"long_name": "z-value of the contrast, unthresholded", "units": "1"})
        ),
        "effect": VoxelMap(
            "localizer_run", MappingProxyType({"long_name": "response to the condition in the run", "units": "percent"})
        ),
    }
)
"""Variable → its map, with the kind of the volumes."""

VARIABLES: Mapping[str, str] = MappingProxyType({"z": "z_value", "effect": "effect"})
"""Statistic → its variable; ``z`` is a coordinate of voxels."""


def contrast_coordinates(contrasts: Sequence[str], tasks: Sequence[str], sessions: Sequence[str]) -> Coordinates:
    """Return the index of contrasts, with their tasks and sessions."""

    def along(values: Sequence[str], long_name: str) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
        return ((CONTRAST,), np.array(values, dtype=object), {"long_name": long_name})

    return {
        CONTRAST: along(contrasts, "contrast, or condition, of a localizer"),
        "localizer_task": along(tasks, "task of the localizer"),
        "localizer_session": along(sessions, "session of the localizer"),
    }


def run_coordinate(runs: Sequence[int]) -> Coordinates:
    """Return the index of runs."""
    return {RUN: ((RUN,), np.array(runs, dtype=np.int64), {"long_name": "run of the localizer"})}
