"""Train/test splits against their files, pandas, and a web server that fails in every way it can."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from counting import CountingFileSystem
from hypothesis import given
from hypothesis import strategies as st
from tiers import sampled

from intake_laion_fmri import open_betas, open_trials, splits
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
)
from intake_laion_fmri.remote import access, atomic, cache, stream
from intake_laion_fmri.remote import bucket as bucket_module

SUBJECTS = ["sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
POOLS = ["shared", *SUBJECTS]
CLUSTERS = [f"cluster_k5_{k}" for k in range(5)]
NAMES = [*(f"random_{k}" for k in range(5)), *CLUSTERS, "tau", "ood"]
OOD_COUNTS = {
    "shape": 82,
    "relations": 72,
    "unusual": 64,
    "cropped": 60,
    "selfmade": 30,
    "gaudy": 24,
    "illusion-classic": 21,
    "gabor": 10,
    "illusion-natural": 8,
}


def fields(folder: Path, pool: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / pool / f"{name}.json").read_bytes())
    return content


def sides(folder: Path, pool: str, name: str) -> tuple[list[str], list[str]]:
    (variant,) = fields(folder, pool, name)["variants"]
    return variant["train_ids"], variant["test_ids"]


def expected_roles(labels: Iterable[str], folder: Path, pool: str, name: str) -> np.ndarray:
    """0, 1 or 2 for every label, by pandas."""
    train, test = sides(folder, pool, name)
    series = pd.Series(list(labels), dtype=object)
    return (series.isin(train) * 1 + series.isin(test) * 2).to_numpy()


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


# --- the published files ----------------------------------------------------------------------------------------------


def test_the_names_of_the_page() -> None:
    assert splits.list_pools() == POOLS
    assert splits.list_splits() == NAMES
    assert splits.list_ood_types() == sorted(OOD_COUNTS)


def test_the_sums_ship_with_the_package() -> None:
    sums = splits._published_sums()
    assert set(sums) == {f"{pool}/{name}.json" for pool in POOLS for name in NAMES}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in sums.values())


def test_the_sums_that_ship_are_those_of_the_files(reference: Path) -> None:
    """All 72 of them."""
    found = {
        path.relative_to(reference).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in reference.rglob("*.json")
    }
    assert len(found) == 72
    assert splits._published_sums() == found


@pytest.mark.parametrize("pool", POOLS)
def test_the_published_sizes(reference: Path, pool: str) -> None:
    """Random and tau split 80/20, the test sides of the clusters share the pool out, ood tests on 371 images."""
    n_train, n_test = (897, 224) if pool == "shared" else (4666, 1167)
    found = splits.load_all_splits(pool, splits=reference)
    assert list(found) == NAMES
    for name, split in found.items():
        (variant,) = split.variants
        assert (split.n_train, split.n_test) == (len(variant.train_ids), len(variant.test_ids))
        if name not in (*CLUSTERS, "ood"):
            assert (split.n_train, split.n_test) == (n_train, n_test)
        if name != "ood":
            assert len({*variant.train_ids, *variant.test_ids}) == n_train + n_test
    groups = [found[name].variants[0].test_ids for name in CLUSTERS]
    assert Counter(label for group in groups for label in group) == Counter(found["ood"].variants[0].train_ids)
    assert len(set(map(len, groups))) == 5
    assert (found["ood"].n_train, found["ood"].n_test) == (n_train + n_test, 371)


@pytest.mark.parametrize("pool", POOLS)
def test_the_types_of_ood_images(reference: Path, pool: str) -> None:
    """The same images in every pool; each type by itself, several together."""
    everything = splits.get_train_test_ids("ood", "shared", splits=reference)[1]
    train, test = splits.get_train_test_ids("ood", pool, splits=reference)
    assert test == everything
    for kind, count in OOD_COUNTS.items():
        same_train, of_kind = splits.get_train_test_ids("ood", pool, ood_types=[kind], splits=reference)
        assert same_train == train
        assert of_kind == [label for label in test if label.startswith(f"shared_4rep_OOD_{kind}_")]
        assert len(of_kind) == count
    assert len(splits.get_train_test_ids("ood", pool, ood_types={"shape", "gabor"}, splits=reference)[1]) == 92
    assert splits.get_train_test_ids("ood", pool, ood_types="shape", splits=reference)[1] == [
        label for label in test if "_OOD_shape_" in label
    ]
    assert splits.get_train_test_ids("ood", pool, ood_types=[], splits=reference)[1] == []


def test_the_folder_names_the_pool(reference: Path) -> None:
    """The text in the file is outdated."""
    assert fields(reference, "sub-03", "tau")["pool"].startswith("sub-04 ")
    split = splits.load_split("tau", "sub-03", splits=reference)
    assert split.pool == "sub-03"
    assert all(re.search(r"^shared_|_p04\.", label) for label in split.variants[0].train_ids), "sub-03 is p04"


def test_what_a_split_tells(reference: Path) -> None:
    split = splits.load_split("cluster_k5_3", splits=reference)
    file = fields(reference, "shared", "cluster_k5_3")
    assert (split.name, split.pool, split.split_family) == ("cluster_k5_3", "shared", "cluster_k5")
    assert (split.splitter, split.params) == (file["splitter"], file["params"])
    assert split.variants[0].variant_id == 0
    assert split.revision == str(reference)
    assert split.sha256 == splits._published_sums()["shared/cluster_k5_3.json"]
    families = {splits.load_split(name, splits=reference).split_family for name in NAMES}
    assert families == {"random", "cluster_k5", "tau", "ood"}


def test_a_split_is_a_value(reference: Path) -> None:
    """It pickles, hashes, and what is changed in one's own does not reach anybody else's."""
    split = splits.load_split("tau", splits=reference)
    assert pickle.loads(pickle.dumps(split)) == split
    assert len({split, splits.load_split("tau", splits=reference)}) == 1
    split.params["adaptive_selection"]["tau"] = None  # type: ignore[index]
    assert splits.load_split("tau", splits=reference).params["adaptive_selection"]["tau"] > 0


def test_pools_must_not_be_mixed(reference: Path) -> None:
    """Of a subject's shared images for testing, most are for training in the shared pool: the numbers of the docs."""
    common = set(sides(reference, "shared", "tau")[1])
    leaks = []
    for subject in SUBJECTS:
        tested = {label for label in sides(reference, subject, "tau")[1] if label.startswith("shared_")}
        leaks.append((len(tested), len(tested & common)))
    assert (min(leaks)[0], max(leaks)[0]) == (216, 227)
    assert (min(both for _, both in leaks), max(both for _, both in leaks)) == (65, 81)


