"""A variable with Dask blocks of different lengths that saves to Zarr.

Zarr chunks have equal lengths and must not cross Dask blocks, so xarray refuses such a variable unless its encoding
names chunks that divide the blocks. A fixed encoding would outlive the blocks: loaded, selected or rechunked data would
be saved in chunks of a trial or two. So the encoding is computed from the current blocks on each access.
"""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

MOST_CHUNKS = 1000
"""Maximum number of chunks that divide the blocks; beyond it, xarray asks the user to rechunk."""


class _Divisors(tuple[int, ...]):
    """Chunks chosen by this module and not by the user."""


class SessionVariable(xr.Variable):
    """A variable whose encoding has chunks only when its blocks need them."""

    __slots__ = ()

    @property
    def encoding(self) -> dict[Any, Any]:
        """The encoding, with ``chunks`` from the user or for uneven blocks."""
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
    """Return the largest chunks that cross no block, or None."""
    if all(len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0] for lengths in blocks if lengths):
        return None
    # Idea: the chunk length divides the length of every block except the last, after which no block begins.
    # Reference: xarray's safe_chunks, which refuses a Zarr chunk that two Dask blocks would write.
    # Cost: a gcd over the blocks; sessions of coprime lengths give small chunks, so their number is bounded.
    chunks = _Divisors(math.gcd(*lengths[:-1]) or lengths[0] for lengths in blocks)
    if 0 in chunks or math.prod(-(-sum(lengths) // n) for lengths, n in zip(blocks, chunks, strict=True)) > MOST_CHUNKS:
        return None
    return chunks
