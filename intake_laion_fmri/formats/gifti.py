"""GIfTI: one number per vertex, as XML."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import MAX_VERTICES, Broken, expect_size, mask_of, parse_numbers

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_TAGS = 20_000
"""Maximum number of ``<`` in a GIfTI file, which has some dozens; bounds the number of parsed elements."""


def _ignore(text: str) -> None:
    """Do nothing."""


def read_func_gii(
    content: bytes, *, name: str, hemi: str | None = None, note: Callable[[str], None] = _ignore
) -> NDArray[np.bool_]:
    """Read a surface mask from a GIfTI file.

    nibabel, the oracle of the tests, unpacks without a bound, drops invalid Base64, and opens external files.

    Parameters
    ----------
    content, name
        A file with a single embedded array of one number per vertex.
    hemi : {"L", "R"}, optional
        The expected hemisphere, if the file declares one.
    note : callable, optional
        Called with a description of values that are neither 0 nor 1.

    Returns
    -------
    array of bool, shape (vertex,)
        Flags from `mask_of`: whether the number is above 0.5.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, a number is infinite, or it declares the other hemisphere.
    """
    return mask_of(_values(content, name=name, hemi=hemi), name=name, note=note)


def read_vertex_values(content: bytes, *, name: str, hemi: str | None = None) -> NDArray[np.float32]:
    """Read a surface statistic from a GIfTI file.

    Raises
    ------
    DataIntegrityError
        If it is not such a file, or declares the other hemisphere.
    """
    with np.errstate(over="ignore"):
        return _values(content, name=name, hemi=hemi).astype(np.float32)


def _values(content: bytes, *, name: str, hemi: str | None) -> NDArray[Any]:
    """Return the file's only array, in the file's type."""
    broken = Broken(name)
    root = _parse(content, broken)
    arrays, declared = root.findall(".//{*}DataArray"), root.get("NumberOfDataArrays")
    if len(arrays) != 1 or declared not in (None, "1"):
        raise broken(f"expected one data array, found {len(arrays)} with {declared or 'no number'} declared")
    attributes = arrays[0].attrib
    intent = attributes.get("Intent", "")
    if intent in _NO_MASKS:
        raise broken(f"expected one number per vertex, found an array with the Intent {intent}")
    for side in _sides(root):
        if hemi and _HEMISPHERE_WORDS[hemi] not in side.casefold():
            raise broken(f"expected hemisphere {hemi}, found the AnatomicalStructurePrimary {side[:80]!r}")
    n_vertices = _n_vertices(attributes, broken)
    return _decode(attributes, _text(root, broken), n_vertices, broken)


_GIFTI_TYPES: Mapping[str, str] = {
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
# Old versions of nibabel wrote the names with a prefix.
_GIFTI_ENDIANS = {"LittleEndian": "<", "BigEndian": ">", "GIFTI_ENDIAN_LITTLE": "<", "GIFTI_ENDIAN_BIG": ">"}
_NO_MASKS = frozenset({"NIFTI_INTENT_NODE_INDEX", "NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"})
_HEMISPHERE_WORDS: Mapping[str, str] = {"L": "left", "R": "right"}

_LATIN_1 = re.compile(rb"\s{0,80}<\?xml [^>]{0,200}encoding=[\"']iso-8859-1[\"']", re.IGNORECASE)


def _parse(content: bytes, broken: Broken) -> Element:
    """Parse XML in UTF-8, UTF-16 or Latin-1; other encodings count as UTF-8.

    Entities and more than `MAX_TAGS` elements are refused before parsing, to bound time and memory.
    """
    from xml.etree.ElementTree import ParseError, XMLParser, fromstring

    expect_size(content, broken)
    ascii_only = content.translate(None, b"\0")  # also finds tags in UTF-16
    if b"<!ENTITY" in ascii_only:
        raise broken("expected no XML entities, found a declaration of one")
    if ascii_only.count(b"<") > MAX_TAGS:
        raise broken(f"expected at most {MAX_TAGS} XML tags, found more")
    try:
        root = fromstring(content, XMLParser(encoding="ISO-8859-1" if _LATIN_1.match(content) else "UTF-8"))
    except ParseError as error:
        raise broken(f"expected a complete GIfTI file, found: {error}") from error
    if root.tag.rpartition("}")[2] != "GIFTI":
        raise broken(f"expected a GIfTI file, found the XML element {root.tag[:80]!r}")
    return root


def _sides(root: Element) -> list[str]:
    """Return the hemispheres that the file declares."""
    entries = root.findall(".//{*}MD")
    pairs = [(entry.findtext("{*}Name", "").strip(), entry.findtext("{*}Value", "").strip()) for entry in entries]
    return [value for name, value in pairs if name == "AnatomicalStructurePrimary" and value]


def _text(root: Element, broken: Broken) -> str:
    """Return the text of the array's data."""
    blocks = root.findall("{*}DataArray/{*}Data")
    if len(blocks) > 1:
        raise broken("expected one Data element in a data array, found several")
    for element in (child for block in blocks for child in block):
        raise broken(f"expected only numbers in Data, found the XML element {element.tag[:80]!r}")
    return blocks[0].text or "" if blocks else ""


def _n_vertices(attributes: Mapping[str, str], broken: Broken) -> int:
    """Return the length of an array of shape (vertex,) or (vertex, 1)."""
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
    """Decode the numbers of a data array, without opening external files."""
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
    """Decompress a zlib stream up to the expected size."""
    stream = zlib.decompressobj()
    data = stream.decompress(packed, size + 1)
    if len(data) <= size and (not stream.eof or stream.unused_data):
        raise zlib.error("a stream that is truncated, or continues after its end")
    return data


def _parse_words(text: str, n_values: int, broken: Broken) -> NDArray[np.float64]:
    try:
        numbers = parse_numbers(re.sub(r"[ \t\r]", "\n", text), n_columns=1)[:, 0]
    except ValueError as error:
        raise broken(f"expected numbers, found: {error}") from error
    if len(numbers) != n_values:
        raise broken(f"expected {n_values} numbers, found {len(numbers)}")
    return numbers
