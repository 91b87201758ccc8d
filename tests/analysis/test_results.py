"""Operations on Datasets of betas: each is the plain NumPy of its docstring, lazy or not."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from drawn_betas import datasets, plain_zscore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiers import examples

from intake_laion_fmri import analysis, open_betas
from intake_laion_fmri.accessor import OPERATIONS
from intake_laion_fmri.analysis.blocks import whole_groups
from intake_laion_fmri.demo import subject_truth

Doubles = NDArray[np.float64]


@pytest.fixture(scope="module")
def lazy(tiny: Path) -> xr.Dataset:
    return open_betas("sub-01", bucket=tiny)


@pytest.fixture(scope="module")
def eager(lazy: xr.Dataset) -> xr.Dataset:
    return lazy.compute()


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(dataset=datasets(), within=st.sampled_from(["session", "run"]), nan=st.sampled_from(["keep", "zero", "drop"]))
def test_zscore_is_plain_numpy(dataset: xr.Dataset, within: Any, nan: Any) -> None:
    expected = plain_zscore(dataset, within)
    expected[~np.isfinite(expected)] = np.nan
    kept = np.isfinite(expected).all(axis=0) if nan == "drop" else np.ones(expected.shape[1], dtype=bool)
    if nan == "zero":
        expected = np.nan_to_num(expected)
    found = analysis.zscore(dataset, within, nan=nan)
    assert found["voxel"].values.tolist() == dataset["voxel"].values[kept].tolist()
    np.testing.assert_allclose(found["betas"].values, expected[:, kept], rtol=1e-5, atol=1e-5)
    xr.testing.assert_identical(found["betas"].compute(), analysis.zscore(dataset.compute(), within, nan=nan)["betas"])
    assert found["betas"].dtype == np.float32


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(dataset=datasets(), nan=st.sampled_from(["keep", "zero", "drop"]))
def test_average_is_plain_numpy(dataset: xr.Dataset, nan: Any) -> None:
    betas, labels = dataset["betas"].values.astype(np.float64), dataset["label"].values
    mean = {"keep": np.mean, "drop": np.nanmean, "zero": lambda x, axis: np.nan_to_num(x).mean(axis=axis)}[nan]
    names = np.unique(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but NaN
        expected = np.array([mean(betas[labels == name], axis=0) for name in names])
    for given_ in (dataset, dataset.compute()):
        found = analysis.average(given_, nan=nan)
        assert found["image"].values.tolist() == names.tolist()
        np.testing.assert_allclose(found["betas"].values, expected, rtol=1e-6, atol=1e-6)
        assert found["n_averaged"].values.tolist() == [int((labels == name).sum()) for name in names]
        assert "size" in found.coords, "the same in all trials of an image"
        runs = [set(dataset["run"].values[labels == name]) for name in names]
        assert ("run" in found.coords) is all(len(of_image) == 1 for of_image in runs)
        assert not {"trial", "label"} & set(found.coords)


@settings(deadline=None, max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
@given(dataset=datasets(), n=st.integers(1, 3), exactly=st.booleans())
def test_repetitions_are_the_first(dataset: xr.Dataset, n: int, exactly: bool) -> None:
    betas, labels = dataset["betas"].values, dataset["label"].values
    rows = {name: np.flatnonzero(labels == name) for name in np.unique(labels)}
    wanted = {name: found[:n] for name, found in rows.items() if len(found) == n or (len(found) > n and not exactly)}
    for given_ in (dataset, dataset.compute()):
        found = analysis.repetitions(given_, n, exactly=exactly)
        assert found["image"].values.tolist() == list(wanted)
        assert found["betas"].dims == ("image", "repetition", "voxel")
        expected = np.array([betas[first] for first in wanted.values()]).reshape(len(wanted), n, betas.shape[1])
        np.testing.assert_array_equal(found["betas"].values, expected)
        assert found["trial"].values.tolist() == [first.tolist() for first in wanted.values()]


def test_the_ceilings_of_the_demo(lazy: xr.Dataset, eager: xr.Dataset) -> None:
    """Those of the whole subject, as its maps have them."""
    for n, name in ((12, "nc_12rep"), (4, "nc_4rep"), (None, "nc_all")):
        found = lazy.laion.noise_ceiling(n)
        np.testing.assert_allclose(found["noise_ceiling"].values, eager[name].values, atol=1e-4)
        xr.testing.assert_allclose(found.compute(), eager.laion.noise_ceiling(n))
        assert found["noise_ceiling"].attrs["units"] == "percent"
        share = 1 / n if n else None
        if share:
            squared = found["ncsnr"].values.astype(float) ** 2
            np.testing.assert_allclose(100 * squared / (squared + share), eager[name].values, atol=1e-3)


def test_the_ceiling_of_a_session(tiny: Path, lazy: xr.Dataset) -> None:
    """From the repeats within it."""
    from intake_laion_fmri import open_noise_ceilings

    one = lazy.isel(trial=(lazy.session == "ses-02").values)
    of_file = open_noise_ceilings("sub-01", session="ses-02", bucket=tiny)["noise_ceiling"].values[0]
    np.testing.assert_allclose(one.laion.noise_ceiling()["noise_ceiling"].values, of_file, atol=1e-4)


def test_reliability(eager: xr.Dataset, lazy: xr.Dataset) -> None:
    """Voxels with more signal are more reliable; each value is Pearson's of pandas."""
    found = lazy.laion.reliability()
    scaled, labels = plain_zscore(eager, "session"), eager["label"].values
    repeated = [rows for rows in pd.Series(labels).groupby(labels).indices.values() if len(rows) > 1]
    odd = pd.DataFrame([scaled[rows[::2]].mean(axis=0) for rows in repeated])
    even = pd.DataFrame([scaled[rows[1::2]].mean(axis=0) for rows in repeated])
    known = np.isfinite(odd + even).all().to_numpy()
    expected = odd.loc[:, known].corrwith(even.loc[:, known]).to_numpy()
    np.testing.assert_allclose(found["correlation"].values[known], expected, atol=1e-5)
    assert np.isnan(found["correlation"].values[~known]).all()
    truth = subject_truth("sub-01", scale="tiny")
    share = pd.Series(truth.share, truth.fitted)[eager["voxel"].values].to_numpy()
    assert np.corrcoef(share[known], found["reliability"].values[known])[0, 1] > 0.5


