"""What is recorded of the chunks of an array: a checksum and a size of each, and where they lie."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ChunkTable:
    """What is recorded of each chunk of an array, so that nothing else is ever taken for it."""

    sums: tuple[int, ...]
    """CRC32C of each chunk."""
    sizes: tuple[int, ...]
    """Stored bytes of each chunk."""

    def to_text(self) -> str:
        """Return the table as a text: Base64 of the sums, then the sizes, as little-endian 32-bit numbers."""
        return base64.b64encode(np.array([*self.sums, *self.sizes], dtype="<u4").tobytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> ChunkTable:
        """Return the table of such a text; ValueError where it is none."""
        numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u4").tolist()
        if len(numbers) % 2:
            raise ValueError("a table of chunks with a sum more or a size less")
        return cls(tuple(numbers[: len(numbers) // 2]), tuple(numbers[len(numbers) // 2 :]))


@dataclass(frozen=True)
class Part:
    """Some chunks that lie side by side in one object."""

    key: str
    """Key of the object, below the array's."""
    start: int
    """First byte."""
    chunks: tuple[int, ...]
    """Numbers of the chunks, ascending."""
    sums: tuple[int, ...]
    """CRC32C of each."""
    sizes: tuple[int, ...]
    """Stored bytes of each."""

    @property
    def stop(self) -> int:
        """Byte after the last; the object may go on."""
        return self.start + sum(self.sizes)
