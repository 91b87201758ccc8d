"""What the metadata of a store say, both ways: the options it was built with, and the record of each session.

A store is a Zarr v3 hierarchy with a group per subject and session, which plain xarray reads. Beside what xarray needs,
the root tells the options, a subject's group the sessions that the bucket had, and a session's group the checksum of
each of its objects, so that nothing that is damaged, half written or of another build is ever taken for it.
``docs/store-format.md`` specifies all of it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import numbers
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import RoiMembership, RoiSelection, check_selection
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.errors import DataIntegrityError, check_option
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.remote.access import ObjectInfo
from intake_laion_fmri.store.chunks import DTYPES, ChunkGrid, ChunkTable, Codec, Rounding
from intake_laion_fmri.store.coordinates import TYPES, decode
from intake_laion_fmri.store.groups import METADATA
from intake_laion_fmri.store.order import ORDER_RULE

__all__ = [
    "BETAS",
    "STORED_DTYPES",
    "LeftOut",
    "Record",
    "StoreOptions",
    "StoredSession",
    "coordinate_key",
    "group_metadata",
    "is_object",
    "metadata_key",
    "object_sum",
    "read_root",
    "read_subject",
    "root_metadata",
    "session_group",
    "subject_metadata",
    "sum_of_inputs",
]

FORMAT = 1
"""Version of the layout. A reader refuses others."""

STORE = "laion_fmri_store"
"""Attribute of every group of a store with what this package records, as JSON: netCDF knows no nested attributes."""

CHECKSUM = "laion_fmri_store_sha256"
"""Attribute of every group with the SHA-256 of its own metadata, this attribute left out."""

STORED_DTYPES: Mapping[str, str] = MappingProxyType(
    {"run": "int16", "beta_index": "int32", "n_repeats": "int8", "repetition": "int8", "i": "int16", "j": "int16"}
    | {"k": "int16"}
)
"""Types of coordinates that are narrower in a store than in a Dataset, where arithmetic must not overflow."""

BETAS = "betas"
"""The array of a session's group."""

ARRAYS = frozenset(
    f"{BETAS} subject session trial beta_index label run repetition dataset shared n_repeats ood_type "
    "voxel x y z i j k r2_mean nc_4rep nc_12rep nc_all in_roi roi roi_category split_role pool split".split()
)
"""Every array that a session's group may have; what has another name there is not this package's."""

Understood = TypeVar("Understood")

_MOST_GRID = 10**9
"""Most voxels of a grid; whole brains have two million."""

_MOST_OTHERS = 100_000
"""Most ROIs, pools or splits."""

_KEEP_BITS = 10
"""Of a float32's 23, where nothing else is said: relative errors up to 4.9e-4."""


