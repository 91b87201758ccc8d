"""Several subjects on the images that all of them saw: each node and the whole against nibabel and NumPy."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import S3
from demo_files import betas_file, map_file, trials_file, volume
from numpy.typing import NDArray

from intake_laion_fmri import build_store, drivers, open_betas, open_shared, open_trials, readers, to_mni305
from intake_laion_fmri.demo import SubjectTruth, subject_truth
from intake_laion_fmri.errors import DataIntegrityError, MissingFileWarning, NotInBucketError, NotInStoreError
from intake_laion_fmri.reading.betas import BetasQuery

WHO = ("sub-01", "sub-03")
TRUTHS = {who: subject_truth(who, scale="tiny") for who in WHO}


def shown(truth: SubjectTruth) -> list[str]:
    return [label for labels in truth.labels.values() for label in labels]


SEEN = {who: Counter(label for label in shown(truth) if label.startswith("shared_")) for who, truth in TRUTHS.items()}
PLANNED = TRUTHS["sub-01"].planned


def responses(bucket: Path, who: str, voxels: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.float64]]:
    """Label → z-scored trials of these voxels, in the order in which they were shown."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for session, labels in TRUTHS[who].labels.items():
        whole = volume(betas_file(bucket, who, session))
        trials = whole.reshape(-1, whole.shape[-1])[voxels].T.astype(np.float64)
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # of voxels that are NaN in all trials
            scaled = (trials - np.nanmean(trials, axis=0)) / np.nanstd(trials, axis=0)
        for label, response in zip(labels, scaled, strict=True):
            found.setdefault(label, []).append(response)
    return {label: np.array(each) for label, each in found.items()}


def roi_voxels(who: str, roi: str) -> NDArray[np.integer[Any]]:
    return np.intersect1d(TRUTHS[who].rois[roi], TRUTHS[who].rsquare)


@pytest.fixture(scope="module")
def tree(tiny: Path) -> xr.DataTree:
    return open_shared(WHO, roi="laiongeneral", zscore="session", localizers="floc", bucket=tiny)


@pytest.fixture(scope="module")
def joined(tree: xr.DataTree) -> xr.Dataset:
    return tree.laion.concat().compute()


def test_each_subject_is_averaged_on_one_axis(tiny: Path, tree: xr.DataTree) -> None:
    images = sorted(SEEN["sub-01"].keys() & SEEN["sub-03"].keys())
    complete = [all(seen[image] == PLANNED[image] for seen in SEEN.values()) for image in images]
    assert 0 < sum(complete) < len(images)
    assert list(tree.children) == list(WHO)
    for who in WHO:
        node = tree[who].to_dataset()
        voxels = roi_voxels(who, "laiongeneral")
        expected = responses(tiny, who, voxels)
        assert node.betas.dims == ("image", "voxel")
        assert node["image"].values.tolist() == images
        assert node["voxel"].values.tolist() == voxels.tolist()
        means = np.array([expected[image].mean(axis=0) for image in images])
        np.testing.assert_allclose(node.betas.values, means, atol=2e-6)
        assert node["n_averaged"].values.tolist() == [SEEN[who][image] for image in images]
        assert node["complete"].values.tolist() == complete
        assert str(node["subject"].values) == who
    chosen = tree.isel(image=tree["sub-03"]["complete"])
    assert {who: chosen[who].sizes["image"] for who in WHO} == dict.fromkeys(WHO, sum(complete))


@pytest.mark.parametrize(("n", "exactly"), [(None, True), (12, False), (4, True), (4, False), (3, False), (11, False)])
def test_sets_of_images(tiny: Path, n: int | None, exactly: bool) -> None:
    """Images that each subject saw at least, or exactly, so often; without a number, as often as planned."""

    def is_in(image: str) -> bool:
        counts = [seen[image] for seen in SEEN.values()]
        if exactly:
            return all(count == (n or PLANNED[image]) for count in counts)
        return n is not None and min(counts) >= n

    expected = [image for image in sorted(SEEN["sub-01"]) if is_in(image)]
    found = open_shared("all", n=n, exactly=exactly, roi="MPA", bucket=tiny)
    for who in WHO:
        assert found[who]["image"].values.tolist() == expected
        assert found[who]["n_averaged"].values.tolist() == [n or SEEN[who][image] for image in expected]


