"""Lazy arrays of blocks: a task per block, and the computing of all of them into an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.blocks import SessionBlock, Step, StoreBlock
from intake_laion_fmri.reading.voxel_blocks import VoxelBlock

if TYPE_CHECKING:
    import dask.array as da


def lazy_rows(name: str, steps: Sequence[Step], *, shape: tuple[int, ...], dtype: str = "float32") -> da.Array:
    """Stack blocks along a first axis, shape (sum of the blocks' lengths, *shape): one task per block.

    Blocks of length 0 have no task; the tasks' names begin with `name`.
    """
    filled = [step for step in steps if len(step.block)]
    rows = tuple(len(step.block) for step in filled)
    return _lazy(name, filled, (rows, *((n,) for n in shape)), dtype)


def lazy_columns(name: str, steps: Sequence[Step], *, n_rows: int, dtype: str = "float32") -> da.Array:
    """Set blocks of all rows side by side: one task per block.

    Parameters
    ----------
    name : str
        Beginning of the tasks' names.
    steps : sequence of Step
        In the order of the result, each with its columns in `Step.voxels`.
    n_rows : int
        Of each block.
    dtype : str, default "float32"
        Of the result.

    Returns
    -------
    dask.array.Array
        Shape (n_rows, sum of the blocks' widths).
    """
    widths = tuple(0 if step.voxels is None else len(step.voxels) for step in steps)
    return _lazy(name, steps, ((n_rows,), widths), dtype)


def _lazy(name: str, steps: Sequence[Step], chunks: tuple[tuple[int, ...], ...], dtype: str) -> da.Array:
    """Return an array whose blocks are cut along one dimension."""
    import dask.array as da
    from dask.base import tokenize

    array: da.Array
    if any(sum(lengths) == 0 for lengths in chunks):
        array = da.zeros(tuple(map(sum, chunks)), dtype=dtype, chunks=-1)
        return array
    # Each array of voxels is looked at once, however many blocks share it.
    distinct = {id(step.voxels): step.voxels for step in steps}
    shared = {number: f"voxels-{tokenize(voxels)}" for number, voxels in distinct.items()}
    tokens = [(step.read.__qualname__, step.block, shared[id(step.voxels)]) for step in steps]
    key = f"{name}-{tokenize(tokens)}"
    meta = np.empty((0,) * len(chunks), dtype=dtype)
    if hasattr(da.Array, "expr"):  # DASK_ARRAY__QUERY_PLANNING=True: arrays are not made of graphs there
        array = da.map_blocks(_read_block, _Steps(key, tuple(steps)), chunks=chunks, dtype=dtype, meta=meta)
        return array
    # A graph of our own and not da.from_array: Dask would fuse that with what uses it, and read a block once for each
    # block of a matrix that it is multiplied by.
    graph: dict[Any, Any] = {shared[number]: voxels for number, voxels in distinct.items() if voxels is not None}
    for (read, block, voxels), index in zip(steps, np.ndindex(*map(len, chunks)), strict=True):
        graph[key, *index] = (read, block, None if voxels is None else shared[id(voxels)])
    array = da.Array(graph, key, chunks, meta=meta)
    return array


@dataclass(frozen=True, eq=False)
class _Steps:
    """Steps as one argument of a task, whose token is known."""

    key: str
    steps: tuple[Step, ...]

    def __dask_tokenize__(self) -> object:
        return self.key


def _read_block(steps: _Steps, block_id: tuple[int, ...]) -> NDArray[Any]:
    read, block, voxels = steps.steps[max(block_id)]
    return read(block, voxels)


def load_rows(array: da.Array) -> NDArray[Any]:
    """Compute an array of betas into memory that nobody copies or joins.

    Idea: each block of `lazy_rows` fills its rows of one array. Dask copies a result of one block and joins several, so
    that it holds each twice for a while: 2.3 GB for a session of a whole brain. Where it computes in other processes or
    arrays were changed, it is left to it.
    """
    return load_each([array])[0]


def load_each(arrays: Sequence[da.Array]) -> list[NDArray[Any]]:
    """Compute several arrays at once, each into an array of its own, as `load_rows` does."""
    import dask.local
    import dask.threaded
    from dask.base import get_scheduler
    from dask.core import flatten

    get = get_scheduler(collections=list(arrays)) or dask.threaded.get
    results: list[NDArray[Any]] = []
    filling: dict[Any, Any] = {}
    for number, array in enumerate(arrays):
        graph = array.__dask_graph__()
        keys = list(flatten(array.__dask_keys__()))
        tasks = [graph[key] for key in keys]
        is_ours = all(isinstance(task, tuple) and task[0] in _FILLING for task in tasks)
        if not is_ours or get not in (dask.threaded.get, dask.local.get_sync):
            results.append(array.compute())
            continue
        result = np.empty(array.shape, dtype=array.dtype)
        for key, task in zip(keys, tasks, strict=True):
            read, block, voxels = task
            filling[key[0], number, *key[1:]] = (
                _fill,
                result[_slices(array.chunks, key[1:])],
                read,
                block,
                graph[voxels],
            )
        results.append(result)
    if filling:
        get(filling, list(filling))
    return results


def _slices(chunks: tuple[tuple[int, ...], ...], index: tuple[int, ...]) -> tuple[slice, ...]:
    starts = [sum(lengths[:number]) for lengths, number in zip(chunks, index, strict=True)]
    return tuple(
        slice(start, start + lengths[number]) for start, lengths, number in zip(starts, chunks, index, strict=True)
    )


def _fill(rows: NDArray[Any], read: Callable[..., Any], block: Any, voxels: Any) -> None:
    read(block, voxels, out=rows)


_FILLING = (SessionBlock.read, StoreBlock.read, VoxelBlock.read)
"""Methods that take an array to fill."""
