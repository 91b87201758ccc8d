"""Lazy arrays with one task per block, and loading into existing arrays."""

from __future__ import annotations

import math
import mmap
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.blocks import SessionBlock, Step, StoreBlock
from intake_laion_fmri.reading.voxel_blocks import VoxelBlock

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client

SLAB_BYTES = 64 * 1024 * 1024
"""Approximate bytes that a cluster sends at a time."""


def lazy_rows(name: str, steps: Sequence[Step], *, shape: tuple[int, ...], dtype: str = "float32") -> da.Array:
    """Concatenate blocks along the first axis, one task per block.

    Parameters
    ----------
    name : str
        Beginning of the tasks' names.
    steps : sequence of Step
        In the order of the result; blocks of length 0 get no task.
    shape : tuple of int
        Shape of the result without the first axis.
    dtype : str, default "float32"
        Type of the result.
    """
    filled = [step for step in steps if len(step.block)]
    rows = tuple(len(step.block) for step in filled)
    return _lazy(name, filled, (rows, *((n,) for n in shape)), dtype)


def lazy_columns(name: str, steps: Sequence[Step], *, n_rows: int, dtype: str = "float32") -> da.Array:
    """Concatenate blocks of all rows along columns, one task each.

    Parameters
    ----------
    name : str
        Beginning of the tasks' names.
    steps : sequence of Step
        In the order of the result, each with its columns in `Step.voxels`.
    n_rows : int
        Number of rows of each block.
    dtype : str, default "float32"
        Type of the result.

    Returns
    -------
    dask.array.Array
        Shape (n_rows, sum of the blocks' widths).
    """
    widths = tuple(0 if step.voxels is None else len(step.voxels) for step in steps)
    return _lazy(name, steps, ((n_rows,), widths), dtype)


def _lazy(name: str, steps: Sequence[Step], chunks: tuple[tuple[int, ...], ...], dtype: str) -> da.Array:
    """Return an array whose blocks divide one dimension."""
    import dask.array as da
    from dask.base import tokenize

    array: da.Array
    if any(sum(lengths) == 0 for lengths in chunks):
        array = da.zeros(tuple(map(sum, chunks)), dtype=dtype, chunks=-1)
        return array
    # Tokenise each array of voxels once, however many blocks share it.
    distinct = {id(step.voxels): step.voxels for step in steps}
    shared = {number: f"voxels-{tokenize(voxels)}" for number, voxels in distinct.items()}
    tokens = [(step.read.__qualname__, step.block, shared[id(step.voxels)]) for step in steps]
    key = f"{name}-{tokenize(tokens)}"
    meta = np.empty((0,) * len(chunks), dtype=dtype)
    if hasattr(da.Array, "expr"):  # DASK_ARRAY__QUERY_PLANNING=True: such arrays have no graph
        array = da.map_blocks(_read_block, _Steps(key, tuple(steps)), chunks=chunks, dtype=dtype, meta=meta)
        return array
    # Not da.from_array: Dask would fuse its tasks with their consumers, and read a block again for each block of a
    # matrix that it is multiplied by.
    graph: dict[Any, Any] = {shared[number]: voxels for number, voxels in distinct.items() if voxels is not None}
    for (read, block, voxels), index in zip(steps, np.ndindex(*map(len, chunks)), strict=True):
        graph[key, *index] = (read, block, None if voxels is None else shared[id(voxels)])
    array = da.Array(graph, key, chunks, meta=meta)
    return array


@dataclass(frozen=True, eq=False)
class _Steps:
    """Steps as one task argument with a known token."""

    key: str
    steps: tuple[Step, ...]

    def __dask_tokenize__(self) -> object:
        return self.key


def _read_block(steps: _Steps, block_id: tuple[int, ...]) -> NDArray[Any]:
    read, block, voxels = steps.steps[max(block_id)]
    return read(block, voxels)


def load_each(arrays: Sequence[da.Array]) -> list[NDArray[Any]]:
    """Compute several arrays into new arrays; see `fill_each`."""
    results = [np.empty(array.shape, dtype=array.dtype) for array in arrays]
    fill_each(arrays, results)
    return results


