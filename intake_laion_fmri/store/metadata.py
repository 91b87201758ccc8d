"""Metadata of a store's groups, versioned and checksummed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.remote.access import ObjectInfo
from intake_laion_fmri.store.groups import METADATA
from intake_laion_fmri.store.options import StoreOptions
from intake_laion_fmri.store.order import ORDER_RULE

FORMAT = 1
"""Version of the layout. A reader refuses others."""

STORE = "laion_fmri_store"
"""Attribute of every group of a store with what this package records, as JSON: netCDF knows no nested attributes."""

CHECKSUM = "laion_fmri_store_sha256"
"""Attribute of every group with the SHA-256 of its own metadata, this attribute left out."""

Understood = TypeVar("Understood")


def session_group(subject: str, session: str) -> str:
    """Return the path of a session's group."""
    return f"{subject}/{session}"


def object_sum(content: bytes) -> str:
    """Return an object's checksum for records: its SHA-256.

    Not a CRC32C: objects end with their own, and over both that is the same number for all of them.
    """
    return hashlib.sha256(content).hexdigest()


def sum_of_inputs(infos: Iterable[ObjectInfo]) -> str:
    """Return a checksum of keys, sizes and ETags.

    The checksum changes when an object is replaced.
    """
    described = sorted({(info.key, info.size, info.etag) for info in infos})
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def group_metadata(attributes: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> bytes:
    """Return a group's metadata, with its arrays' for one request."""
    content: dict[str, Any] = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    if arrays is not None:
        content["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": dict(arrays)}
    content["attributes"][CHECKSUM] = _checksum(content)
    return json.dumps(content).encode()


def root_metadata(options: StoreOptions) -> bytes:
    """Return the metadata of a store's root."""
    return group_metadata({**_CREDITS, **recorded(options=options.to_json(), order=ORDER_RULE)})


def read_root(content: bytes, *, name: str) -> StoreOptions:
    """Parse the options in the root's metadata.

    Errors are those of `StoredSession.parse`.
    """
    return understood(lambda: StoreOptions.from_json(read_group(content, name=name).own["options"]), name)


def subject_metadata(subject: str, sessions: Sequence[str]) -> bytes:
    """Return a subject's metadata; `sessions` are the bucket's public ones."""
    return group_metadata({"subject": subject, **_CREDITS, **recorded(sessions=list(sessions))})


def read_subject(content: bytes, *, subject: str, name: str) -> tuple[str, ...]:
    """Parse the names of the bucket's sessions.

    Errors are those of `StoredSession.parse`.
    """
    read = read_group(content, name=name)

    def understand() -> tuple[str, ...]:
        if read.attributes["subject"] != subject:
            raise ValueError(f"they are those of {read.attributes['subject']!r}")
        return tuple(map(str, read.own["sessions"]))

    return understood(understand, name)


def metadata_key(group: str) -> str:
    """Return the key of a group's metadata; "" is the root."""
    return f"{group}/{METADATA}" if group else METADATA


_CREDITS = {"license": layout.LICENSE, "references": layout.REFERENCES}


class GroupMetadata(NamedTuple):
    """Parsed metadata of a group."""

    checksum: str
    attributes: dict[str, Any]
    own: dict[str, Any]
    arrays: dict[str, Any]


def read_group(content: bytes, *, name: str) -> GroupMetadata:
    """Parse a group's metadata; `name` is their origin.

    Raises DataIntegrityError if they are invalid, were changed, or follow another version of the layout.
    """
    try:
        group = json.loads(content)
        expected = group["attributes"].pop(CHECKSUM)
        if _checksum(group) != expected:
            raise ValueError(f"their SHA-256 is not {expected}")
        own = json.loads(group["attributes"].pop(STORE))
        version = own["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataIntegrityError(
            f"{name}: expected metadata as written by 'intake-laion-fmri store build', found others "
            f"({type(error).__name__}: {error}). Check the argument 'store'; if it is right, build the store again."
        ) from error
    if version != FORMAT:
        raise DataIntegrityError(
            f"{name}: expected a store of format {FORMAT}, found {version}. Read it with the version of "
            "intake-laion-fmri that built it, or build it again."
        )
    return GroupMetadata(
        expected, group["attributes"], own, (group.get("consolidated_metadata") or {}).get("metadata", {})
    )


def understood(read: Callable[[], Understood], name: str) -> Understood:
    """Call `read`, and turn its errors into DataIntegrityError."""
    try:
        return read()
    except DataIntegrityError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataIntegrityError(
            f"{name}: expected a record as written by 'intake-laion-fmri store build', found something else "
            f"({type(error).__name__}: {error}). Build the store again."
        ) from error


def recorded(**values: Any) -> dict[str, str]:
    """Return this package's attribute of a group."""
    return {STORE: json.dumps({"format": FORMAT, **values})}


def _checksum(group: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(group, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