# --- options ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoreOptions:
    """What a store keeps, and how. All sessions of a store have the same."""

    roi: RoiSelection | None = None
    """The voxels to keep; None for the whole mask."""
    mask: str = "rsquare"
    """One of `voxels.MASKS`."""
    dtype: str = "float32"
    """One of `chunks.DTYPES`."""
    keep_bits: int | None = None
    """For ``bitround``: bits of the mantissa."""
    codec: str = "none"
    """One of `chunks.CODECS`."""
    chunk_voxels: int = 128
    """Voxels per chunk."""
    shard_voxels: int | None = 4096
    """Voxels per object; None for an object per chunk."""

    @classmethod
    def of(cls, given: Mapping[str, Any], stored: StoreOptions | None = None) -> StoreOptions:
        """Check what a user gave.

        Parameters
        ----------
        given : mapping
            Name → value; what is missing, or None, is as in `stored`, or the default.
        stored : StoreOptions, optional
            The options of the store that is there.

        Raises
        ------
        ValueError, TypeError
            If a value cannot be right, or the store has another.
        """
        named = {name: value for name, value in given.items() if value is not None}
        checked = {name: _CHECKS[name](value) for name, value in named.items()}
        dtype = checked.get("dtype", stored.dtype if stored else cls.dtype)
        if dtype == "bitround" and stored is None:
            checked.setdefault("keep_bits", _KEEP_BITS)
        elif dtype != "bitround" and "keep_bits" in checked:
            raise ValueError(f"keep_bits={checked['keep_bits']} goes with dtype='bitround', found {dtype!r}.")
        if stored is not None:
            different = [name for name, value in checked.items() if value != getattr(stored, name)]
            if different:
                has = ", ".join(f"{name}={getattr(stored, name)!r}" for name in different)
                asked = ", ".join(f"{name}={checked[name]!r}" for name in different)
                raise ValueError(
                    f"The store was built with {has}, found {asked}. All its sessions have the same options: leave "
                    "them out to add to it, build another store, or remove this one first."
                )
            return stored
        options = cls(**checked)
        shard = options.shard_voxels
        if shard is not None and shard % options.chunk_voxels:
            raise ValueError(
                f"shard_voxels={shard} is no multiple of chunk_voxels={options.chunk_voxels}: expected one, such as "
                f"{max(1, round(shard / options.chunk_voxels)) * options.chunk_voxels}, or 0 for an object per chunk."
            )
        return options

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StoreOptions:
        """Return the options that `to_json` gave."""
        roi = content["roi"]
        return cls(**{**content, "roi": tuple(roi) if isinstance(roi, list) else roi})

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON holds them."""
        return asdict(self)

    @property
    def rounding(self) -> Rounding:
        """How values are changed before they are stored."""
        return Rounding(self.dtype, self.keep_bits)

    def grid(self, n_trials: int, n_voxels: int) -> ChunkGrid:
        """Return how an array of betas is cut."""
        return ChunkGrid.of(
            n_trials,
            n_voxels,
            item=self.rounding.item,
            width=self.chunk_voxels,
            shard_width=self.shard_voxels,
            codec=self.codec,
        )

    def __str__(self) -> str:
        """Tell what differs from the defaults."""
        told = [
            f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if getattr(self, one.name) != one.default
        ]
        return ", ".join(told) or "the default options"


def _whole(name: str, least: int, most: int) -> Any:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}, found {value!r}.")
        return int(value)

    return check


_CHECKS = {
    "roi": check_selection,
    "mask": functools.partial(check_option, "mask", valid=get_args(Mask)),
    "dtype": functools.partial(check_option, "dtype", valid=DTYPES),
    "keep_bits": _whole("keep_bits", 1, 23),
    "codec": functools.partial(check_option, "codec", valid=get_args(Codec)),
    "chunk_voxels": _whole("chunk_voxels", 1, 2**20),
    "shard_voxels": lambda value: _whole("shard_voxels", 0, 2**24)(value) or None,
}


# --- what is not kept -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeftOut:
    """The voxels of the mask that a store does not keep, as far as that tells whether a selection would want them."""

    sets: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    """For each set of ROIs that a voxel belongs to: the ROIs as hexadecimal digits of packed bits, the number of such
    voxels, and the largest value of each of `maps` among them, None where there is none."""
    maps: tuple[str, ...]
    """Maps that a threshold may read."""

    @classmethod
    def of(cls, n_voxels: int, inside: NDArray[np.bool_] | None, maps: Mapping[str, NDArray[Any]]) -> LeftOut:
        """Describe voxels by their membership, shape (roi, voxel), and their maps, shape (voxel,)."""
        if not n_voxels:
            return cls((), tuple(maps))
        bits = np.packbits(np.zeros((1, n_voxels), dtype=bool) if inside is None else inside, axis=0)
        patterns, codes = np.unique(bits, axis=1, return_inverse=True)
        codes = codes.reshape(-1)
        sets = []
        for number, pattern in enumerate(patterns.T):
            here = codes == number
            # NaN is no maximum: such a voxel reaches no threshold.
            most = [np.fmax.reduce(values[here]) for values in maps.values()]
            largest = tuple(None if math.isnan(value) else float(value) for value in most)
            sets.append((pattern.tobytes().hex(), int(here.sum()), largest))
        return cls(tuple(sets), tuple(maps))

    def wanted(
        self, rois: RoiMembership | None, selection: RoiSelection | None, map: str | None, least: float | None
    ) -> int:
        """Return how many of these voxels a selection may choose: 0 if it chooses none.

        Parameters
        ----------
        rois : RoiMembership or None
            The subject's ROIs; whose voxels these are is of no account.
        selection : str, sequence of str, or None
            The ROIs that are asked for, all of them known.
        map, least
            The map that a threshold reads, and the threshold, where there is one.
        """
        sets = [one for one in self.sets if map is None or self._reaches(one, map, least or 0.0)]
        if not sets or selection is None or rois is None:
            return sum(count for _, count, _ in sets)
        packed = np.array([np.frombuffer(bytes.fromhex(digits), dtype=np.uint8) for digits, _, _ in sets]).T
        inside = np.unpackbits(packed, axis=0, count=len(rois.names)).astype(bool)
        chosen = RoiMembership(rois.names, rois.categories, inside).select(selection, where="the store")
        return sum(count for (_, count, _), is_chosen in zip(sets, chosen, strict=True) if is_chosen)

    def expect_sound(self) -> None:
        """Raise ValueError or TypeError where these are no sets of voxels."""
        for digits, count, largest in self.sets:
            bytes.fromhex(digits)
            if type(count) is not int or count < 0 or len(digits) != len(self.sets[0][0]):
                raise ValueError(f"{reprlib.repr(count)} voxels that are left out")
            if len(largest) != len(self.maps) or not all(one is None or type(one) is float for one in largest):
                raise ValueError("largest values that are no numbers")

    def _reaches(self, one: tuple[str, int, tuple[float | None, ...]], map: str, least: float) -> bool:
        largest = one[2][self.maps.index(map)] if map in self.maps else None
        # As float32, in which maps are compared with thresholds.
        return largest is not None and bool(np.float32(largest) >= np.float32(least))


# --- groups -----------------------------------------------------------------------------------------------------------


def session_group(subject: str, session: str) -> str:
    """Return the path of a session's group."""
    return f"{subject}/{session}"


