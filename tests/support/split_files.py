"""Split files as tests write and read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SUBJECTS = ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
POOLS = ["shared", *SUBJECTS]
CLUSTERS = [f"cluster_k5_{k}" for k in range(5)]
NAMES = [*(f"random_{k}" for k in range(5)), *CLUSTERS, "tau", "ood"]


def own(bucket: Path) -> Path:
    return bucket / "derivatives/splits"


def write_split(folder: Path, pool: str = "shared", split: str = "tau", /, **changed: Any) -> None:
    """Write a small split file, some of its fields changed; None leaves a field out."""
    train, test = ["a.jpg", "b.jpg"], ["c.jpg"]
    content = {
        "name": split,
        "pool": "anything",
        "splitter": "by hand",
        "params": {"where": str(folder)},
        "n_train": len(train),
        "n_test": len(test),
        "variants": [{"variant_id": 0, "train_ids": train, "test_ids": test}],
    } | changed
    written = json.dumps({field: value for field, value in content.items() if value is not None}).encode()
    (folder / pool).mkdir(parents=True, exist_ok=True)
    (folder / pool / f"{split}.json").write_bytes(written)


def write_all_splits(folder: Path, pools: Iterable[str] = ("shared", "sub-01"), **changed: Any) -> None:
    for pool in pools:
        for name in NAMES:
            write_split(folder, pool, name, **changed)