def test_ood_follows_from_the_labels(reference: Path) -> None:
    """For every pool, given every label there is: no file is read."""
    labels = sorted({label for pool in POOLS for side in sides(reference, pool, "ood") for label in side})
    assert len(labels) == 25_052
    assert any(" " in label for label in labels)
    assert any("http" in label for label in labels)
    for pool in POOLS:
        train, test = splits.get_split_masks(labels, "ood", pool, splits="/no/such/folder")
        roles = expected_roles(labels, reference, pool, "ood")
        np.testing.assert_array_equal(train, roles == 1)
        np.testing.assert_array_equal(test, roles == 2)
        train, test = splits.get_split_masks(labels, "ood", pool, ood_types=["gabor"], splits="/no/such/folder")
        assert (train.sum(), test.sum()) == ((roles == 1).sum(), 10)


# --- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_an_isin(tiny: Path, name: str) -> None:
    """Whatever the labels come in, in whatever order, known and unknown."""
    table = open_trials("sub-03", bucket=tiny)
    roles = expected_roles(table["label"], own(tiny), "sub-03", name)
    dataset = open_betas("sub-03", bucket=tiny)
    listed = table["label"].tolist()
    assert set(roles) >= {1, 2}
    for labels in (table["label"], dataset["label"], listed, tuple(listed), iter(listed), np.array(listed)):
        train, test = splits.get_split_masks(labels, name, "sub-03", bucket=tiny)
        np.testing.assert_array_equal(train, roles == 1)
        np.testing.assert_array_equal(test, roles == 2)
        assert train.dtype == test.dtype == np.bool_
    train, test = splits.get_split_masks(["not a label", ""], name, "sub-03", bucket=tiny)
    assert not train.any()
    assert not test.any()
    assert splits.get_split_masks([], name, "sub-03", bucket=tiny)[0].shape == (0,)


@given(labels=st.lists(st.text(), max_size=12), data=st.data())
def test_masks_of_any_text(tmp_path_factory: pytest.TempPathFactory, labels: list[str], data: st.DataObject) -> None:
    """Labels are taken whole: spaces, signs, quotes, other scripts, NULs at the end."""
    distinct = data.draw(st.permutations(sorted(set(labels))))
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(distinct))] * 2)))
    train, test = distinct[:first], distinct[first:second]
    folder = tmp_path_factory.mktemp("texts")
    variants = [{"variant_id": 0, "train_ids": train, "test_ids": test}]
    write_split(folder, variants=variants, n_train=len(train), n_test=len(test))
    found = splits.get_split_masks(labels, "tau", splits=folder)
    assert [mask.tolist() for mask in found] == [[label in side for label in labels] for side in (train, test)]


