"""A session's group in a store: arrays and provenance.

A store is a Zarr v3 hierarchy with a group per subject and session, which plain xarray reads. Beside what xarray needs,
the root tells the options, a subject's group the sessions that the bucket had, and a session's group the checksum of
each of its objects, so that nothing that is damaged, half written or of another build is ever taken for it.
``docs/store-format.md`` specifies all of it.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.remote.access import ObjectInfo
from intake_laion_fmri.store.chunks import ChunkGrid, ChunkTable
from intake_laion_fmri.store.coordinates import TYPES, decode
from intake_laion_fmri.store.groups import METADATA
from intake_laion_fmri.store.left_out import LeftOut
from intake_laion_fmri.store.metadata import object_sum, read_group, recorded, understood
from intake_laion_fmri.store.options import StoreOptions
from intake_laion_fmri.store.order import ORDER_RULE

STORED_DTYPES: Mapping[str, str] = {
    "run": "int16",
    "beta_index": "int32",
    "n_repeats": "int8",
    "repetition": "int8",
    **dict.fromkeys("ijk", "int16"),
}
"""Types of coordinates that are narrower in a store than in a Dataset, where arithmetic must not overflow."""

BETAS = "betas"
"""The array of a session's group."""

ARRAYS = frozenset(
    f"{BETAS} subject session trial beta_index label run repetition dataset shared n_repeats ood_type stimulus "
    "voxel x y z i j k r2_mean nc_4rep nc_12rep nc_all in_roi roi roi_category split_role pool split".split()
)
"""Every array that a session's group may have; what has another name there is not this package's."""

_MOST_GRID = 10**9
"""Most voxels of a grid; whole brains have two million."""

_MOST_OTHERS = 100_000
"""Most ROIs, pools or splits."""


def is_object(key: str) -> bool:
    """Return True for a possible key of a session's group.

    Sizes and layout are not considered.
    """
    array, _, below = key.partition("/")
    return key == METADATA or (array in ARRAYS and re.fullmatch(r"zarr\.json|c(/\d+)*", below) is not None)


def coordinate_key(array: str, metadata: Mapping[str, Any]) -> str:
    """Return the key of a coordinate's only chunk below its group."""
    return "/".join([array, "c", *("0" for _ in metadata["shape"])])


def _expect_known(arrays: Mapping[str, Any]) -> None:
    """Raise ValueError for an unknown array or type."""
    for array, metadata in arrays.items():
        kind = metadata["data_type"]
        if array not in ARRAYS or not isinstance(kind, str) or kind not in TYPES:
            raise ValueError(f"an array {reprlib.repr(array)} of {reprlib.repr(kind)}")


def _expect_fitting(array: str, metadata: Mapping[str, Any], grid: ChunkGrid) -> None:
    """Raise ValueError unless an array is as long as the betas."""
    dims, shape = metadata.get("dimension_names") or (), metadata["shape"]
    lengths = {"trial": grid.n_trials, "voxel": grid.n_voxels}
    for dim, length in zip(dims, shape, strict=True):
        if type(length) is not int or not 0 <= length <= lengths.get(dim, _MOST_OTHERS) or length < lengths.get(dim, 0):
            raise ValueError(f"{array} has {reprlib.repr(length)} along {reprlib.repr(dim)}")


@dataclass(frozen=True)
class Record:
    """Record of a session, beyond what plain xarray needs."""

    group: str
    """The path of the session's group: a copy under another name is not that session."""
    options: StoreOptions
    """Those of the store."""
    inputs: str
    """`sum_of_inputs` of what the session was built from."""
    axis: str
    """SHA-256 of everything along voxels and ROIs: where it is the same, so are these coordinates."""
    objects: Mapping[str, str]
    """Key below the group → its `object_sum`, of every object but those of the betas."""
    chunks: ChunkTable
    """Of the betas."""
    left_out: LeftOut
    """The voxels of the mask that are not kept."""
    tables: Mapping[str, str]
    """Session → sum of its trial table, of all that repetitions were counted from."""
    sizes: Mapping[str, int]
    """Key below the group → bytes, of `objects`."""

    def attribute(self) -> dict[str, str]:
        """Return the record as an attribute of the group."""
        values = {"group": self.group, "order": ORDER_RULE, **vars(self)}  # in this order: a store's bytes are fixed
        nested = {"options": self.options.to_json(), "chunks": self.chunks.to_text(), "left_out": asdict(self.left_out)}
        return recorded(**{**values, **nested})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """Parse the record of such an attribute."""
        left = content["left_out"]
        sets = tuple((digits, count, tuple(largest)) for digits, count, largest in left["sets"])
        nested = {
            "options": StoreOptions.from_json(content["options"]),
            "chunks": ChunkTable.from_text(content["chunks"]),
            "left_out": LeftOut(sets, tuple(left["maps"])),
        }
        return cls(**{field.name: content[field.name] for field in fields(cls)} | nested)

    def expect_sound(self, grid: ChunkGrid) -> None:
        """Raise ValueError for an impossible record."""
        if self.group.count("/") != 1:
            raise ValueError(f"the group {self.group!r}")
        odd = [key for key in self.objects if not is_object(key)]
        if odd or self.sizes.keys() != self.objects.keys():
            raise ValueError(f"an object {reprlib.repr(odd[0])}" if odd else "sizes of other objects than its own")
        self.left_out.expect_sound()
        if not all(type(text) is str for text in (*self.objects.values(), *self.tables.values())):
            raise ValueError("a checksum that is not a string")
        if not all(type(size) is int and size >= 0 for size in self.sizes.values()):
            raise ValueError("a size that is not a number of bytes")
        grid.expect_sound(self.chunks)


