"""Several subjects as one Dataset: voxels side by side, other axes in common."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from intake_laion_fmri.analysis.blocks import with_history
from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.errors import in_short
from intake_laion_fmri.formats.grid import GRID

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["concat"]

SUBJECT = "subject"


def concat(tree: xr.DataTree) -> xr.Dataset:
    """Concatenate the voxels of several subjects.

    Parameters
    ----------
    tree : xarray.DataTree
        With a Dataset along ``voxel`` for each subject, as returned by `intake_laion_fmri.open_shared` or computed from
        it. The variables, and other dimensions such as ``image``, must be equal in all.

    Returns
    -------
    xarray.Dataset
        Lazy if the betas are; no block holds voxels of two subjects. Coordinates:

        - ``subject`` (voxel), sorted;
        - ``voxel``, the index into the grid of the voxel's own subject, which may therefore occur once per subject; and
          the other coordinates along ``voxel``, with NaN for maps that a subject lacks;
        - ``in_roi`` (roi, voxel), with the ROIs of all subjects, False for ROIs that a subject lacks;
        - ``split_role`` (pool, split, image), with the pools of all subjects;
        - those along ``image`` that are equal for all subjects, such as ``complete``. The others are left out and
          listed in ``history``: ``trial``, and ``n_averaged`` if an image lacks a repetition;
        - ``grid``, a scalar whose attributes hold the grid of each subject.

        ``ds.isel(voxel=(ds.subject == "sub-01").values)`` selects one subject, which `to_nifti` converts to a volume.

    Raises
    ------
    ValueError
        If there is no such Dataset, a subject occurs twice, or images or variables differ between subjects.

    Notes
    -----
    The chunks of a Zarr array have one length, but subjects differ in their number of voxels: load the Dataset before
    ``to_zarr``, or rechunk the betas: ``ds.assign(betas=ds.betas.chunk(voxel=4096))``.
    """
    import xarray as xr

    subjects = _subjects(tree)
    _raise_unless_alike(subjects)
    datasets = list(subjects.values())
    indexes = _indexes(datasets)
    coords: dict[str, xr.Variable] = {}
    left_out = []
    for name in dict.fromkeys(str(name) for ds in datasets for name in ds.coords):
        variables = [ds.coords[name].variable if name in ds.coords else None for ds in datasets]
        if VOXEL in next(variable.dims for variable in variables if variable is not None):
            joined = _side_by_side(variables, datasets, indexes)
        else:
            joined = _in_common(variables, datasets, indexes)
        if joined is not None:
            coords[name] = joined
        elif name not in (SUBJECT, GRID):
            left_out.append(name)
    who = np.repeat(np.array(list(subjects), dtype=object), [ds.sizes[VOXEL] for ds in datasets])
    # Within this process, the encoding records where a subject was read from.
    encodings = [ds.coords[SUBJECT].encoding for ds in datasets]
    kept = encodings[0] if all(encoding == encodings[0] for encoding in encodings) else {}
    coords[SUBJECT] = xr.Variable((VOXEL,), who, {"long_name": "subject"}, kept)
    coords.pop(GRID, None)
    if all(GRID in ds.coords for ds in datasets):
        coords[GRID] = _grids(subjects)
    data = {str(name): _concatenated([ds[name].variable for ds in datasets]) for name in datasets[0].data_vars}
    result = xr.Dataset(data, coords=coords, attrs=_attributes(subjects))
    apart = f"; left out, since they differ: {', '.join(left_out)}" if left_out else ""
    return with_history(result, f"concat(): {len(datasets)} subjects, {result.sizes[VOXEL]:,} voxels{apart}")


def _subjects(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the Dataset of each subject, sorted by subject."""
    # Sorted because Zarr does not preserve the order of groups.
    found: dict[str, xr.Dataset] = {}
    for node in tree.subtree:
        dataset = node.to_dataset()
        if not any(VOXEL in array.dims for array in dataset.data_vars.values()):
            continue
        if SUBJECT not in dataset.coords or dataset.coords[SUBJECT].ndim:
            raise ValueError(f"{node.path} is not of a single subject: expected the scalar coordinate 'subject'.")
        name = str(dataset.coords[SUBJECT].values)
        if name in found:
            raise ValueError(f"{name} occurs twice, the second time as {node.path}: its voxels would be duplicated.")
        found[name] = dataset
    if not found:
        raise ValueError("The tree has no variable along 'voxel': expected a tree such as open_shared returns.")
    return dict(sorted(found.items()))


