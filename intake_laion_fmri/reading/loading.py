"""Loading: all threads fill the final arrays, without copies."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.betas import open_betas
from intake_laion_fmri.reading.lazy_arrays import fill_each
from intake_laion_fmri.remote.atomic import open_whole
from intake_laion_fmri.remote.marks import ARRAY, ARRAY_COMMENT, raise_unless_ours
from intake_laion_fmri.running.progress import counting

if TYPE_CHECKING:
    import xarray as xr

    Labelled = TypeVar("Labelled", xr.Dataset, xr.DataArray, xr.DataTree)

Out = str | os.PathLike[str] | NDArray[Any]


def load(data: Labelled, out: Out | None = None, progress: bool | None = None) -> Labelled:
    """Load labelled data into memory or into a memory-mapped file.

    Parameters
    ----------
    data : xarray.Dataset, xarray.DataArray or xarray.DataTree
        Any data, such as betas, their averages, or these beside other lazy data; a tree's Datasets are loaded together.
    out : array, str or path, optional
        Target of the values: an array of the same shape and type, or a ``.npy`` file, which is memory-mapped. It takes
        a single variable, such as ``ds["betas"].laion.load(out=...)``.
    progress : bool, optional
        Whether to show a bar with rate and time left. By default the environment variable ``LAION_FMRI_PROGRESS`` (0 or
        1); without it, in terminals and notebooks if loading takes longer than a second.

    Returns
    -------
    xarray.Dataset, xarray.DataArray or xarray.DataTree
        The same data in memory. Pages of a file are read as they are used; changes stay in memory.

    Raises
    ------
    ValueError, TypeError
        If `out` has another shape or type, is read-only or not a ``.npy`` file, or the data have several variables.
    FileExistsError
        If `out` is a file that `load` did not write; it is kept.
    OSError
        If `out` cannot be written, or its disk has too little space.
    DataIntegrityError, NotInBucketError, AccessDeniedError, BucketUnreachableError
        As in `open_betas`, if a file is broken or cannot be read. Then, and after an interrupt, a file `out` is absent
        or unchanged; the values of an array `out` are undefined.

    Notes
    -----
    Unmodified betas are read straight into the result, with as many sessions or blocks of voxels at a time as Dask has
    threads (``dask.config.set(num_workers=...)``). Peak memory is the result plus 50 MB (100 MB from a remote bucket)
    per thread; other arrays, such as z-scores, also need their blocks in progress. Dask's ``compute`` briefly holds
    everything twice. With an active ``distributed.Client`` its workers compute and send finished blocks to this
    process: a worker's thread holds a block in progress and one in transfer.

    ``compute()`` shows no progress. In a terminal, use Dask's bar:
    ``with dask.diagnostics.ProgressBar(): ds.compute()``; on a cluster, ``distributed.progress(ds.persist())``.

    A ``.npy`` file holds only the values. Save the labels of `data` with ``data.drop_vars("betas").to_netcdf(...)``, or
    everything with ``to_zarr``.

    Examples
    --------
    >>> ds = open_betas("sub-01", roi="FFA1", bucket="demo-bucket")  # doctest: +SKIP
    >>> response = ds.laion.zscore().laion.average().laion.load()  # doctest: +SKIP
    """
    import xarray as xr

    if isinstance(data, xr.DataTree):
        if out is not None:
            raise ValueError(
                "out= takes the values of one variable, but a tree has several. Load a node, as in "
                'tree["sub-01"].to_dataset().laion.load(out=...), or tree.laion.concat().laion.load(out=...).'
            )
        datasets = {node.path: node.to_dataset() for node in data.subtree}
        return xr.DataTree.from_dict(_loaded(datasets, None, None, progress), name=data.name)
    name = "loaded values"
    dataset = data.to_dataset(name=name) if isinstance(data, xr.DataArray) else data
    chosen = None if out is None else ("", _only_variable(dataset))
    loaded = _loaded({"": dataset}, chosen, out, progress)[""]
    if isinstance(data, xr.Dataset):
        return loaded
    array = loaded[name]
    array.name = data.name
    return array


def load_betas(subject: str, *, out: Out | None = None, progress: bool | None = None, **selection: Any) -> xr.Dataset:
    """Open the single-trial betas of a subject and load them.

    Parameters
    ----------
    subject : str
        As in `open_betas`.
    out : array, str or path, optional
        As in `load`.
    progress : bool, optional
        As in `load`.
    **selection
        All other arguments of `open_betas`.

    Returns
    -------
    xarray.Dataset
        As from `open_betas`, in memory.

    Raises
    ------
    ValueError, TypeError, OSError
        As in `open_betas` and in `load`.
    """
    return load(open_betas(subject, **selection), out, progress)


def _signature() -> inspect.Signature:
    """Return the signature of `load_betas`, for help and completion."""
    own, betas = inspect.signature(load_betas), inspect.signature(open_betas)
    added = [own.parameters["out"], own.parameters["progress"]]
    return betas.replace(parameters=[*betas.parameters.values(), *added])


load_betas.__signature__ = _signature()  # type: ignore[attr-defined]


def _loaded(
    datasets: Mapping[str, xr.Dataset],
    chosen: tuple[str, Hashable] | None,
    out: Out | None,
    progress: bool | None,
) -> dict[str, xr.Dataset]:
    """Load all variables of Datasets together, optionally one into a target."""
    variables = {(path, name): var for path, dataset in datasets.items() for name, var in dataset.variables.items()}
    lazy = {key: variable for key, variable in variables.items() if _can_fill(variable)}
    values = {key: np.empty(variable.shape, variable.dtype) for key, variable in lazy.items() if key != chosen}

    def fill() -> None:
        n_bytes = sum(values[key].nbytes for key in lazy)
        with counting("Loading", n_bytes, progress) as count:
            fill_each([variable.data for variable in lazy.values()], [values[key] for key in lazy], count)

    if chosen is None or out is None:
        fill()
    else:
        with _target(out, variables[chosen]) as values[chosen]:
            fill()
            if chosen not in lazy:
                values[chosen][...] = variables[chosen].values
        if not isinstance(out, np.ndarray):  # copy on write: changes in memory leave the file as it is
            values[chosen] = np.load(Path(out).expanduser(), mmap_mode="c" if values[chosen].nbytes else None)
    loaded = {}
    for path, dataset in datasets.items():
        filled = {
            name: variables[path, name].copy(deep=False, data=array)
            for (of_path, name), array in values.items()
            if of_path == path
        }
        coordinates = {name: filled.pop(name) for name in list(filled) if name in dataset.coords}
        loaded[path] = dataset.assign(filled).assign_coords(coordinates).compute()
    return loaded


def _can_fill(variable: xr.Variable) -> bool:
    """Return True for Dask arrays of NumPy blocks with known sizes."""
    import dask.array as da
    from dask.array.utils import meta_from_array

    if variable.chunks is None:  # accessing the data of xarray's own lazy variables would read them
        return False
    values = variable.data
    return isinstance(values, da.Array) and type(meta_from_array(values)) is np.ndarray and not math.isnan(values.size)


def _only_variable(dataset: xr.Dataset) -> Hashable:
    if len(dataset.data_vars) == 1:
        return next(iter(dataset.data_vars))
    names = ", ".join(map(repr, dataset.data_vars)) or "none"
    raise ValueError(
        f"out= takes the values of one variable, but the Dataset has {len(dataset.data_vars)}: {names}. Load one of "
        'them, as in ds["betas"].laion.load(out=...).'
    )


@contextmanager
def _target(out: Out, variable: xr.Variable) -> Iterator[NDArray[Any]]:
    """Yield the user's array, or a mapped file that appears on success."""
    if isinstance(out, np.ndarray):
        _check_array(out, variable)
        yield out
        return
    path = _checked_path(out, variable)
    header = _header(variable)
    n_bytes = math.prod(variable.shape) * variable.dtype.itemsize
    check = functools.partial(raise_unless_ours, path, ARRAY)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_whole(path, len(header) + n_bytes, check))
        except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
            text = (
                f"out={os.fspath(out)!r} cannot be written ({error.strerror}): choose a file in a folder that you can "
                "write to."
            )
            raise OSError(error.errno, text) from error
        file.write(header)
        if n_bytes:
            yield np.memmap(file, variable.dtype, "r+", offset=len(header), shape=variable.shape)
        else:
            yield np.empty(variable.shape, variable.dtype)


