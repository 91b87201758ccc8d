"""Representational dissimilarity between the patterns of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from intake_laion_fmri.analysis.blocks import MISSING, Missing, betas_of, size_text, with_history
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["rdm"]

OTHER = "image_2"
"""The second dimension of a matrix of images, with the same labels as the first."""


def rdm(
    dataset: xr.Dataset, metric: Literal["correlation", "euclidean"] = "correlation", *, nan: Missing = "drop"
) -> xr.DataArray:
    """Compute the dissimilarity of all pairs of images.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` (image, voxel): averages of z-scored trials.
    metric : {"correlation", "euclidean"}, default "correlation"
        ``1 - r``, with Pearson's correlation over voxels; or the Euclidean distance.
    nan : {"keep", "drop", "zero"}, default "drop"
        How to treat NaN of a voxel: the distances of the image are NaN, the voxel is left out of all distances, or NaN
        counts as 0.

    Returns
    -------
    xarray.DataArray, shape (image, image_2)
        float32; both dimensions have the labels of the images. Lazy if the betas are.

    Raises
    ------
    ValueError
        If there are no such betas, or an option is unknown.
    """
    import xarray as xr

    check_option("metric", metric, valid=("correlation", "euclidean"))
    check_option("nan", nan, valid=MISSING)
    betas = betas_of(dataset, IMAGE, VOXEL)
    values: Any = betas.data.astype(np.float64)
    known = ~np.isnan(values)
    n = values.shape[1]
    if nan == "drop":
        known = known.all(axis=0, keepdims=True)
        n = known.sum()
    if nan != "keep":
        values = np.where(known, values, 0)
    if metric == "correlation":
        values = values - values.sum(axis=1, keepdims=True) / n
        values = np.where(known, values, 0) if nan == "drop" else values
        values = values / np.sqrt((values**2).sum(axis=1, keepdims=True))
        distances = 1 - values @ values.T
    else:
        squares = (values**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * (values @ values.T), 0))
    labels = dataset[IMAGE].values
    coords: dict[str, Any] = {
        IMAGE: ((IMAGE,), labels, dict(dataset[IMAGE].attrs)),
        OTHER: ((OTHER,), labels, dict(dataset[IMAGE].attrs)),
    }
    if "subject" in dataset.coords and not dataset["subject"].ndim:
        coords["subject"] = dataset["subject"].variable
    history = with_history(dataset, f"rdm({metric!r}, nan={nan!r}) of {size_text(dataset, betas.data)}").attrs[
        "history"
    ]
    attrs = {"long_name": f"{metric} distance", "history": history}
    return xr.DataArray(distances.astype(np.float32), dims=(IMAGE, OTHER), coords=coords, name="rdm", attrs=attrs)
