"""Streams a gzipped NIfTI from any file object, keeping only chosen voxels of chosen volumes.

A gzip stream cannot be read at random: whatever is wanted, it has to be unpacked from its start. So the stream is
unpacked once, in pieces that fit the processor's cache; of each piece the chosen voxels are kept and the rest is
overwritten by the next. Memory is the result plus a few buffers, whatever the size of the file, and nothing is
allocated because a header says so.

This module knows no BIDS, no bucket and no Intake. It is checked against nibabel, bit for bit.
"""

from __future__ import annotations

import contextlib
import gzip
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.forks import submitted
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.formats.gunzip import open_gzip

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Gather", "VolumeHeader", "VolumeReader"]

PIECE_BYTES = 512 * 1024
"""Bytes unpacked at a time: small enough for the second-level cache, where both unpacking and gathering are fastest."""

ROWS_IN_FLIGHT = 3
"""Volumes being put in order by the second thread, at most, while the first unpacks the next one."""

MAX_VOXELS = 2**23
"""Voxels of a grid, at most: three times those of the bucket's grids. A mask tells the grid
that everything else is compared with, so only this bounds what its header can promise and its stream unpack to."""

MAX_OFFSET = 16 * 1024 * 1024
"""Bytes before the first value, at most: header and extensions take kilobytes."""

SMALLEST_VOXEL, LARGEST_VOXEL = 0.01, 100.0
"""Sides of voxels, in millimetres, that a header's unit may lead to; otherwise it is taken to be millimetres."""

_MILLIMETRES = {1: ("metres", 1000.0), 2: ("millimetres", 1.0), 3: ("micrometres", 0.001)}  # xyzt_units, lower bits
_FLATTEST = 1e-3  # the volume of a voxel, as part of what its sides could span
_HEADER_SIZES = {348: "nifti1", 540: "nifti2"}
_MAGICS = {"nifti1": b"n+1", "nifti2": b"n+2"}
_DTYPES = frozenset({"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"})


@dataclass(frozen=True)
class VolumeHeader:
    """What the header of a NIfTI file says."""

    grid: Grid
    """Shape and affine of one volume."""
    n_volumes: int
    """Number of volumes: the product of the dimensions after the third."""
    dtype: np.dtype[Any]
    """Type of the stored values, with their byte order."""
    vox_offset: int
    """Bytes before the first value."""
    slope: float | None
    """Scale factor of the stored values; None where the file does not scale."""
    inter: float | None
    """Offset of the stored values; None where the file does not scale."""
    note: str = ""
    """What is unusual about the unit of its lengths, in words."""


@dataclass(frozen=True, eq=False)
class Gather:
    """The places of chosen voxels in a volume on disk, and the way back to the order they were asked in.

    On disk a volume is Fortran-ordered; voxels are named by their C-order index.
    """

    shape: tuple[int, int, int]
    """Shape of the grid."""
    offsets: NDArray[np.intp]
    """Shape (voxel,): places in the volume on disk, ascending."""
    order: NDArray[np.intp]
    """Shape (voxel,): which of `offsets` belongs to each voxel that was asked for."""

    @classmethod
    def of(cls, voxels: NDArray[np.integer[Any]], shape: tuple[int, int, int]) -> Gather:
        """Plan the reading of voxels.

        Parameters
        ----------
        voxels : array of int, shape (voxel,)
            C-order flat indices into the grid, in any order, also with repeats.
        shape : tuple of int
            Shape of the grid.

        Raises
        ------
        ValueError
            If a voxel lies outside the grid.
        """
        places = np.ravel_multi_index(np.unravel_index(np.asarray(voxels, dtype=np.intp), shape), shape, order="F")
        sorting = np.argsort(places, kind="stable")
        order = np.empty_like(sorting)
        order[sorting] = np.arange(len(sorting))
        return cls(shape, places[sorting], order)

    def __len__(self) -> int:
        return len(self.offsets)


