"""Labels of FreeSurfer: lists of vertices, as text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import MAX_VERTICES, NUMBER, Broken, expect_size

_END_OF_LINE = re.compile(r"\r\n|\r|\n")
_LINE = re.compile(r"[^\r\n]+")
_COUNT = re.compile(r"[0-9]{1,9}")

_NO_NUMBER = r"[-+]?(?:[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"  # statistics that a label carries along
_LABEL_ROW = re.compile(
    r"[ \t]*(-?[0-9]{1,18})" + rf"[ \t]+({NUMBER})" * 3 + rf"[ \t]+({NUMBER}|{_NO_NUMBER})" + r"[ \t]*"
)


@dataclass(frozen=True, eq=False)
class VertexList:
    """The entries of a FreeSurfer label, in the order of the file."""

    vertices: NDArray[np.int64]
    """Shape (entry,): indices of vertices, from 0."""
    xyz: NDArray[np.float32]
    """Shape (entry, 3): their positions as the file tells them, in millimetres of FreeSurfer's surface space."""
    values: NDArray[np.float32]
    """Shape (entry,): the value of each."""

    def equals(self, other: VertexList) -> bool:
        """Return True if another list has the same entries."""
        pairs = ((self.vertices, other.vertices), (self.xyz, other.xyz), (self.values, other.values))
        return all(np.array_equal(mine, its, equal_nan=True) for mine, its in pairs)


def read_label(content: bytes, *, name: str, n_vertices: int | None = None) -> VertexList:
    """Read a FreeSurfer label.

    Parameters
    ----------
    content : bytes
        The file: a comment, the number of vertices, then a line ``vertex x y z value`` for each.
    name : str
        What to call the file in errors.
    n_vertices : int, optional
        Number of vertices of the surface, where it is known.

    Returns
    -------
    VertexList

    Raises
    ------
    DataIntegrityError
        If it is no such file, has not as many lines as it says, or a vertex is not on the surface.
    """
    broken = Broken(name)
    expect_size(content, broken)
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")  # numbers are ASCII; names in the comment may be not
    comment, count, rest = [*_END_OF_LINE.split(text, maxsplit=2), "", ""][:3]
    if not comment.startswith("#") or "\0" in comment:
        raise broken(f"line 1: expected a comment, '#!ascii label', found {comment[:80]!r}")
    if not _COUNT.fullmatch(count.strip(" \t")):
        raise broken(f"line 2: expected the number of vertices, found {count[:80]!r}")
    # Counted before anything is made of them, and no further than needed: a file may say, and be, anything.
    found = sum(1 for _ in itertools.islice(_entries(rest), int(count) + 1))
    if found != int(count):
        more = f"{found} or more" if found > int(count) else str(found)
        raise broken(f"expected {int(count)} vertices, as its second line says, found {more}")
    table, is_word = np.empty((found, 5)), np.zeros(found, dtype=bool)
    last = (MAX_VERTICES if n_vertices is None else n_vertices) - 1
    for entry, (start, row) in enumerate(_entries(rest)):
        fields = _LABEL_ROW.fullmatch(row)
        if fields is None:
            raise broken(f"line {_line_of(rest, start)}: expected 'vertex x y z value', found {row[:80]!r}")
        if not 0 <= int(fields[1]) <= last:
            raise broken(f"line {_line_of(rest, start)}: expected a vertex from 0 to {last}, found {fields[1]}")
        table[entry], is_word[entry] = [*map(float, fields.groups())], fields[5][-1].isalpha()
    too_large = ~(np.abs(table[:, 1:]) <= np.finfo(np.float32).max)
    too_large[is_word, 3] = False  # a value may be written as nan or inf
    if too_large.any():
        raise broken("expected numbers that float32 can hold, found a larger one")
    numbers = table[:, 1:].astype(np.float32)
    return VertexList(table[:, 0].astype(np.int64), numbers[:, :3], numbers[:, 3])


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Return start and text of the lines of a label that are not empty, from its third on."""
    for line in _LINE.finditer(text):
        if not line[0].isspace():
            yield line.start(), line[0]


def _line_of(text: str, start: int) -> int:
    """Return the number of a line from the third on."""
    return 3 + sum(1 for _ in _END_OF_LINE.finditer(text, 0, start))