def test_repetitions_stand_side_by_side(tiny: Path) -> None:
    """The first of each image, in the order in which they were shown."""
    found = open_shared(["03", "sub-01", 3], average=False, n=3, roi="V1", zscore="session", bucket=tiny)
    assert list(found.children) == list(WHO)
    for who in WHO:
        node = found[who].to_dataset()
        assert node.betas.dims == ("image", "repetition", "voxel")
        expected = responses(tiny, who, node["voxel"].values)
        first = np.array([expected[image][:3] for image in node["image"].values])
        np.testing.assert_allclose(node.betas.values, first, atol=1e-5)
        labels = open_trials(who, bucket=tiny)["label"]
        assert labels[node["trial"].values.ravel()].tolist() == np.repeat(node["image"].values, 3).tolist()
    joined = found.laion.concat()
    assert joined.betas.shape == (node.sizes["image"], 3, sum(found[who].sizes["voxel"] for who in WHO))
    assert "trial" not in joined.coords
    assert joined.attrs["history"].endswith("they differ: trial")


def test_chosen_sessions_alone_count(tiny: Path) -> None:
    """An image of which trials are in other sessions is flagged; one that a subject did not see there is left out."""
    first = {who: Counter(truth.labels["ses-01"]) for who, truth in TRUTHS.items()}
    expected = sorted(image for image in SEEN["sub-01"] if all(seen[image] for seen in first.values()))
    assert len(expected) < len(SEEN["sub-01"])
    found = open_shared(WHO, session=1, roi="V1", bucket=tiny)
    for who in WHO:
        assert found[who]["image"].values.tolist() == expected
        flags = [all(seen[image] == PLANNED[image] for seen in first.values()) for image in expected]
        assert found[who]["complete"].values.tolist() == flags


def test_selections_are_those_of_open_betas(tiny: Path) -> None:
    """Split, kind of images, threshold and mask; averaging afterwards is averaging here."""
    for choice in (
        {"split": "tau", "role": "test"},
        {"stimuli": "ood", "mask": "anatomical"},
        {"min_noise_ceiling": 20},
    ):
        found = open_shared("sub-03", roi="laionventral", zscore="run", bucket=tiny, **choice)  # type: ignore[arg-type]
        there = open_betas(
            "sub-03", roi="laionventral", zscore="run", bucket=tiny, **{"stimuli": "shared", **choice}
        ).laion.average()
        assert list(found.children) == ["sub-03"]
        node = found["sub-03"].to_dataset().drop_vars("complete")
        xr.testing.assert_identical(node.drop_attrs(), there.drop_attrs())


def test_voxels_side_by_side(tree: xr.DataTree, joined: xr.Dataset) -> None:
    assert tree.laion.concat().betas.chunks[1] == tuple(tree[who].sizes["voxel"] for who in WHO)
    at = 0
    for who in WHO:
        node = tree[who].to_dataset().compute()
        part = joined.isel(voxel=slice(at, at + node.sizes["voxel"]))
        at += node.sizes["voxel"]
        assert set(part["subject"].values) == {who}
        np.testing.assert_array_equal(part.betas.values, node.betas.values)
        for name in ("voxel", "i", "x", "nc_12rep", "r2_mean"):
            assert part[name].dtype == node[name].dtype
            np.testing.assert_array_equal(part[name].values, node[name].values)
        np.testing.assert_array_equal(
            part["localizer"].sel(contrast=node["contrast"].values).values, node["localizer"].values
        )
        for roi in joined["roi"].values:
            inside = np.isin(node["voxel"].values, TRUTHS[who].rois.get(roi, []))
            np.testing.assert_array_equal(part["in_roi"].sel(roi=roi).values, inside)
        for pool in node["pool"].values:
            np.testing.assert_array_equal(part["split_role"].sel(pool=pool), node["split_role"].sel(pool=pool))
    assert at == joined.sizes["voxel"]
    assert joined["in_roi"].dtype == bool
    assert set(joined["roi"].values) == set(TRUTHS["sub-01"].rois) | set(TRUTHS["sub-03"].rois)
    assert joined["complete"].values.tolist() == tree["sub-01"]["complete"].values.tolist()
    assert "n_averaged" not in joined.coords
    assert joined.laion.roi("AFP1")["subject"].values.tolist() == ["sub-03"] * len(roi_voxels("sub-03", "AFP1"))
    assert not {"affine", "grid_shape"} & set(joined.attrs)


