"""Matrices of a train/test split, for scikit-learn and himalaya."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import BETAS
from intake_laion_fmri.analysis.selecting import roles
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.roles import ROLES
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import in_short

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["matrices"]


def matrices(
    dataset: xr.Dataset, split: str, pool: str = "shared", features: xr.DataArray | xr.Dataset | None = None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return features and betas of the two sides of a split, in memory.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` along ``trial`` or ``image``, and ``split_role``.
    split, pool : str
        The split, and its pool; ``"subject"`` is the subject's own.
    features : xarray.DataArray or Dataset, optional
        With the index ``image`` and one more dimension, such as `open_embeddings` returns. Rows are joined by label.

    Returns
    -------
    X_train, y_train, X_test, y_test : array
        Rows are trials, or images; columns of ``X`` are features, of ``y`` voxels. Without features ``X`` are the
        labels. Nothing is filled or dropped: use `finite` before.

    Raises
    ------
    ValueError
        If the split is unknown, or features lack an image of it.
    """
    dim = TRIAL if TRIAL in dataset[BETAS].dims else IMAGE
    flags = roles(dataset, split, pool)
    labels = dataset["label" if dim == TRIAL else IMAGE].values
    found: list[NDArray[Any]] = []
    for role in ("train", "test"):
        rows = np.flatnonzero(flags == ROLES[role])
        betas = dataset[BETAS].transpose(dim, VOXEL).isel({dim: rows})
        found += [labels[rows] if features is None else _rows(features, labels[rows]), np.asarray(betas.values)]
    return found[0], found[1], found[2], found[3]


def _rows(features: xr.DataArray | xr.Dataset, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the features of some images, one row for each label."""
    import pandas as pd
    import xarray as xr

    if isinstance(features, xr.Dataset):
        (name,) = [one for one, values in features.data_vars.items() if IMAGE in values.dims and values.ndim == 2]
        features = features[name]
    index = features.get_index(IMAGE)
    distinct, inverse = np.unique(labels.astype(object), return_inverse=True)
    # An image may be there several times: its rows are the same.
    positions = index[~index.duplicated()].get_indexer(pd.Index(distinct))
    if (positions < 0).any():
        missing = in_short([str(label) for label in distinct[positions < 0]])
        raise ValueError(f"The features lack {(positions < 0).sum()} images of the split: {missing}.")
    first = np.flatnonzero(~index.duplicated())[positions]
    return np.asarray(features.transpose(IMAGE, ...).isel({IMAGE: first}).values)[inverse]
