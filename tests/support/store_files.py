"""What tests ask of a store that was built from the demo bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from intake_laion_fmri import open_betas
from intake_laion_fmri.reading.blocks import StoreBlock

NOWHERE = "/nonexistent/bucket"


def assert_same(store: Path | str, bucket: Path, subject: str = "sub-01", **selection: Any) -> xr.Dataset:
    """The Dataset from the store is the one from the bucket, and the bucket is not needed for it."""
    expected = open_betas(subject, bucket=bucket, **selection)
    found = open_betas(subject, store=store, bucket=NOWHERE, **selection)
    assert found.chunksizes == expected.chunksizes
    xr.testing.assert_identical(found.compute(), expected.compute())
    return found


def store_blocks(ds: xr.Dataset) -> list[StoreBlock]:
    """Return what the tasks of a lazy Dataset are to read."""
    blocks = []
    for task in dict(ds.betas.data.dask).values():
        parts = task.args if hasattr(task, "args") else task if isinstance(task, tuple) else ()
        blocks += [part for part in parts if isinstance(part, StoreBlock)]
    return blocks