@dataclass(frozen=True, eq=False)
class StoredSession:
    """A session's group, known before any of its objects is read."""

    group: str
    """Its path below the root."""
    checksum: str
    """Of the group's metadata, and so of everything that is recorded of it."""
    attributes: Mapping[str, Any]
    """The attributes of the Dataset."""
    arrays: Mapping[str, Mapping[str, Any]]
    """Name → Zarr's metadata."""
    record: Record
    """The rest."""
    grid: ChunkGrid
    """How the betas are cut."""

    @classmethod
    def parse(cls, content: bytes, *, group: str, name: str) -> StoredSession:
        """Parse a group's metadata; DataIntegrityError if they are untrustworthy."""
        read = read_group(content, name=name)

        def understand() -> StoredSession:
            record = Record.from_json(read.own)
            if record.group != group:
                raise ValueError(f"they are those of {reprlib.repr(record.group)}")
            _expect_known(read.arrays)
            grid = ChunkGrid.from_metadata(read.arrays[BETAS])
            record.expect_sound(grid)
            for array, metadata in read.arrays.items():
                _expect_fitting(array, metadata, grid)
            _grid(read.attributes)
            _sources(read.attributes)
            return cls(group, read.checksum, read.attributes, read.arrays, record, grid)

        return understood(understand, name)

    @property
    def subject(self) -> str:
        """``"sub-01"``."""
        return self.group.partition("/")[0]

    @property
    def session(self) -> str:
        """``"ses-01"``."""
        return self.group.partition("/")[2]

    @property
    def voxel_grid(self) -> Grid:
        """Grid of the voxels."""
        return _grid(self.attributes)

    @property
    def sources(self) -> list[ObjectInfo]:
        """Objects from which the session was built."""
        return _sources(self.attributes)

    @property
    def session_sources(self) -> list[ObjectInfo]:
        """Sources of this session alone: betas and trial table."""
        parsed = [(info, layout.parse_key(info.key)) for info in self.sources]
        return [info for info, key in parsed if key and "session" in key.entities]

    @property
    def keys(self) -> dict[str, int]:
        """Objects below the group with recorded sizes, without metadata."""
        betas = {
            f"{BETAS}/{self.grid.key(number)}": self.grid.object_bytes(number, self.record.chunks)
            for number in range(self.grid.n_objects)
        }
        return {**self.record.sizes, **betas}

    def counted_otherwise(self, others: Iterable[StoredSession]) -> str:
        """Describe a trial table that differs between the records of two sessions.

        The text is empty if there is none.
        """
        for other in others:
            for session, known in other.record.tables.items():
                if session != self.session and self.record.tables.get(session, known) != known:
                    return (
                        f"counts repetitions with another version of the trial table of {session} than "
                        f"{other.session} does: run 'intake-laion-fmri store build' again for all sessions of the "
                        "subject"
                    )
        return ""

    @property
    def n_bytes(self) -> int:
        """Stored bytes of betas, without indices of shards."""
        return sum(self.record.chunks.sizes)

    def key(self, array: str) -> str:
        """Return the key of a coordinate's only chunk below the root."""
        return f"{self.group}/{coordinate_key(array, self.arrays[array])}"

    def value(self, array: str, contents: Mapping[str, bytes], *, where: str) -> NDArray[Any]:
        """Decode a coordinate from contents by key.

        `where` names the store in errors.

        DataIntegrityError if its object is missing, or not the one that was recorded.
        """
        key = self.key(array)
        expected = self.record.objects.get(coordinate_key(array, self.arrays[array]))
        content = contents.get(key)
        found = "nothing" if content is None else object_sum(content)
        if content is None or found != expected:
            raise DataIntegrityError(
                f"{where}/{key}: expected an object with the SHA-256 {expected}, found {found}. Open the store again; "
                "if it persists, remove the folder of this session and build it again."
            )
        return understood(lambda: decode(self.arrays[array], content), f"{where}/{key}")


def _sources(attributes: Mapping[str, Any]) -> list[ObjectInfo]:
    sources = json.loads(attributes["sources"])
    infos = [ObjectInfo(**source) for source in sources]
    texts = (text for info in infos for text in (info.key, info.etag))
    if not isinstance(sources, list) or not all(type(text) is str for text in texts):
        raise ValueError("sources that are not objects")
    if not all(type(info.size) is int for info in infos):
        raise ValueError("sources without sizes")
    return infos


def _grid(attributes: Mapping[str, Any]) -> Grid:
    shape, affine = attributes["grid_shape"], attributes["affine"]
    if not all(type(length) is int and length > 0 for length in shape) or math.prod(shape) > _MOST_GRID:
        raise ValueError(f"grid_shape {reprlib.repr(shape)}")
    return Grid(tuple(shape), tuple(map(float, affine)))