def test_each_subject_goes_back_to_its_own_brain(tree: xr.DataTree, joined: xr.Dataset) -> None:
    """Never two in one volume, also where no voxel comes twice."""
    for who in WHO:
        one = joined.isel(voxel=(joined.subject == who).values)
        expected = tree[who].to_dataset().betas.isel(image=2).compute().laion.to_nifti()
        for found in (one.betas.isel(image=2).laion.to_nifti(), (one.betas * 1).isel(image=2).laion.to_nifti(like=one)):
            np.testing.assert_array_equal(found.get_fdata(), expected.get_fdata())
            np.testing.assert_array_equal(found.affine, expected.affine)
            np.testing.assert_allclose(found.affine, TRUTHS[who].affine)
    assert len({truth.affine.tobytes() for truth in TRUTHS.values()}) == 2
    _, first = np.unique(joined["voxel"].values, return_index=True)
    for several in (joined, joined.isel(voxel=first)):
        with pytest.raises(ValueError, match=r"several subjects: sub-01, sub-03. Select one.*subject == 'sub-01'"):
            several.betas.isel(image=0).laion.to_nifti()
    one, other = (joined.isel(voxel=(joined.subject == who).values).isel(image=0) for who in WHO)
    with pytest.raises(ValueError, match="values belong to sub-01, but like= to sub-03"):
        one.betas.laion.to_nifti(like=other)
    with pytest.raises(ValueError, match="several subjects"):
        to_mni305(joined, subject="sub-01")


@pytest.mark.parametrize("kind", ["zarr", "netcdf"])
def test_files(tree: xr.DataTree, joined: xr.Dataset, tmp_path: Path, kind: str) -> None:
    """The lazy tree and the loaded Dataset; from the tree in the file comes the same Dataset."""
    path = tmp_path / kind
    if kind == "zarr":
        tree.to_zarr(path, consolidated=False)
        joined.to_zarr(tmp_path / "joined", consolidated=False)
        lazy = tree.laion.concat()
        lazy.assign(betas=lazy.betas.chunk(voxel=100)).to_zarr(tmp_path / "lazy", consolidated=False)
        again = xr.open_datatree(path, engine="zarr", consolidated=False, chunks={})
        for name in ("joined", "lazy"):
            xr.testing.assert_identical(xr.open_zarr(tmp_path / name, consolidated=False).load(), joined)
    else:
        tree.to_netcdf(path)
        joined.to_netcdf(tmp_path / "joined")
        again = xr.open_datatree(path)
        with xr.open_dataset(tmp_path / "joined") as found:
            xr.testing.assert_identical(found.load(), joined)
    with again:
        for who in WHO:
            xr.testing.assert_identical(again[who].to_dataset().load(), tree[who].to_dataset().compute())
        xr.testing.assert_identical(again.laion.concat().compute(), joined)


def test_lazy_and_few_tasks(counted: str, tree: xr.DataTree) -> None:
    """Opening reads no beta; what is computed travels to other processes."""
    from counting import CountingFileSystem

    found = open_shared(WHO, roi="laiongeneral", zscore="session", bucket=counted)
    assert not [name for name in CountingFileSystem.read if "SingletrialBetas_statmap" in name]
    graph = found.laion.concat().betas.data.__dask_graph__()
    assert len(dict(graph)) <= 2 * (4 * 3 + 6)
    there = pickle.loads(pickle.dumps(tree["sub-01"].to_dataset()))
    np.testing.assert_array_equal(there.betas.values, tree["sub-01"].betas.values)


