"""Blocks: frozen, picklable descriptions of what a task reads.

A block has the same Dask token in every process as long as the object in the bucket stays the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.formats.grid import Gather, Grid
from intake_laion_fmri.formats.moments import scale_groups
from intake_laion_fmri.reading.volumes import ALL_MAPS, open_on_grid, read_map, warn_of
from intake_laion_fmri.remote.access import SMALL_FILES_IN_FLIGHT, Bucket, ObjectInfo
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.store.chunks import ChunkGrid, Part

LARGE_BYTES = 32 * 1024 * 1024
"""Stored bytes above which two threads read a block from a disk."""

BAND_BYTES = 512 * 1024
"""Bytes per pass when a block's columns are reordered."""

CHUNK_BYTES_IN_FLIGHT = 64 * 1024 * 1024
"""Approximate bytes of chunks in flight from a server."""


def _tokens(bucket: Bucket, info: ObjectInfo, grid: Grid) -> tuple[object, ...]:
    """Return the Dask tokens of a block's source, without module names."""
    return bucket.__dask_tokenize__(), info.__dask_tokenize__(), grid.__dask_tokenize__()


@dataclass(frozen=True)
class SessionBlock:
    """The chosen trials of a session, as a worker reads them."""

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
    groups: tuple[int, ...] | None = None
    """The group of each volume, within which voxels are scaled; None leaves them as they are."""

    def __dask_tokenize__(self) -> object:
        return (
            "intake_laion_fmri.SessionBlock",
            *_tokens(self.bucket, self.info, self.grid),
            self.n_trials,
            self.volumes,
            *(() if self.groups is None else [self.groups]),
        )

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def size(self) -> int:
        """Compressed bytes to read."""
        return self.info.size

    def read(
        self,
        voxels: NDArray[np.int64],
        received: Callable[[int], None] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Stream the file and return the chosen trials.

        Parameters
        ----------
        voxels : array of int64, shape (voxel,)
            C-order flat indices into the grid, in any order.
        received : callable, optional
            Called with the number of packed bytes whenever some are read.
        out : array of float32, shape (trial, voxel), optional
            Where to put the result, instead of an array of its own.

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
            return np.empty((len(self.volumes), 0), dtype=np.float32) if out is None else out
        name = self.bucket.locate(self.info.key)
        with self.bucket.stream(self.info, received) as file:
            reader = open_on_grid(file, name=name, grid=self.grid, note=warn_of)
            if reader.header.n_volumes != self.n_trials:
                raise DataIntegrityError(
                    f"{name}: expected {self.n_trials} volumes, one per row of its trial table, found "
                    f"{reader.header.n_volumes}. Fetch both files again; if it persists, report it."
                )
            return reader.take(Gather.from_voxels(voxels, self.grid.shape), self.volumes, out, _as_array(self.groups))


@dataclass(frozen=True)
class MapBlock:
    """A map, as a worker reads it."""

    bucket: Bucket
    """Where to read from."""
    info: ObjectInfo
    """The map's file; its size and ETag are pinned."""
    grid: Grid
    """The grid that the file must be on."""
    map: str
    """Its name in `volumes.ALL_MAPS`."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.MapBlock", *_tokens(self.bucket, self.info, self.grid), self.map)

    def __len__(self) -> int:
        return 1

    def read(self, voxels: NDArray[np.int64]) -> NDArray[Any]:
        """Stream the file and return the chosen voxels, shape (1, voxel).

        Parameters
        ----------
        voxels : array of int64, shape (voxel,)
            C-order flat indices into the grid.

        Raises
        ------
        DataIntegrityError, NotInBucketError, AccessDeniedError, BucketUnreachableError
            As in `volumes.read_map`, and if the file cannot be read.
        """
        if not len(voxels):
            return np.empty((1, 0), dtype=ALL_MAPS[self.map].dtype)
        return self._read(Gather.from_voxels(voxels, self.grid.shape))[np.newaxis]

    def read_volume(self, kept: NDArray[np.int64] | None) -> NDArray[Any]:
        """Stream the file and return the volume, shape (1, i, j, k).

        Parameters
        ----------
        kept : array of int64, shape (voxel,), optional
            C-order flat indices of the voxels to keep, by default all; the others become NaN, or -1 in a map of
            indices. Errors are those of `read`.
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


@dataclass(frozen=True)
class StoreBlock:
    """A stored session's chosen trials, as a worker reads them."""

    store: Bucket
    """Where to read from."""
    array: str
    """Path of the betas' array below the store."""
    checksum: str
    """Checksum of the session's record, which changes when the session is built again."""
    grid: ChunkGrid
    """The chunks of the array."""
    parts: tuple[Part, ...]
    """The chunks with a chosen voxel, ascending, with their checksums."""
    volumes: tuple[int, ...]
    """The chosen trials, ascending."""
    groups: tuple[int, ...] | None = None
    """The group of each trial of the session, within which voxels are scaled; None leaves them as they are."""

    def __dask_tokenize__(self) -> object:
        # All other fields follow from these and from the voxels, which have their own token.
        tokens = (
            "intake_laion_fmri.StoreBlock",
            self.store.__dask_tokenize__(),
            self.array,
            self.checksum,
            self.volumes,
        )
        return tokens if self.groups is None else (*tokens, self.groups)

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def size(self) -> int:
        """Stored bytes to read."""
        return sum(sum(part.sizes) for part in self.parts)

    def read(
        self,
        positions: NDArray[np.int64],
        received: Callable[[int], None] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Read the chunks and return the chosen trials.

        Parameters
        ----------
        positions : array of int64, shape (voxel,)
            Positions of the voxels in the array; `parts` must hold all of them.
        received : callable, optional
            Called with the number of stored bytes whenever some are read.
        out : array of float32, shape (trial, voxel), optional
            Where to put the result, instead of an array of its own.

        Returns
        -------
        array of float32, shape (trial, voxel)

        Raises
        ------
        DataIntegrityError
            If a chunk is missing, corrupt or not the one that was recorded when the store was opened.
        AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        result = np.empty((len(self.volumes), len(positions)), dtype=np.float32) if out is None else out
        sorting = np.argsort(positions, kind="stable")
        volumes = np.asarray(self.volumes, dtype=np.intp)
        target = _Columns(result, positions[sorting], self.grid.width, volumes, _as_array(self.groups))
        back = np.empty_like(sorting)
        back[sorting] = np.arange(len(sorting))
        threads = self._threads()
        take = functools.partial(self._read_part, target=target, received=received)
        concurrently(take, self.parts, threads, name="chunks")
        if np.any(np.diff(sorting) != 1):
            slabs = np.array_split(result, min(8, len(result)))  # along rows, one task each
            concurrently(functools.partial(_reorder_columns, order=back), slabs, threads, name="chunks")
        return result

    @property
    def is_read_by_two(self) -> bool:
        """True if two threads of this block decompress it."""
        return self.store.is_local and self.size >= LARGE_BYTES

    def _threads(self) -> int:
        """Return the number of parts to read at a time."""
        # Many small parts hide latency; few large ones save memory.
        if self.store.is_local:
            return 2 if self.is_read_by_two else 1
        in_flight = CHUNK_BYTES_IN_FLIGHT * len(self.parts) // max(self.size, 1)
        return max(1, min(len(self.parts), SMALL_FILES_IN_FLIGHT, in_flight))

    def _read_part(self, part: Part, target: _Columns, received: Callable[[int], None] | None) -> None:
        key = f"{self.array}/{part.key}"
        try:
            content = self.store.read(key, part.start, part.stop)
        except NotInBucketError as error:
            raise self._damaged(key, error) from error
        try:
            for chunk, values in zip(part.chunks, self.grid.unpack(part, content), strict=True):
                target.take(chunk, values)
        except ValueError as error:
            raise self._damaged(key, error) from error
        if received is not None:
            received(len(content))

    def _damaged(self, key: str, error: Exception) -> DataIntegrityError:
        return DataIntegrityError(
            f"{self.store.locate(key)}: {error}. The session was rebuilt or removed since the store was opened, or the "
            "object is damaged: open the store again; if it persists, run 'intake-laion-fmri store verify' to "
            "find the fault, and 'store build' to restore what was removed."
        )


def _as_array(groups: tuple[int, ...] | None) -> NDArray[np.intp] | None:
    return None if groups is None else np.asarray(groups, dtype=np.intp)


class Step(NamedTuple):
    """A block and its reading method."""

    read: Callable[[Any, Any], NDArray[Any]]
    """A method of the block's class, such as ``SessionBlock.read``."""
    block: Sized
    """The block."""
    voxels: NDArray[np.int64] | None
    """Argument of the method; an array shared by many steps is stored once in the graph."""

    def of(self, volumes: tuple[int, ...]) -> Step:
        """Return the step that reads trials of a session."""
        assert isinstance(self.block, SessionBlock | StoreBlock), "other blocks have no trials"
        return Step(self.read, replace(self.block, volumes=volumes), self.voxels)


class _Columns:
    """Chosen trials and voxels, filled chunk by chunk in stored order."""

    def __init__(
        self,
        result: NDArray[np.float32],
        positions: NDArray[np.int64],
        width: int,
        volumes: NDArray[np.intp],
        groups: NDArray[np.intp] | None = None,
    ) -> None:
        self._result, self._positions, self._width = result, positions, width
        self._volumes, self._groups = volumes, groups

    def take(self, chunk: int, values: NDArray[Any]) -> None:
        """Copy the chosen trials and voxels of a chunk."""
        first = chunk * self._width
        start, stop = np.searchsorted(self._positions, [first, first + self._width])
        if start == stop:  # the voxels of this chunk were deselected later
            return
        columns = self._positions[start:stop] - first
        is_run = stop - start == columns[-1] - columns[0] + 1
        chosen = slice(columns[0], columns[-1] + 1) if is_run else columns
        result, has_all = self._result[:, start:stop], len(self._volumes) == len(values)
        if self._groups is not None:  # over all trials, whichever are chosen
            scaled = scale_groups(values[:, chosen], self._groups, out=result if has_all else None)
            if not has_all:
                result[:] = scaled[self._volumes]
        else:
            result[:] = values[:, chosen] if has_all else values[self._volumes][:, chosen]


def _reorder_columns(values: NDArray[np.float32], order: NDArray[np.intp]) -> None:
    """Permute columns, a cache-sized group of rows at a time."""
    height = max(1, BAND_BYTES // max(values[:1].nbytes, 1))
    buffer = np.empty((min(height, len(values)), values.shape[1]), dtype=values.dtype)
    for start in range(0, len(values), height):
        band = values[start : start + height]
        np.take(band, order, axis=1, out=buffer[: len(band)], mode="clip")
        band[:] = buffer[: len(band)]
