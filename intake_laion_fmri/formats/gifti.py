"""GIfTI: one number for each vertex of a surface, as XML."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import MAX_VERTICES, NUMBER, Broken, expect_size, mask_of

__all__ = ["read_func_gii"]

MAX_DEPTH = 16
"""XML elements inside each other, at most: GIfTI has five."""

MAX_ELEMENTS = 10_000
"""XML elements of a GIfTI file, at most: of one array it has some dozens."""

_WORD = re.compile(r"[^ \t\r\n]+")
_ASCII_NUMBER = re.compile(rf"{NUMBER}|[-+]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


def _ignore(text: str) -> None:
    """Take no note."""


def read_func_gii(
    content: bytes, *, name: str, hemi: str | None = None, note: Callable[[str], None] = _ignore
) -> NDArray[np.bool_]:
    """Read the mask of a surface from a GIfTI file.

    The file is read here and not by nibabel (which the tests hold against it), because nibabel unpacks without a
    bound, drops what is no Base64, and follows names of external files.

    Parameters
    ----------
    content : bytes
        The file: one array of one number per vertex, in the file itself.
    name : str
        What to call the file in errors.
    hemi : {"L", "R"}, optional
        The hemisphere that the file must be of, where it says so itself.
    note : callable, optional
        Called with what is no plain mask, in words.

    Returns
    -------
    array of bool, shape (vertex,)
        By the rule of `mask_of`: whether the number is above 0.5.

    Raises
    ------
    DataIntegrityError
        If it is no such file, a number is infinite, or it says that it is of the other hemisphere.
    """
    from xml.parsers.expat import ExpatError

    broken = Broken(name)
    expect_size(content, broken)
    collector = _GiftiCollector(broken)
    try:
        collector.parse(content)
    except ExpatError as error:
        raise broken(f"expected a complete GIfTI file, found: {error}") from error
    if len(collector.arrays) != 1 or collector.declared not in (None, "1"):
        found = len(collector.arrays)
        raise broken(f"expected one data array, found {found}, and {collector.declared or 'no number'} declared")
    (attributes,) = collector.arrays
    intent = attributes.get("Intent", "")
    if intent in _NO_MASKS:
        raise broken(f"expected one number per vertex, found an array with the Intent {intent}")
    for side in collector.sides:
        if hemi and _HEMISPHERE_WORDS[hemi] not in side.casefold():
            raise broken(f"expected hemisphere {hemi}, found the AnatomicalStructurePrimary {side[:80]!r}")
    n_vertices = _n_vertices(attributes, broken)
    return mask_of(_decode(attributes, collector.text(), n_vertices, broken), name=name, note=note)


_GIFTI_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "NIFTI_TYPE_UINT8": "u1",
        "NIFTI_TYPE_INT8": "i1",
        "NIFTI_TYPE_UINT16": "u2",
        "NIFTI_TYPE_INT16": "i2",
        "NIFTI_TYPE_UINT32": "u4",
        "NIFTI_TYPE_INT32": "i4",
        "NIFTI_TYPE_UINT64": "u8",
        "NIFTI_TYPE_INT64": "i8",
        "NIFTI_TYPE_FLOAT32": "f4",
        "NIFTI_TYPE_FLOAT64": "f8",
    }
)
_GIFTI_ENDIANS: Mapping[str, str] = MappingProxyType(
    # The second of each is what old versions of nibabel wrote.
    {"LittleEndian": "<", "BigEndian": ">", "GIFTI_ENDIAN_LITTLE": "<", "GIFTI_ENDIAN_BIG": ">"}
)
_NO_MASKS = frozenset({"NIFTI_INTENT_NODE_INDEX", "NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"})
_HEMISPHERE_WORDS: Mapping[str, str] = MappingProxyType({"L": "left", "R": "right"})

_LONGEST_WORD = 100
_LATIN_1 = re.compile(rb"\s{0,80}<\?xml [^>]{0,200}encoding=[\"']iso-8859-1[\"']", re.IGNORECASE)
_DATA = ["GIFTI", "DataArray", "Data"]


class _GiftiCollector:
    """Collects the attributes and the text of the data arrays of a GIfTI file; opens nothing else."""

    def __init__(self, broken: Broken) -> None:
        self._broken = broken
        self._path: list[str] = []
        self._elements = self._blocks = 0
        self._pieces: list[str] = []
        self._name = self._value = ""
        self.sides: list[str] = []
        """The hemispheres that the file says it is of."""
        self.arrays: list[dict[str, str]] = []
        """The attributes of each data array."""
        self.declared: str | None = None
        """How many the file says that there are."""

    def parse(self, content: bytes) -> None:
        """Read a file in UTF-8, UTF-16 or Latin-1; another encoding that it names is taken for UTF-8."""
        from xml.parsers import expat

        parser = expat.ParserCreate("ISO-8859-1" if _LATIN_1.match(content) else "UTF-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._skipped
        parser.Parse(content, True)

    def text(self) -> str:
        """Return the text of the data."""
        return "".join(self._pieces)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path:
            if name != "GIFTI":
                raise self._broken(f"expected a GIfTI file, found the XML element {name[:80]!r}")
            self.declared = attributes.get("NumberOfDataArrays")
        elif name == "DataArray":
            self.arrays.append(attributes)
        elif self._path == _DATA:
            raise self._broken(f"expected numbers alone in Data, found the XML element {name[:80]!r}")
        self._path.append(name)
        if self._path == _DATA:
            self._blocks += 1
            if self._blocks > len(self.arrays):
                raise self._broken("expected one Data in a data array, found another")
        self._elements += 1
        if len(self._path) > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            expected = f"{MAX_ELEMENTS} XML elements, and {MAX_DEPTH} inside each other"
            raise self._broken(f"expected at most {expected}, found more")

    def _end(self, name: str) -> None:
        self._path.pop()
        if name == "MD":
            if self._name.strip() == "AnatomicalStructurePrimary" and self._value.strip():
                self.sides.append(self._value.strip())
            self._name = self._value = ""

    def _characters(self, text: str) -> None:
        if self._path == _DATA:
            self._pieces.append(text)
        elif self._path[-2:] == ["MD", "Name"]:
            self._name = (self._name + text)[:_LONGEST_WORD]
        elif self._path[-2:] == ["MD", "Value"]:
            self._value = (self._value + text)[:_LONGEST_WORD]

    def _entity(self, *_: Any) -> None:
        raise self._broken("expected no XML entities, found a declaration of one")

    def _skipped(self, name: str, *_: Any) -> None:
        # Where a file names a DTD, which is never read, an entity could be declared there: XML then skips it.
        raise self._broken(f"expected no XML entities, found {name[:80]!r}")


def _n_vertices(attributes: Mapping[str, str], broken: Broken) -> int:
    """Return the length of a one-dimensional array; a second dimension of length 1 is the same."""
    rank = attributes.get("Dimensionality", "")
    lengths = [attributes.get(f"Dim{axis}", "") for axis in range(int(rank) if rank in ("1", "2") else 0)]
    if (
        not lengths
        or not all(re.fullmatch("[0-9]{1,9}", n, re.ASCII) for n in lengths)
        or lengths[1:] not in ([], ["1"])
    ):
        dimensions = {name: value for name, value in attributes.items() if name.startswith("Dim")}
        raise broken(f"expected one number per vertex, found the dimensions {str(dimensions)[:200]}")
    n_vertices = int(lengths[0])
    if not 0 < n_vertices <= MAX_VERTICES:
        raise broken(f"expected 1 to {MAX_VERTICES} vertices, found {n_vertices}")
    return n_vertices


def _decode(attributes: Mapping[str, str], text: str, n_values: int, broken: Broken) -> NDArray[Any]:
    """Return the numbers of a data array, which must be in the file: no other file is ever opened."""
    encoding, kind, endian = (attributes.get(name, "")[:80] for name in ("Encoding", "DataType", "Endian"))
    if kind not in _GIFTI_TYPES:
        raise broken(f"expected a DataType of at most 64 bits, found {kind!r}")
    if encoding == "ASCII":
        return _parse_words(text, n_values, broken)
    if encoding not in ("Base64Binary", "GZipBase64Binary"):
        expected = "ASCII, Base64Binary or GZipBase64Binary"
        raise broken(f"expected the numbers in the file itself, as {expected}, found the Encoding {encoding!r}")
    if endian not in _GIFTI_ENDIANS:
        raise broken(f"expected the Endian to be LittleEndian or BigEndian, found {endian!r}")
    dtype = np.dtype(_GIFTI_ENDIANS[endian] + _GIFTI_TYPES[kind])
    size = n_values * dtype.itemsize
    try:
        data = base64.b64decode(text.encode("ascii").translate(None, b" \t\r\n"), validate=True)
        if encoding == "GZipBase64Binary":
            data = _unpack(data, size)
    except (ValueError, zlib.error) as error:
        raise broken(f"expected numbers as {encoding}, found: {error}") from error
    if len(data) != size:
        raise broken(f"expected {n_values} numbers in {size} bytes, found {'more' if len(data) > size else len(data)}")
    return np.frombuffer(data, dtype=dtype)


def _unpack(packed: bytes, size: int) -> bytes:
    """Unpack a zlib stream, but not beyond the size that is expected of it."""
    stream = zlib.decompressobj()
    data = stream.decompress(packed, size + 1)
    if len(data) <= size and (not stream.eof or stream.unused_data):
        raise zlib.error("a stream that is cut off, or goes on after its end")
    return data


def _parse_words(text: str, n_values: int, broken: Broken) -> NDArray[np.float64]:
    characters = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    inside = np.isin(characters, np.frombuffer(b" \t\r\n", dtype=np.uint8), invert=True)
    found = int(inside[:1].sum() + (inside[1:] & ~inside[:-1]).sum())
    if found != n_values:
        raise broken(f"expected {n_values} numbers, found {found}")

    def number(word: str) -> float:
        # Python's own `float` also takes other scripts' digits, and underscores between them.
        if not _ASCII_NUMBER.fullmatch(word):
            raise broken(f"expected numbers, found: {word[:80]!r}")
        return float(word)

    return np.fromiter((number(word[0]) for word in _WORD.finditer(text)), dtype=np.float64, count=n_values)
