"""The two tiers of the suite: `make test` leaves out what is marked `full`, `make test-all` runs everything.

What is left out takes long and protects what seldom changes; of a matrix, some cases are always run, and always the
same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["examples", "full", "sampled"]

FAST = False
"""Whether this is the fast tier; set in conftest.py, before tests are collected."""


def full(reason: str) -> pytest.MarkDecorator:
    """Mark a test or a parameter for the full tier; the reason says what it costs and what still guards the same."""
    return pytest.mark.full(reason=reason)


def examples(number: int) -> int:
    """Return how many examples Hypothesis tries of a test whose examples are slow: in the fast tier, a quarter."""
    return max(1, number // 4) if FAST else number


def sampled(values: Iterable[Any], *, keep: int) -> list[Any]:
    """Return parameters of which `keep`, spread evenly from the first on, are in the fast tier; a row is a tuple."""
    rows = list(values)
    kept = {number * len(rows) // keep for number in range(keep)}
    mark = full(f"a matrix of {len(rows)}; {keep} of it are in the fast tier")
    return [row if number in kept else _marked(row, mark) for number, row in enumerate(rows)]


def _marked(row: Any, mark: pytest.MarkDecorator) -> Any:
    parameter = pytest.param
    if isinstance(row, type(parameter(0))):
        return parameter(*row.values, marks=[*row.marks, mark], id=row.id)
    return parameter(*row, marks=mark) if isinstance(row, tuple) else parameter(row, marks=mark)
