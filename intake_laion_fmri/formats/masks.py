"""The rule of masks, and helpers of surface readers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import DataIntegrityError

INSIDE = 0.5
"""A voxel or vertex is inside a mask if its value is above this."""

_NOISE = 1e-3
"""Values up to this count as 0, as interpolation leaves them."""

MAX_VERTICES = 10_000_000
"""Maximum number of vertices; FreeSurfer has about 150,000 per hemisphere. Bounds what a header can declare."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Maximum size of a surface file, twice that of a whole hemisphere's label. Bounds time and memory."""

MASK_RULE = f"inside are values above {INSIDE:g}; NaN is outside"
"""The rule in words."""

# Each number matches in one way only, so that patterns of several numbers do not backtrack.
NUMBER = r"[-+]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:[eE][-+]?[0-9]{1,3})?"


def mask_of(values: NDArray[Any], *, name: str, note: Callable[[str], None]) -> NDArray[np.bool_]:
    """Return flags for the values inside an ROI's mask: above 0.5.

    The rule is the same for volumes and surfaces. Masks hold 0 and 1; other values are accepted if they are
    unambiguous: NaN or -1 as background, another number than 1, and small values from interpolation. Intermediate
    values, or several numbers, are noted. NaN is outside.

    Parameters
    ----------
    values : array
        Any shape.
    name : str
        Name of the file for errors and notes.
    note : callable
        Called with a description of values that are neither 0 nor 1.

    Raises
    ------
    DataIntegrityError
        If a value is infinite, or the values are several numbers without a background, as in a statistic.
    """
    inside: NDArray[np.bool_] = values > INSIDE
    odd = values[(values > _NOISE) & (values != 1)]
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise Broken(name)("expected a mask of finite numbers, found an infinite one")
    if not odd.size:
        return inside
    n_between = int((odd < 1 - _NOISE).sum())
    numbers = np.unique(np.round(values[inside]))
    if len(numbers) > 1 and inside.all():
        raise Broken(name)(f"expected a mask, found the numbers {_few(numbers)} and no background")
    if n_between:
        note(f"{name}: {n_between} values of the mask lie between 0 and 1; those above {INSIDE:g} are inside")
    elif len(numbers) > 1:
        note(f"{name}: the mask holds several numbers, {_few(numbers)}; all of them are inside")
    return inside


def _few(numbers: NDArray[Any]) -> str:
    return ", ".join([*(f"{number:g}" for number in numbers[:4]), *(["…"] if len(numbers) > 4 else [])])


def expect_size(content: bytes, broken: Broken) -> None:
    """Raise DataIntegrityError if a surface file is too large."""
    if len(content) > MAX_FILE_BYTES:
        raise broken(f"expected a surface file of at most {MAX_FILE_BYTES} bytes, found {len(content)}")


def parse_numbers(text: str, n_columns: int) -> NDArray[np.float64]:
    """Parse lines of numbers into shape (row, column), without empty lines.

    Raises
    ------
    ValueError
        If a field is not a number, or a line has more or fewer fields.
    """
    if not text or text.isspace():
        return np.empty((0, n_columns))
    # The type fixes the columns instead of the first line, so that memory is proportional to the text.
    table = np.loadtxt(io.StringIO(text, newline=None), dtype=[("", "f8")] * n_columns, comments=None, ndmin=1)
    return table.view("f8").reshape(-1, n_columns)


class Broken:
    """Factory of errors about a file's content."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, found: str) -> DataIntegrityError:
        """Return the error for a finding, which is shortened."""
        return DataIntegrityError(f"{self._name}: {found[:500]}. Fetch the file again; if it persists, report it.")
