"""FreeSurfer's surfaces: geometry, values per vertex, patches and parcellations.

nibabel, the oracle of the tests, accepts truncated values, faces with invalid vertices and unknown colours, and a count
in a header can make it allocate 40 GB. Here each count is compared with the remaining bytes before it is used. All
numbers are big-endian. Reference: FreeSurfer's ``read_surf.m``, ``read_curv.m``, ``read_patch.m``,
``read_annotation.m``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import MAX_VERTICES, NUMBER, Broken, expect_size

_TRIANGLES, _VALUES, _PATCH = b"\xff\xff\xfe", b"\xff\xff\xff", b"\xff\xff\xff\xff"
_IN_WORLD = b"\0\0\0\x02\0\0\0\x01"
"""Begins the footer of a surface with positions in the volume's space."""
_MAX_REGIONS = 100_000
_MAX_NAME = 1_000

_TO_SURFACE = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=float)
"""Axes of FreeSurfer's volumes in surface millimetres: to the left, down, to the front."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """The vertices and triangles of a hemisphere."""

    xyz: NDArray[np.float32]
    """Shape (vertex, 3): millimetres of FreeSurfer's surface space."""
    faces: NDArray[np.int32]
    """Shape (face, 3): vertices at the corners, from 0."""
    to_world: NDArray[np.float64] | None
    """Shape (4, 4): surface space → millimetres of the volume; None if the file does not name its volume."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A flattened part of a hemisphere."""

    vertices: NDArray[np.int64]
    """Shape (vertex,): numbers of its vertices in the hemisphere, ascending."""
    xyz: NDArray[np.float32]
    """Shape (vertex, 3): positions; z is 0 in a flat patch."""
    is_cut: NDArray[np.bool_]
    """Shape (vertex,): whether the vertex is on the border."""

    def faces_of(self, faces: NDArray[np.int32], n_vertices: int) -> NDArray[np.int32]:
        """Return the triangles within the patch, as rows of `xyz`."""
        row = np.full(n_vertices, -1, dtype=np.int32)
        row[self.vertices] = np.arange(len(self.vertices))
        rows = row[faces]
        return rows[(rows >= 0).all(axis=1)]


@dataclass(frozen=True, eq=False)
class Parcellation:
    """The region of each vertex."""

    regions: NDArray[np.int32]
    """Shape (vertex,): position in `names`, or -1."""
    names: tuple[str, ...]
    """Names of the regions, including those without a vertex."""

    def texts(self) -> NDArray[np.object_]:
        """Return each vertex's region name, or an empty text."""
        return np.array([*self.names, ""], dtype=object)[self.regions]


class _Bytes:
    """A file's content, read from start to end."""

    def __init__(self, content: bytes, broken: Broken) -> None:
        expect_size(content, broken)
        self.content, self.broken, self.at = content, broken, 0

    def take(self, dtype: str, count: int, noun: str) -> NDArray[Any]:
        """Return the next numbers."""
        size = np.dtype(dtype).itemsize
        left = (len(self.content) - self.at) // size
        if not 0 <= count <= left:
            raise self.broken(f"expected {count} {noun}, as its header declares, found bytes for {left}")
        found = np.frombuffer(self.content, dtype=dtype, count=count, offset=self.at)
        self.at += count * size
        return found

    def count(self, noun: str, *, most: int = MAX_VERTICES, least: int = 0) -> int:
        """Return the next number as a valid count."""
        (number,) = self.take(">i4", 1, f"number of {noun}")
        if not least <= number <= most:
            raise self.broken(f"expected {least} to {most} {noun}, found {number}")
        return int(number)

    def text(self, noun: str) -> str:
        """Return the next text, which follows its length, without zero bytes."""
        length = self.count(f"characters of {noun}", most=_MAX_NAME)
        return self.take("S1", length, f"characters of {noun}").tobytes().rstrip(b"\0").decode("latin-1")

    def expect_end(self) -> None:
        """Raise DataIntegrityError unless the content ends here."""
        if self.at != len(self.content):
            raise self.broken(f"expected the end after byte {self.at}, found {len(self.content) - self.at} more bytes")