def fill_each(
    arrays: Sequence[da.Array], targets: Sequence[NDArray[Any]], done: Callable[[float], None] | None = None
) -> None:
    """Compute several arrays into existing arrays.

    Parameters
    ----------
    arrays : sequence of dask.array.Array
        Their blocks are NumPy arrays.
    targets : sequence of array
        An array of the same shape and type for each.
    done : callable, optional
        Called from any thread with the number of bytes filled since the last call, partly estimated. Its exceptions end
        the computation.

    Notes
    -----
    On threads, only blocks in progress are held besides the targets; blocks of `lazy_rows` and `lazy_columns` are read
    straight into them, unless the target is a memory-mapped file. A cluster returns blocks as they finish, in slabs of
    `SLAB_BYTES`. Other schedulers return all blocks at once, which are freed one by one while they are copied.
    """
    import dask.local
    import dask.threaded
    from dask.base import get_scheduler

    stopped = threading.Event()

    def advance(count: float) -> None:
        if stopped.is_set():
            raise _StoppedError
        if done is not None:
            done(count)

    get = get_scheduler(collections=list(arrays)) or dask.threaded.get
    try:
        if get in (dask.threaded.get, dask.local.get_sync):
            _fill_here(get, arrays, targets, advance)
        elif (client := _client_of(get)) is not None:
            _fill_from(client, arrays, targets, advance)
        else:
            _fill_afterwards(get, arrays, targets, advance)
    finally:
        stopped.set()  # after a failure or an interrupt, other threads may still be reading


class _StoppedError(Exception):
    """A block was abandoned because loading has stopped; never seen by users."""


def _fill_here(
    get: Callable[..., Any],
    arrays: Sequence[da.Array],
    targets: Sequence[NDArray[Any]],
    advance: Callable[[float], None],
) -> None:
    """Fill the targets with threads of this process."""
    # Idea: our own blocks read straight into their part of the target; a further task copies any other block there.
    # Dask's compute would copy or join the blocks, and so hold each of them twice.
    # Reference: dask.array.store, which first reads the whole target to tokenise it.
    # Cost: a task per block, in one graph, so that tasks shared by several arrays run once.
    from dask.callbacks import Callback

    own = _read_directly(arrays)
    graph, keys = _optimized([array for array, is_own in zip(arrays, own, strict=True) if not is_own])
    others = iter(keys)
    fills: dict[Any, Any] = {}
    for number, (array, target, is_own) in enumerate(zip(arrays, targets, own, strict=True)):
        tasks = array.__dask_graph__()
        for index, (key, part) in enumerate(_parts(array, target, None if is_own else next(others))):
            if is_own:
                read, block, voxels = tasks[key]
                fills["fill", number, index] = (_fill, part, read, block, tasks[voxels], advance)
            else:
                fills["fill", number, index] = (_put, part, key, advance)
    n_bytes = sum(target.nbytes for target, is_own in zip(targets, own, strict=True) if not is_own)
    share = n_bytes / max(1, len(graph))
    after_each = (None, None, None, lambda key, *_: advance(share) if key in graph else None, None)
    blocks = [task[3] for task in fills.values() if task[0] is _fill]
    of_two = all(isinstance(block, StoreBlock) and block.is_read_by_two for block in blocks)
    workers = _half_of_the_threads() if blocks and of_two else {}
    get({**graph, **fills}, list(fills), callbacks={*Callback.active, after_each}, **workers)


