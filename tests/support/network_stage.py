"""Fixtures of the tests that open in new processes, shared by them: a plugin, named by each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from faulty_proxy import FaultyProxy
from network_faults import staged
from network_kinds import Stage


@pytest.fixture(scope="session")
def stage(s3: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A small bucket on the S3 server, and what opens it."""
    with staged(s3.endpoint, s3.client, tmp_path_factory.mktemp("stage")) as ready:
        yield ready


@pytest.fixture
def proxy(stage: Stage) -> Iterator[FaultyProxy]:
    """A proxy before that server, which does no harm until it is told to."""
    with FaultyProxy.before(stage.server) as running:
        yield running
