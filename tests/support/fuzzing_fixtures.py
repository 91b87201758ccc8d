"""Fixtures of the tests that use `fuzzing`: a plugin, named by each."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from fuzzing import BOUND_BYTES


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    """What the examples take together beyond what the process has had before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < BOUND_BYTES