@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
def test_dissimilarity(lazy: xr.Dataset, metric: Any) -> None:
    from scipy.spatial.distance import pdist, squareform

    images = lazy.laion.zscore().laion.average()
    found = images.laion.rdm(metric)
    assert found.dims == ("image", "image_2")
    assert found["image_2"].values.tolist() == found["image"].values.tolist()
    values = images["betas"].values.astype(float)
    expected = squareform(pdist(values[:, np.isfinite(values).all(axis=0)], metric))
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    np.testing.assert_array_equal(found.values, images.compute().laion.rdm(metric).values)
    assert np.isnan(images.laion.rdm(metric, nan="keep").values).all()
    filled = squareform(pdist(np.nan_to_num(values), metric))
    np.testing.assert_allclose(images.laion.rdm(metric, nan="zero").values, filled, atol=1e-5)


def test_selections(tiny: Path, lazy: xr.Dataset) -> None:
    """The same voxels and trials as by the arguments of opening."""
    few = lazy.laion.roi("face - FFA1")
    xr.testing.assert_equal(few.drop_attrs(), open_betas("sub-01", roi="face - FFA1", bucket=tiny).drop_attrs())
    for choice in ({"stimuli": "unique"}, {"stimuli": "ood"}, {"split": "tau", "pool": "subject", "role": "test"}):
        there = open_betas("sub-01", bucket=tiny, **choice)
        assert lazy.laion.trials(**choice)["trial"].values.tolist() == there["trial"].values.tolist()
    images = lazy.laion.average()
    assert set(images.laion.trials(stimuli="ood")["dataset"].values) == {"OOD"}
    whole = lazy.laion.finite()
    assert np.isfinite(whole["betas"].values).all()
    n = lazy.sizes["voxel"] - whole.sizes["voxel"]
    assert n > 0
    assert whole.attrs["history"] == f"finite(): {n} of {lazy.sizes['voxel']} voxels dropped"