# --- roles of trials --------------------------------------------------------------------------------------------------


def with_pool(subject: str) -> list[tuple[str, str]]:
    """The two pools of a subject: folder, and value of the argument."""
    return [("shared", "shared"), (subject, "subject")]


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_the_roles_on_a_dataset(tiny: Path, subject: str) -> None:
    ds = open_betas(subject, bucket=tiny)
    role = ds["split_role"]
    assert (role.dims, role.dtype) == (("pool", "split", "trial"), np.int8)
    assert ds["pool"].values.tolist() == ["shared", subject]
    assert ds["split"].values.tolist() == NAMES
    for pool in ds["pool"].values:
        for name in NAMES:
            np.testing.assert_array_equal(
                role.sel(pool=pool, split=name), expected_roles(ds["label"].values, own(tiny), pool, name)
            )
    assert list(role.attrs["flag_values"]) == [0, 1, 2]
    assert role.attrs["flag_meanings"] == "unused train test"
    assert role.attrs["revision"] == "derivatives/splits of the bucket"
    sums = {
        f"{pool}/{name}": hashlib.sha256((own(tiny) / pool / f"{name}.json").read_bytes()).hexdigest()
        for pool in ("shared", subject)
        for name in NAMES
        if name != "ood"
    }
    assert json.loads(role.attrs["sha256"]) == sums


@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
@pytest.mark.parametrize("which", sampled(["own", "published"], keep=1))
def test_trials_are_selected_by_role(
    tiny: Path, subject: str, which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an isin does, for every split, pool and role; the published files hold some of the demo's images."""
    folder = own(tiny)
    if which == "published":
        folder = request.getfixturevalue("reference")
        monkeypatch.setenv("LAION_FMRI_SPLITS", str(folder))
    everything = open_trials(subject, bucket=tiny)
    met = ""
    for pool, given_pool in with_pool(subject):
        for name in NAMES:
            # One OOD image of the demo is made up: the published file does not know it, its label tells all the same.
            files = own(tiny) if name == "ood" else folder
            roles = expected_roles(everything["label"], files, pool, name)
            for role, wanted in {"train": [1], "test": [2], "both": [1, 2]}.items():
                found = open_trials(subject, split=name, pool=given_pool, role=role, bucket=tiny)
                pd.testing.assert_frame_equal(found, everything[np.isin(roles, wanted)])
                met += "".join(found["label"])
    assert " " in met
    assert "+" in met
    assert "https_www" in met
    assert "THINGS+" in met


@pytest.mark.parametrize("name", sampled(["random_2", "cluster_k5_4", "tau", "ood"], keep=2))
def test_betas_are_selected_by_role(tiny: Path, name: str) -> None:
    """What is selected at opening is what is selected by `split_role` afterwards."""
    everything = open_betas("sub-01", roi="FFA1", bucket=tiny).compute()
    for folder, pool in with_pool("sub-01"):
        roles = everything["split_role"].sel(split=name, pool=folder).values
        for role, wanted in {"train": [1], "test": [2], "both": [1, 2]}.items():
            found = open_betas("sub-01", roi="FFA1", split=name, pool=pool, role=role, bucket=tiny).compute()
            expected = everything.isel(trial=np.isin(roles, wanted))
            assert expected.sizes["trial"]
            xr.testing.assert_identical(found.assign_attrs(sources=""), expected.assign_attrs(sources=""))


def test_selections_of_trials_are_combined(tiny: Path) -> None:
    everything = open_trials("sub-01", bucket=tiny)
    test = sides(own(tiny), "sub-01", "random_1")[1]
    expected = everything[
        everything["label"].isin(test) & everything["session"].isin(["ses-01", "ses-03"]) & ~everything["shared"]
    ]
    assert len(expected)
    found = open_trials(
        "sub-01", session=[1, 3], stimuli="unique", split="random_1", pool="subject", role="test", bucket=tiny
    )
    pd.testing.assert_frame_equal(found, expected)
    nothing = open_betas("sub-01", stimuli="ood", split="tau", bucket=tiny).compute()
    assert nothing.sizes["trial"] == 0
    assert nothing["split_role"].shape == (2, 12, 0)


# --- what is read -----------------------------------------------------------------------------------------------------


def test_only_what_is_wanted_is_streamed(
    tiny: Path, counted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session without a trial of the split is not touched; others are read to their ends, where the checksum is."""
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1024)
    table = open_trials("sub-01", bucket=tiny)
    labels = {session: set(rows["label"]) for session, rows in table.groupby("session")}
    label = min(labels["ses-01"] - labels["ses-02"])
    write_all_splits(tmp_path, variants=[{"variant_id": 0, "train_ids": ["x", "y"], "test_ids": [label]}])
    ds = open_betas("sub-01", roi="face", split="tau", role="test", splits=tmp_path, bucket=counted)
    assert set(ds["label"].values) == {label}
    assert ds.betas.data.numblocks[0] == len(set(ds["session"].values))
    assert not [name for name in CountingFileSystem.read if "stat-effect" in name]
    ds.compute()
    for path in tiny.rglob("sub-01_ses-0*SingletrialBetas_statmap.nii.gz"):
        wanted = label in labels[path.name.split("_")[1]]
        assert CountingFileSystem.read[path.name] == (path.stat().st_size if wanted else 0)


def test_what_is_asked_of_a_server(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers in `open_betas`'s docstring: of listings, of small files, of split files in the bucket."""
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path))
    place = {"bucket": s3.url, "storage_options": s3.storage_options}
    with s3.requests() as asked:
        ds = open_betas("sub-01", **place)
    # 3 trial tables, 4 maps, 40 ROIs; 22 split files, whose sizes need not be asked for.
    assert asked == {"LIST": 3, "GET": 3 + 4 + 40 + 22}
    with s3.requests() as asked:
        ds.compute()
    assert asked == {"GET": 3, "HEAD": 2 * 3}
    with s3.requests() as asked:
        one = open_betas("sub-01", session=1, mask="anatomical", **place)
    assert asked == {"LIST": 4, "GET": 1}  # the mask: the rest is in the user's cache, and the listings tell its ETags
    with s3.requests() as asked:
        one.compute()
    assert asked == {"GET": 1, "HEAD": 2}


