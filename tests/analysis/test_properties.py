"""Operations are the NumPy of their docstrings: with NaN, one trial, one repetition, no variance, unequal sessions.

Lazy betas give what loaded ones give, a store what streams give, and scaling does not depend on when one selects.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from drawn_betas import Doubles, datasets, plain_zscore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiers import examples

from intake_laion_fmri import analysis, open_betas

slow = settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
few = settings(
    deadline=None,
    max_examples=examples(12),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

warns_as_numpy = pytest.mark.filterwarnings("ignore::RuntimeWarning")
"""Of 0 / 0 where nothing varies. The threads of Dask before 2026 do not have the `np.errstate` of their caller."""


def repeated(dataset: xr.Dataset, n: int | None) -> list[NDArray[np.intp]]:
    """Rows of each image that was shown twice or more, or exactly so often."""
    labels = dataset["label"].values
    rows = [np.flatnonzero(labels == name) for name in np.unique(labels)]
    return [found for found in rows if len(found) > 1 and n in (None, len(found))]


def scaled(dataset: xr.Dataset, within: str | None) -> Doubles:
    betas = plain_zscore(dataset, within) if within else dataset["betas"].values.astype(np.float64)
    betas[~np.isfinite(betas)] = np.nan
    return betas


@slow
@given(dataset=datasets(), n=st.sampled_from([None, 2, 3]), within=st.sampled_from([None, "session", "run"]))
def test_noise_ceiling(dataset: xr.Dataset, n: int | None, within: Any) -> None:
    images = repeated(dataset, n)
    if not images:
        with pytest.raises(ValueError, match="No image was shown"):
            analysis.noise_ceiling(dataset, n, within=within)
        return
    betas = scaled(dataset, within)
    noise = []
    for column in betas.T:
        values = (column[rows][~np.isnan(column[rows])] for rows in images)
        variances = [there.var(ddof=1) for there in values if len(there) > 1]
        noise.append(np.mean(variances) if variances else np.nan)
    with np.errstate(all="ignore"):
        ncsnr = np.sqrt(np.maximum(0, 1 - np.array(noise)) / np.array(noise))
        expected = 100 * ncsnr**2 / (ncsnr**2 + np.mean([1 / len(rows) for rows in images]))
        for betas_ in (dataset, dataset.compute()):
            found = analysis.noise_ceiling(betas_, n, within=within).compute()
            np.testing.assert_allclose(found["ncsnr"].values, ncsnr, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(found["noise_ceiling"].values, expected, rtol=1e-3, atol=1e-2)


@warns_as_numpy
@slow
@given(dataset=datasets(), within=st.sampled_from([None, "session"]))
def test_reliability(dataset: xr.Dataset, within: Any) -> None:
    images = repeated(dataset, None)
    if not images:
        with pytest.raises(ValueError, match="No image was shown"):
            analysis.reliability(dataset, within=within)
        return
    betas = scaled(dataset, within)
    halves = [np.array([betas[rows[start::2]].mean(axis=0) for rows in images]) for start in (0, 1)]
    apart = [half - half.mean(axis=0) for half in halves]
    varies = [np.abs(half).max(axis=0) > 1e-4 for half in apart]
    known = varies[0] & varies[1]  # also False for NaN; correlations of what does not vary are noise, or NaN
    norms = [np.sqrt((half[:, known] ** 2).sum(axis=0)) for half in apart]
    r = (apart[0] * apart[1])[:, known].sum(axis=0) / (norms[0] * norms[1])
    is_nan = np.isnan(halves[0] + halves[1]).any(axis=0)
    for betas_ in (dataset, dataset.compute()):
        found = analysis.reliability(betas_, within=within).compute()
        np.testing.assert_allclose(found["correlation"].values[known], r, atol=2e-3)
        corrected = 2 * found["correlation"].values / (1 + found["correlation"].values)
        np.testing.assert_allclose(found["reliability"].values, corrected, rtol=1e-5)
        assert np.isnan(found["correlation"].values[is_nan]).all()


@warns_as_numpy
@slow
@given(
    dataset=datasets(),
    metric=st.sampled_from(["correlation", "euclidean"]),
    nan=st.sampled_from(["keep", "drop", "zero"]),
)
def test_rdm(dataset: xr.Dataset, metric: Any, nan: Any) -> None:
    images = analysis.average(dataset)
    values = images["betas"].values.astype(np.float64)
    if nan == "drop":
        values = values[:, ~np.isnan(values).any(axis=0)]
    elif nan == "zero":
        values = np.nan_to_num(values)
    if metric == "euclidean":
        expected = np.sqrt(((values[:, None] - values[None]) ** 2).sum(axis=-1))
    else:
        centred = values - values.mean(axis=1, keepdims=True)
        centred /= np.sqrt((centred**2).sum(axis=1, keepdims=True))
        expected = 1 - centred @ centred.T if values.size else np.full([len(values)] * 2, np.nan)  # of no voxel
    for betas in (images, images.compute()):
        found = analysis.rdm(betas, metric, nan=nan).values
        np.testing.assert_allclose(found, expected, atol=2e-2)


@slow
@given(dataset=datasets())
def test_finite(dataset: xr.Dataset) -> None:
    kept = np.isfinite(dataset["betas"].values).all(axis=0)
    for betas in (dataset, dataset.compute()):
        found = analysis.finite(betas)
        assert found["voxel"].values.tolist() == dataset["voxel"].values[kept].tolist()
        np.testing.assert_array_equal(found["betas"].values, dataset["betas"].values[:, kept])


SELECTIONS = st.fixed_dictionaries(
    {"roi": st.sampled_from([None, "face", "laionventral - hV4"])},
    optional={
        "stimuli": st.sampled_from(["shared", "unique", "ood"]),
        "session": st.sampled_from([1, [2, 3], "all"]),
        "split": st.sampled_from(["tau", "ood", "random_0"]),
        "min_noise_ceiling": st.sampled_from([10, 40]),
    },
)


@few
@given(selection=SELECTIONS, within=st.sampled_from(["session", "run"]), subject=st.sampled_from(["sub-01", "sub-03"]))
def test_scaling_before_and_after_a_selection(
    tiny: Path, tiny_store: Path, selection: dict[str, Any], within: Any, subject: str
) -> None:
    """The trials of a session that are not selected count, from streams and from a store."""
    everything = open_betas(subject, bucket=tiny).laion.zscore(within)["betas"]
    for store in (None, tiny_store):
        found = open_betas(subject, zscore=within, bucket=tiny, store=store, **selection)
        expected = everything.sel(trial=found["trial"].values, voxel=found["voxel"].values)
        np.testing.assert_array_equal(found["betas"].values, expected.values)


@few
@given(
    selection=SELECTIONS,
    chunks=st.sampled_from(["session", "voxel", {"voxel": 30}]),
    operation=st.sampled_from(["average", "noise_ceiling", "repetitions", "zscore"]),
)
def test_results_from_streams_and_from_a_store(
    tiny: Path, tiny_store: Path, selection: dict[str, Any], chunks: Any, operation: str
) -> None:
    arguments: dict[str, Any] = {"repetitions": {"n": 1}, "noise_ceiling": {"within": None}}.get(operation, {})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Trials of a session are missing", UserWarning)
        whole = open_betas("sub-03", bucket=tiny, **selection)
        if operation == "noise_ceiling" and whole["label"].to_series().is_unique:
            return
        expected = getattr(whole.laion, operation)(**arguments).compute()
        stored = open_betas("sub-03", bucket=tiny, store=tiny_store, chunks=chunks, **selection)
        found = getattr(stored.laion, operation)(**arguments).compute().sortby("voxel")
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs(), rtol=1e-5, atol=1e-5)
