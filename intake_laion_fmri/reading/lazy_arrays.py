"""Lazy arrays of blocks: a task per block, and the computing of all of them into an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.blocks import SessionBlock, Step, StoreBlock

if TYPE_CHECKING:
    import dask.array as da


def lazy_rows(name: str, steps: Sequence[Step], *, shape: tuple[int, ...], dtype: str = "float32") -> da.Array:
    """Stack blocks along a first axis, shape (sum of the blocks' lengths, *shape): one task per block.

    Blocks of length 0 have no task; the tasks' names begin with `name`.
    """
    import dask.array as da
    from dask.base import tokenize

    array: da.Array
    filled = [step for step in steps if len(step.block)]
    rows = tuple(len(step.block) for step in filled)
    if not filled or 0 in shape:
        array = da.zeros((sum(rows), *shape), dtype=dtype, chunks=-1)
        return array
    # Each array of voxels is looked at once, however many blocks share it.
    distinct = {id(step.voxels): step.voxels for step in filled}
    shared = {number: f"voxels-{tokenize(voxels)}" for number, voxels in distinct.items()}
    tokens = [(step.read.__qualname__, step.block, shared[id(step.voxels)]) for step in filled]
    key = f"{name}-{tokenize(tokens)}"
    chunks = (rows, *((n,) for n in shape))
    meta = np.empty((0,) * (1 + len(shape)), dtype=dtype)
    if hasattr(da.Array, "expr"):  # DASK_ARRAY__QUERY_PLANNING=True: arrays are not made of graphs there
        array = da.map_blocks(_read_row, _Rows(key, tuple(filled)), chunks=chunks, dtype=dtype, meta=meta)
        return array
    # A graph of our own and not da.from_array: Dask would fuse that with what uses it, and read a block once for each
    # block of a matrix that it is multiplied by.
    graph: dict[Any, Any] = {shared[number]: voxels for number, voxels in distinct.items() if voxels is not None}
    for number, (read, block, voxels) in enumerate(filled):
        graph[key, number, *(0 for _ in shape)] = (read, block, None if voxels is None else shared[id(voxels)])
    array = da.Array(graph, key, chunks, meta=meta)
    return array


@dataclass(frozen=True, eq=False)
class _Rows:
    """Steps as one argument of a task, whose token is known."""

    key: str
    steps: tuple[Step, ...]

    def __dask_tokenize__(self) -> object:
        return self.key


def _read_row(rows: _Rows, block_id: tuple[int, ...]) -> NDArray[Any]:
    read, block, voxels = rows.steps[block_id[0]]
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
        starts = np.cumsum([0, *array.chunks[0]])
        for key, start, stop, task in zip(keys, starts[:-1], starts[1:], tasks, strict=True):
            read, block, voxels = task
            filling[key[0], number, *key[1:]] = (_fill, result[start:stop], read, block, graph[voxels])
        results.append(result)
    if filling:
        get(filling, list(filling))
    return results


def _fill(rows: NDArray[Any], read: Callable[..., Any], block: SessionBlock | StoreBlock, voxels: Any) -> None:
    read(block, voxels, out=rows)


_FILLING = (SessionBlock.read, StoreBlock.read)
"""Methods that take an array to fill."""
