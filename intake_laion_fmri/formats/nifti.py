"""Stream reader of gzipped NIfTI files: chosen voxels of chosen volumes.

A gzip stream has no random access and must be unpacked from its start. So it is unpacked once, in pieces that fit the
processor's cache; the chosen voxels of each piece are kept before the next one overwrites it. Memory is the result plus
a few buffers, whatever the size of the file, and never depends on the header alone.

This module is independent of BIDS, the bucket and Intake. Tests compare it with nibabel, bit for bit.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.grid import NEIGHBOURS, Gather
from intake_laion_fmri.formats.gunzip import open_gzip
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.moments import Moments
from intake_laion_fmri.formats.nifti_header import HeaderReader, read_header
from intake_laion_fmri.running.forks import submitted

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE_BYTES = 512 * 1024
"""Bytes unpacked at a time, which fit the second-level cache, where unpacking and gathering are fastest."""

ROWS_IN_FLIGHT = 3
"""Maximum number of volumes that the second thread reorders while the first unpacks the next one."""

MAX_VOXELS = 2**23
"""Maximum number of voxels of a grid, three times those of the bucket's grids. All files are compared with the grid of
the mask, so only this limit bounds the mask itself."""


class VolumeReader:
    """Reads a gzipped NIfTI once, from start to end.

    Parameters
    ----------
    file : binary file object
        The packed bytes, at their start. The file is read forward only, and not closed.
    name : str
        URL or path of the file for errors.
    header : callable, optional
        Reads the header, by default NIfTI's; another format must store its values in the same way.

    Attributes
    ----------
    header : VolumeHeader
        Read on construction, about a kilobyte of the stream.

    Raises
    ------
    DataIntegrityError
        If it is not a gzipped NIfTI, or does not hold real numbers.
    """

    def __init__(self, file: BinaryIO, *, name: str, header: HeaderReader = read_header) -> None:
        # Imported late, as workers may load this module without reading a stream.
        from isal import igzip_lib

        self._error = Broken(name)
        # OverflowError occurs if the gzip header does not end within the buffer.
        self._corrupt: Any = (gzip.BadGzipFile, igzip_lib.IsalError, OverflowError)
        self._stream = open_gzip(file)
        self.header, size = header(self._read, self._error)
        self._skip(self.header.vox_offset - size)
        size = min(PIECE_BYTES // self.header.dtype.itemsize, self.header.grid.size)
        self._buffer = np.zeros(-(-size // NEIGHBOURS) * NEIGHBOURS, dtype=self.header.dtype)

    def take(
        self,
        gather: Gather,
        volumes: Sequence[int],
        out: NDArray[np.float32] | None = None,
        groups: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float32]:
        """Return chosen voxels of chosen volumes.

        The stream is always unpacked to its end, because the checksum, without which a flipped bit would go unnoticed,
        is there. The length is checked as well.

        Parameters
        ----------
        gather : Gather
            The voxels.
        volumes : sequence of int
            Ascending numbers of the wanted volumes. The result is allocated for these, so they must come from a
            trusted source, such as the trial table, instead of the header alone.
        out : array of float32, shape (volume, voxel), optional
            Where to put the result, instead of an array of its own.
        groups : array of int, shape (n_volumes,), optional
            The group of each volume: voxels are scaled by their mean and standard deviation over all volumes of the
            group, chosen or not; see `moments.scale_groups`.

        Returns
        -------
        array of float32, shape (volume, voxel)
            The values that nibabel gives as ``np.asarray(image.dataobj, dtype=np.float32)``, NaNs kept.

        Raises
        ------
        DataIntegrityError
            If the grid is different, the stream is truncated or corrupt, or its length contradicts its header.
        ValueError
            If the volumes do not ascend, or exceed those of the file.
        """
        header = self.header
        if gather.shape != header.grid.shape:
            raise self._error(f"expected a grid of {gather.shape} voxels, found {header.grid.shape}")
        wanted = _ascending(volumes, header.n_volumes)
        result = np.empty((len(wanted), len(gather)), dtype=np.float32) if out is None else out
        if not len(wanted):
            return result
        row_of = {int(volume): row for row, volume in enumerate(wanted)}
        numbers, order = gather.neighbours
        cuts, pieces = self._cuts(numbers), self._buffer.view((np.void, NEIGHBOURS * header.dtype.itemsize))
        rows = np.empty((ROWS_IN_FLIGHT, len(numbers)), dtype=pieces.dtype)
        busy: list[Future[None] | None] = [None] * ROWS_IN_FLIGHT
        moments = None if groups is None else Moments(groups, len(gather))
        # Idea: one thread unpacks while a second one reorders rows (both release the interpreter's lock).
        # Reference: docs/decisions/011-nifti-streams.md; values equal nibabel's to the bit.
        # Cost: one decompression; reordering, a fifth of it for a whole brain, is hidden. A single row needs no thread.
        with ThreadPoolExecutor(1, thread_name_prefix="nifti-order") as second:
            for volume in range(header.n_volumes):
                slot = volume % ROWS_IN_FLIGHT
                _finish(busy[slot])
                busy[slot] = None
                row = row_of.get(volume)
                keep = row is not None or moments is not None
                for number, _ in enumerate(self._pieces(volume)):
                    if keep:
                        positions, start, stop = cuts[number]
                        np.take(pieces, positions, out=rows[slot, start:stop], mode="clip")
                if keep:
                    task = rows[slot].view(header.dtype), order, None if row is None else result[row], moments, volume
                    if len(wanted) == 1 and moments is None:
                        self._put_in_order(*task)
                    else:
                        busy[slot] = submitted(second, self._put_in_order, *task)
            for future in busy:
                _finish(future)
        self._expect_end()
        if moments is not None:
            moments.apply(wanted, result)
        return result

    def where(self, rule: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> NDArray[np.int64]:
        """Return the voxels of a single volume that satisfy a rule.

        Parameters
        ----------
        rule : callable
            Called with float32 values; returns flags of the same shape.

        Returns
        -------
        array of int64, shape (voxel,)
            C-order flat indices, ascending.

        Raises
        ------
        DataIntegrityError
            If there is more than one volume, the grid has more than `MAX_VOXELS` voxels, the stream is truncated or
            corrupt, or its length contradicts its header.
        """
        self.expect_single()
        grid = self.header.grid
        if grid.size > MAX_VOXELS:
            raise self._error(f"expected a grid of at most {MAX_VOXELS} voxels, found {grid.shape}")
        inside = self._filled(np.empty(grid.size, dtype=bool), lambda piece: rule(self._scale(piece)))
        # Reordering flags instead of indices takes an eighth of the memory if all voxels are inside.
        return np.flatnonzero(inside.ravel()).astype(np.int64, copy=False)

    def volume(self) -> NDArray[np.float32]:
        """Return a whole single volume.

        The result is allocated for the header's grid, so compare that with a trusted grid before.

        Returns
        -------
        array of float32, shape (i, j, k)
            The values that nibabel gives as ``np.asarray(image.dataobj, dtype=np.float32)``, NaNs kept.

        Raises
        ------
        DataIntegrityError
            If there is more than one volume, the stream is truncated or corrupt, or its length contradicts its header.
        """
        self.expect_single()
        return self._filled(np.empty(self.header.grid.size, dtype=np.float32), self._scale)

    def _filled(self, result: NDArray[Any], value: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Fill an array of the grid's shape from the first volume."""
        start = 0
        for piece in self._pieces(0):
            result[start : start + len(piece)] = value(piece)
            start += len(piece)
        self._expect_end()
        return result.reshape(self.header.grid.shape, order="F")

    def expect_single(self) -> None:
        """Raise DataIntegrityError unless the header declares one volume."""
        if self.header.n_volumes != 1:
            raise self._error(f"expected one volume, found {self.header.n_volumes}")

    def _cuts(self, offsets: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], int, int]]:
        """Split chosen positions by pieces of a volume, with their ranges.

        Positions and ranges count blocks of `NEIGHBOURS`, the last of which may extend beyond the volume.
        """
        end = -(-self.header.grid.size // NEIGHBOURS)
        starts = np.arange(0, end, len(self._buffer) // NEIGHBOURS)
        bounds = np.searchsorted(offsets, [*starts, end])
        return [
            (offsets[start:stop] - first, int(start), int(stop))
            for first, start, stop in zip(starts, bounds[:-1], bounds[1:], strict=True)
        ]

    def _pieces(self, volume: int) -> Iterator[NDArray[Any]]:
        """Decompress a volume in pieces, each valid until the next."""
        remaining = self.header.grid.size
        while remaining:
            piece = self._buffer[:remaining]
            got = self._fill(piece.data.cast("B"))
            if got < piece.nbytes:
                raise self._error(
                    f"the header declares {self.header.n_volumes} volumes of {self.header.grid.shape} "
                    f"{self.header.dtype} values, but the stream ends within volume {volume}"
                )
            yield piece
            remaining -= len(piece)

    def _put_in_order(
        self,
        row: NDArray[Any],
        order: NDArray[np.intp],
        target: NDArray[np.float32] | None,
        moments: Moments | None = None,
        volume: int = 0,
    ) -> None:
        """Reorder a row from disk, with neighbours; add it to the sums."""
        if row.dtype != np.float32 or self.header.slope is not None:
            row = self._scale(row)
        ordered = np.take(row, order, out=target, mode="clip")
        if moments is not None:
            moments.add(volume, ordered)

    def _scale(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Apply scale factors as nibabel does for float32, bit for bit."""
        from nibabel.volumeutils import apply_read_scaling

        # Overflow becomes infinite or NaN, as in nibabel, without a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = apply_read_scaling(stored, self.header.slope, self.header.inter)
            # Two steps, as nibabel rounds 64-bit integers to float64 first.
            wide = scaled.astype(np.promote_types(scaled.dtype, np.float32), copy=False)
            narrow: NDArray[np.float32] = wide.astype(np.float32, copy=False)
        return narrow

    def _read(self, size: int) -> bytes:
        """Read decompressed bytes of the header."""
        block = bytearray(size)
        got = self._fill(memoryview(block))
        if got < size:
            raise self._error(f"expected a NIfTI header, but the stream ends after {got} of {size} bytes")
        return bytes(block)

    def _skip(self, size: int) -> None:
        """Skip decompressed bytes between header and data."""
        buffer = memoryview(bytearray(min(size, PIECE_BYTES)))
        while size:
            part = buffer[: min(size, len(buffer))]
            if self._fill(part) < len(part):
                raise self._error(f"expected data at byte {self.header.vox_offset}, but the stream ends before it")
            size -= len(part)

    def _fill(self, view: memoryview) -> int:
        """Decompress into the view; return the number of bytes."""
        got = 0
        try:
            while got < len(view):
                read = self._stream.readinto(view[got:])
                if not read:
                    break
                got += read
        except EOFError as error:
            raise self._error("the file is truncated: the gzip stream stops before its end") from error
        except self._corrupt as error:
            raise self._error(f"the file is corrupt: {error}") from error
        return got

    def _expect_end(self) -> None:
        """Read to the end, verify the checksum, and refuse undeclared data."""
        if self._fill(memoryview(bytearray(self.header.max_trailer + 1))) > self.header.max_trailer:
            raise self._error(
                f"the stream continues after the {self.header.n_volumes} volumes that the header declares"
            )


def _ascending(volumes: Sequence[int], n_volumes: int) -> NDArray[np.intp]:
    wanted = np.asarray(volumes, dtype=np.intp)
    if len(wanted) and not (np.all(np.diff(wanted) > 0) and wanted[0] >= 0 and wanted[-1] < n_volumes):
        raise ValueError(f"volumes must ascend from 0 to {n_volumes - 1} at most, found {volumes!r}.")
    return wanted


def _finish(task: Future[None] | None) -> None:
    if task is not None:
        task.result()