def _half_of_the_threads() -> dict[str, int]:
    """Return scheduler options that halve the threads, unless the user chose them."""
    import dask
    from dask.system import CPU_COUNT

    if dask.config.get("pool", None) is not None or dask.config.get("num_workers", None) is not None:
        return {}
    return {"num_workers": max(1, CPU_COUNT // 2)}


def _fill_from(
    client: Client, arrays: Sequence[da.Array], targets: Sequence[NDArray[Any]], advance: Callable[[float], None]
) -> None:
    """Fill the targets from a cluster, block by block."""
    from distributed import as_completed, futures_of

    persisted = client.persist([_in_slabs(array) for array in arrays])
    parts: dict[Any, list[NDArray[Any]]] = {}
    for array, target in zip(persisted, targets, strict=True):
        for key, part in _parts(array, target):
            parts.setdefault(key, []).append(part)
    waiting = as_completed(futures_of(persisted))
    del persisted, array  # let the cluster free finished blocks
    try:
        for future in waiting:
            values = future.result()
            for part in parts[future.key]:
                part[...] = values
                advance(part.nbytes)
    finally:
        client.cancel(list(waiting.futures))
        waiting.clear()  # finished ones, too: the traceback of a failure would keep them on the workers


def _fill_afterwards(
    get: Callable[..., Any],
    arrays: Sequence[da.Array],
    targets: Sequence[NDArray[Any]],
    advance: Callable[[float], None],
) -> None:
    """Fill the targets after a scheduler has computed all blocks."""
    graph, keys = _optimized(arrays)
    each = zip(arrays, targets, keys, strict=True)
    pairs = [pair for array, target, keys in each for pair in _parts(array, target, keys)]
    blocks = list(get(graph, [key for key, _ in pairs]))
    for number, (_, part) in enumerate(pairs):
        part[...], blocks[number] = blocks[number], None
        advance(part.nbytes)


def _client_of(get: Callable[..., Any]) -> Client | None:
    """Return the Dask client that would compute, or None."""
    if "distributed" not in sys.modules:
        return None
    from distributed import Client

    client = getattr(get, "__self__", None)
    return client if isinstance(client, Client) else None


def _read_directly(arrays: Sequence[da.Array]) -> list[bool]:
    """Return whether each array's blocks may be read into the target."""
    # Blocks that another array needs as well must stay in the graph.
    layers = [set(getattr(array.__dask_graph__(), "layers", ())) for array in arrays]
    return [
        _is_ours(array) and not any(array.name in layers[other] for other in range(len(arrays)) if other != number)
        for number, array in enumerate(arrays)
    ]


def _is_ours(array: da.Array) -> bool:
    from dask.core import flatten

    graph = array.__dask_graph__()
    tasks = [graph[key] for key in flatten(array.__dask_keys__())]
    return all(isinstance(task, tuple) and task[0] in _FILLING for task in tasks)


def _optimized(arrays: Sequence[da.Array]) -> tuple[dict[Any, Any], list[list[Any]]]:
    """Return one graph for several arrays, and their blocks' keys."""
    from dask.base import collections_to_expr
    from dask.core import flatten

    if not arrays:
        return {}, []
    # dask.optimize would fuse a shared layer into each array, and compute it once for each.
    together = collections_to_expr(list(arrays)).optimize()
    return dict(together.__dask_graph__()), [list(flatten(keys)) for keys in together.__dask_keys__()]


def _parts(array: da.Array, target: NDArray[Any], keys: list[Any] | None = None) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield each block's key and its part of a target."""
    from dask.array.core import slices_from_chunks
    from dask.core import flatten

    keys = list(flatten(array.__dask_keys__())) if keys is None else keys
    for key, part in zip(keys, slices_from_chunks(array.chunks), strict=True):
        yield key, target[(*part, ...)]


def _in_slabs(array: da.Array) -> da.Array:
    """Split large blocks along rows, to limit a message's size."""
    row_bytes = array.dtype.itemsize * math.prod(map(max, array.chunks[1:]))
    height = max(1, SLAB_BYTES // max(1, row_bytes))
    if not array.ndim or max(array.chunks[0], default=0) <= height:
        return array
    rows = tuple(min(height, length - start) for length in array.chunks[0] for start in range(0, length, height))
    slabs: da.Array = array.rechunk({0: rows})
    return slabs


def _fill(
    part: NDArray[Any], read: Callable[..., Any], block: Any, voxels: Any, advance: Callable[[float], None]
) -> None:
    advance(0)
    is_file = isinstance(part, np.memmap)
    # Chunks of a store touch each page several times, so a mapped file gets the complete block in one pass.
    out = np.empty(part.shape, part.dtype) if is_file else part
    read(block, voxels, received=lambda count: advance(part.nbytes * count / max(1, block.size)), out=out)
    if is_file:
        _put(part, out, advance)


def _put(part: NDArray[Any], values: NDArray[Any], advance: Callable[[float], None]) -> None:
    advance(0)
    part[...] = values
    if isinstance(part, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped: Any = part
        while not isinstance(mapped, mmap.mmap):
            mapped = mapped.base
        mapped.madvise(mmap.MADV_DONTNEED)  # written pages need not stay in memory


_FILLING = (SessionBlock.read, StoreBlock.read, VoxelBlock.read)
"""Reading methods that can fill an existing array."""