def test_split_files_elsewhere_cost_the_bucket_nothing(
    s3: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path))
    with s3.requests() as asked:
        open_betas("sub-01", bucket=s3.url, storage_options=s3.storage_options, splits=own(tiny))
    assert asked == {"LIST": 2, "GET": 3 + 4 + 40}


# --- where split files come from --------------------------------------------------------------------------------------


def where(**arguments: Any) -> str:
    """Say which folder the file of a split was written to."""
    return str(splits.load_split("tau", "sub-01", **arguments).params["where"])


@pytest.mark.filterwarnings("ignore::intake_laion_fmri.errors.OtherSplitsWarning")
def test_the_order_of_the_sources(own_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, the environment, the bucket, the installed package, the published address."""
    given, environment, package = tmp_path / "given", tmp_path / "environment", tmp_path / "site/laion_fmri/splits/data"
    for folder in (given, environment, own(own_tiny), package):
        write_split(folder, "sub-01")
    (tmp_path / "site/laion_fmri/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("LAION_FMRI_SPLITS", str(environment))
    assert where(splits=given, bucket=own_tiny) == str(given)
    assert where(bucket=own_tiny) == str(environment)
    monkeypatch.delenv("LAION_FMRI_SPLITS")
    assert where(bucket=own_tiny) == str(own(own_tiny))
    assert where() == str(package)
    monkeypatch.setenv("LAION_FMRI_BUCKET", str(own_tiny))
    assert where() == str(own(own_tiny)), "the bucket of the environment is in use too"
    shutil.rmtree(own(own_tiny))
    assert where() == where(bucket=own_tiny) == str(package)
    revision = splits.load_split("tau", "sub-01").revision
    assert revision == f"laion_fmri package in {tmp_path / 'site/laion_fmri'}"
    assert "laion_fmri" not in sys.modules
    shutil.rmtree(tmp_path / "site/laion_fmri/splits")
    with pytest.raises(BucketUnreachableError, match=r"127\.0\.0\.1:9"):
        where()


def test_a_namesake_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder called laion_fmri can be imported, too."""
    (tmp_path / "laion_fmri").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert splits.find_source().revision == splits.REVISION


@pytest.mark.parametrize("how", ["text", "path", "url", "memory"])
def test_a_folder_of_ones_own(tiny: Path, tmp_path: Path, how: str) -> None:
    folder: Any = {"text": str(own(tiny)), "path": own(tiny), "url": own(tiny).as_uri(), "memory": "memory://own"}[how]
    memory = fsspec.filesystem("memory")
    if how == "memory":
        memory.put(f"{own(tiny)}/", "/own/", recursive=True)
    split = splits.load_split("tau", "sub-01", splits=folder)
    assert list(split.variants[0].test_ids) == sides(own(tiny), "sub-01", "tau")[1]
    found = open_trials("sub-01", split="tau", role="test", splits=folder, bucket=tiny)
    assert set(found["label"]) == set(sides(own(tiny), "shared", "tau")[1])
    memory.store.clear()


def test_splits_in_a_bucket_on_a_server(s3: Any, tiny: Path) -> None:
    """Found there too, though it has the published bucket's name."""
    found = splits.load_split("tau", "sub-01", bucket=s3.url, storage_options=s3.storage_options)
    local = splits.load_split("tau", "sub-01", bucket=tiny)
    assert found == local
    assert found.revision == "derivatives/splits of the bucket"


def test_the_published_bucket_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no splits: the network is not needed to know that."""
    monkeypatch.setattr(access.Bucket, "folders", lambda *_: pytest.fail("listed"))
    assert splits.find_source().revision == splits.REVISION
    assert splits.find_source(bucket="s3://laion-fmri/").revision == splits.REVISION


def test_a_file_that_is_not_there(own_tiny: Path, tmp_path: Path) -> None:
    """Named, with what is beside it; a Dataset goes without `split_role`, a selection does not."""
    (own(own_tiny) / "sub-01/tau.json").unlink()
    message = r"splits/sub-01/tau\.json does not exist\. Beside it: .*random_0\.json.*splits="
    with pytest.raises(NotInBucketError, match=message):
        splits.load_split("tau", "sub-01", bucket=own_tiny)
    with pytest.warns(MissingFileWarning, match=message):
        ds = open_betas("sub-01", bucket=own_tiny)
    assert not {"split_role", "pool", "split"} & set(ds.coords)
    with pytest.raises(NotInBucketError, match=message):
        open_betas("sub-01", split="tau", pool="subject", bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="Nothing is listed beside it"):
        splits.load_split("tau", splits=tmp_path / "nowhere")


def test_a_subject_without_published_splits(own_tiny: Path) -> None:
    """Somebody's own data in the bucket's layout."""
    shutil.rmtree(own(own_tiny))
    for path in sorted(own_tiny.rglob("*sub-03*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("sub-03", "sub-99")))
    with pytest.warns(MissingFileWarning, match="split_role"):
        assert "split_role" not in open_betas("sub-99", bucket=own_tiny).coords
    source = splits.upstream()
    with pytest.raises(NotInBucketError, match=r"no published split file 'sub-99/tau\.json': .*sub-07.*splits="):
        source.read("sub-99", "tau")


# --- neither files nor a network --------------------------------------------------------------------------------------


@pytest.fixture
def offline(own_tiny: Path) -> Path:
    """A bucket without splits; the published address is a closed port."""
    shutil.rmtree(own(own_tiny))
    return own_tiny


def test_offline_the_ways_out_are_named(offline: Path) -> None:
    ways = r"Three ways out: connect to the network once, .*LAION_FMRI_SPLITS.*install .*laion_fmri"
    for _ in range(2):
        with pytest.raises(BucketUnreachableError, match=ways) as caught:
            splits.load_split("tau", bucket=offline)
    assert "127.0.0.1:9" in str(caught.value)
    assert os.environ["LAION_FMRI_CACHE"] in str(caught.value)
    with pytest.raises(BucketUnreachableError, match=ways):
        open_betas("sub-01", split="tau", bucket=offline)
    with pytest.raises(BucketUnreachableError, match=ways):
        open_trials("sub-01", split="tau", bucket=offline)
    with pytest.raises(BucketUnreachableError, match=ways):
        splits.get_train_test_ids("ood", bucket=offline)


def test_offline_a_dataset_opens_without_roles(offline: Path, tiny: Path) -> None:
    """With one warning, at the caller's line."""
    with pytest.warns(MissingFileWarning, match="Left out: split_role .*Three ways out") as caught:
        ds = open_betas("sub-01", bucket=offline)
    assert [warning.filename for warning in caught] == [__file__]
    complete = open_betas("sub-01", bucket=tiny)
    assert set(complete.coords) - set(ds.coords) == {"split_role", "pool", "split"}
    xr.testing.assert_equal(ds.compute(), complete.drop_vars(["split_role", "pool", "split"]).compute())


def test_offline_trials_need_no_file(offline: Path, tiny: Path) -> None:
    pd.testing.assert_frame_equal(open_trials("sub-01", bucket=offline), open_trials("sub-01", bucket=tiny))


@pytest.mark.parametrize("role", ["train", "test", "both"])
@pytest.mark.parametrize("pool", ["shared", "subject"])
def test_offline_ood_works(offline: Path, tiny: Path, pool: str, role: str) -> None:
    arguments: dict[str, Any] = {"split": "ood", "pool": pool, "role": role}
    expected = open_trials("sub-01", bucket=tiny, **arguments)
    pd.testing.assert_frame_equal(open_trials("sub-01", bucket=offline, **arguments), expected)
    with pytest.warns(MissingFileWarning):
        ds = open_betas("sub-01", bucket=offline, **arguments)
    assert ds["label"].values.tolist() == expected["label"].tolist()
    train, test = splits.get_split_masks(expected["label"], "ood", "sub-01", bucket=offline)
    assert (train | test).all()


# --- a web server -----------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves split files of the pinned revision from a folder, and notes each request; `fail` may spoil an answer."""

    daemon_threads = True
    request_queue_size = 64  # as many come at once: who finds no room waits for a second

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.fail: Callable[[http.server.BaseHTTPRequestHandler, bytes], None] | None = None
        self.stopped = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/repository"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    prefix = f"/repository/{splits.REVISION}/laion_fmri/splits/data/"

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]+", "", self.path)  # a proxy is asked for whole URLs
        assert path.startswith(self.prefix), path
        key = path.removeprefix(self.prefix)
        self.server.requests.append(key)
        file = self.server.folder / key
        content = file.read_bytes() if file.is_file() else b""
        if not file.is_file():
            answer(self, b"no listings here", 404)
        elif self.server.fail:
            self.server.fail(self, content)
        else:
            answer(self, content)

    def log_message(self, *args: Any) -> None:
        pass