def object_sum(content: bytes) -> str:
    """Return the sum that is recorded of an object: its SHA-256.

    Not a CRC32C: objects end with their own, and over both that is the same number for all of them.
    """
    return hashlib.sha256(content).hexdigest()


def sum_of_inputs(infos: Iterable[ObjectInfo]) -> str:
    """Return one sum for the keys, sizes and ETags of objects: it differs where one of them was replaced."""
    described = sorted({(info.key, info.size, info.etag) for info in infos})
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def group_metadata(attributes: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> bytes:
    """Return the metadata of a group.

    Parameters
    ----------
    attributes : mapping
        Its attributes.
    arrays : mapping, optional
        Name → metadata of its arrays, which are then read with the group's own.
    """
    content: dict[str, Any] = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    if arrays is not None:
        content["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": dict(arrays)}
    content["attributes"][CHECKSUM] = _checksum(content)
    return json.dumps(content).encode()


def root_metadata(options: StoreOptions) -> bytes:
    """Return the metadata of a store's root."""
    return group_metadata({**_CREDITS, **_told(options=options.to_json(), order=ORDER_RULE)})


def read_root(content: bytes, *, name: str) -> StoreOptions:
    """Return the options that a store's root tells; errors as in `StoredSession.parse`."""
    return _understood(lambda: StoreOptions.from_json(_read_group(content, name=name).told["options"]), name)


def subject_metadata(subject: str, sessions: Sequence[str]) -> bytes:
    """Return the metadata of a subject's group; `sessions` are the public ones of the bucket."""
    return group_metadata({"subject": subject, **_CREDITS, **_told(sessions=list(sessions))})


def read_subject(content: bytes, *, subject: str, name: str) -> tuple[str, ...]:
    """Return the sessions that the bucket had of a subject; errors as in `StoredSession.parse`."""
    read = _read_group(content, name=name)

    def understand() -> tuple[str, ...]:
        if read.attributes["subject"] != subject:
            raise ValueError(f"they are those of {read.attributes['subject']!r}")
        return tuple(map(str, read.told["sessions"]))

    return _understood(understand, name)


def metadata_key(group: str) -> str:
    """Return the key of a group's metadata; the empty text is the root."""
    return f"{group}/{METADATA}" if group else METADATA


def is_object(key: str) -> bool:
    """Tell whether a session's group may have an object of this key, whatever its size and layout."""
    array, _, below = key.partition("/")
    return key == METADATA or (array in ARRAYS and re.fullmatch(r"zarr\.json|c(/\d+)*", below) is not None)


def coordinate_key(array: str, metadata: Mapping[str, Any]) -> str:
    """Return the key below its group of the only chunk of a coordinate."""
    return "/".join([array, "c", *("0" for _ in metadata["shape"])])


_CREDITS = {"license": layout.LICENSE, "references": layout.REFERENCES}


class _Group(NamedTuple):
    checksum: str
    attributes: dict[str, Any]
    told: dict[str, Any]
    arrays: dict[str, Any]


def _read_group(content: bytes, *, name: str) -> _Group:
    """Return what `group_metadata` was given, and what its attribute `STORE` says.

    Parameters
    ----------
    content : bytes
        The group's metadata.
    name : str
        Where they are from, for errors.

    Raises
    ------
    DataIntegrityError
        If they are no such metadata, were changed, or are of another version of the layout.
    """
    try:
        group = json.loads(content)
        expected = group["attributes"].pop(CHECKSUM)
        if _checksum(group) != expected:
            raise ValueError(f"their SHA-256 is not {expected}")
        told = json.loads(group["attributes"].pop(STORE))
        version = told["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataIntegrityError(
            f"{name}: expected the metadata of a store that 'intake-laion-fmri store build' has built, found others "
            f"({type(error).__name__}: {error}). Check the argument 'store'; if it is right, build the store again."
        ) from error
    if version != FORMAT:
        raise DataIntegrityError(
            f"{name}: expected a store of format {FORMAT}, found {version}. Read it with the version of "
            "intake-laion-fmri that built it, or build it again."
        )
    return _Group(expected, group["attributes"], told, (group.get("consolidated_metadata") or {}).get("metadata", {}))


def _understood(read: Callable[[], Understood], name: str) -> Understood:
    """Return what was read, or say that it cannot be understood."""
    try:
        return read()
    except DataIntegrityError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataIntegrityError(
            f"{name}: expected what 'intake-laion-fmri store build' records, found something else "
            f"({type(error).__name__}: {error}). Build the store again."
        ) from error


def _expect_known(arrays: Mapping[str, Any]) -> None:
    """Raise ValueError where there is an array, or a type of its values, that no session has."""
    for array, metadata in arrays.items():
        kind = metadata["data_type"]
        if array not in ARRAYS or not isinstance(kind, str) or kind not in TYPES:
            raise ValueError(f"an array {reprlib.repr(array)} of {reprlib.repr(kind)}")


def _expect_fitting(array: str, metadata: Mapping[str, Any], grid: ChunkGrid) -> None:
    """Raise ValueError where an array is not as long as the betas are."""
    dims, shape = metadata.get("dimension_names") or (), metadata["shape"]
    lengths = {"trial": grid.n_trials, "voxel": grid.n_voxels}
    for dim, length in zip(dims, shape, strict=True):
        if type(length) is not int or not 0 <= length <= lengths.get(dim, _MOST_OTHERS) or length < lengths.get(dim, 0):
            raise ValueError(f"{array} has {reprlib.repr(length)} along {reprlib.repr(dim)}")


def _told(**values: Any) -> dict[str, str]:
    """Return the attribute with what this package records."""
    return {STORE: json.dumps({"format": FORMAT, **values})}


def _checksum(group: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(group, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """What is recorded of a session beside what plain xarray needs."""

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
    tables: Mapping[str, str] = field(default_factory=dict)
    """Session → sum of its trial table, of all that repetitions were counted from; none in stores of before 0.2."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Key below the group → bytes, of `objects`; none in stores of before 0.2."""

    def attribute(self) -> dict[str, str]:
        """Return the record as an attribute of the session's group."""
        return _told(
            group=self.group,
            order=ORDER_RULE,
            options=self.options.to_json(),
            inputs=self.inputs,
            axis=self.axis,
            objects=self.objects,
            chunks=self.chunks.to_text(),
            left_out=asdict(self.left_out),
            tables=self.tables,
            sizes=self.sizes,
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """Return the record of what such an attribute says."""
        left = content["left_out"]
        sets = tuple((digits, count, tuple(largest)) for digits, count, largest in left["sets"])
        return cls(
            content["group"],
            StoreOptions.from_json(content["options"]),
            content["inputs"],
            content["axis"],
            content["objects"],
            ChunkTable.from_text(content["chunks"]),
            LeftOut(sets, tuple(left["maps"])),
            content.get("tables", {}),
            content.get("sizes", {}),
        )

    def expect_sound(self, grid: ChunkGrid) -> None:
        """Raise ValueError where it names what no session has."""
        if self.group.count("/") != 1:
            raise ValueError(f"the group {self.group!r}")
        odd = [key for key in (*self.objects, *self.sizes) if not is_object(key)]
        if odd:
            raise ValueError(f"an object {reprlib.repr(odd[0])}")
        self.left_out.expect_sound()
        if not all(type(one) is str for one in (*self.objects.values(), *self.tables.values())):
            raise ValueError("a sum that is no text")
        if not all(type(one) is int and one >= 0 for one in self.sizes.values()):
            raise ValueError("a size that is no number of bytes")
        grid.expect_sound(self.chunks)


@dataclass(frozen=True, eq=False)
class StoredSession:
    """The group of a session: everything that is known of it before one of its objects is read."""

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
        """Return the session that a group's metadata describe; DataIntegrityError where they cannot be trusted."""
        read = _read_group(content, name=name)

        def understand() -> StoredSession:
            record = Record.from_json(read.told)
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

        return _understood(understand, name)

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
        """The grid that the voxels are taken from."""
        return _grid(self.attributes)

    @property
    def sources(self) -> list[ObjectInfo]:
        """The objects that it was built from."""
        return _understood(
            lambda: [ObjectInfo(**one) for one in json.loads(self.attributes["sources"])],
            f"the sources of {self.group}",
        )

    @property
    def session_sources(self) -> list[ObjectInfo]:
        """Those of them that are of this session alone: its betas and its trial table."""
        parsed = [(info, layout.parse_key(info.key)) for info in self.sources]
        return [info for info, key in parsed if key and "session" in key.entities]

    @property
    def keys(self) -> dict[str, int | None]:
        """Every object below the group, apart from its metadata, and its size, where that is recorded."""
        betas = {
            f"{BETAS}/{self.grid.key(number)}": self.grid.object_bytes(number, self.record.chunks)
            for number in range(self.grid.n_objects)
        }
        return {key: self.record.sizes.get(key) for key in self.record.objects} | betas

    def counted_otherwise(self, others: Iterable[StoredSession]) -> str:
        """Say by which trial table its repetitions were counted that others know in another version, or nothing."""
        for other in others:
            for session, known in other.record.tables.items():
                if session != self.session and self.record.tables.get(session, known) != known:
                    return (
                        f"counts repetitions by another version of the trial table of {session} than {other.session}: "
                        "run 'intake-laion-fmri store build' again for all sessions of the subject"
                    )
        return ""

    @property
    def n_bytes(self) -> int:
        """Stored bytes of the betas, without the indices of shards."""
        return sum(self.record.chunks.sizes)

    def key(self, array: str) -> str:
        """Return the key below the root of the only chunk of a coordinate."""
        return f"{self.group}/{coordinate_key(array, self.arrays[array])}"

    def value(self, array: str, contents: Mapping[str, bytes], *, where: str) -> NDArray[Any]:
        """Return a coordinate.

        Parameters
        ----------
        array : str
            Its name.
        contents : mapping
            Key below the root → content, of what was read.
        where : str
            The store, for errors.

        Raises
        ------
        DataIntegrityError
            If its object is missing, or not the one that was recorded.
        """
        key = self.key(array)
        expected = self.record.objects.get(coordinate_key(array, self.arrays[array]))
        content = contents.get(key)
        found = "nothing" if content is None else object_sum(content)
        if content is None or found != expected:
            raise DataIntegrityError(
                f"{where}/{key}: expected an object with the SHA-256 {expected}, found {found}. Open the store again; "
                "if it stays so, remove the folder of this session and build it again."
            )
        return _understood(lambda: decode(self.arrays[array], content), f"{where}/{key}")


def _sources(attributes: Mapping[str, Any]) -> list[ObjectInfo]:
    told = json.loads(attributes["sources"])
    infos = [ObjectInfo(**one) for one in told]
    texts = (text for one in infos for text in (one.key, one.etag))
    if not isinstance(told, list) or not all(type(one) is str for one in texts):
        raise ValueError("sources that are no objects")
    if not all(type(one.size) is int for one in infos):
        raise ValueError("sources without sizes")
    return infos


def _grid(attributes: Mapping[str, Any]) -> Grid:
    shape, affine = attributes["grid_shape"], attributes["affine"]
    if not all(type(one) is int and one > 0 for one in shape) or math.prod(shape) > _MOST_GRID:
        raise ValueError(f"grid_shape {reprlib.repr(shape)}")
    return Grid(tuple(shape), tuple(map(float, affine)))
