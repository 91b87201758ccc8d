"""Models of blocks of voxels: each is the function's own result on the plain matrices of the split."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiers import examples, full

import intake_laion_fmri.accessor  # noqa: F401 - registers ds.laion
from intake_laion_fmri import analysis, open_betas, open_embeddings

Matrix = NDArray[Any]
ROLE = {"unused": 0, "train": 1, "test": 2}


def fit(x_train: Matrix, y_train: Matrix, x_test: Matrix, y_test: Matrix) -> Matrix:
    """Score a least-squares model; every voxel for itself, whatever is beside it."""
    weights = np.linalg.lstsq(x_train.astype(float), y_train.astype(float), rcond=None)[0]
    error: Matrix = ((x_test @ weights - y_test) ** 2).mean(axis=0)
    return error


def mean_and_size(x_train: Matrix, y_train: Matrix, x_test: Matrix, y_test: Matrix) -> tuple[Matrix, Matrix]:
    return y_test.mean(axis=0), np.full(y_test.shape[1], len(x_train))


@st.composite
def cases(draw: st.DrawFn) -> tuple[xr.Dataset, xr.DataArray]:
    """Draw trials or images with roles, some betas not finite, and features of the images in another order."""
    n, n_voxels = draw(st.integers(4, 12)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    betas = rng.standard_normal((n, n_voxels)).astype(np.float32)
    betas[rng.random(betas.shape) < draw(st.sampled_from([0, 0.1]))] = draw(st.sampled_from([np.nan, np.inf]))
    names = np.array([f"image {number}" for number in range(n)], dtype=object)
    roles = np.r_[1, 2, rng.integers(0, 3, n - 2)].astype(np.int8)
    dim = draw(st.sampled_from(["trial", "image"]))
    labels = names[rng.integers(0, n, n)] if dim == "trial" else names
    dataset = xr.Dataset(
        {"betas": ((dim, "voxel"), betas)},
        coords={
            "label" if dim == "trial" else "image": (dim, labels),
            "pool": ["shared"],
            "split": ["tau"],
            "split_role": (("pool", "split", dim), roles[None, None]),
            "voxel": np.arange(n_voxels) * 10,
            "nc_all": ("voxel", np.arange(n_voxels)),
        },
    )
    order = rng.permutation(n)
    features = xr.DataArray(
        rng.standard_normal((n, 2)).astype(draw(st.sampled_from(["f2", "f4", "f8"])))[order],
        {"image": names[order]},
        ("image", "feature"),
    )
    return dataset, features


def plain(dataset: xr.Dataset, features: xr.DataArray, nan: str) -> Matrix:
    """Fit voxel by voxel, in plain Python."""
    table = pd.DataFrame(features.values.astype(float), index=features["image"].values)
    labels = dataset["label" if "label" in dataset.coords else "image"].values
    roles = dataset["split_role"].values[0, 0]
    sides = [np.flatnonzero(roles == ROLE[role]) for role in ("train", "test")]
    found = []
    for voxel in dataset["betas"].values.T.copy():
        used = voxel[np.concatenate(sides)]
        if nan == "drop" and not np.isfinite(used).all():
            found.append(np.nan)
            continue
        voxel[~np.isfinite(voxel)] = 0
        x_train, x_test = (table.loc[labels[rows]].to_numpy() for rows in sides)
        found.append(fit(x_train, voxel[sides[0], None], x_test, voxel[sides[1], None]).item())
    return np.array(found)


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), nan=st.sampled_from(["drop", "zero"]), voxels=st.sampled_from([None, 1, 2]))
def test_blocks_are_plain_matrices(case: tuple[xr.Dataset, xr.DataArray], nan: Any, voxels: Any) -> None:
    dataset, features = case
    expected = plain(dataset, features, nan)
    lazy = dataset.assign(betas=dataset["betas"].chunk(voxel=2, **{dataset["betas"].dims[0]: 3}))
    for given_, x in (
        (dataset, features),
        (lazy, features),
        (lazy, features.chunk(image=2)),
        (dataset, features.chunk()),
    ):
        found = given_.laion.map_matrices(fit, "tau", features=x, nan=nan, voxels=voxels)
        assert bool(found.chunks) is bool(given_.chunks)
        np.testing.assert_allclose(found["score"].values, expected, rtol=1e-4, atol=1e-5)
        assert found["score"].dtype == np.float32
        assert set(found.coords) == {"voxel", "nc_all", "pool", "split"}
        assert found.sizes == {"voxel": dataset.sizes["voxel"]}


@pytest.fixture(scope="module")
def images(tiny: Path, tiny_store: Path) -> xr.Dataset:
    ds = open_betas("sub-01", store=tiny_store, bucket=tiny, zscore="session", chunks={"voxel": 130})
    return ds.laion.average(nan="drop")


@pytest.fixture(scope="module")
def features(tiny: Path, images: xr.Dataset) -> xr.Dataset:
    return open_embeddings("CLIP", images=images, bucket=tiny)


def test_a_subject(images: xr.Dataset, features: xr.Dataset) -> None:
    """Betas, embeddings and splits as they are opened; a few tasks a block; results are labelled, saved and pickled."""
    found = images.laion.map_matrices(mean_and_size, "tau", "subject", features, names=["mean", "n"], voxels=130)
    x_train, _, x_test, y_test = images.laion.matrices("tau", "subject", features, nan="keep")
    assert x_train.dtype == np.float32
    blocks = found["mean"].data.numblocks[0]
    assert blocks == images["betas"].data.numblocks[1] > 1
    assert len(dict(dask.optimize(found)[0].__dask_graph__())) <= 20 * blocks
    known = np.isfinite(y_test).all(axis=0)
    np.testing.assert_allclose(found["mean"].values[known], y_test.mean(axis=0)[known], rtol=1e-5)
    assert set(found["n"].values[known]) == {len(x_train)}
    assert np.isnan(found["n"].values[~known]).all()
    assert found["subject"].item() == "sub-01"
    assert found["in_roi"].dims == ("roi", "voxel")
    line = (
        f"map_matrices(split='tau', pool='subject', nan='drop'): {len(x_train)} images to learn from, {len(x_test)} to"
    )
    assert line in found.attrs["history"].splitlines()[-1]
    xr.testing.assert_identical(pickle.loads(pickle.dumps(found)).compute(), found.compute())
    assert found["mean"].laion.to_nifti().shape == tuple(images.attrs["grid_shape"])


def test_the_embeddings_are_read_once(
    images: xr.Dataset, features: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many blocks need them."""
    from intake_laion_fmri.reading.stimuli.embeddings import EmbeddingBlock

    reads, read = [], EmbeddingBlock.read
    monkeypatch.setattr(EmbeddingBlock, "read", lambda self: reads.append(1) or read(self))
    images.laion.map_matrices(fit, "tau", "subject", features, voxels=130).compute()
    assert reads == [1]


