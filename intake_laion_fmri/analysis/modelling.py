"""Train and test matrices of a split, and models fitted block by block."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.analysis.blocks import MISSING, Missing, betas_of, is_lazy, voxel_maps
from intake_laion_fmri.analysis.selecting import roles
from intake_laion_fmri.axes.images import IMAGE
from intake_laion_fmri.axes.roles import ROLES
from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option, in_short

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["map_matrices", "matrices"]


def matrices(
    dataset: xr.Dataset,
    split: str,
    pool: str = "shared",
    features: xr.DataArray | xr.Dataset | None = None,
    *,
    nan: Literal["raise", "keep"] = "raise",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return features and betas of both sides of a split, in memory.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` along ``trial`` or ``image``, and ``split_role``.
    split, pool : str
        The split, and its pool; ``"subject"`` is the subject's own.
    features : xarray.DataArray or Dataset, optional
        With the index ``image`` and one more dimension, such as `open_embeddings` returns. Rows are joined by label.
    nan : {"raise", "keep"}, default "raise"
        What is done about betas or features that are not finite, which models refuse. Nothing is filled or dropped:
        use `finite` before.

    Returns
    -------
    X_train, y_train, X_test, y_test : array
        C-contiguous. Rows are trials, or images; columns of ``X`` are features, of ``y`` voxels. float16 features
        become float32, as sums of products need. Without features ``X`` are the labels.

    Raises
    ------
    ValueError
        If the split is unknown, a side of it has no trials here, features lack an image of it, or a value is not
        finite, with the number of columns that have one.
    """
    check_option("nan", nan, valid=("raise", "keep"))
    dim = _dim(dataset)
    betas = betas_of(dataset, dim, VOXEL)
    found: list[NDArray[Any]] = []
    for rows, labels in _sides(dataset, split, pool):
        x = labels if features is None else np.asarray(_rows(features, labels))
        y = np.ascontiguousarray(betas.isel({dim: rows}).values)
        if nan == "raise":
            _check_finite(y, "voxels", "Drop them with ds.laion.finite()")
            _check_finite(x, "features", "Select the images that have all of them")
        found += [np.ascontiguousarray(x), y]
    return found[0], found[1], found[2], found[3]


def map_matrices(
    dataset: xr.Dataset,
    function: Callable[..., Any],
    split: str,
    pool: str = "shared",
    features: xr.DataArray | xr.Dataset | None = None,
    *,
    names: Sequence[str] = ("score",),
    nan: Missing = "drop",
    voxels: int | None = None,
) -> xr.Dataset:
    """Apply a function to the matrices of a split, block by block.

    Fit a model of all voxels by it, and score it, on threads, in processes or on a cluster.

    Parameters
    ----------
    dataset, split, pool, features
        As of `matrices`. Features that are lazy, as they are opened, are read where they are needed.
    function : callable
        ``function(X_train, y_train, X_test, y_test)`` returns a number for each column of ``y``: an array of shape
        (voxel,), or one for each of `names`. It is pickled where blocks are computed in other processes.
    names : sequence of str, default ("score",)
        Names of what it returns.
    nan : {"keep", "drop", "zero"}, default "drop"
        The function sees betas that are not finite; it does not see the voxels that have one on either side of the
        split, and theirs are NaN; or it sees 0 instead.
    voxels : int, optional
        Voxels of a block of lazy betas. By default as many as fit into 128 MiB (Dask's ``array.chunk-size``). What a
        model does to the features alone, such as their decomposition, it does once for each block.

    Returns
    -------
    xarray.Dataset
        A variable along ``voxel`` for each name, float32, and the scalars ``split`` and ``pool``. Lazy if the betas
        were.

    Raises
    ------
    ValueError
        As of `matrices`, or if an option is unknown; if features are not finite, or the function returns another number
        of values, also when it is computed.
    """
    check_option("nan", nan, valid=MISSING)
    dim = _dim(dataset)
    betas = betas_of(dataset, dim, VOXEL).data
    sides = _sides(dataset, split, pool)
    xs = [labels if features is None else _rows(features, labels) for _, labels in sides]
    kernel = functools.partial(_call, function=function, rows=[rows for rows, _ in sides], n_values=len(names), nan=nan)
    lazy = is_lazy(betas)
    values = _lazily(kernel, betas, xs, len(names), voxels) if lazy else kernel(betas, *map(np.asarray, xs))
    maps = {name: (values[number], {"long_name": name}) for number, name in enumerate(names)}
    n_train, n_test = map(len, xs)
    line = f"map_matrices({split=}, {pool=}, {nan=}): {n_train:,} {dim}s to learn from, {n_test:,} to predict"
    chosen = {"split": ((), np.array(split, dtype=object)), "pool": ((), np.array(pool, dtype=object))}
    return voxel_maps(dataset, maps, line).assign_coords(chosen)


