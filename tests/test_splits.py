"""Train/test splits against their files, pandas, and a web server that fails in every way it can."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from counting import CountingFileSystem
from hypothesis import given
from hypothesis import strategies as st
from split_files import CLUSTERS, NAMES, POOLS, SUBJECTS, own, write_all_splits, write_split
from tiers import sampled

from intake_laion_fmri import open_betas, open_trials, splits
from intake_laion_fmri.errors import BucketUnreachableError, MissingFileWarning, NotInBucketError
from intake_laion_fmri.remote import access, stream
from intake_laion_fmri.splits import sources

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


# --- the published files ----------------------------------------------------------------------------------------------


def test_the_names_of_the_page() -> None:
    assert splits.list_pools() == POOLS
    assert splits.list_splits() == NAMES
    assert splits.list_ood_types() == sorted(OOD_COUNTS)


def test_the_sums_ship_with_the_package() -> None:
    sums = sources.published_sums()
    assert set(sums) == {f"{pool}/{name}.json" for pool in POOLS for name in NAMES}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in sums.values())


def test_the_sums_that_ship_are_those_of_the_files(reference: Path) -> None:
    """All 72 of them."""
    found = {
        path.relative_to(reference).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in reference.rglob("*.json")
    }
    assert len(found) == 72
    assert sources.published_sums() == found


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
    assert split.sha256 == sources.published_sums()["shared/cluster_k5_3.json"]
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


@pytest.mark.parametrize("subject", sampled(["sub-01", "sub-03"], keep=1))
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
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    with s3.requests() as asked:
        ds = open_betas("sub-01", **where)
    # 3 trial tables, the stimulus table, 4 maps, 40 ROIs; 22 split files, whose sizes need not be asked for.
    assert asked == {"LIST": 4, "GET": 3 + 1 + 4 + 40 + 22}
    with s3.requests() as asked:
        ds.compute()
    assert asked == {"GET": 3, "HEAD": 2 * 3}
    with s3.requests() as asked:
        one = open_betas("sub-01", session=1, mask="anatomical", **where)
    assert asked == {"LIST": 5, "GET": 1}  # the mask: the rest is in the user's cache, and the listings tell its ETags
    with s3.requests() as asked:
        one.compute()
    assert asked == {"GET": 1, "HEAD": 2}


def test_split_files_elsewhere_cost_the_bucket_nothing(
    s3: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path))
    with s3.requests() as asked:
        open_betas("sub-01", bucket=s3.url, storage_options=s3.storage_options, splits=own(tiny))
    assert asked == {"LIST": 3, "GET": 3 + 1 + 4 + 40}


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
    assert sources.find_source().revision == sources.REVISION


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
    assert sources.find_source().revision == sources.REVISION
    assert sources.find_source(bucket="s3://laion-fmri/").revision == sources.REVISION


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
    source = sources.upstream()
    with pytest.raises(NotInBucketError, match=r"no published split file 'sub-99/tau\.json': .*sub-07.*splits="):
        source.read("sub-99", "tau")


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
