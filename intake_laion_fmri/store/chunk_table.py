"""Checksums, sizes and positions of an array's chunks."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ChunkTable:
    """Checksums and sizes of an array's chunks."""

    sums: tuple[int, ...]
    """CRC32C of each chunk."""
    sizes: tuple[int, ...]
    """Stored bytes of each chunk."""

    def to_text(self) -> str:
        """Encode the table: Base64 of sums, then sizes, little-endian 32-bit."""
        return base64.b64encode(np.array([*self.sums, *self.sizes], dtype="<u4").tobytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> ChunkTable:
        """Parse the text of `to_text`; ValueError if it is invalid."""
        numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u4").tolist()
        if len(numbers) % 2:
            raise ValueError("a chunk table with different numbers of checksums and sizes")
        return cls(tuple(numbers[: len(numbers) // 2]), tuple(numbers[len(numbers) // 2 :]))


@dataclass(frozen=True)
class Part:
    """Adjacent chunks of one object."""

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
        """Byte after the last chunk; the object may continue."""
        return self.start + sum(self.sizes)