def is_patch(content: bytes) -> bool:
    """Return True for a patch's content."""
    return content.startswith(_PATCH)


def read_geometry(content: bytes, *, name: str) -> Geometry:
    """Read a surface of triangles: ``lh.white``, ``lh.inflated``, ``lh.sphere.reg``.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, is truncated, a position is not finite, or a face has an invalid vertex.
    """
    broken = Broken(name)
    data = _Bytes(content, broken)
    if not content.startswith(_TRIANGLES):
        found = "values at vertices" if content.startswith(_VALUES) else f"the bytes {content[:8]!r}"
        raise broken(f"expected a surface of triangles, found {'a patch' if is_patch(content) else found}")
    comment = content.find(b"\n\n", 3, 3 + _MAX_NAME)
    if comment < 0:
        raise broken("expected a comment that ends in an empty line, found none")
    data.at = comment + 2
    n_vertices, n_faces = data.count("vertices", least=1), data.count("faces", most=2 * MAX_VERTICES)
    xyz = data.take(">f4", 3 * n_vertices, "coordinates").reshape(-1, 3).astype(np.float32)
    faces = data.take(">i4", 3 * n_faces, "corners of faces").reshape(-1, 3).astype(np.int32)
    _expect_finite(xyz, broken)
    if n_faces and not 0 <= faces.min() <= faces.max() < n_vertices:
        wrong = faces[(faces < 0) | (faces >= n_vertices)][0]
        raise broken(f"expected faces of vertices from 0 to {n_vertices - 1}, found {wrong}")
    footer = content[data.at : data.at + 10_000]
    return Geometry(xyz, faces, np.eye(4) if footer.startswith(_IN_WORLD) else _to_world(footer.decode("latin-1")))


def _to_world(footer: str) -> NDArray[np.float64] | None:
    """Return the matrix from surface to volume millimetres, or None."""

    def numbers(key: str) -> list[float]:
        found = re.search(rf"^{key}\s*=((?:\s+{NUMBER}){{3}})\s*$", footer, re.MULTILINE)
        return [float(number) for number in found[1].split()] if found else []

    rows = [numbers(key) for key in ("xras", "yras", "zras", "cras")]
    if not all(rows) or not re.search(r"valid\s*=\s*1\b", footer):
        return None
    # Both spaces refer to the same voxel, the middle one; the voxel sizes cancel.
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.array(rows[:3]).T @ np.linalg.inv(_TO_SURFACE), rows[3]
    return matrix


def read_values(content: bytes, *, name: str, n_vertices: int) -> NDArray[np.float32]:
    """Read one number per vertex: ``lh.sulc``, ``lh.curv``, ``lh.thickness``.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, has another number of vertices, or is truncated. NaN is accepted.
    """
    broken = Broken(name)
    data = _Bytes(content, broken)
    if not content.startswith(_VALUES):
        raise broken(f"expected a number for each vertex, found the bytes {content[:8]!r}")
    data.at = 3
    found, _, each = data.take(">i4", 3, "numbers in its header")
    if (found, each) != (n_vertices, 1):
        raise broken(f"expected one number for each of {n_vertices} vertices, found {each} for each of {found}")
    values = data.take(">f4", n_vertices, "values").astype(np.float32)
    data.expect_end()
    return values


