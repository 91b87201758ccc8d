"""Means and standard deviations per voxel over groups of trials.

`Moments` takes rows one by one, `scale_groups` a matrix, with bitwise equal results: both add float64 in the order of
the trials, after subtracting the first value of the group, which avoids cancellation if the mean is far from 0. NaN are
left out; a constant voxel has the standard deviation 0, and one without a value the mean NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLUMNS = 1024
"""Maximum number of voxels of a matrix scaled at a time."""

VALUES = 32 * 1024
"""Values of a matrix held in float64 at a time: 256 kB, which fit a processor's cache."""

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
        """Compute both from sums of `n` values minus `shift`, and of squares."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums / n
            return cls(shift + mean, np.sqrt(np.maximum(squares / n - mean**2, 0)))

    def applied(self, values: NDArray[np.floating], work: Doubles) -> Doubles:
        """Compute ``(values - mean) / sd`` in `work`, with 0/0 as NaN."""
        np.copyto(work, values)  # faster than subtracting mixed types
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            work -= self.mean
            work /= self.sd
        return work


class Moments:
    """Running sums over the trials of each group.

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
        """Add the row of a trial; trials are ascending."""
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

    def apply(self, trials: NDArray[np.intp], rows: NDArray[np.float32]) -> None:
        """Scale the rows of some trials."""
        scales = {group: Scale.from_sums(*sums) for group, sums in self._sums.items()}
        for row, trial in zip(rows, trials, strict=True):
            row[:] = scales[int(self._groups[trial])].applied(row, self._work)


def scale_groups(
    values: NDArray[np.floating], groups: NDArray[np.intp], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Scale each column within each group of rows.

    Parameters
    ----------
    values : array of float, shape (trial, voxel)
        All trials of the groups, in their order.
    groups : array of int, shape (trial,)
        The group of each trial.
    out : array of float32, shape (trial, voxel), optional
        Where to put the result, instead of an array of its own; may be `values`.

    Returns
    -------
    array of float32, shape (trial, voxel)
    """
    result = np.empty(values.shape, dtype=np.float32) if out is None else out
    n_columns = values.shape[1]
    width = min(COLUMNS, n_columns)
    height = VALUES // max(width, 1)
    buffer = np.empty((height + 1, width))
    for _, rows in rows_of(groups):
        for start in range(0, n_columns, COLUMNS):
            columns = slice(start, min(start + width, n_columns))
            work = buffer[:, : columns.stop - start]
            scale = _scale_of(values[:, columns], rows, work)
            for part in _parts(rows, height):
                band = values[part, columns]
                result[part, columns] = scale.applied(band, work[: len(band)])
    return result


def _scale_of(values: NDArray[np.floating], rows: NDArray[np.intp] | slice, buffer: Doubles) -> Scale:
    """Return mean and standard deviation over rows."""
    # Idea: add a few rows at a time, with the sums so far as first row, which gives the same rounding as row by row.
    # Cost: five passes over a buffer that stays in the cache. A second pass handles NaN only if the sums are NaN.
    shift = _first(values[rows.start if isinstance(rows, slice) else rows[0]].astype(np.float64))
    for has_nan in (False, True):
        sums, squares = np.zeros_like(shift), np.zeros_like(shift)
        n: NDArray[np.intp] | int = 0
        for part in _parts(rows, len(buffer) - 1):
            band = values[part]
            work = buffer[1 : len(band) + 1]
            np.copyto(work, band)
            _take_shift(work, shift)
            n = n + len(band)
            if has_nan:
                missing = np.isnan(work)
                work[missing] = 0
                n = n - missing.sum(axis=0)
            sums = _added(buffer, sums, len(band))
            np.multiply(work, work, out=work)
            squares = _added(buffer, squares, len(band))
        if not np.isnan(sums).any():
            break
    return Scale.from_sums(shift, sums, squares, n)


def _parts(rows: NDArray[np.intp] | slice, height: int) -> Iterator[NDArray[np.intp] | slice]:
    """Cut rows into parts of limited length."""
    if isinstance(rows, slice):
        for start in range(rows.start, rows.stop, height):
            yield slice(start, min(start + height, rows.stop))
    else:
        for start in range(0, len(rows), height):
            yield rows[start : start + height]


def _added(buffer: Doubles, sums: Doubles, n: int) -> Doubles:
    """Add the `n` rows after the buffer's first to sums."""
    buffer[0] = sums
    total: Doubles = np.add.reduce(buffer[: n + 1], axis=0)
    return total


def rows_of(groups: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
    """Yield each group and its rows, ascending; adjacent rows as a slice."""
    if not len(groups):
        return
    steps = np.diff(groups)
    if (steps >= 0).all():  # like sessions and runs
        ends = [*map(int, np.flatnonzero(steps) + 1), len(groups)]
        for start, stop in zip([0, *ends], ends, strict=False):
            yield int(groups[start]), slice(start, stop)
        return
    order = np.argsort(groups, kind="stable")
    numbers, starts = np.unique(groups[order], return_index=True)
    for number, rows in zip(numbers, np.split(order, starts[1:]), strict=True):
        is_run = rows[-1] - rows[0] == len(rows) - 1
        yield int(number), slice(int(rows[0]), int(rows[-1]) + 1) if is_run else rows


def _first(row: Doubles) -> Doubles:
    """Return a group's shift, which is subtracted before squaring."""
    return np.where(np.isfinite(row), row, 0)


def _take_shift(work: Doubles, shift: Doubles) -> None:
    with np.errstate(invalid="ignore"):
        work -= shift
