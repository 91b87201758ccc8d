"""Betas that Hypothesis draws, and the NumPy that operations are compared with."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import strategies as st
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@st.composite
def datasets(draw: st.DrawFn) -> xr.Dataset:
    """Draw betas with NaN, constant voxels, sessions of unequal length, and images shown once or often."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    n, n_voxels = sum(lengths), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    betas = rng.normal(draw(st.sampled_from([0, 1000])), 1, (n, n_voxels)).astype(np.float32)
    betas[rng.random(betas.shape) < draw(st.sampled_from([0, 0.2]))] = np.nan
    betas[:, rng.random(n_voxels) < draw(st.sampled_from([0, 0.5]))] = 3
    labels = np.array([f"image {number}" for number in rng.integers(0, 4, n)], dtype=object)
    sessions = np.repeat([f"ses-{number:02d}" for number in range(1, len(lengths) + 1)], lengths).astype(object)
    beta_index = np.concatenate([np.arange(length) for length in lengths])
    return xr.Dataset(
        {"betas": (("trial", "voxel"), betas)},
        coords={
            "trial": np.arange(n),
            "session": ("trial", sessions),
            "run": ("trial", beta_index // 3 + 1),
            "beta_index": ("trial", beta_index),
            "label": ("trial", labels),
            "repetition": ("trial", pd.Series(labels).groupby(labels).cumcount().to_numpy()),
            "size": ("trial", [len(label) for label in labels]),
            "voxel": np.arange(n_voxels) * 10,
        },
    ).chunk(trial=tuple(lengths))


def groups_of(dataset: xr.Dataset, within: str) -> list[NDArray[np.intp]]:
    names = ["session"] if within == "session" else ["session", "run"]
    frame = pd.DataFrame({name: dataset[name].values for name in names})
    return [np.asarray(rows) for rows in frame.groupby(names).indices.values()]


def plain_zscore(dataset: xr.Dataset, within: str) -> Doubles:
    betas = dataset["betas"].values.astype(np.float64)
    scaled = np.empty_like(betas)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        for rows in groups_of(dataset, within):
            scaled[rows] = (betas[rows] - np.nanmean(betas[rows], axis=0)) / np.nanstd(betas[rows], axis=0)
    return scaled
