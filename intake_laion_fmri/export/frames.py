"""Betas as a long table for statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from intake_laion_fmri.analysis.blocks import BETAS, MISSING, Missing
from intake_laion_fmri.analysis.selecting import roi
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import check_option

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["to_frame"]

MOST_ROWS = 20_000_000
"""Maximum number of rows of a table, of some hundred bytes each."""

Voxels = Literal["mean", "each"]
"""One row for all voxels, or a row for each."""


def to_frame(
    dataset: xr.Dataset, voxels: Voxels = "mean", *, rois: Sequence[str] | None = None, nan: Missing = "keep"
) -> pd.DataFrame:
    """Convert betas to a pandas table in long form.

    Parameters
    ----------
    dataset : xarray.Dataset
        With ``betas`` along ``voxel`` and ``trial``, ``image``, or both ``image`` and ``repetition``.
    voxels : {"mean", "each"}, default "mean"
        A row per trial with the mean over voxels, or a row per trial and voxel.
    rois : sequence of str, optional
        ROIs or expressions as in `open_betas`, each with its own rows, named in the column ``roi``. By default all
        voxels together.
    nan : {"keep", "drop", "zero"}, default "keep"
        How to treat NaN of a voxel: the mean is NaN; it is left out of the mean, and rows of NaN are dropped; or it
        counts as 0.

    Returns
    -------
    pandas.DataFrame
        Columns: the dimensions, ``betas`` (float32), every coordinate along them (``session``, ``run``, ``label``,
        ``repetition``, ``dataset``, …) and ``subject``. The index is the row's number.

    Raises
    ------
    ValueError
        If the table would have more than 20 million rows, an option or an ROI is unknown, or there are no betas.

    Notes
    -----
    Lazy betas are computed. The table can be passed to statsmodels as it is:
    ``smf.mixedlm("betas ~ dataset", table, groups=table["label"])``.
    """
    import pandas as pd

    check_option("voxels", voxels, valid=get_args(Voxels))
    check_option("nan", nan, valid=MISSING)
    if isinstance(rois, str):
        raise ValueError(f"rois={rois!r}: expected a list, such as [{rois!r}].")
    if BETAS not in getattr(dataset, "data_vars", {}) or VOXEL not in dataset[BETAS].dims:
        raise ValueError("Expected a Dataset with betas along voxel, such as open_betas returns.")
    parts = {name: dataset if name is None else roi(dataset, name) for name in (rois if rois is not None else [None])}
    n_rows = sum(math.prod(part[BETAS].shape) for part in parts.values())
    if voxels == "each" and n_rows > MOST_ROWS:
        raise ValueError(
            f"voxels='each' would make {n_rows:,} rows, expected at most {MOST_ROWS:,}. Select voxels with "
            "ds.laion.roi(), or pass voxels='mean'."
        )
    tables = [_table(part[BETAS], voxels, nan, name) for name, part in parts.items()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _table(betas: xr.DataArray, voxels: str, nan: str, name: str | None) -> pd.DataFrame:
    betas = betas.drop_vars("grid", errors="ignore")
    if nan == "zero":
        betas = betas.fillna(np.float32(0))
    if voxels == "mean":
        if not betas.sizes[VOXEL]:
            raise ValueError(f"{'The selection' if name is None else name} has no voxels to average.")
        betas = betas.mean(VOXEL, dtype=np.float64, skipna=nan == "drop").astype(np.float32)
    table: pd.DataFrame = betas.to_dataframe(name=BETAS).reset_index()
    if nan == "drop":
        table = table[table[BETAS].notna()].reset_index(drop=True)
    if name is not None:
        table.insert(0, "roi", name)
    return table
