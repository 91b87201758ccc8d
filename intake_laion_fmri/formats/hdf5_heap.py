"""Variable-length elements of HDF5, read without HDF5's lock.

h5py has one lock per process, and its objects neither pickle nor survive a fork. Reading by the positions from
`hdf5.Hdf5File.references` needs neither.

Reference: HDF5 File Format Specification, version 3, III.E: the global heap. A collection begins with ``GCOL``, its
version (1 byte, 3 reserved) and its size (8 bytes). Objects follow: index and reference count (2 bytes each, 4
reserved), size (8), and the data, padded to a multiple of 8. A large element is the first one of its own collection, so
that one read of its size and 32 bytes is enough. Only small ones share a collection.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from intake_laion_fmri.formats.masks import Broken

_COLLECTION = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HH4xQ")
BEFORE = _COLLECTION.size + _OBJECT.size
"""Bytes before the data of the first object: 32."""

_MOST_BYTES = 64 * 1024 * 1024
"""Maximum size of a shared collection that is searched for an object; HDF5 makes them 4 kB."""


def read_element(read: Callable[[int, int], bytes], address: int, index: int, length: int, *, name: str) -> bytes:
    """Read one element by its reference.

    Parameters
    ----------
    read : callable
        Called with start and stop; returns these bytes, or fewer at the end of the file.
    address, index, length : int
        Fields of the reference: the element's collection, its number in it, its bytes.

    Raises
    ------
    DataIntegrityError
        If there is no such element.
    """
    broken = Broken(name)
    content = read(address, address + BEFORE + length) if length else b""
    if len(content) < BEFORE + min(length, 1):
        raise broken(f"expected an element of {length} bytes at byte {address}, found nothing")
    size = collection_size(content, address, broken)
    number, _, found = _OBJECT.unpack_from(content, _COLLECTION.size)
    if (number, found) == (index, length) and len(content) == BEFORE + length:
        return content[BEFORE:]
    if size > _MOST_BYTES:
        raise broken(f"expected a shared heap of at most {_MOST_BYTES} bytes at byte {address}, found {size}")
    element = elements_of(read(address, address + size)).get(index, b"")
    if len(element) != length:
        raise broken(f"expected an element of {length} bytes in the heap at byte {address}, found none")
    return element


def collection_size(content: bytes, address: int, broken: Broken) -> int:
    """Return the size in a collection's header; DataIntegrityError if invalid."""
    signature, version, size = _COLLECTION.unpack(content[: _COLLECTION.size].ljust(_COLLECTION.size, b"\0"))
    if (signature, version) != (b"GCOL", 1):
        raise broken(f"expected an HDF5 heap at byte {address}, found {signature!r}")
    return int(size)


def elements_of(collection: bytes) -> dict[int, bytes]:
    """Return a collection's complete or truncated elements: index → data."""
    elements, offset = {}, _COLLECTION.size
    while offset + _OBJECT.size <= len(collection):
        index, _, length = _OBJECT.unpack_from(collection, offset)
        offset += _OBJECT.size
        if index == 0:  # free space follows
            break
        elements[index] = collection[offset : offset + length]
        offset += -(-length // 8) * 8
    return elements
