"""A variable that saves to Zarr although its Dask blocks differ in length.

Zarr's chunks have one length and may not cross Dask's blocks, so xarray refuses such a variable unless its encoding
names chunks that divide the blocks. An encoding that is set once outlives the blocks: what is loaded, selected or
rechunked later would be saved in chunks of a trial or two. Here it follows from the blocks that are there when it is
asked for.
"""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

MOST_CHUNKS = 1000
"""Of an array that is saved in common divisors of its blocks; where it took more, xarray asks for `chunk` instead."""


class _Divisors(tuple[int, ...]):
    """Chunks chosen by this module and not by the user."""


class SessionVariable(xr.Variable):
    """A variable whose encoding has chunks only when its blocks need them."""

    __slots__ = ()

    @property
    def encoding(self) -> dict[Any, Any]:
        """The encoding.

        ``chunks`` are set by the user, or for blocks of different lengths.
        """
        encoding: dict[Any, Any] = xr.Variable.encoding.fget(self)  # type: ignore[attr-defined]
        if isinstance(encoding.get("chunks"), _Divisors):
            del encoding["chunks"]
        if "chunks" not in encoding:
            chunks = _common_chunks(self.chunks or ())
            if chunks is not None:
                encoding["chunks"] = chunks
        return encoding

    @encoding.setter
    def encoding(self, value: Any) -> None:
        xr.Variable.encoding.fset(self, value)  # type: ignore[attr-defined]


def _common_chunks(blocks: tuple[tuple[int, ...], ...]) -> _Divisors | None:
    """Return the largest chunks that cross no block.

    None if xarray needs none, or they would be too many.
    """
    if all(len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0] for lengths in blocks if lengths):
        return None
    # Idea: chunks that divide every block's length but the last one's, behind which no block begins.
    # Reference: xarray's safe_chunks, which refuses a Zarr chunk that two Dask blocks would write.
    # Cost: a gcd over the blocks; sessions of coprime lengths give small chunks, so their number is bounded.
    chunks = _Divisors(math.gcd(*lengths[:-1]) or lengths[0] for lengths in blocks)
    if 0 in chunks or math.prod(-(-sum(lengths) // n) for lengths, n in zip(blocks, chunks, strict=True)) > MOST_CHUNKS:
        return None
    return chunks
