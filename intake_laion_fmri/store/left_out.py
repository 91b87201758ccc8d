"""Summary of voxels that a store leaves out."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.rois import RoiExpression, RoiMembership


@dataclass(frozen=True)
class LeftOut:
    """Summary of voxels left out, enough to count selected ones."""

    sets: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    """For each set of ROIs that a voxel belongs to: the ROIs as hexadecimal digits of packed bits, the number of such
    voxels, and the largest value of each of `maps` among them, None where there is none."""
    maps: tuple[str, ...]
    """Maps that a threshold may read."""

    @classmethod
    def from_voxels(cls, n_voxels: int, inside: NDArray[np.bool_] | None, maps: Mapping[str, NDArray[Any]]) -> LeftOut:
        """Summarise voxels by membership (roi, voxel) and maps (voxel,)."""
        if not n_voxels:
            return cls((), tuple(maps))
        # Idea: voxels of the same set of ROIs are one entry, with the largest value of each map among them, so that a
        # selection by ROIs and a threshold is decided without a value per voxel.
        # Reference: docs/store-format.md, `left_out`.
        # Cost: a sort of the voxels by their packed bits, O(voxels log voxels); a few hundred entries in practice.
        bits = np.packbits(np.zeros((1, n_voxels), dtype=bool) if inside is None else inside, axis=0)
        patterns, codes = np.unique(bits, axis=1, return_inverse=True)
        codes = codes.reshape(-1)
        sets = []
        for number, pattern in enumerate(patterns.T):
            here = codes == number
            # NaN is ignored: such a voxel reaches no threshold.
            most = [np.fmax.reduce(values[here]) for values in maps.values()]
            largest = tuple(None if math.isnan(value) else float(value) for value in most)
            sets.append((pattern.tobytes().hex(), int(here.sum()), largest))
        return cls(tuple(sets), tuple(maps))

    def wanted(
        self, rois: RoiMembership | None, roi: RoiExpression | None, map: str | None, least: float | None
    ) -> int:
        """Count left-out voxels that a selection may choose.

        `rois` are the subject's, whosever voxels these are, and `roi` those that are selected, all of them known; `map`
        and `least` are the map that a threshold reads, and the threshold, where there is one.
        """
        sets = [entry for entry in self.sets if map is None or self._reaches(entry, map, least or 0.0)]
        if not sets or roi is None or rois is None:
            return sum(count for _, count, _ in sets)
        packed = np.array([np.frombuffer(bytes.fromhex(digits), dtype=np.uint8) for digits, _, _ in sets]).T
        inside = np.unpackbits(packed, axis=0, count=len(rois.names)).astype(bool)
        chosen = RoiMembership(rois.names, rois.categories, inside).select(roi, where="the store")
        return sum(count for (_, count, _), is_chosen in zip(sets, chosen, strict=True) if is_chosen)

    def expect_sound(self) -> None:
        """Raise ValueError or TypeError unless the sets are valid."""
        for digits, count, largest in self.sets:
            bytes.fromhex(digits)
            if type(count) is not int or count < 0 or len(digits) != len(self.sets[0][0]):
                raise ValueError(f"{reprlib.repr(count)} left-out voxels")
            if len(largest) != len(self.maps) or not all(value is None or type(value) is float for value in largest):
                raise ValueError("largest values that are not numbers")

    def _reaches(self, entry: tuple[str, int, tuple[float | None, ...]], map: str, least: float) -> bool:
        largest = entry[2][self.maps.index(map)] if map in self.maps else None
        # In float32, as maps are compared with thresholds.
        return largest is not None and bool(np.float32(largest) >= np.float32(least))