def _check_array(out: NDArray[Any], variable: xr.Variable) -> None:
    if out.shape != variable.shape or out.dtype != variable.dtype:
        raise ValueError(
            f"out= must be an array of shape {variable.shape} and type {variable.dtype}, found shape {out.shape} and "
            f"type {out.dtype}. Make it with np.empty({variable.shape}, {variable.dtype.name!r})."
        )
    if not out.flags.writeable:
        raise ValueError("out= must be a writable array, found a read-only one. Pass another array, or a copy.")


def _checked_path(out: str | os.PathLike[str], variable: xr.Variable) -> Path:
    if not isinstance(out, str | os.PathLike):
        raise TypeError(f"out= must be an array, a string or a path, found {type(out).__name__}.")
    path = Path(out).expanduser()
    if path.suffix != ".npy" or "://" in os.fspath(out):
        raise ValueError(f"out= must be a local file whose name ends in .npy, found {os.fspath(out)!r}.")
    if variable.dtype.hasobject:
        raise TypeError(
            f"out={os.fspath(out)!r} can hold numbers only, but the values have type {variable.dtype}. Omit out=."
        )
    return path


def _header(variable: xr.Variable) -> bytes:
    """Return a ``.npy`` header (version 1.0) with this package's mark."""
    described = {
        "descr": np.lib.format.dtype_to_descr(variable.dtype),
        "fortran_order": False,
        "shape": tuple(map(int, variable.shape)),
    }
    text = f"{described!r}  {ARRAY_COMMENT}"
    room = -(len(text) + 11) % np.lib.format.ARRAY_ALIGN
    text = f"{text}{' ' * room}\n"
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode("latin1")