@full("processes start slowly; test_a_subject pickles")
def test_in_processes(images: xr.Dataset, features: xr.Dataset) -> None:
    found = images.laion.map_matrices(fit, "tau", "subject", features, voxels=130)
    xr.testing.assert_allclose(found.compute(scheduler="processes", num_workers=2), found.compute())


def test_the_ceiling_of_averages(images: xr.Dataset) -> None:
    """Of images shown 12 times it is the map of these; of others, what their repetitions leave."""
    few, often = (images.isel(image=(images["n_averaged"] == n).values) for n in (4, 12))
    np.testing.assert_allclose(often.laion.noise_ceiling()["noise_ceiling"], images["nc_12rep"], rtol=1e-5)
    np.testing.assert_allclose(few.laion.noise_ceiling(4)["noise_ceiling"], images["nc_4rep"], rtol=1e-5)
    signal = images["nc_12rep"].values.astype(float) / 100
    noise = 12 * (1 - signal)  # of one trial
    for given_ in (few, images, images.compute()):
        share = np.mean(noise[:, None] / given_["n_averaged"].values, axis=1)
        found = given_.laion.noise_ceiling()
        np.testing.assert_allclose(found["noise_ceiling"], 100 * signal / (signal + share), rtol=1e-4)
        assert found.sizes["voxel"] == images.sizes["voxel"]
    extreme = few.assign_coords(nc_12rep=("voxel", np.resize([0.0, 100.0, np.nan], few.sizes["voxel"])))
    np.testing.assert_array_equal(extreme.laion.noise_ceiling()["noise_ceiling"][:3], [0, 100, np.nan])
    for wrong, message in (
        (few.drop_vars("nc_12rep"), "nc_12rep.*nc_4rep"),
        (images.isel(image=[]), "Expected averages of at least one image"),
        (images.drop_vars("n_averaged"), "Expected betas with dimensions .*, found image"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong.laion.noise_ceiling()
    with pytest.raises(ValueError, match=r"'nc_5rep'.*nc_12rep"):
        images.laion.noise_ceiling(5)


def test_regions_without_voxels(tiny: Path, tiny_store: Path, features: xr.Dataset) -> None:
    """A difference of two regions may be empty; the model is not called then."""
    empty = open_betas("sub-01", roi="FFA1 - face", store=tiny_store, bucket=tiny, chunks="voxel").laion.average()
    assert empty.sizes["voxel"] == 0
    for given_ in (empty, empty.compute()):
        assert given_.laion.map_matrices(fit, "tau", "subject", features).compute()["score"].shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds, x: ds.laion.map_matrices(fit, "taw", features=x), "'taw'.*tau"),
        (lambda ds, x: ds.laion.map_matrices(fit, "tau", "sub-03", x), "'sub-03'.*sub-01"),
        (lambda ds, x: ds.laion.map_matrices(fit, "tau", features=x, nan="omit"), "nan.*'omit'"),
        (lambda ds, x: ds.laion.map_matrices(fit, "tau", features=x.isel(image=[0])), r"lack \d+ images"),
        (
            lambda ds, x: ds.drop_vars("split_role").laion.map_matrices(fit, "tau", features=x),
            "no coordinate split_role",
        ),
        (lambda ds, x: ds.drop_vars("betas").laion.map_matrices(fit, "tau", features=x), "the variable 'betas'"),
        (
            lambda ds, x: ds.isel(voxel=0).laion.map_matrices(fit, "tau", features=x),
            "Expected betas with dimensions .*, found image",
        ),
        (
            lambda ds, x: ds.laion.trials(split="tau", role="train").laion.map_matrices(fit, "tau", features=x),
            r"None of the \d+ images is in the test set of split 'tau', pool 'shared'",
        ),
        (
            lambda ds, x: ds.laion.trials(split="tau", role="test").laion.matrices("tau", features=x),
            r"None of the \d+ images is in the train set",
        ),
        (
            lambda ds, x: ds.laion.map_matrices(mean_and_size, "tau", features=x, nan="zero").compute(),
            r"values of shape \(2, \d+\). Expected \(1, \d+\)",
        ),
        (lambda ds, x: ds.laion.map_matrices(fit, "tau", features=x, names="ab").compute(), r"Expected \(2, \d+\)"),
        (lambda ds, x: ds.laion.map_matrices(fit, "tau", features=x * np.nan).compute(), "rows are not finite"),
    ],
)
def test_what_cannot_be_done(
    images: xr.Dataset, features: xr.Dataset, call: Callable[[xr.Dataset, xr.DataArray], Any], message: str
) -> None:
    for given_ in (images, images.compute()):
        with pytest.raises(ValueError, match=message):
            call(given_, features["embedding"])


def test_it_is_a_function_too() -> None:
    assert analysis.map_matrices.__doc__
