"""One file is one task: small descriptions of what to read of a file, and the lazy arrays that are made of them.

A description pickles, and has the same Dask token in every process as long as the object in the bucket stays the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.access import Bucket, ObjectInfo
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.nifti import Gather, VolumeReader
from intake_laion_fmri.voxels import SESSION_MAPS, SUBJECT_MAPS, Grid

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["MapBlock", "SessionBlock", "lazy_rows", "read_map", "read_volume"]

ALL_MAPS = {**SUBJECT_MAPS, **SESSION_MAPS}


@dataclass(frozen=True)
class SessionBlock:
    """The chosen trials of one session: what a worker needs in order to read them."""

    bucket: Bucket
    """Where to read from."""
    info: ObjectInfo
    """The betas' file; its size and ETag are pinned."""
    grid: Grid
    """The grid that the file must be on."""
    n_trials: int
    """Rows of the session's trial table: the number of volumes that the file must have."""
    volumes: tuple[int, ...]
    """The chosen volumes, ascending."""

    def __len__(self) -> int:
        return len(self.volumes)

    def read(self, voxels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Stream the file once and return the chosen trials.

        Parameters
        ----------
        voxels : array of int64, shape (voxel,)
            C-order flat indices into the grid.

        Returns
        -------
        array of float32, shape (trial, voxel)

        Raises
        ------
        DataIntegrityError
            If the file is truncated, corrupt, replaced, on another grid, or has not as many volumes as trials.
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        if not len(voxels):
            return np.empty((len(self.volumes), 0), dtype=np.float32)
        name = self.bucket.locate(self.info.key)
        with self.bucket.stream(self.info) as file:
            reader = _reader(file, name=name, grid=self.grid)
            if reader.header.n_volumes != self.n_trials:
                raise DataIntegrityError(
                    f"{name}: expected {self.n_trials} volumes, one per row of its trial table, found "
                    f"{reader.header.n_volumes}. Fetch both files again; if it stays so, report it."
                )
            return reader.take(Gather.of(voxels, self.grid.shape), self.volumes)


@dataclass(frozen=True)
class MapBlock:
    """One map: what a worker needs in order to read it."""

    bucket: Bucket
    """Where to read from."""
    info: ObjectInfo
    """The map's file; its size and ETag are pinned."""
    grid: Grid
    """The grid that the file must be on."""
    map: str
    """Its name in `voxels.SUBJECT_MAPS` or `voxels.SESSION_MAPS`."""

    def __len__(self) -> int:
        return 1

    def read(self, voxels: NDArray[np.int64]) -> NDArray[Any]:
        """Stream the file once and return chosen voxels, in the type of the map.

        Parameters
        ----------
        voxels : array of int64, shape (voxel,)
            C-order flat indices into the grid.

        Returns
        -------
        array, shape (1, voxel)

        Raises
        ------
        DataIntegrityError
            If the file is truncated, corrupt, replaced, on another grid, no single volume, or holds what is no index
            where indices are expected.
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        if not len(voxels):
            return np.empty((1, 0), dtype=ALL_MAPS[self.map].dtype)
        return self._read(Gather.of(voxels, self.grid.shape))[np.newaxis]

    def read_volume(self, kept: NDArray[np.int64] | None) -> NDArray[Any]:
        """Stream the file once and return the whole volume, in the type of the map.

        Parameters
        ----------
        kept : array of int64, shape (voxel,), or None
            C-order flat indices of the voxels to keep; the others become NaN, or -1 in a map of indices. None keeps
            all.

        Returns
        -------
        array, shape (1, i, j, k)

        Raises
        ------
        DataIntegrityError, NotInBucketError, AccessDeniedError, BucketUnreachableError
            As in `read`.
        """
        volume = self._read(None)
        if kept is not None:
            whole = volume.reshape(-1)  # in C-order
            volume = np.full(self.grid.size, ALL_MAPS[self.map].fill, dtype=volume.dtype)
            volume[kept] = whole[kept]
        return volume.reshape(1, *self.grid.shape)

    def _read(self, gather: Gather | None) -> NDArray[Any]:
        with self.bucket.stream(self.info) as file:
            return read_map(self.map, file, name=self.bucket.locate(self.info.key), grid=self.grid, gather=gather)


def read_map(map: str, file: BinaryIO, *, name: str, grid: Grid, gather: Gather | None) -> NDArray[Any]:
    """Read a map from a file.

    Parameters
    ----------
    map : str
        Its name in `voxels.SUBJECT_MAPS` or `voxels.SESSION_MAPS`, for its type.
    file : binary file object
        The packed bytes.
    name : str
        What to call the file in errors.
    grid : Grid
        The grid that it must be on.
    gather : Gather or None
        The voxels; None for the whole volume.

    Returns
    -------
    array, shape (voxel,) or (i, j, k)

    Raises
    ------
    DataIntegrityError
        If the file is broken, on another grid, no single volume, or its values cannot be of this map.
    """
    return ALL_MAPS[map].cast(read_volume(file, name=name, grid=grid, gather=gather), name=name)


def read_volume(file: BinaryIO, *, name: str, grid: Grid, gather: Gather | None) -> NDArray[np.float32]:
    """Read a file of one volume, without a look at what it means; see `read_map`."""
    reader = _reader(file, name=name, grid=grid)
    reader.expect_single()
    return reader.volume() if gather is None else reader.take(gather, [0])[0]


def _reader(file: BinaryIO, *, name: str, grid: Grid) -> VolumeReader:
    """Open a NIfTI that must be on a known grid."""
    reader = VolumeReader(file, name=name)
    difference = grid.difference(reader.header.grid)
    if difference:
        raise DataIntegrityError(
            f"{name}: {difference}, unlike the subject's mask. Fetch the files again; if it stays so, report it."
        )
    return reader


Block = TypeVar("Block", SessionBlock, MapBlock)


def lazy_rows(
    name: str,
    read: Callable[[Block, Any], NDArray[Any]],
    blocks: Sequence[Block],
    voxels: NDArray[np.int64] | None,
    *,
    shape: tuple[int, ...],
    dtype: str = "float32",
) -> da.Array:
    """Stack blocks along a first axis: one task per block, and the voxels once for all of them.

    Parameters
    ----------
    name : str
        Beginning of the tasks' names.
    read : callable
        Takes a block and `voxels`: ``SessionBlock.read``, ``MapBlock.read`` or ``MapBlock.read_volume``.
    blocks : sequence
        In the order of the result; those of length 0 have no task.
    voxels : array of int64, shape (voxel,), or None
        For `read`.
    shape : tuple of int
        Of a row.
    dtype : str, default "float32"
        Of what is read.

    Returns
    -------
    dask.array.Array
        Shape (sum of the blocks' lengths, *shape).
    """
    import dask.array as da
    from dask.base import tokenize

    array: da.Array
    filled = [block for block in blocks if len(block)]
    if not filled:
        array = da.zeros((0, *shape), dtype=dtype)
        return array
    graph: dict[Any, Any] = {}
    given: str | None = None
    if voxels is not None:
        given = f"voxels-{tokenize(voxels)}"
        graph[given] = voxels
    key = f"{name}-{tokenize(read.__qualname__, filled, voxels)}"
    graph |= {(key, number, *(0 for _ in shape)): (read, block, given) for number, block in enumerate(filled)}
    chunks = (tuple(len(block) for block in filled), *((n,) for n in shape))
    array = _uncopied_array()(graph, key, chunks, meta=np.empty((0,) * (1 + len(shape)), dtype=dtype))
    return array


@functools.cache
def _uncopied_array() -> type[da.Array]:
    """Make the class of the lazy arrays: a single block is handed over as it was read.

    Dask copies a result that is one chunk, lest somebody write into a buffer of the graph or of a worker. A file is
    read anew for each computation and nobody else holds the block, while the copy doubles the time and the memory of
    the most common reading. (Only a worker in the caller's own process, to whom the same array was persisted, would
    share it.) Whatever is computed from such an array is a plain Dask array.
    """
    import dask.array as da

    class UncopiedArray(da.Array):
        __slots__ = ()

        def __dask_postcompute__(self) -> tuple[Callable[..., Any], tuple[()]]:
            return _hand_over, ()

    return UncopiedArray


def _hand_over(results: Any) -> NDArray[Any]:
    """Join the blocks; the only one as it is."""
    from dask.array.core import concatenate3

    block = results
    while isinstance(block, list | tuple):
        if len(block) > 1:
            joined: NDArray[Any] = concatenate3(results)
            return joined
        block = block[0]
    only: NDArray[Any] = block
    return only
