"""``ds.laion``: the functions of `analysis` as methods of Datasets and DataArrays.

What is opened here has it. For what was saved and opened by xarray, ``import intake_laion_fmri.accessor``.
"""

from __future__ import annotations

import functools
import importlib
import types
from collections.abc import Callable
from typing import Any

import xarray as xr

__all__ = ["Laion", "register"]

_PACKAGE = __name__.rpartition(".")[0]
_ANALYSIS = f"{_PACKAGE}.analysis"
_PAGES = f"{_PACKAGE}.reading.pages"
OPERATIONS = {
    **dict.fromkeys(("average", "finite", "map_matrices", "matrices", "noise_ceiling", "rdm"), _ANALYSIS),
    **dict.fromkeys(("reliability", "repetitions", "roi", "trials", "zscore"), _ANALYSIS),
    "plot": f"{_PACKAGE}.plotting",
    "to_nifti": f"{_PACKAGE}.axes.volumes",
    **dict.fromkeys(("to_brainscore", "to_frame", "to_torch"), f"{_PACKAGE}.export"),
}
"""Name of a method → the module with the function, whose first argument is the Dataset or DataArray."""


class Laion:
    """Operations on what this package opens; see `intake_laion_fmri.analysis`."""

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in OPERATIONS:
            raise AttributeError(f"laion has no {name!r}. It has {', '.join(sorted(OPERATIONS))}.")
        # As a method of any object: help and completion leave the first argument out, warnings name the user's line.
        return types.MethodType(getattr(importlib.import_module(OPERATIONS[name]), name), self._data)

    def __dir__(self) -> list[str]:
        return sorted(OPERATIONS)

    def __repr__(self) -> str:
        return str(self._page())

    def _repr_html_(self) -> str:
        return str(self._page().html())

    def _page(self) -> Any:
        return importlib.import_module(_PAGES).data_page(self._data, tuple(OPERATIONS))


@functools.cache
def register() -> None:
    """Register the accessor with xarray, once."""
    xr.register_dataset_accessor("laion")(Laion)  # type: ignore[no-untyped-call]
    xr.register_dataarray_accessor("laion")(Laion)  # type: ignore[no-untyped-call]


register()