def test_matrices(lazy: xr.Dataset, eager: xr.Dataset) -> None:
    """Rows of features are those of the trials' images, in any order and number."""
    names = np.unique(eager["label"].values)
    shuffled = np.random.default_rng(0).permutation(names)
    features = xr.DataArray(
        np.array([[sum(map(ord, name)), len(name)] for name in shuffled]),
        dims=("image", "feature"),
        coords={"image": shuffled},
    )
    for given_ in (lazy, lazy.laion.average()):
        x_train, y_train, x_test, y_test = given_.laion.matrices("tau", features=features, nan="keep")
        train, test = (given_.laion.trials(split="tau", role=role) for role in ("train", "test"))
        np.testing.assert_array_equal(y_train, train["betas"].values)
        np.testing.assert_array_equal(y_test, test["betas"].values)
        labels = test["label" if "label" in test.coords else "image"].values
        assert x_test.tolist() == [[sum(map(ord, name)), len(name)] for name in labels]
        assert len(x_train) == len(y_train)
    assert given_.laion.matrices("tau", nan="keep")[2].tolist() == labels.tolist()
    with pytest.raises(ValueError, match=r"lack \d+ images"):
        lazy.laion.matrices("tau", features=features[:2])


def test_matrices_are_what_models_take(lazy: xr.Dataset, eager: xr.Dataset) -> None:
    """Finite, and contiguous, or an error that tells how many columns are not."""
    train = eager.laion.trials(split="tau", role="train")["betas"].values
    holes = np.isnan(train).any(axis=0).sum()
    with pytest.raises(ValueError, match=rf"^{holes} of 363 voxels have values that are not finite.*finite\(\)"):
        lazy.laion.matrices("tau")
    names = np.unique(eager["label"].values)
    values = np.asfortranarray(np.random.default_rng(0).normal(size=(len(names), 3)))
    features = xr.DataArray(values, dims=("image", "feature"), coords={"image": names, "feature": range(3)})
    for found in eager.laion.finite().transpose("voxel", ...).laion.matrices("tau", features=features):
        assert found.flags.c_contiguous
        assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="1 of 3 features have values that are not finite"):
        eager.laion.finite().laion.matrices("tau", features=features.where(features["feature"] != 1))


def test_results_keep_their_place(tiny: Path, lazy: xr.Dataset, tmp_path: Path) -> None:
    """Back to a volume, through a file, in another process."""
    images = lazy.laion.zscore().laion.average()
    images.compute().to_netcdf(tmp_path / "images.nc")
    code = (
        "import sys, xarray as xr, intake_laion_fmri.accessor\n"
        "ds = xr.open_dataset(sys.argv[1])\n"
        "print(ds.laion.roi('FFA1').betas.isel(image=0).laion.to_nifti().shape, ds.laion.rdm().shape)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path / "images.nc"], capture_output=True, text=True
    )
    n = images.sizes["image"]
    assert (done.stdout, done.stderr) == (f"{tuple(lazy.attrs['grid_shape'])} {(n, n)}\n", "")
    assert images.attrs["history"].splitlines() == [
        "zscore(within='session', nan='keep'): 135 trials, 363 voxels",
        "average(by='label', nan='keep') of 135 trials, 363 voxels",
    ]
    assert "values NaN" in lazy.compute().laion.zscore().attrs["history"]


def test_what_was_saved_is_scaled_too(tiny: Path, tmp_path: Path) -> None:
    """Zarr gives texts of variable length back, which NumPy does not sort with other texts."""
    ds = open_betas("sub-01", roi="FFA1", bucket=tiny).compute()
    ds.to_zarr(tmp_path / "saved.zarr", consolidated=False)
    saved = xr.open_zarr(tmp_path / "saved.zarr", consolidated=False)
    np.testing.assert_array_equal(saved.laion.zscore().betas, ds.laion.zscore().betas)


def test_blocks_are_few_and_travel(lazy: xr.Dataset) -> None:
    """A few tasks a session; they pickle, and blocks that cut a session are joined."""
    images = lazy.laion.zscore().laion.average()
    optimized = dask.optimize(images["betas"].data)[0]
    assert len(dict(optimized.__dask_graph__())) <= 5 * 3
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))["betas"].values, images["betas"].values)
    cut = lazy.assign(betas=lazy["betas"].chunk(trial=20, voxel=100))
    np.testing.assert_array_equal(cut.laion.zscore()["betas"].values, lazy.laion.zscore()["betas"].values)
    np.testing.assert_allclose(cut.laion.average()["betas"].values, lazy.laion.average()["betas"].values, atol=1e-6)