def read_patch(content: bytes, *, name: str, n_vertices: int) -> Patch:
    """Read a patch: the vertices of a flattened hemisphere.

    The file has -1 and a count, then for each vertex its number, counted from 1 and negative on the border, and its
    position.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, is truncated, a position is not finite, or a vertex is invalid or repeated.
    """
    broken = Broken(name)
    data = _Bytes(content, broken)
    if not is_patch(content):
        raise broken(f"expected a patch, found the bytes {content[:8]!r}")
    data.at = 4
    count = data.count("vertices", most=n_vertices, least=1)
    rows = data.take("V16", count, "vertices").view([("vertex", ">i4"), ("xyz", ">f4", 3)])
    data.expect_end()
    signed = rows["vertex"].astype(np.int64)
    vertices = np.abs(signed) - 1
    if vertices.min() < 0 or vertices.max() >= n_vertices:
        raise broken(
            f"expected vertices from 1 to {n_vertices}, found {signed[(vertices < 0) | (vertices >= n_vertices)][0]}"
        )
    order = np.argsort(vertices, kind="stable")
    if len(np.unique(vertices)) < count:
        raise broken("expected each vertex once, found a repeated one")
    xyz = rows["xyz"].astype(np.float32)[order]
    _expect_finite(xyz, broken)
    return Patch(vertices[order], xyz, (signed < 0)[order])


def read_annotation(content: bytes, *, name: str, n_vertices: int) -> Parcellation:
    """Read a parcellation: ``lh.aparc.annot``.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, has another number of vertices, is truncated, or a vertex has a colour that is not in
        the file's table. The colour 0 means no region.
    """
    broken = Broken(name)
    data = _Bytes(content, broken)
    count = data.count("vertices")
    if count != n_vertices:
        raise broken(f"expected {n_vertices} vertices, found {count}")
    pairs = data.take(">i4", 2 * count, "vertices and colours").reshape(-1, 2)
    vertices, colours = pairs[:, 0], np.empty(count, dtype=np.int64)
    if not np.array_equal(np.sort(vertices), np.arange(count)):
        raise broken(f"expected each vertex from 0 to {count - 1} once, found another number")
    colours[vertices] = pairs[:, 1]
    if data.take(">i4", 1, "marks of a table of colours")[0] != 1:
        raise broken("expected a table of colours, found none")
    table = _colours(data)
    # Among regions of the same colour the first has priority, as in FreeSurfer.
    known = dict(reversed([(colour, number) for number, (_, colour) in enumerate(table)]))
    known.setdefault(0, -1)
    distinct, position = np.unique(colours, return_inverse=True)
    unknown = [int(colour) for colour in distinct if int(colour) not in known]
    if unknown:
        raise broken(f"expected colours from its table of {len(table)} regions, found {unknown[0]}")
    regions = np.array([known[int(colour)] for colour in distinct], dtype=np.int32)[position.reshape(-1)]
    return Parcellation(regions, tuple(name for name, _ in table))


def _colours(data: _Bytes) -> list[tuple[str, int]]:
    """Read an annotation's colour table: the regions' names and colours."""
    (first,) = data.take(">i4", 1, "numbers of regions")
    if first < 0:
        if first != -2:
            raise data.broken(f"expected a table of colours of version 2, found {-first}")
        n_slots = data.count("regions", most=_MAX_REGIONS)
        data.text("the table's name")
        n_regions = data.count("regions", most=n_slots)
        table = [("", -1)] * n_slots
    else:
        n_slots = n_regions = min(int(first), _MAX_REGIONS + 1)
        if n_slots > _MAX_REGIONS:
            raise data.broken(f"expected at most {_MAX_REGIONS} regions, found {first}")
        data.text("the table's name")
        table = [("", -1)] * n_slots
    for number in range(n_regions):
        slot = data.count("regions", most=n_slots - 1) if first < 0 else number
        region = data.text("a region's name")
        red, green, blue, _ = (int(part) for part in data.take(">i4", 4, "parts of a colour"))
        table[slot] = (region, red + (green << 8) + (blue << 16))
    return table


def _expect_finite(xyz: NDArray[np.float32], broken: Broken) -> None:
    if not np.isfinite(xyz).all():
        raise broken("expected finite positions, found NaN or infinity")