def _call(
    betas: NDArray[np.floating],
    x_train: NDArray[Any],
    x_test: NDArray[Any],
    *,
    function: Callable[..., Any],
    rows: Sequence[NDArray[np.intp]],
    n_values: int,
    nan: Missing,
) -> NDArray[np.float32]:
    """Apply the function to the voxels of a block; shape (n_values, voxel)."""
    for x in (x_train, x_test):
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise ValueError(
                f"The features of {(~np.isfinite(x).all(axis=1)).sum()} of {len(x)} rows are not finite, as where a "
                "model has no embedding of an image. Exclude these images: 'valid' of open_embeddings flags them."
            )
    y_train, y_test = (betas[chosen] for chosen in rows)
    known = np.ones(betas.shape[1], dtype=bool)
    if nan == "drop":
        known = np.isfinite(y_train).all(axis=0) & np.isfinite(y_test).all(axis=0)
        if not known.all():
            y_train, y_test = y_train[:, known], y_test[:, known]
    elif nan == "zero":
        y_train, y_test = (np.nan_to_num(y, posinf=0, neginf=0) for y in (y_train, y_test))
    result = np.full((n_values, len(known)), np.nan, dtype=np.float32)
    if known.any():
        values = np.asarray(function(x_train, y_train, x_test, y_test))
        expected = (n_values, int(known.sum()))
        if values.shape != expected and (n_values > 1 or values.shape != expected[1:]):
            raise ValueError(
                f"The function returned values of shape {values.shape}. Expected {expected}, one number per entry of "
                "names= and per column of y."
            )
        result[:, known] = values
    return result


def _lazily(kernel: Callable[..., Any], betas: Any, xs: Sequence[Any], n_values: int, voxels: int | None) -> Any:
    """Return the values as a Dask array with one task per block.

    Reading a block is a task of its own.
    """
    import dask.array as da

    betas = betas.rechunk({0: -1, 1: voxels or "auto"})
    # Of one chunk each: then every task has them whole, and a worker is sent them once.
    x_train, x_test = (x.rechunk(-1) if is_lazy(x) else da.from_array(x, chunks=-1) for x in xs)
    with_features = "af", "bf"
    return da.blockwise(
        kernel,
        "nv",
        betas,
        "iv",
        x_train,
        with_features[0][: x_train.ndim],
        x_test,
        with_features[1][: x_test.ndim],
        new_axes={"n": n_values},
        concatenate=True,
        dtype="float32",
        meta=np.empty((0, 0), dtype="float32"),
    )


def _check_finite(values: NDArray[Any], columns: str, advice: str) -> None:
    """Raise ValueError unless all values of a matrix are finite."""
    if values.dtype.kind == "f" and not (known := np.isfinite(values).all(axis=0)).all():
        raise ValueError(
            f"{np.count_nonzero(~known):,} of {len(known):,} {columns} have values that are not finite. {advice}, or "
            "keep them with nan='keep'."
        )


def _dim(dataset: xr.Dataset) -> str:
    """Return the dimension of the rows: ``trial`` or ``image``."""
    return TRIAL if TRIAL in dataset.dims else IMAGE


def _sides(dataset: xr.Dataset, split: str, pool: str) -> list[tuple[NDArray[np.intp], NDArray[Any]]]:
    """Return the rows and labels of the train and the test side.

    ValueError if a side is empty.
    """
    dim = _dim(dataset)
    flags = roles(dataset, split, pool)
    labels = dataset["label" if dim == TRIAL else IMAGE].values
    found = []
    for role in ("train", "test"):
        rows = np.flatnonzero(flags == ROLES[role])
        if not len(rows):
            raise ValueError(
                f"None of the {len(flags):,} {dim}s here is in the {role} set of split {split!r}, pool {pool!r}. Open "
                "more trials, or choose another split or pool: split_role tells the role of each."
            )
        found.append((rows, labels[rows]))
    return found


def _rows(features: xr.DataArray | xr.Dataset, labels: NDArray[Any]) -> Any:
    """Return the features of some images, one row per label.

    The result is lazy if the features are.
    """
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
    values = features.transpose(IMAGE, ...).data[first[inverse]]
    return values.astype(np.float32) if values.dtype == np.float16 else values