@pytest.mark.parametrize(
    ("chunks", "codes", "expected"),
    [
        ((2, 2), [0, 0, 1, 1], (2, 2)),
        ((1, 1, 2), [0, 0, 1, 1], (2, 2)),
        ((2, 2), [0, 1, 0, 1], (4,)),
        ((3, 1), [0, 0, 1, 1], (4,)),
        ((0,), [], (0,)),
    ],
)
def test_blocks_hold_whole_groups(chunks: tuple[int, ...], codes: list[int], expected: tuple[int, ...]) -> None:
    assert whole_groups(chunks, np.array(codes, dtype=np.intp)) == expected


def test_trials_that_are_missing(tiny: Path, lazy: xr.Dataset) -> None:
    """A selection has another mean than its session; whole sessions have not."""
    with pytest.warns(UserWarning, match="Open all trials, scale, then select") as caught:
        open_betas("sub-01", stimuli="shared", bucket=tiny).laion.zscore()
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]
    lazy.isel(trial=(lazy.session != "ses-02").values).laion.zscore()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.laion.zscore("sessions"), "within.*'sessions'.*session"),
        (lambda ds: ds.laion.zscore(nan="omit"), "nan.*'omit'"),
        (lambda ds: ds.laion.average("lable"), "'lable'.*label"),
        (lambda ds: ds.laion.average().laion.zscore(), "Expected betas with dimensions trial and voxel"),
        (lambda ds: ds.drop_vars("betas").laion.average(), "Expected a Dataset with the variable 'betas'"),
        (lambda ds: ds.laion.repetitions(0), "a positive number"),
        (lambda ds: ds.laion.noise_ceiling(5), "No image was shown 5 times"),
        (lambda ds: ds.laion.roi("FFA9"), "FFA9.*FFA1"),
        (lambda ds: ds.drop_vars("in_roi").laion.roi("FFA1"), "no coordinate in_roi"),
        (lambda ds: ds.laion.trials(split="taw"), "'taw'.*tau"),
        (lambda ds: ds.laion.trials(split="tau", pool="sub-03"), "'sub-03'"),
        (lambda ds: ds.laion.trials(stimuli="sharde"), "'sharde'.*shared"),
        (lambda ds: ds.laion.average().laion.rdm("cosine"), "'cosine'"),
    ],
)
def test_what_cannot_be_done(lazy: xr.Dataset, call: Callable[[xr.Dataset], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(lazy)


def test_the_accessor_shows_what_it_has(lazy: xr.Dataset) -> None:
    assert dir(lazy.laion) == sorted(OPERATIONS)
    for name in OPERATIONS:
        assert inspect.getdoc(getattr(lazy.laion, name))
    assert list(inspect.signature(lazy.laion.zscore).parameters) == ["within", "nan"]
    with pytest.raises(AttributeError, match="laion has no method 'zscores'"):
        _ = lazy.laion.zscores
    assert "zscore" in repr(lazy.laion)


@pytest.mark.parametrize("within", ["session", "run"])
def test_scaling_while_reading(tiny: Path, lazy: xr.Dataset, within: Any) -> None:
    """By all trials of the session, whatever is selected: selecting before is selecting after, to the bit."""
    scaled = lazy.laion.zscore(within)
    for subject, choice in (
        ("sub-01", {"roi": "face", "split": "tau"}),
        ("sub-01", {"stimuli": "ood"}),
        ("sub-03", {}),
    ):
        found = open_betas(subject, zscore=within, bucket=tiny, **choice)
        whole = scaled if subject == "sub-01" else open_betas(subject, bucket=tiny).laion.zscore(within)
        expected = whole.sel(trial=found["trial"].values, voxel=found["voxel"].values)["betas"].values
        np.testing.assert_array_equal(found["betas"].values, expected)
        assert found["betas"].attrs["units"] == "SD"
    assert open_betas("sub-01", bucket=tiny)["betas"].attrs["units"] == "relative units"
    with pytest.raises(ValueError, match=r"'sessions'.*session"):
        open_betas("sub-01", zscore="sessions", bucket=tiny)  # type: ignore[arg-type]


@pytest.mark.parametrize("within", ["session", "run"])
def test_scaling_from_a_store(tiny: Path, tmp_path: Path, within: Any) -> None:
    from intake_laion_fmri import build_store

    build_store(tmp_path / "store", bucket=tiny, subjects="sub-03", sessions=[1, 2])
    options: dict[str, Any] = {"session": [1, 2], "stimuli": "shared", "roi": "laion", "zscore": within, "bucket": tiny}
    from_store = open_betas("sub-03", store=tmp_path / "store", **options)
    xr.testing.assert_identical(from_store.compute(), open_betas("sub-03", **options).compute())
    del options["session"]
    joined = open_betas("sub-03", store=tmp_path / "store", fallback=True, **options)
    xr.testing.assert_identical(joined.compute(), open_betas("sub-03", **options).compute())


@pytest.fixture(scope="module")
def store(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from intake_laion_fmri import build_store

    path = tmp_path_factory.mktemp("voxels") / "store"
    build_store(path, bucket=tiny, subjects="sub-01", chunk_voxels=32)
    return path


@pytest.mark.parametrize("chunks", ["voxel", {"voxel": 40}, {"voxel": 1}])
@pytest.mark.parametrize("choice", [{}, {"roi": "face", "stimuli": "shared"}, {"zscore": "run", "session": [1, 3]}])
def test_blocks_of_voxels(tiny: Path, store: Path, choice: dict[str, Any], chunks: Any) -> None:
    """The same Dataset in another order, each chunk in one block: operations need no other block."""
    whole = open_betas("sub-01", store=store, bucket=tiny, **choice)
    found = open_betas("sub-01", store=store, bucket=tiny, chunks=chunks, **choice)
    betas = found["betas"].data
    assert betas.numblocks[0] == 1
    assert len(dict(betas.__dask_graph__())) == 2 * betas.numblocks[1]
    assert (betas.numblocks[1] == 1) is (chunks == "voxel" or found.sizes["voxel"] < chunks["voxel"])
    xr.testing.assert_identical(found.sortby("voxel").compute(), whole.compute())
    np.testing.assert_array_equal(found["betas"].values, found.laion.load()["betas"].values)
    np.testing.assert_array_equal(
        found.laion.average().sortby("voxel")["betas"].values, whole.compute().laion.average()["betas"].values
    )
    ceilings = found.laion.noise_ceiling(within=None)["noise_ceiling"]
    assert len(dict(dask.optimize(ceilings.data)[0].__dask_graph__())) <= 5 * betas.numblocks[1]


def test_blocks_of_voxels_read_chunks_once(tiny: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from intake_laion_fmri.remote.bucket import Bucket

    found = open_betas("sub-01", store=store, bucket=tiny, chunks={"voxel": 50})
    seen: list[tuple[Any, ...]] = []
    read = Bucket.read
    monkeypatch.setattr(Bucket, "read", lambda self, *args: seen.append(args) or read(self, *args))
    found["betas"].compute()
    stored = [(key, at) for key, start, stop in seen for at in range(start, stop)]
    assert len(stored) == len(set(stored))


@pytest.mark.parametrize("chunks", ["voxels", {"trial": 10}, {"voxel": 0}, {"voxel": True}, 100, None])
def test_other_blocks(tiny: Path, chunks: Any) -> None:
    with pytest.raises(ValueError, match=r"expected 'session', 'voxel', or a number of voxels"):
        open_betas("sub-01", bucket=tiny, chunks=chunks)


def test_voxels_of_one_chunk(tiny: Path, tiny_store: Path) -> None:
    """A small region is one block."""
    found = open_betas("sub-01", roi="FFA1 & PPA", store=tiny_store, bucket=tiny, chunks="voxel")
    expected = open_betas("sub-01", roi="FFA1 & PPA", bucket=tiny)
    assert 0 < found.sizes["voxel"] == found["betas"].data.chunksize[1]
    xr.testing.assert_equal(found.sortby("voxel")["betas"].compute(), expected["betas"].compute())


def test_blocks_of_voxels_need_a_store(tiny: Path, store: Path) -> None:
    with pytest.raises(ValueError, match=r"would unpack every session again"):
        open_betas("sub-01", bucket=tiny, chunks="voxel")
    with pytest.raises(ValueError, match=r"omit fallback="):
        open_betas("sub-03", store=store, bucket=tiny, fallback=True, chunks="voxel")
