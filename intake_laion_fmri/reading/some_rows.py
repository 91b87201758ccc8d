"""Random rows of lazy arrays for training, with cached blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.reading.blocks import SessionBlock
from intake_laion_fmri.reading.stimuli.image_file import ImageBlock

if TYPE_CHECKING:
    import dask.array as da


class LazyRows:
    """Rows of a Dask array, in any order.

    Reading one trial of betas costs as much as its whole session, so blocks are kept. An image is a single request, so
    images are read one by one and not kept.

    Parameters
    ----------
    array : dask.array.Array
        Array to read. It may be pickled and forked; blocks stay in the process that read them.
    most_bytes : int
        Limit of the most recent blocks that are kept; at least one is kept.
    """

    def __init__(self, array: da.Array, most_bytes: int) -> None:
        self._array, self._most_bytes = array, most_bytes
        self._ends = np.cumsum(array.chunks[0])
        self._kept: dict[int, NDArray[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}

    @property
    def reads_streams(self) -> bool:
        """True if a block decompresses a session from its beginning."""
        tasks = (task for task in self._array.__dask_graph__().values() if isinstance(task, tuple) and len(task) == 3)
        return any(callable(task[0]) and isinstance(task[1], SessionBlock) for task in tasks)

    @property
    def splits_blocks(self) -> bool:
        """True if a row is read without the rest of its block."""
        return all(isinstance(self._block(number), ImageBlock) for number in range(len(self._ends)))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Read rows in the given order; repeats are read once."""
        result = np.empty((len(rows), *self._array.shape[1:]), dtype=self._array.dtype)
        distinct, back = np.unique(rows, return_inverse=True)
        numbers = np.searchsorted(self._ends, distinct, side="right")
        for number in np.unique(numbers):
            of_block = np.flatnonzero(numbers == number)
            inside = distinct[of_block] - (self._ends[number] - self._array.chunks[0][number])
            targets = np.isin(back, of_block)
            positions = np.searchsorted(of_block, back[targets])
            result[targets] = self._read(int(number), inside)[positions]
        return result

    def _read(self, number: int, rows: NDArray[np.intp]) -> NDArray[Any]:
        block = self._block(number)
        if isinstance(block, ImageBlock):
            return block.take(rows).read()
        kept = self._kept
        if number not in kept:
            # Without Dask's threads, as the user already chooses the number of reading processes.
            stop = int(self._ends[number])
            block = self._array[stop - self._array.chunks[0][number] : stop]
            kept[number] = block.compute(scheduler="synchronous")
        kept[number] = kept.pop(number)  # the latest one last
        while len(kept) > 1 and sum(values.nbytes for values in kept.values()) > self._most_bytes:
            del kept[next(iter(kept))]
        return np.asarray(kept[number][rows])

    def _block(self, number: int) -> Any:
        """Return the reader of a block of rows, if known."""
        key = (self._array.name, number, *(0 for _ in self._array.shape[1:]))
        task = self._array.__dask_graph__().get(key)
        return task[1] if isinstance(task, tuple) and len(task) == 3 else None
