"""``ds.laion``: the functions of `analysis` as methods of Datasets, DataArrays and DataTrees.

Data opened by this package have it. For saved data opened by xarray, ``import intake_laion_fmri.accessor`` first.
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
    "load": f"{_PACKAGE}.reading.loading",
    **dict.fromkeys(("plot", "plot_ceiling", "plot_flat", "plot_rdm", "plot_split"), f"{_PACKAGE}.plotting"),
    **dict.fromkeys(("plot_surface", "plot_trials", "view"), f"{_PACKAGE}.plotting"),
    "to_nifti": f"{_PACKAGE}.axes.volumes",
    **dict.fromkeys(("to_brainscore", "to_frame", "to_torch"), f"{_PACKAGE}.export"),
}
"""From a method to the module of its function, whose first argument is the Dataset or DataArray."""

OF_TREES = {"concat": _ANALYSIS, "load": OPERATIONS["load"]}
"""The same for functions of a DataTree."""
OF_NODES = ("average", "finite", "noise_ceiling", "reliability", "repetitions", "roi", "trials", "zscore")
"""Methods of Datasets that a DataTree has, too: applied to each Dataset, they return a DataTree."""


class Laion:
    """Operations on betas and maps of this package; see `intake_laion_fmri.analysis`."""

    def __init__(self, data: xr.Dataset | xr.DataArray) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in OPERATIONS:
            raise AttributeError(f"laion has no method {name!r}. Available: {', '.join(sorted(OPERATIONS))}.")
        # A bound method: help and completion omit the first argument, and warnings point to the user's line.
        return types.MethodType(getattr(importlib.import_module(OPERATIONS[name]), name), self._data)

    def __dir__(self) -> list[str]:
        return sorted(OPERATIONS)

    def __repr__(self) -> str:
        return str(self._page())

    def _repr_html_(self) -> str:
        return str(self._page().html())

    def _page(self) -> Any:
        return importlib.import_module(_PAGES).data_page(self._data, tuple(OPERATIONS))


class LaionTree:
    """Operations on the subjects of a tree from `intake_laion_fmri.open_shared`."""

    def __init__(self, tree: xr.DataTree) -> None:
        self._tree = tree

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in OF_TREES:
            return types.MethodType(getattr(importlib.import_module(OF_TREES[name]), name), self._tree)
        if name not in OF_NODES:
            raise AttributeError(f"laion of a DataTree has no method {name!r}. Available: {', '.join(dir(self))}.")
        return types.MethodType(_of_each(getattr(importlib.import_module(OPERATIONS[name]), name)), self._tree)

    def __dir__(self) -> list[str]:
        return sorted({*OF_TREES, *OF_NODES})

    def __repr__(self) -> str:
        return f"<laion: {', '.join(dir(self))}>"


def _of_each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that maps another over a tree's non-empty Datasets."""

    @functools.wraps(function)
    def of_each(tree: xr.DataTree, *args: Any, **kwargs: Any) -> xr.DataTree:
        datasets = {node.path: node.to_dataset() for node in tree.subtree}
        found = {
            path: function(dataset, *args, **kwargs) if dataset.data_vars else dataset
            for path, dataset in datasets.items()
        }
        return xr.DataTree.from_dict(found, name=tree.name)

    return of_each


@functools.cache
def register() -> None:
    """Register the accessor with xarray, once."""
    xr.register_dataset_accessor("laion")(Laion)  # type: ignore[no-untyped-call]
    xr.register_dataarray_accessor("laion")(Laion)  # type: ignore[no-untyped-call]
    xr.register_datatree_accessor("laion")(LaionTree)  # type: ignore[no-untyped-call]


register()
