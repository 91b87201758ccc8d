"""Split files of one's own and of newer revisions: other names, the pool of all subjects, several variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from split_files import CLUSTERS, NAMES, POOLS, own

from intake_laion_fmri import open_betas, open_trials, splits
from intake_laion_fmri.errors import NotInBucketError

POOLED = ["cluster_k5_0", "cluster_k5_1", "cluster_k5_2", "cluster_k5_3", "cluster_k5_4", "tau"]


def write(folder: Path, pool: str, name: str, *variants: tuple[list[str], list[str]]) -> None:
    """Write a split file; its variants are pairs of labels, numbered from 0 on."""
    train, test = variants[0]
    fields: dict[str, Any] = {"name": name, "pool": pool, "splitter": "by hand", "params": {}}
    fields |= {"n_train": len(train), "n_test": len(test)}
    fields["variants"] = [
        {"variant_id": number, "train_ids": one[0], "test_ids": one[1]} for number, one in enumerate(variants)
    ]
    (folder / pool).mkdir(parents=True, exist_ok=True)
    (folder / pool / f"{name}.json").write_text(json.dumps(fields))


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """The demo's own files in a folder, with a pooled pool, and a pool and names of one's own."""
    labels = sorted({label for subject in ("sub-01", "sub-03") for label in open_trials(subject, bucket=tiny)["label"]})
    for name in POOLED:
        write(tmp_path, "pooled", name, (labels[::2], labels[1::4]))
    write(tmp_path, "mine", "tau", (labels[:3], labels[3:5]), (labels[2:5], labels[:2]))
    write(tmp_path, "mine", "by_hand", (labels[:1], labels[1:2]))
    for pool in ("shared", "sub-03"):
        for path in (own(tiny) / pool).iterdir():
            (tmp_path / pool).mkdir(exist_ok=True)
            (tmp_path / pool / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shared" / "notes.txt").write_text("no split")
    return tmp_path


def test_names_in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert splits.list_pools(splits=folder) == ["mine", "shared", "sub-03", "pooled"]
    assert splits.list_splits("pooled", splits=folder) == POOLED
    assert splits.list_splits("shared", splits=folder) == NAMES
    assert splits.list_splits("mine", splits=folder) == ["tau", "by_hand"]
    assert splits.list_splits(splits=folder) == [*NAMES, "by_hand"]
    monkeypatch.setenv("LAION_FMRI_SPLITS", str(folder))
    assert splits.list_pools()[-1] == "pooled"
    assert splits.list_splits("pooled") == POOLED


def test_names_of_the_published_files() -> None:
    """Of the pinned revision, which had no pooled pool; nothing is read."""
    assert splits.list_pools() == POOLS
    for pool in POOLS:
        assert splits.list_splits(pool) == NAMES
    with pytest.raises(ValueError, match="Unknown pool: 'pooled'"):
        splits.list_splits("pooled")
    with pytest.raises(NotInBucketError, match=r"not part of the revision cd9f1412a0 .* as splits=, or"):
        splits.load_split("tau", "pooled")


def test_splits_of_ones_own(folder: Path, tiny: Path) -> None:
    split = splits.load_split("by_hand", "mine", splits=folder)
    assert (split.name, split.pool, split.n_train, split.n_test) == ("by_hand", "mine", 1, 1)
    assert [*splits.load_all_splits("mine", splits=folder)] == ["tau", "by_hand"]
    assert sorted(splits.load_all_splits("pooled", splits=folder)) == POOLED
    for name in NAMES[1:]:
        (folder / "shared" / f"{name}.json").unlink()
    write(folder, "shared", "by_hand", (split.variants[0].all_ids(), []))
    assert [*splits.load_all_splits("shared", splits=folder)] == [NAMES[0], "by_hand"]
    with pytest.raises(ValueError, match=r"Unknown split: 'by_hnd'. Did you mean 'by_hand'"):
        splits.load_split("by_hnd", "mine", splits=folder)
    with pytest.raises(ValueError, match="Unknown split: 'random_0'"):
        splits.load_split("random_0", "pooled", splits=folder)
    with pytest.raises(ValueError, match=r"Unknown pool: 'mein'. Did you mean 'mine'"):
        splits.load_split("tau", "mein", splits=folder)


def test_variants(folder: Path) -> None:
    split = splits.load_split("tau", "mine", splits=folder)
    assert [variant.variant_id for variant in split.variants] == [0, 1]
    for number, variant in enumerate(split.variants):
        train, test = splits.get_train_test_ids("tau", "mine", number, splits=folder)
        assert (train, test) == (list(variant.train_ids), list(variant.test_ids))
        assert variant.all_ids() == [*train, *test]
        masks = splits.get_split_masks(train + test, "tau", "mine", number, splits=folder)
        assert [mask.tolist() for mask in masks] == [[True] * 3 + [False] * 2, [False] * 3 + [True] * 2]
    assert splits.get_train_test_ids("tau", "mine", splits=folder)[0] == list(split.variants[0].train_ids)
    with pytest.raises(ValueError, match=r"mine/tau has no variant 2. Valid: 0, 1"):
        splits.get_train_test_ids("tau", "mine", variant_id=2, splits=folder)


def test_masks_of_tables(folder: Path, tiny: Path) -> None:
    """A table, its column, an array, a Dataset: the same masks; what has no labels is an error."""
    table = open_trials("sub-03", bucket=tiny)
    ds = open_betas("sub-03", bucket=tiny)
    train = table["label"].isin(splits.load_split("tau", "pooled", splits=folder).variants[0].train_ids).to_numpy()
    assert 0 < train.sum() < len(train)
    for trials in (table, table["label"], table["label"].to_numpy(), table["label"].tolist(), ds["label"], ds):
        found, _ = splits.get_split_masks(trials, "tau", "pooled", splits=folder)
        np.testing.assert_array_equal(found, train)
    with pytest.raises(TypeError, match="found a str"):
        splits.get_split_masks("a label", "tau", splits=folder)
    with pytest.raises(TypeError, match="found a dict"):
        splits.get_split_masks({"label": ["a"]}, "tau", splits=folder)
    with pytest.raises(TypeError, match="no column 'label'"):
        splits.get_split_masks(pd.DataFrame({"image": ["a"]}), "tau", splits=folder)


def test_trials_of_the_pooled_pool(folder: Path, tiny: Path, tiny_store: Path) -> None:
    """Selected by betas, also from a store, and trials; the roles on a Dataset stay those of the two other pools."""
    split = splits.load_split("tau", "pooled", splits=folder).variants[0]
    chosen: dict[str, Any] = {"split": "tau", "pool": "pooled", "role": "test", "splits": folder, "bucket": tiny}
    table = open_trials("sub-03", bucket=tiny)
    expected = table.index[table["label"].isin(split.test_ids)]
    assert 0 < len(expected) < len(table)
    assert open_trials("sub-03", **chosen).index.equals(expected)
    for origin in ({}, {"store": tiny_store}):
        ds = open_betas("sub-03", roi="face", **chosen, **origin)
        np.testing.assert_array_equal(ds["trial"], expected)
        assert ds["pool"].values.tolist() == ["shared", "sub-03"]
    with pytest.raises(NotInBucketError, match="pooled"):
        open_trials("sub-03", **chosen | {"split": "random_0"})


def test_clusters_have_names() -> None:
    assert [name for name in POOLED if name != "tau"] == list(CLUSTERS)
