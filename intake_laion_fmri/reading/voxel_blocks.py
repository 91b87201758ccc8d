"""Blocks of a store with all trials of some thousand voxels."""

from __future__ import annotations

import dataclasses
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.voxels import VOXEL
from intake_laion_fmri.reading.arguments import Chunks
from intake_laion_fmri.reading.blocks import Step, StoreBlock
from intake_laion_fmri.store.chunks import Part

BLOCK_BYTES = 128 * 1024 * 1024
"""Approximate bytes of a block of default width."""

MOST_VOXELS = 3072
"""Approximate maximum width of a default block, for few trials."""


@dataclass(frozen=True)
class VoxelBlock:
    """Trials of all sessions in some chunks, as a worker reads them."""

    sessions: tuple[StoreBlock, ...]
    """One block per session, ascending, with only the chunks of these voxels."""
    token: str
    """Dask token of the sessions with all chunks, shared by all blocks, which differ in their voxels."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.VoxelBlock", self.token)

    def __len__(self) -> int:
        return sum(map(len, self.sessions))

    @property
    def size(self) -> int:
        """Stored bytes to read."""
        return sum(block.size for block in self.sessions)

    def read(
        self,
        positions: NDArray[np.int64],
        received: Callable[[int], None] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Read the chunks and return the chosen trials; see `StoreBlock.read`.

        Parameters
        ----------
        positions : array of int64, shape (voxel,)
            Positions of the voxels in the arrays of the sessions.
        received : callable, optional
            Called with the number of stored bytes whenever some are read.
        out : array of float32, shape (trial, voxel), optional
            Where to put the result, instead of an array of its own.

        Returns
        -------
        array of float32, shape (trial, voxel)
        """
        result = np.empty((len(self), len(positions)), dtype=np.float32) if out is None else out
        start = 0
        for block in self.sessions:
            block.read(positions, received, out=result[start : start + len(block)])
            start += len(block)
        return result


def voxel_blocks(steps: Sequence[Step], chunks: Chunks) -> tuple[NDArray[np.intp], tuple[Step, ...]]:
    """Cut a store's sessions into blocks of voxels, in stored order.

    Parameters
    ----------
    steps : sequence of Step
        One step per session, ascending.
    chunks : "voxel" or mapping
        As in `open_betas`, checked.

    Returns
    -------
    order : array of int, shape (voxel,)
        Positions of the voxels in the order of the blocks.
    steps : tuple of Step
        One step per block.

    Raises
    ------
    ValueError
        If a session is read from a stream.
    """
    stored = [step.block for step in steps if isinstance(step.block, StoreBlock)]
    if len(stored) < len(steps):
        raise ValueError(
            f"chunks={chunks!r} needs a store that holds all of the selection: from a stream, each block of voxels "
            "would unpack every session again. Build one with 'intake-laion-fmri store build', pass it with store= "
            "and omit fallback=; or use chunks='session'."
        )
    positions = next((step.voxels for step in steps if step.voxels is not None), np.empty(0, dtype=np.int64))
    order = np.argsort(positions, kind="stable")
    if not len(positions):
        return order, ()
    width = chunks[VOXEL] if isinstance(chunks, Mapping) else _width(sum(map(len, stored)))
    from dask.base import tokenize

    token = tokenize(stored)
    blocks = []
    for slab in _slabs(positions[order], stored[0].grid.width, width):
        sessions = tuple(_only(block, slab) for block in stored)
        blocks.append(Step(VoxelBlock.read, VoxelBlock(sessions, token), slab))
    return order, tuple(blocks)


def _width(n_trials: int) -> int:
    return max(1, min(MOST_VOXELS, BLOCK_BYTES // max(1, 4 * n_trials)))


def _slabs(positions: NDArray[np.int64], chunk: int, width: int) -> Iterator[NDArray[np.int64]]:
    """Cut ascending positions into slabs of whole chunks."""
    ends = np.flatnonzero(np.diff(positions // chunk)) + 1
    start = 0
    for end, following in itertools.pairwise([*ends, len(positions)]):
        if following - start > width:
            yield positions[start:end]
            start = int(end)
    yield positions[start:]


def _only(block: StoreBlock, positions: NDArray[np.int64]) -> StoreBlock:
    """Restrict a block to the chunks of adjacent positions."""
    first, last = int(positions[0]) // block.grid.width, int(positions[-1]) // block.grid.width
    start = bisect_left(block.parts, first, key=lambda part: part.chunks[-1])
    stop = bisect_right(block.parts, last, key=lambda part: part.chunks[0])
    return dataclasses.replace(block, parts=tuple(_within(part, first, last) for part in block.parts[start:stop]))


def _within(part: Part, first: int, last: int) -> Part:
    """Restrict a part to a range of its chunks."""
    start, stop = bisect_left(part.chunks, first), bisect_right(part.chunks, last)
    of_chunks = slice(start, stop)
    return Part(
        part.key,
        part.start + sum(part.sizes[:start]),
        part.chunks[of_chunks],
        part.sums[of_chunks],
        part.sizes[of_chunks],
    )
