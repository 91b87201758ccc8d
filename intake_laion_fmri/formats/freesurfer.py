"""FreeSurfer's labels: lists of vertices as text."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import MAX_VERTICES, Broken, expect_size, parse_numbers


@dataclass(frozen=True, eq=False)
class VertexList:
    """Entries of a FreeSurfer label, in the file's order."""

    vertices: NDArray[np.int64]
    """Shape (entry,): indices of vertices, from 0."""
    xyz: NDArray[np.float32]
    """Shape (entry, 3): positions in the file, in millimetres of FreeSurfer's surface space."""
    values: NDArray[np.float32]
    """Shape (entry,): values of the entries."""

    def equals(self, other: VertexList) -> bool:
        """Return True if another list has the same entries."""
        pairs = ((self.vertices, other.vertices), (self.xyz, other.xyz), (self.values, other.values))
        return all(np.array_equal(own, others, equal_nan=True) for own, others in pairs)


def read_label(content: bytes, *, name: str, n_vertices: int | None = None) -> VertexList:
    """Read a FreeSurfer label.

    The file has a comment, the number of vertices, then one line ``vertex x y z value`` per vertex.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, has fewer or more lines than declared, or a vertex is not on the surface.
    """
    broken = Broken(name)
    expect_size(content, broken)
    text = content.removeprefix(b"\xef\xbb\xbf").decode(
        "latin-1"
    )  # numbers are ASCII, comments may contain other characters
    comment, count, rest = [*re.split(r"\r\n|\r|\n", text, maxsplit=2), "", ""][:3]
    if not comment.startswith("#") or "\0" in comment:
        raise broken(f"line 1: expected a comment, '#!ascii label', found {comment[:80]!r}")
    if not re.fullmatch(r"[ \t]*[0-9]{1,9}[ \t]*", count):
        raise broken(f"line 2: expected the number of vertices, found {count[:80]!r}")
    try:
        table = parse_numbers(rest, n_columns=5)
    except ValueError as error:
        raise broken(f"expected 'vertex x y z value' in each line from line 3, found: {error}") from error
    if len(table) != int(count):
        raise broken(f"expected {int(count)} vertices, as declared in line 2, found {len(table)}")
    last = (MAX_VERTICES if n_vertices is None else n_vertices) - 1
    vertices, numbers = table[:, 0], table[:, 1:]
    wrong = ~((vertices >= 0) & (vertices <= last) & (vertices == np.trunc(vertices)))
    if wrong.any():
        raise broken(f"expected vertices from 0 to {last}, found {vertices[wrong][0]:g}")
    is_large = np.abs(numbers) > np.finfo(np.float32).max
    is_large[:, 3] &= np.isfinite(numbers[:, 3])  # the value, a statistic, may be nan or inf
    if is_large.any() or np.isnan(numbers[:, :3]).any():
        raise broken("expected finite positions and numbers within float32, found others")
    xyz, values = numbers[:, :3].astype(np.float32), numbers[:, 3].astype(np.float32)
    return VertexList(vertices.astype(np.int64), xyz, values)
