"""Training and test matrices of a split, and models fitted block by block."""

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
    """Return the training and test matrices of a split, in memory.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` along ``trial`` or ``image``, and ``split_role``.
    split, pool : str
        The split and its pool; ``"subject"`` is the subject's own pool.
    features : xarray.DataArray or Dataset, optional
        With the index ``image`` and one more dimension, as returned by `open_embeddings`. Rows are matched by label.
    nan : {"raise", "keep"}, default "raise"
        How to treat betas or features that are not finite, which most models reject. To drop such voxels, use `finite`
        first.

    Returns
    -------
    X_train, y_train, X_test, y_test : array
        C-contiguous. Rows are trials or images; columns of ``X`` are features, those of ``y`` voxels. float16 features
        are converted to float32, since sums of products need the precision. Without features ``X`` holds the labels.

    Raises
    ------
    ValueError
        If the split is unknown, the training or test set has no trials in the Dataset, an image has no features, or a
        value is not finite; the message counts the affected columns.
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
            _check_finite(x, "features", "Select images whose features are all finite")
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

    This fits and scores models of all voxels, on threads, in processes or on a cluster.

    Parameters
    ----------
    dataset, split, pool, features
        As in `matrices`. Lazy features, as opened, are read by the tasks that need them.
    function : callable
        ``function(X_train, y_train, X_test, y_test)`` returns a number for each column of ``y``: an array of shape
        (voxel,), or one for each of `names`. It must be picklable if blocks are computed in other processes.
    names : sequence of str, default ("score",)
        Names of the returned values.
    nan : {"keep", "drop", "zero"}, default "drop"
        How to treat betas that are not finite: they are passed on; voxels that have any, in either set, are not passed
        on, and their results are NaN; or they are replaced with 0.
    voxels : int, optional
        Voxels per block of lazy betas. By default as many as fit into 128 MiB (Dask's ``array.chunk-size``). Work on
        the features alone, such as their decomposition, is repeated for each block.

    Returns
    -------
    xarray.Dataset
        A float32 variable along ``voxel`` for each name, and the scalar coordinates ``split`` and ``pool``. Lazy if the
        betas are.

    Raises
    ------
    ValueError
        As in `matrices`, or if an option is unknown. If features are not finite, or the function returns another number
        of values, lazy results raise it when computed.
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
                f"The features of {(~np.isfinite(x).all(axis=1)).sum()} of {len(x)} rows are not finite, for example "
                "because a model has no embedding of an image. Exclude images that are not 'valid' in open_embeddings."
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
    """Return the values as a Dask array, with one task per block."""
    import dask.array as da

    betas = betas.rechunk({0: -1, 1: voxels or "auto"})
    # A single chunk each, so that every task has all features, and a worker receives them once.
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
    """Return the rows and labels of both sets, or raise ValueError."""
    dim = _dim(dataset)
    flags = roles(dataset, split, pool)
    labels = dataset["label" if dim == TRIAL else IMAGE].values
    found = []
    for role in ("train", "test"):
        rows = np.flatnonzero(flags == ROLES[role])
        if not len(rows):
            raise ValueError(
                f"None of the {len(flags):,} {dim}s is in the {role} set of split {split!r}, pool {pool!r}. Open more "
                "trials, or choose another split or pool; the coordinate split_role has the role of each."
            )
        found.append((rows, labels[rows]))
    return found


def _rows(features: xr.DataArray | xr.Dataset, labels: NDArray[Any]) -> Any:
    """Return a row of features per label, lazy if the features are."""
    import pandas as pd
    import xarray as xr

    if isinstance(features, xr.Dataset):
        (name,) = [known for known, array in features.data_vars.items() if IMAGE in array.dims and array.ndim == 2]
        features = features[name]
    index = features.get_index(IMAGE)
    distinct, inverse = np.unique(labels.astype(object), return_inverse=True)
    # An image may occur several times, with equal features.
    positions = index[~index.duplicated()].get_indexer(pd.Index(distinct))
    if (positions < 0).any():
        missing = in_short([str(label) for label in distinct[positions < 0]])
        raise ValueError(f"The features lack {(positions < 0).sum()} images of the split: {missing}.")
    first = np.flatnonzero(~index.duplicated())[positions]
    values = features.transpose(IMAGE, ...).data[first[inverse]]
    return values.astype(np.float32) if values.dtype == np.float16 else values