def _raise_unless_alike(subjects: Mapping[str, xr.Dataset]) -> None:
    """Raise ValueError unless all subjects have the same variables and images."""
    (name, first), *others = subjects.items()
    for other, dataset in others:
        if set(dataset.data_vars) != set(first.data_vars):
            mine, theirs = (", ".join(map(str, ds.data_vars)) for ds in (first, dataset))
            raise ValueError(f"{name} has the variables {mine}, but {other} has {theirs}: expected the same variables.")
        for variable, array in first.data_vars.items():
            if set(array.dims) != set(dataset[variable].dims) or VOXEL not in array.dims:
                raise ValueError(
                    f"{variable} has dimensions {array.dims} in {name}, but {dataset[variable].dims} in {other}: "
                    f"expected the same dimensions, including {VOXEL!r}."
                )
            for dim in set(array.dims) - {VOXEL}:
                if not first.get_index(dim).equals(dataset.get_index(dim)):
                    apart = first.get_index(dim).symmetric_difference(dataset.get_index(dim))
                    difference = f": {in_short(list(map(str, apart)), most=3)}" if len(apart) else " in their order"
                    raise ValueError(
                        f"{name} and {other} differ along {dim!r}{difference}. open_shared aligns all subjects; select "
                        f"the same values in each with tree.sel({dim}=...)."
                    )


def _indexes(datasets: Sequence[xr.Dataset]) -> dict[Any, Any]:
    """Return the labels of dimensions without a variable, such as ``roi``."""
    import pandas as pd

    of_data = {dim for array in datasets[0].data_vars.values() for dim in array.dims}
    dims = dict.fromkeys(dim for ds in datasets for dim in ds.coords.to_dataset().sizes if dim not in of_data)
    each = {dim: [ds.get_index(dim) for ds in datasets if dim in ds.sizes] for dim in dims}
    labels = {dim: pd.Index(dict.fromkeys(label for index in found for label in index)) for dim, found in each.items()}
    is_sorted = {dim: all(index.is_monotonic_increasing for index in found) for dim, found in each.items()}
    return {dim: index.sort_values() if is_sorted[dim] else index for dim, index in labels.items()}


def _side_by_side(
    variables: Sequence[xr.Variable | None], datasets: Sequence[xr.Dataset], indexes: Mapping[Any, Any]
) -> xr.Variable | None:
    """Concatenate a coordinate over subjects; return None if it cannot be filled.

    Only floats can: NaN fills a coordinate that a subject lacks.
    """
    import xarray as xr

    first = next(variable for variable in variables if variable is not None)
    others = [dim for dim in first.dims if dim != VOXEL]
    if any(variable is None for variable in variables) and first.dtype.kind != "f":
        return None
    parts = []
    for variable, dataset in zip(variables, datasets, strict=True):
        shape = [*(len(indexes[dim]) for dim in others), dataset.sizes[VOXEL]]
        values = np.full(shape, np.nan if first.dtype.kind == "f" else np.zeros((), first.dtype), dtype=first.dtype)
        if variable is not None:
            rows = [indexes[dim].get_indexer(dataset.get_index(dim)) for dim in others]
            values[np.ix_(*rows, np.arange(shape[-1]))] = variable.transpose(*others, VOXEL).values
        parts.append(xr.Variable((*others, VOXEL), values, first.attrs))
    return _concatenated(parts)


