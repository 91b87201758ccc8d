"""Fixtures of the tests that use `built_stores`: a plugin, named by each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import Builders
from built_stores import OPTIONS, SESSIONS, STORES, Stores
from faulty_proxy import FaultyProxy


@pytest.fixture(scope="session")
def builders(_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builders]:
    """What builds in processes that may be killed."""
    with Builders.running(tmp_path_factory.mktemp("builders") / "errors", cache=_cache) as running:
        yield running


@pytest.fixture(scope="session")
def whole_store(builders: Builders, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an uninterrupted build; not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = builders.build(folder / "store", bucket=str(tiny), **OPTIONS)
    assert outcome.reports == tuple((*one, "built") for one in SESSIONS), outcome
    assert [path.name for path in folder.iterdir()] == ["store"]
    return folder / "store"


@pytest.fixture(scope="session")
def store_proxy(s3: Any) -> Iterator[FaultyProxy]:
    with FaultyProxy.before(s3.endpoint) as running:
        yield running


@pytest.fixture(scope="session")
def stores(s3: Any, store_proxy: FaultyProxy, whole_store: Path, tiny: Path) -> Stores:
    s3.client.create_bucket(Bucket=STORES, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return Stores(s3, store_proxy, whole_store, tiny)