def test_of_a_store_and_of_one_for_each(tiny: Path, tmp_path: Path, tiny_store: Path, tree: xr.DataTree) -> None:
    options: dict[str, Any] = {"roi": "laiongeneral", "zscore": "session", "localizers": "floc", "bucket": tiny}
    build_store(tmp_path / "one", bucket=tiny, subjects="sub-01", roi="laiongeneral")
    for store in (tiny_store, {"sub-01": tmp_path / "one", "03": tiny_store}):
        xr.testing.assert_identical(open_shared(WHO, store=store, **options).compute(), tree.compute())
    streamed = open_shared(WHO, store={"sub-01": tmp_path / "one"}, fallback=True, **options)
    xr.testing.assert_identical(streamed.compute(), tree.compute())
    blocks = open_shared(WHO, store=tiny_store, chunks={"voxel": 20}, **options)
    for who in WHO:
        here = blocks[who].to_dataset().betas
        assert here.data.numblocks[0] == 1 < here.data.numblocks[1]
        here = here.sortby("voxel")
        np.testing.assert_allclose(here.values, tree[who].betas.values, atol=1e-6)
    with pytest.raises(ValueError, match="has no store for sub-03"):
        open_shared(WHO, store={"sub-01": tiny_store}, bucket=tiny)
    with pytest.raises(ValueError, match=r"Unknown subject.*'sub-05'"):
        open_shared(WHO, store={"sub-01": tiny_store, "sub-03": tiny_store, "sub-05": tiny_store}, bucket=tiny)
    with pytest.raises(NotInStoreError, match="sub-03"):
        open_shared(WHO, store=tmp_path / "one", roi="laiongeneral", bucket=tiny)


def test_from_a_server_the_same(s3: S3, tree: xr.DataTree) -> None:
    found = open_shared("all", roi="laiongeneral", zscore="session", bucket=s3.url, storage_options=s3.storage_options)
    for who in WHO:
        np.testing.assert_array_equal(found[who].betas.values, tree[who].betas.values)