def _in_common(
    variables: Sequence[xr.Variable | None], datasets: Sequence[xr.Dataset], indexes: Mapping[Any, Any]
) -> xr.Variable | None:
    """Return the coordinate common to all subjects, or None if they differ."""
    import xarray as xr

    present = [(variable, ds) for variable, ds in zip(variables, datasets, strict=True) if variable is not None]
    first = present[0][0]
    of_all = [dim for dim in first.dims if dim in indexes]
    if not of_all:
        return first if all(_same(first.values, variable.values) for variable, _ in present) else None
    others = [dim for dim in first.dims if dim not in indexes]
    shape = [len(indexes[dim]) for dim in of_all]
    result = np.zeros((*shape, *(first.sizes[dim] for dim in others)), dtype=first.dtype)
    is_known = np.zeros(shape, dtype=bool)
    for variable, dataset in present:
        values = variable.transpose(*of_all, *others).values
        rows = np.ix_(*(indexes[dim].get_indexer(dataset.get_index(dim)) for dim in of_all))
        before = is_known[rows]
        if not _same(result[rows][before], values[before]):
            return None
        result[rows], is_known[rows] = values, True
    attrs = _common_attrs([variable.attrs for variable, _ in present])
    return xr.Variable((*of_all, *others), result, attrs) if is_known.all() else None


def _same(first: Any, second: Any) -> bool:
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))


def _concatenated(variables: Sequence[xr.Variable]) -> xr.Variable:
    import xarray as xr

    dims = variables[0].dims
    parts = [variable.transpose(*dims) for variable in variables]
    joined = xr.Variable.concat(parts, VOXEL)  # type: ignore[no-untyped-call]
    return xr.Variable(joined.dims, joined.data, _common_attrs([variable.attrs for variable in variables]))


def _common_attrs(each: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Return the attributes equal in all subjects, and all SHA-256 sums."""
    attrs = {
        name: value
        for name, value in each[0].items()
        if all(np.array_equal(value, np.asarray(other.get(name))) for other in each)
    }
    if all("sha256" in other for other in each):
        sums = [json.loads(other["sha256"]) for other in each]
        attrs["sha256"] = json.dumps({file: checksum for known in sums for file, checksum in known.items()})
    return attrs


def _grids(subjects: Mapping[str, xr.Dataset]) -> xr.Variable:
    """Return the scalar coordinate ``grid``, with each subject's grid in an attribute."""
    import xarray as xr

    of_each = {
        name: {field: np.asarray(ds.coords[GRID].attrs.get(field)).tolist() for field in ("affine", "shape", "space")}
        for name, ds in subjects.items()
    }
    value = "; ".join(f"{name} {ds.coords[GRID].values}" for name, ds in subjects.items())
    attrs = {"long_name": "voxel grids of the subjects", "grid_mapping_name": "affine", "grids": json.dumps(of_each)}
    return xr.Variable((), np.array(value, dtype=object), attrs)


def _attributes(subjects: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return the attributes of all subjects, with their sources and histories."""
    each = [ds.attrs for ds in subjects.values()]
    attrs = _common_attrs(each)
    attrs.pop("affine", None)
    attrs.pop("grid_shape", None)
    titles = {str(own.get("title", "")).removesuffix(f" of {name}") for name, own in zip(subjects, each, strict=True)}
    if len(titles) == 1:
        attrs["title"] = f"{titles.pop()} of {', '.join(subjects)}"
    if all("sources" in own for own in each):
        attrs["sources"] = json.dumps([source for own in each for source in json.loads(own["sources"])])
    history: list[str] = []
    for row in itertools.zip_longest(*(own.get("history", "").splitlines() for own in each)):
        of_each = [f"{name}: {line}" for name, line in zip(subjects, row, strict=True) if line]
        history += row[:1] if len(set(row)) == 1 else of_each
    if history:
        attrs["history"] = "\n".join(history)
    return attrs