def answer(handler: http.server.BaseHTTPRequestHandler, content: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Small files of the shared pool and of sub-01 with sums of their own, as if these were the published ones."""
    folder, cache = tmp_path / "served", tmp_path / "cache"
    write_all_splits(folder)
    sums = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.json")
    }
    monkeypatch.setattr(splits, "_published_sums", lambda: sums)
    monkeypatch.setenv("LAION_FMRI_CACHE", str(cache))
    with Server(folder) as running:
        monkeypatch.setattr(splits, "ADDRESS", running.address)
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield running
        running.stopped.set()
        running.shutdown()


def kept(cache: Path | None = None) -> dict[str, bytes]:
    """Everything below the cache folder."""
    folder = (cache or Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache") / "splits" / splits.REVISION
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def next_run() -> None:
    """Forget what a process remembers of servers that failed."""
    bucket_module._failures.clear()


def test_the_published_files_are_fetched_once(reference: Path, tmp_path: Path) -> None:
    """All 72 from a server, against the sums that ship; then never again, though the server is gone."""
    with Server(reference) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        source = splits.upstream(running.address, tmp_path)
        first = {(pool, name): source.read(pool, name) for pool in POOLS for name in NAMES}
        assert sorted(running.requests) == sorted(splits._published_sums())
        running.shutdown()
    again = splits.upstream(running.address, tmp_path)
    assert {(pool, name): again.read(pool, name) for pool in POOLS for name in NAMES} == first
    expected = {path.relative_to(reference).as_posix(): path.read_bytes() for path in reference.rglob("*.json")}
    assert kept(tmp_path) == expected


def test_opening_fetches_once(server: Server, offline: Path) -> None:
    """Twenty-two files for a subject, silently; then the cache, silently."""
    for _ in range(3):
        ds = open_betas("sub-01", bucket=offline)
        assert ds["split_role"].attrs["revision"] == splits.REVISION
    asked = list(server.requests)
    assert sorted(asked) == sorted(kept())
    assert len(asked) == 22
    assert kept() == {key: (server.folder / key).read_bytes() for key in kept()}
    open_trials("sub-01", split="tau", pool="subject", bucket=offline)
    splits.load_split("tau")
    assert server.requests == asked


def test_a_web_server_of_ones_own(server: Server, tiny: Path) -> None:
    """It needs to serve files only, no listings; they are not cached, since nobody knows their sums."""
    address = f"{server.address}/{splits.REVISION}/laion_fmri/splits/data/"
    for _ in range(2):
        assert splits.load_split("tau", "sub-01", splits=address).revision == address.rstrip("/")
    assert server.requests == ["sub-01/tau.json"] * 2
    assert kept() == {}
    (server.folder / "sub-01/random_0.json").unlink()
    with pytest.raises(NotInBucketError, match=r"data/sub-01/random_0\.json does not exist\. Nothing is listed"):
        splits.load_split("random_0", "sub-01", splits=address)
    write_split(server.folder, "sub-01", "random_0")
    assert "split_role" in open_betas("sub-01", splits=address, bucket=tiny).coords
    assert bucket_module._failures == {}


def change(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, content.replace(b"c.jpg", b"d.jpg", 1))


def cut(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, content[:-1])


def login_page(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, b"<html>Welcome to the conference network</html>")


@pytest.mark.parametrize("fail", [change, cut, login_page])
def test_another_content_is_refused_and_not_kept(
    server: Server, fail: Callable[[http.server.BaseHTTPRequestHandler, bytes], None]
) -> None:
    """One changed byte is enough; a good server is asked again and believed, in the same process."""
    server.fail = fail
    with pytest.raises(DataIntegrityError, match=r"shared/tau\.json: expected the SHA-256 [0-9a-f]{64}, found"):
        splits.load_split("tau")
    assert kept() == {}
    server.fail = None
    assert splits.load_split("tau").variants[0].test_ids == ("c.jpg",)
    assert list(kept()) == ["shared/tau.json"]


@pytest.mark.parametrize("content", [b"", b"{}", "flipped", "shorter"])
def test_a_cached_file_that_was_changed(server: Server, content: Any) -> None:
    """Noticed by its sum, fetched again, and whole again on the disk."""
    good = splits.load_split("tau")
    path = Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache/splits" / splits.REVISION / "shared/tau.json"
    whole = path.read_bytes()
    path.write_bytes({"flipped": bytes([whole[0] ^ 1]) + whole[1:], "shorter": whole[:-1]}.get(content, content))
    assert splits.load_split("tau") == good
    assert path.read_bytes() == whole
    assert server.requests == ["shared/tau.json"] * 2


def drip(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """A byte now and then: no wait between two of them is ever long."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for byte in content:
        if handler.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            return
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            return


def keep_silent(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    handler.server.stopped.wait(30)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fail", [drip, keep_silent])
def test_a_slow_server_is_given_up(
    server: Server,
    offline: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[http.server.BaseHTTPRequestHandler, bytes], None],
) -> None:
    """Within a bound for all files together, once in a process; the next run finds a better server."""
    patience = bucket_module.PINNED_SECONDS
    monkeypatch.setattr(bucket_module, "PINNED_SECONDS", 0.4)
    server.fail = fail
    start = time.monotonic()
    with pytest.raises(BucketUnreachableError, match=r"could not be fetched from http://127\.0\.0\.1:.*Timeout"):
        splits.load_split("tau")
    with pytest.warns(MissingFileWarning, match="split_role"):
        open_betas("sub-01", bucket=offline)
    assert time.monotonic() - start < 5
    assert server.requests == ["shared/tau.json"]
    assert kept() == {}
    next_run()
    with pytest.warns(MissingFileWarning, match="split_role"):
        open_betas("sub-01", bucket=offline)
    assert time.monotonic() - start < 10
    assert len(server.requests) <= 1 + splits.FILES_IN_FLIGHT
    next_run()
    server.fail = None
    monkeypatch.setattr(bucket_module, "PINNED_SECONDS", patience)
    assert "split_role" in open_betas("sub-01", bucket=offline).coords


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_server_that_refuses(server: Server, offline: Path, status: int) -> None:
    """A proxy that forbids the address, for instance: the ways out are named, the Dataset opens."""
    server.fail = lambda handler, content: answer(handler, b"no", status)
    with pytest.raises(BucketUnreachableError, match="Three ways out") as caught:
        splits.load_split("tau")
    assert str(status) in str(caught.value)
    next_run()
    with pytest.warns(MissingFileWarning, match=f"split_role .*{status}"):
        open_betas("sub-01", bucket=offline)
    assert kept() == {}


def test_a_refusal_is_told_from_a_failure(server: Server, tmp_path: Path) -> None:
    """Below the splits, as the contract says: 403 is no broken network."""
    root = splits.upstream().root
    for status, error in {403: AccessDeniedError, 404: NotInBucketError, 500: BucketUnreachableError}.items():
        server.fail = lambda handler, content, status=status: answer(handler, b"no", status)  # type: ignore[misc]
        with pytest.raises(error):
            access.read_pinned(root, "shared/tau.json", sha256="", cache=tmp_path / "other")


def test_a_server_without_the_file(server: Server, offline: Path) -> None:
    """The repository may move: the ways out are named."""
    server.fail = lambda handler, content: answer(handler, b"", 404)
    with pytest.raises(NotInBucketError, match=r"there is no shared/tau\.json\. Three ways out"):
        splits.load_split("tau")
    with pytest.warns(MissingFileWarning, match="split_role"):
        open_betas("sub-01", bucket=offline)
    server.fail = None
    assert "split_role" in open_betas("sub-01", bucket=offline).coords, "at once: the server did answer"


def test_a_hiccup_is_not_noticed(server: Server) -> None:
    """One failure is asked again, and the server is not given up for it."""
    bad = iter([503])
    server.fail = lambda handler, content: answer(handler, content, next(bad, 200))
    assert splits.load_split("tau").n_train == 2
    assert server.requests == ["shared/tau.json"] * 2
    assert splits.load_split("random_0").n_train == 2


def test_a_server_that_is_given_up_is_asked_again_later(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fail = lambda handler, content: answer(handler, b"", 500)
    for _ in range(3):
        with pytest.raises(BucketUnreachableError):
            splits.load_split("tau")
    assert len(server.requests) == bucket_module.PINNED_ATTEMPTS
    monkeypatch.setattr(bucket_module, "PATIENCE_SECONDS", 0.0)
    server.fail = None
    assert splits.load_split("tau").n_train == 2


def test_the_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many institutes have no other way out."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(splits, "ADDRESS", "http://files.invalid/repository")
    assert splits.load_split("tau").n_train == 2


@pytest.mark.parametrize("what", ["file", "below a file", "no space"])
def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The files are used all the same, without a word."""
    (tmp_path / "file").write_text("in the way")
    if what == "no space":

        def full(file: BinaryIO, content: bytes, **_: object) -> None:
            file.write(content[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(atomic, "_fill", full)
    else:
        monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / ("file" if what == "file" else "file/below")))
    for _ in range(2):
        assert splits.load_split("tau").n_train == 2
    assert server.requests == ["shared/tau.json"] * 2
    assert kept() == {}
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_interrupted_write_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what a killed process left ever read."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            splits.load_split("tau")
    assert kept() == {}
    folder = Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache/splits" / splits.REVISION / "shared"
    (folder / f"tau.json.{'0' * 32}.tmp").write_bytes(b"half of")
    assert splits.load_split("tau").n_train == 2
    assert (folder / "tau.json").read_bytes() == (server.folder / "shared/tau.json").read_bytes()


def test_a_cache_that_is_shared_can_be_read_by_all(server: Server) -> None:
    """A file has the rights that the user's mask gives, not those of a private temporary file."""
    before = os.umask(0o022)
    try:
        splits.load_split("tau")
    finally:
        os.umask(before)
    path = Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache/splits" / splits.REVISION / "shared/tau.json"
    assert path.stat().st_mode & 0o777 == 0o644


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE", "~/kept")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "kept"
    monkeypatch.delenv("LAION_FMRI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "intake-laion-fmri" in str(cache.cache_folder())


FETCH_ALL = """
import json, sys
from intake_laion_fmri import splits
address, cache, sums = sys.argv[1:]
sums = json.loads(sums)
splits._published_sums = lambda: sums
source = splits.upstream(address, __import__("pathlib").Path(cache))
for _ in range(3):
    read = [splits._read_split(source, *key.removesuffix(".json").split("/")).n_train for key in sums]
print(read == [2] * len(sums))
"""


def test_two_processes_at_once(server: Server, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Both get whole files, and so does the cache."""
    sums = splits._published_sums()
    command = [sys.executable, "-W", "error", "-c", FETCH_ALL, server.address, str(tmp_path / "both"), json.dumps(sums)]
    processes = [
        subprocess.Popen(command, env=python_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (output.strip(), errors) == ("True", "")
    assert kept(tmp_path / "both") == {key: (server.folder / key).read_bytes() for key in sums}
    assert len(sums) <= len(server.requests) <= 2 * len(sums)


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
        ({"name": "tau", "ood_types": ["shape"]}, "goes with the split 'ood' only, found 'tau'"),
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
        ({"variants": variant("ab", ["c"])}, "labels that are no texts"),
        ({"variants": variant(["a", 1], ["c"])}, "labels that are no texts"),
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


# --- what survives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selection", [{}, {"split": "tau", "role": "test"}, {"stimuli": "ood", "split": "tau"}])
def test_roles_survive_stores_and_pickles(tiny: Path, tmp_path: Path, selection: dict[str, Any]) -> None:
    """Identical, attributes among them, without a warning; warnings are errors here."""
    ds = open_betas("sub-01", roi="face", bucket=tiny, **selection)
    loaded = ds.compute()
    assert "split_role" in loaded.coords
    of_one_length = ds.assign(betas=ds.betas.chunk(trial=1000))  # as Zarr needs, and README says
    of_one_length.to_zarr(tmp_path / "store", consolidated=False)
    with xr.open_zarr(tmp_path / "store", consolidated=False) as again:
        xr.testing.assert_identical(again.compute(), loaded)
    ds.to_netcdf(tmp_path / "file.nc")
    with xr.open_dataset(tmp_path / "file.nc") as again:
        xr.testing.assert_identical(again.compute(), loaded)
    xr.testing.assert_identical(pickle.loads(pickle.dumps(ds)).compute(), loaded)


def test_roles_print_no_warning(tiny: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ds = open_betas("sub-01", roi="face", split="tau", bucket=tiny)
        repr(ds.compute()), ds._repr_html_()
    assert not caught
