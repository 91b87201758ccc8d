"""Fixtures of the tests that use `stored_metadata`: a plugin, named by each."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_metadata import Built, _build, _read


@pytest.fixture
def face(tiny: Path) -> Built:
    """The smaller of the two stores, with voxels that are not kept."""
    return _read(_build(tiny, "face"))
