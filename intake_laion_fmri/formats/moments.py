"""Means and standard deviations of groups of trials, voxel by voxel: of rows that pass one by one, or of a matrix.

Both ways give the same numbers to the bit: sums of float64 in the order of the trials, of values from which the first
of their group was taken, so that nothing is lost where the mean is far from 0. NaN are left out; a voxel that does not
vary has the standard deviation 0, and one without a value the mean NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = 256
"""Voxels of a matrix that are held in float64 at a time: with a session's trials they fit into a processor's cache."""

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and standard deviation of a group of trials."""

    mean: Doubles
    """Shape (voxel,)."""
    sd: Doubles
    """Shape (voxel,), with ddof 0."""

    @classmethod
    def from_sums(cls, shift: Doubles, sums: Doubles, squares: Doubles, n: NDArray[np.intp] | int) -> Scale:
        """Take the sums of values, and of their squares, from which `shift` was taken, over `n` trials."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums / n
            return cls(shift + mean, np.sqrt(np.maximum(squares / n - mean**2, 0)))

    def take(self, order: NDArray[np.intp]) -> Scale:
        """Return it with the voxels in another order."""
        return Scale(self.mean[order], self.sd[order])

    def apply(self, values: NDArray[np.floating], out: NDArray[np.float32]) -> None:
        """Write ``(values - mean) / sd``, of rows of voxels; 0 / 0 is NaN."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            work = values - self.mean
            work /= self.sd
            out[...] = work


class Moments:
    """Sums over the trials of each group, whose rows are added as they pass.

    Parameters
    ----------
    groups : array of int, shape (trial,)
        The group of each trial.
    n_voxels : int
        Length of a row.
    """

    def __init__(self, groups: NDArray[np.intp], n_voxels: int) -> None:
        self._groups = groups
        self._work = np.empty(n_voxels)
        self._sums: dict[int, tuple[Doubles, Doubles, Doubles, NDArray[np.intp]]] = {}

    def add(self, trial: int, row: NDArray[np.floating]) -> None:
        """Add the row of a trial; trials come in ascending order."""
        work, group = self._work, int(self._groups[trial])
        np.copyto(work, row)
        if group not in self._sums:
            zeros = np.zeros(len(work)), np.zeros(len(work))
            self._sums[group] = (_first(work), *zeros, np.zeros(len(work), dtype=np.intp))
        shift, sums, squares, n = self._sums[group]
        _take_shift(work, shift)
        missing = np.isnan(work)
        if missing.any():
            work[missing] = 0
            n -= missing
        n += 1
        sums += work
        np.multiply(work, work, out=work)
        squares += work

    def apply(self, trials: NDArray[np.intp], order: NDArray[np.intp], rows: NDArray[np.float32]) -> None:
        """Scale the rows of some trials, whose voxels are in another order than those that were added."""
        scales = {group: Scale.from_sums(*sums).take(order) for group, sums in self._sums.items()}
        for row, trial in zip(rows, trials, strict=True):
            scales[int(self._groups[trial])].apply(row, row)


def scale_groups(
    values: NDArray[np.floating], groups: NDArray[np.intp], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Scale each column by mean and standard deviation of each group of rows.

    Parameters
    ----------
    values : array of float, shape (trial, voxel)
        All trials of the groups, in their order.
    groups : array of int, shape (trial,)
        The group of each.
    out : array of float32, shape (trial, voxel), optional
        Where to put the result, instead of an array of its own; may be `values`.

    Returns
    -------
    array of float32, shape (trial, voxel)
    """
    result = np.empty(values.shape, dtype=np.float32) if out is None else out
    for _, rows in rows_of(groups):
        for start in range(0, values.shape[1], COLUMNS):
            band = values[rows, start : start + COLUMNS]
            work = np.array(band, dtype=np.float64, order="C")
            shift = _first(work[0])
            _take_shift(work, shift)
            missing = np.isnan(work)
            n: NDArray[np.intp] | int = len(work)
            if missing.any():
                work[missing] = 0
                n = len(work) - missing.sum(axis=0)
            sums = work.sum(axis=0)
            np.multiply(work, work, out=work)
            scale = Scale.from_sums(shift, sums, work.sum(axis=0), n)
            scaled = np.empty(band.shape, dtype=np.float32)
            scale.apply(band, scaled)
            result[rows, start : start + COLUMNS] = scaled
    return result


def rows_of(groups: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
    """Yield each group, ascending, and its rows; a slice where they lie side by side."""
    if not len(groups):
        return
    order = np.argsort(groups, kind="stable")
    numbers, starts = np.unique(groups[order], return_index=True)
    for number, rows in zip(numbers, np.split(order, starts[1:]), strict=True):
        is_run = rows[-1] - rows[0] == len(rows) - 1
        yield int(number), slice(int(rows[0]), int(rows[-1]) + 1) if is_run else rows


def _first(row: Doubles) -> Doubles:
    """Return what is taken from the values of a group before they are squared."""
    return np.where(np.isfinite(row), row, 0)


def _take_shift(work: Doubles, shift: Doubles) -> None:
    with np.errstate(invalid="ignore"):
        work -= shift