def test_subjects_are_opened_at_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the other."""
    both = threading.Barrier(2, timeout=30)
    read = BetasQuery.read
    monkeypatch.setattr(BetasQuery, "read", lambda *args, **kwargs: (both.wait(), read(*args, **kwargs))[1])
    assert list(open_shared(WHO, roi="V1", bucket=tiny).children) == list(WHO)


def test_methods_of_a_tree(tree: xr.DataTree) -> None:
    few = tree.laion.roi("FFA1").laion.trials(stimuli="ood")
    for who in WHO:
        xr.testing.assert_identical(
            few[who].to_dataset(), tree[who].to_dataset().laion.roi("FFA1").laion.trials(stimuli="ood")
        )
    assert few.laion.concat().sizes["image"] == few["sub-01"].sizes["image"]
    assert "concat" in dir(tree.laion)
    assert repr(tree.laion).startswith("<laion: average, concat")
    with pytest.raises(AttributeError, match=r"no method 'concatenate'. Available: .*concat"):
        _ = tree.laion.concatenate


def test_a_tree_is_loaded(tree: xr.DataTree, tmp_path: Path) -> None:
    loaded = tree.laion.load(progress=False)
    assert not loaded.chunksizes["/sub-01"]
    xr.testing.assert_identical(loaded, tree.compute())
    with pytest.raises(ValueError, match=r"a tree has several. Load a node"):
        tree.laion.load(tmp_path / "values.npy")
    found = tree.laion.concat().laion.load(tmp_path / "values.npy", progress=False)
    np.testing.assert_array_equal(found.betas.values, tree.laion.concat().betas.values)


def warned(tree: Callable[[], object]) -> Iterator[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree()
    assert {one.category for one in caught} <= {MissingFileWarning}
    assert {Path(one.filename).name for one in caught} <= {Path(__file__).name}
    return (str(one.message) for one in caught)


def test_one_warning_for_one_thing(own_tiny: Path) -> None:
    missing = own_tiny / "derivatives/splits/shared/tau.json"
    missing.unlink()
    map_file(own_tiny, "sub-03", "desc-Noiseceiling4rep").unlink()
    (text,) = warned(lambda: open_shared(WHO, roi="V1", bucket=own_tiny))
    assert text.count("split_role") == text.count(f"{missing} does not exist") == 1
    assert text.count("sub-03") >= 1
    assert "nc_4rep" in text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = open_shared(WHO, roi="V1", bucket=own_tiny).laion.concat()
    is_first = (both["subject"] == "sub-01").values
    assert np.isnan(both["nc_4rep"].values[~is_first]).all()
    assert not np.isnan(both["nc_4rep"].values[is_first]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subjects": []}, "is empty"),
        ({"subjects": ["sub-01", "sub-99"]}, "Unknown subject.*'sub-99'.*sub-03"),
        ({"roi": "AFP1"}, "Unknown ROI of sub-01.*AFP1"),
        ({"session": 9}, "Unknown session of sub-01"),
        ({"n": 0}, "n=0"),
        ({"n": True}, "n=True"),
        ({"n": 13}, r"at least 13 times. Trials per image: sub-01 12, 4; sub-03 12, 4, 3\."),
        ({"n": 2, "exactly": True}, "exactly 2 times"),
        ({"average": False}, r"give their number with n="),
        ({"stimuli": "unique"}, "seen by a single subject"),
        ({"stimuli": "sharde"}, "sharde.*shared"),
        ({"split": "tau", "pool": "subject"}, "training set of one and the test set of another"),
        ({"chunks": "voxel"}, "sub-01.*needs a store"),
        ({"zscore": "sessions"}, "sessions.*session"),
    ],
)
def test_what_is_refused(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_shared(**{"subjects": WHO, "bucket": tiny, **options})


def test_a_word_for_a_truth_value(tiny: Path) -> None:
    with pytest.raises(TypeError, match="average must be True or False, found 'no'"):
        open_shared(WHO, average="no", bucket=tiny)  # type: ignore[arg-type]


def test_a_subject_without_shared_images(own_tiny: Path) -> None:
    for session in TRUTHS["sub-03"].labels:
        path = trials_file(own_tiny, "sub-03", session)
        path.write_text(path.read_text().replace("shared_12rep", "other").replace("shared_4rep", "other"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that are not understood
        with pytest.raises(ValueError, match=r"^sub-03: none of the chosen trials shows a shared image"):
            open_shared(WHO, bucket=own_tiny)


def test_errors_name_the_subject(own_tiny: Path, tiny: Path) -> None:
    trials_file(own_tiny, "sub-03", "ses-02").write_text("nothing\n")
    with pytest.raises(DataIntegrityError, match="sub-03"):
        open_shared(WHO, bucket=own_tiny)
    with pytest.raises(NotInBucketError, match="no-such"):
        open_shared("all", bucket=own_tiny / "no-such")
    betas_file(own_tiny, "sub-01", "ses-01").write_bytes(b"x")
    found = open_shared(["sub-01"], bucket=own_tiny)
    with pytest.raises(DataIntegrityError, match="sub-01_ses-01"):
        found.compute()


def several(tiny: Path) -> dict[str, Callable[[], object]]:
    options: dict[str, Any] = {"subject": list(WHO), "bucket": str(tiny)}
    return {
        "function": lambda: open_betas(**options),
        "driver": lambda: drivers.BetasSource(**options),
        "reader": lambda: readers.BetasReader(**options),
        "data": lambda: readers.BetasData(**options),
        "engine": lambda: xr.open_dataset(tiny, engine="laion_fmri", subject=list(WHO)),
    }


@pytest.mark.parametrize("way", ["function", "driver", "reader", "data", "engine"])
def test_several_subjects_of_one_say_what_opens_them(tiny: Path, way: str) -> None:
    with pytest.raises(ValueError, match=r"\['sub-01', 'sub-03'\]. Expected one.*open_shared\("):
        several(tiny)[way]()


def test_trees_that_do_not_fit(tree: xr.DataTree) -> None:
    one, other = (tree[who].to_dataset() for who in WHO)
    cases: dict[str, dict[str, xr.Dataset]] = {
        "no variable along 'voxel'": {"a": one.drop_vars("betas")},
        "sub-01 occurs twice, the second time as /b": {"a": one, "b": one},
        "differ along 'image': shared_12rep.*select the same values in each": {
            "a": one,
            "b": other.isel(image=[1, 2]),
        },
        "differ along 'image' in their order": {"a": one, "b": other.isel(image=slice(None, None, -1))},
        "sub-01 has the variables betas, but sub-03 has r: expected the same": {"a": one, "b": other.rename(betas="r")},
        "expected the same dimensions": {"a": one, "b": other.isel(image=0, drop=True)},
        "/a is not of a single subject": {"a": one.drop_vars("subject")},
    }
    for message, nodes in cases.items():
        with pytest.raises(ValueError, match=message):
            xr.DataTree.from_dict(nodes).laion.concat()
    alone = xr.DataTree.from_dict({"x": other}).laion.concat()
    np.testing.assert_array_equal(alone.betas.values, other.betas.values)