def _affine(raw: Any) -> tuple[NDArray[np.float64], str] | None:
    """Return the affine of a header in millimetres, from its sform, or else its qform; None where neither is of use.

    The second value tells in words what was done about another unit than millimetres.

    With the codes 0 nothing is known; nibabel makes up a centred affine then, and flips an axis.
    """
    from nibabel.spatialimages import HeaderDataError

    candidates = []
    with np.errstate(all="ignore"):
        if raw["sform_code"] > 0:
            candidates.append(raw.get_sform())
        if raw["qform_code"] > 0:
            if raw["pixdim"][0] == 0:  # the standard says: as 1
                raw = raw.copy()
                raw["pixdim"][0] = 1
            with contextlib.suppress(ValueError, HeaderDataError):  # a quaternion longer than 1, negative lengths
                candidates.append(raw.get_qform())
        usable = next((affine for affine in candidates if _tells_places(affine)), None)
    if usable is None:
        return None
    affine = np.asarray(usable, dtype=np.float64).copy()
    name, scale = _MILLIMETRES.get(int(raw["xyzt_units"]) & 7, ("millimetres", 1.0))
    note = f"its header tells lengths in {name}, which were turned into millimetres" if scale != 1 else ""
    size = np.linalg.norm(affine[:3, :3], axis=0)
    if scale != 1 and not ((size * scale >= SMALLEST_VOXEL) & (size * scale <= LARGEST_VOXEL)).all():
        scale = 1.0  # a wrong unit beside right numbers: no brain was ever scanned in such voxels
        note = f"its header tells lengths in {name}, but they can be millimetres only, and are taken for these"
    affine[:3] *= scale
    return affine, note


def _tells_places(affine: NDArray[Any]) -> bool:
    """Return True if an affine gives different voxels different places."""
    if not np.isfinite(affine).all():
        return False
    sizes = np.linalg.norm(np.asarray(affine[:3, :3], dtype=np.float64), axis=0)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / sizes)) > _FLATTEST)


def _numbers(raw: Any) -> list[list[float]]:
    return [[float(n) for n in raw[f"srow_{axis}"]] for axis in "xyz"]


