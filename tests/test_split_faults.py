"""Wrong names of splits, and split files that are broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from split_files import own, write_split

from intake_laion_fmri import open_betas, open_trials, splits
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning

# --- wrong names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "random"}, r"Unknown split: 'random'\. Did you mean 'random_"),
        ({"split": "Tau"}, "Unknown split: 'Tau'. Did you mean 'tau'"),
        ({"split": 3}, "Unknown split: 3"),
        ({"split": ["tau"]}, "Unknown split"),
        ({"split": "tau", "pool": "shard"}, "Unknown pool: 'shard'. Did you mean 'shared'"),
        ({"split": "tau", "pool": "sub-01"}, "Unknown pool: 'sub-01'.*Valid: shared, subject"),
        ({"split": "tau", "pool": None}, "Unknown pool: None"),
        ({"split": "tau", "role": "tests"}, "Unknown role: 'tests'. Did you mean 'test'"),
        ({"split": "tau", "role": None}, "Unknown role: None"),
        ({"role": "test"}, "role='test' needs a split: add split=, one of random_0"),
        ({"split": "tau", "pool": ["shared", "subject"]}, "several pools in one call. That leaks"),
        ({"split": "tau", "pool": ["shared", "sub-01"]}, "several pools in one call. That leaks"),
        ({"pool": "subject"}, "pool='subject' needs a split"),
        ({"split": "tau", "pool": ("subject", "shared")}, "several pools in one call. That leaks"),
    ],
)
@pytest.mark.parametrize("function", [open_betas, open_trials])
def test_a_wrong_name(tiny: Path, function: Callable[..., Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function("sub-01", bucket=tiny, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "tao"}, "Unknown split: 'tao'. Did you mean 'tau'"),
        ({"name": "tau", "pool": "sub-02"}, "Unknown pool: 'sub-02'. Did you mean 'sub-0"),
        ({"name": "tau", "pool": "subject"}, "Unknown pool: 'subject'"),
        ({"name": "ood", "pool": "sub-02"}, "Unknown pool: 'sub-02'"),
        ({"name": "ood", "ood_types": ["shapes"]}, "Unknown OOD type: 'shapes'. Did you mean 'shape'"),
        ({"name": "ood", "ood_types": ["shape", 3]}, "Unknown OOD type: 3"),
        ({"name": "tau", "ood_types": ["shape"]}, "is only valid with the split 'ood', found 'tau'"),
        ({"name": "oood", "ood_types": ["shape"]}, "Unknown split: 'oood'. Did you mean 'ood'"),
    ],
)
def test_a_wrong_name_of_a_file(tiny: Path, arguments: dict[str, Any], message: str) -> None:
    """In each of the functions that take it."""
    with pytest.raises(ValueError, match=message):
        splits.get_train_test_ids(bucket=tiny, **arguments)
    with pytest.raises(ValueError, match=message):
        splits.get_split_masks(["a"], bucket=tiny, **arguments)
    if "ood_types" not in arguments:
        with pytest.raises(ValueError, match=message):
            splits.load_split(bucket=tiny, **arguments)
    if arguments["name"] == "ood" and "pool" in arguments:
        with pytest.raises(ValueError, match=message):
            splits.load_all_splits(arguments["pool"], bucket=tiny)


# --- broken files -----------------------------------------------------------------------------------------------------


def variant(train: Any, test: Any, number: Any = 0) -> list[dict[str, Any]]:
    return [{"variant_id": number, "train_ids": train, "test_ids": test}]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": None}, "expected the field 'name', found none"),
        ({"splitter": None}, "expected the field 'splitter'"),
        ({"params": None}, "expected the field 'params'"),
        ({"n_train": None}, "expected the field 'n_train'"),
        ({"variants": None}, "expected the field 'variants'"),
        ({"variants": [{"variant_id": 0, "test_ids": []}]}, "expected the field 'train_ids'"),
        ({"n_train": 3}, "expected 3 train and 1 test labels, found 2 and 1"),
        ({"n_test": 0}, "expected 2 train and 0 test labels, found 2 and 1"),
        ({"n_train": "2"}, "expected the fields of a split"),
        ({"n_train": 2.5}, "expected the fields of a split"),
        ({"n_train": float("inf")}, "expected the fields of a split"),
        ({"name": "random_0"}, "expected the split 'tau', found 'random_0'"),
        ({"variants": []}, "expected a variant, found none"),
        ({"variants": {}}, "expected a variant, found none"),
        ({"variants": "none"}, "expected the fields of a split"),
        ({"variants": 3}, "expected the fields of a split"),
        ({"params": [1]}, "expected the fields of a split"),
        ({"variants": variant(["a", "b"], ["a"])}, "expected each label once, found 'a' 2 times"),
        ({"variants": variant(["a", "a"], ["b"])}, "expected each label once, found 'a' 2 times"),
        ({"variants": variant(["a", "b"], ["c", "c"]), "n_test": 2}, "expected each label once, found 'c' 2 times"),
        ({"variants": variant("ab", ["c"])}, "labels that are not strings"),
        ({"variants": variant(["a", 1], ["c"])}, "labels that are not strings"),
        ({"variants": variant(["a", "b"], ["c"], "x")}, "expected the fields of a split"),
        ({"variants": variant(["a", "b"], ["c"]) + variant(["a"], ["c"], 1)}, "found 1 and 1"),
    ],
)
def test_a_broken_file(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    write_split(tmp_path, **changed)
    with pytest.raises(DataIntegrityError, match=rf"{tmp_path}/shared/tau\.json: .*{message}"):
        splits.load_split("tau", splits=tmp_path)


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b"null", b"3", b"\xff\xfe", b'{"name": "tau"', b'"tau"'])
def test_a_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    write_split(tmp_path)
    (tmp_path / "shared/tau.json").write_bytes(content)
    with pytest.raises(DataIntegrityError, match=r"shared/tau\.json"):
        splits.load_split("tau", splits=tmp_path)


def test_a_broken_file_does_not_pass_for_a_missing_one(own_tiny: Path) -> None:
    """A Dataset with wrong roles is worse than one without: it has none, and names the file."""
    (own(own_tiny) / "shared/random_3.json").write_text("{")
    with pytest.warns(MissingFileWarning, match=r"split_role \(.*splits/shared/random_3\.json"):
        ds = open_betas("sub-01", bucket=own_tiny)
    assert "split_role" not in ds.coords
    with pytest.raises(DataIntegrityError, match=r"splits/shared/random_3\.json"):
        open_betas("sub-01", split="random_3", bucket=own_tiny)
    open_trials("sub-01", split="tau", bucket=own_tiny)


def test_empty_sides_are_fine(tmp_path: Path) -> None:
    """A pool of one image has no test image."""
    write_split(tmp_path, variants=variant(["a"], []), n_train=1, n_test=0)
    assert splits.get_train_test_ids("tau", splits=tmp_path) == (["a"], [])
    write_split(tmp_path, variants=variant([], []), n_train=0, n_test=0)
    assert splits.get_train_test_ids("tau", splits=tmp_path) == ([], [])


def test_the_first_of_several_variants_is_used(tmp_path: Path) -> None:
    write_split(tmp_path, variants=variant(["a", "b"], ["c"]) + variant(["c", "b"], ["a"], 1))
    assert splits.get_train_test_ids("tau", splits=tmp_path) == (["a", "b"], ["c"])
    assert [one.variant_id for one in splits.load_split("tau", splits=tmp_path).variants] == [0, 1]