class VolumeReader:
    """Reads a gzipped NIfTI from its start to its end, once.

    Parameters
    ----------
    file : binary file object
        The packed bytes, at their start. Read forward only; closing it is up to the caller.
    name : str
        What to call the file in errors: its URL or path.

    Attributes
    ----------
    header : VolumeHeader
        Read at once; about a kilobyte of the stream.

    Raises
    ------
    DataIntegrityError
        If it is no gzipped NIfTI, or one of a kind that holds no numbers.
    """

    def __init__(self, file: BinaryIO, *, name: str) -> None:
        # Imported late: a reader is made in workers that may never read one.
        from isal import igzip_lib

        self._name = name
        # The last is for a header of gzip that does not end within the buffer.
        self._corrupt: Any = (gzip.BadGzipFile, igzip_lib.IsalError, OverflowError)
        self._stream = open_gzip(file)
        self.header = self._read_header()
        self._skip(self.header.vox_offset - self._header_bytes)
        size = min(PIECE_BYTES // self.header.dtype.itemsize, self.header.grid.size)
        self._buffer = np.empty(size, dtype=self.header.dtype)

    def take(
        self, gather: Gather, volumes: Sequence[int], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return chosen voxels of chosen volumes.

        The stream is unpacked to its end, wherever the last wanted volume is: only there is its checksum, without
        which a flipped bit would go unnoticed. Its length is checked too, and that nothing follows.

        Parameters
        ----------
        gather : Gather
            The voxels.
        volumes : sequence of int
            Ascending numbers of the wanted volumes. The result is allocated for these, so they must come from
            something better founded than the header alone, such as the trial table.
        out : array of float32, shape (volume, voxel), optional
            Where to put the result, instead of an array of its own.

        Returns
        -------
        array of float32, shape (volume, voxel)
            The values that nibabel gives as ``np.asarray(image.dataobj, dtype=np.float32)``, NaNs kept.

        Raises
        ------
        DataIntegrityError
            If the grid is another one, the stream is truncated or corrupt, or its length contradicts its header.
        ValueError
            If the volumes do not ascend, or there are not so many.
        """
        header = self.header
        if gather.shape != header.grid.shape:
            raise self._error(f"expected a grid of {gather.shape} voxels, found {header.grid.shape}")
        wanted = np.asarray(volumes, dtype=np.intp)
        if len(wanted) and not (np.all(np.diff(wanted) > 0) and wanted[0] >= 0 and wanted[-1] < header.n_volumes):
            raise ValueError(f"volumes must ascend within 0..{header.n_volumes - 1}: {volumes!r}")
        result = np.empty((len(wanted), len(gather)), dtype=np.float32) if out is None else out
        if not len(wanted):
            return result
        row_of = {int(volume): row for row, volume in enumerate(wanted)}
        cuts = self._cuts(gather.offsets)
        rows = [np.empty(len(gather), dtype=header.dtype) for _ in range(ROWS_IN_FLIGHT)]
        busy: list[Future[None] | None] = [None] * ROWS_IN_FLIGHT
        # Putting a row in order costs a quarter of unpacking it, where many voxels are chosen: a second thread does
        # it meanwhile (both drop the interpreter's lock). A single row is not worth a thread.
        with ThreadPoolExecutor(1, thread_name_prefix="nifti-order") as second:
            for volume in range(header.n_volumes):
                slot = volume % ROWS_IN_FLIGHT
                waiting = busy[slot]
                if waiting is not None:
                    waiting.result()
                    busy[slot] = None
                keep = volume in row_of
                for number, piece in enumerate(self._pieces(volume)):
                    if keep:
                        places, start, stop = cuts[number]
                        np.take(piece, places, out=rows[slot][start:stop], mode="clip")
                if keep:
                    target = result[row_of[volume]]
                    if len(wanted) == 1:
                        self._put_in_order(rows[slot], gather.order, target)
                    else:
                        busy[slot] = submitted(second, self._put_in_order, rows[slot], gather.order, target)
            for future in busy:
                if future is not None:
                    future.result()
        self._expect_end()
        return result

    def where(self, rule: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> NDArray[np.int64]:
        """Return the voxels of a single volume whose value obeys a rule.

        Parameters
        ----------
        rule : callable
            Takes an array of values as float32, returns an array of bool of the same shape.

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
        inside, start = np.empty(grid.size, dtype=bool), 0
        for piece in self._pieces(0):
            inside[start : start + len(piece)] = rule(self._scale(piece))
            start += len(piece)
        self._expect_end()
        # Put into C-order as flags: an eighth of what the indices would take, where everything is inside.
        return np.flatnonzero(inside.reshape(grid.shape, order="F").ravel()).astype(np.int64, copy=False)

    def volume(self) -> NDArray[np.float32]:
        """Return a single volume as a whole.

        Allocated for the header's grid, so compare that with something better founded before.

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
        result = np.empty(self.header.grid.size, dtype=np.float32)
        start = 0
        for piece in self._pieces(0):
            result[start : start + len(piece)] = self._scale(piece)
            start += len(piece)
        self._expect_end()
        return result.reshape(self.header.grid.shape, order="F")

    def expect_single(self) -> None:
        """Raise DataIntegrityError unless the header promises one volume."""
        if self.header.n_volumes != 1:
            raise self._error(f"expected one volume, found {self.header.n_volumes}")

    def _read_header(self) -> VolumeHeader:
        import nibabel

        block = self._read(4)
        for order in ("<", ">"):
            kind = _HEADER_SIZES.get(int(np.frombuffer(block, dtype=f"{order}i4")[0]))
            if kind is not None:
                break
        else:
            raise self._error(f"expected a NIfTI header, found the bytes {block!r}")
        cls = nibabel.Nifti1Header if kind == "nifti1" else nibabel.Nifti2Header
        size = self._header_bytes = cls.template_dtype.itemsize
        header = self._validate(cls(block + self._read(size - 4), endianness=order, check=False), _MAGICS[kind])
        first = size + 4  # four bytes tell whether extensions follow
        if not first <= header.vox_offset <= MAX_OFFSET:
            raise self._error(
                f"expected the data to start after the header of {first} bytes and before byte {MAX_OFFSET}, found "
                f"the vox_offset {header.vox_offset}"
            )
        return header

    def _validate(self, raw: Any, expected_magic: bytes) -> VolumeHeader:
        """Turn nibabel's header, read without its checks, into ours."""
        from nibabel.spatialimages import HeaderDataError

        magic = bytes(raw["magic"].item())
        if magic[:4].rstrip(b"\0") != expected_magic:
            raise self._error(f"expected a single-file NIfTI with the magic {expected_magic!r}, found {magic!r}")
        dimensions = [int(n) for n in raw["dim"]]
        rank = dimensions[0]
        shape = tuple(dimensions[1 : rank + 1]) if 3 <= rank <= 7 else ()
        if not shape or min(shape) < 1:
            raise self._error(f"expected three to seven dimensions of at least 1, found dim {dimensions}")
        try:
            dtype = raw.get_data_dtype()
            slope, inter = raw.get_slope_inter()
        except (HeaderDataError, KeyError, ValueError) as error:
            raise self._error(f"expected a readable NIfTI header, found: {error}") from error
        if dtype.str[1:] not in _DTYPES:
            raise self._error(f"expected real numbers of at most 64 bits, found the datatype {dtype}")
        told = _affine(raw)
        if told is None:
            raise self._error(
                "no usable orientation: expected an sform or a qform that tells where the voxels lie, found sform_code "
                f"{int(raw['sform_code'])}, qform_code {int(raw['qform_code'])} and the affine {_numbers(raw)}"
            )
        affine, note = told
        grid = Grid((shape[0], shape[1], shape[2]), tuple(float(a) for a in affine.ravel()))
        offset = float(raw["vox_offset"])
        if not (math.isfinite(offset) and offset == int(offset)):
            raise self._error(f"expected a whole vox_offset, found {offset}")
        return VolumeHeader(grid, math.prod(shape[3:]), dtype, int(offset), slope, inter, note)

    def _cuts(self, offsets: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], int, int]]:
        """For each piece of a volume: the chosen places within it, and the range of the row that they fill."""
        starts = np.arange(0, self.header.grid.size, len(self._buffer))
        bounds = np.searchsorted(offsets, [*starts, self.header.grid.size])
        return [
            (offsets[start:stop] - first, int(start), int(stop))
            for first, start, stop in zip(starts, bounds[:-1], bounds[1:], strict=True)
        ]

    def _pieces(self, volume: int) -> Iterator[NDArray[Any]]:
        """Unpack one volume; each piece is valid until the next is asked for."""
        remaining = self.header.grid.size
        while remaining:
            piece = self._buffer[:remaining]
            got = self._fill(piece.data.cast("B"))
            if got < piece.nbytes:
                raise self._error(
                    f"the header promises {self.header.n_volumes} volumes of {self.header.grid.shape} "
                    f"{self.header.dtype} values, the stream ends within volume {volume}"
                )
            yield piece
            remaining -= len(piece)

    def _put_in_order(self, row: NDArray[Any], order: NDArray[np.intp], target: NDArray[np.float32]) -> None:
        """Write a row, which is in disk order, into the result, in the order that was asked for."""
        if row.dtype == np.float32 and self.header.slope is None:
            np.take(row, order, out=target, mode="clip")
        else:
            target[:] = self._scale(row)[order]

    def _scale(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Apply the scale factors as nibabel does when it is asked for float32, to the bit."""
        from nibabel.volumeutils import apply_read_scaling

        # What goes beyond float64, or float32, becomes infinite, or none: as nibabel makes it, and without a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = apply_read_scaling(stored, self.header.slope, self.header.inter)
            # Two steps, because a 64-bit integer is rounded on its way through float64.
            wide = scaled.astype(np.promote_types(scaled.dtype, np.float32), copy=False)
            narrow: NDArray[np.float32] = wide.astype(np.float32, copy=False)
        return narrow

    def _read(self, size: int) -> bytes:
        """Read so many unpacked bytes of the header."""
        block = bytearray(size)
        got = self._fill(memoryview(block))
        if got < size:
            raise self._error(f"expected a NIfTI header, the stream ends after {got} bytes of {size}")
        return bytes(block)

    def _skip(self, size: int) -> None:
        """Unpack so many bytes between the header and the data, and forget them."""
        buffer = memoryview(bytearray(min(size, PIECE_BYTES)))
        while size:
            part = buffer[: min(size, len(buffer))]
            if self._fill(part) < len(part):
                raise self._error(f"expected the data at byte {self.header.vox_offset}, the stream ends before it")
            size -= len(part)

    def _fill(self, view: memoryview) -> int:
        """Unpack until the view is full or the stream ends; return the bytes unpacked."""
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
        """Read to the end of the stream, where its checksum is; more data than the header promises is an error."""
        if self._fill(memoryview(bytearray(1))):
            raise self._error(f"the stream goes on after the {self.header.n_volumes} volumes that the header promises")

    def _error(self, found: str) -> DataIntegrityError:
        return DataIntegrityError(f"{self._name}: {found}. Fetch the file again; if it stays so, report it.")
