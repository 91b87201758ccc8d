"""Metadata of a session that was built, and of others like it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intake_laion_fmri.store import build_store
from intake_laion_fmri.store import metadata as store_metadata
from intake_laion_fmri.store.format import StoredSession
from intake_laion_fmri.store.metadata import metadata_key
from intake_laion_fmri.store.options import StoreOptions

STORE, CHECKSUM = store_metadata.STORE, store_metadata.CHECKSUM
NAME = "s3://mine/store/zarr.json"
"""Where the metadata are from, for errors."""

STORED = StoreOptions("face", "anatomical", "bitround", 7, "lz4", 64, 640)
"""Options of a store that is there, none of them the default."""

SUBJECT, SESSION = "sub-03", "ses-01"
GROUP = f"{SUBJECT}/{SESSION}"

BUILDS: Mapping[str, dict[str, Any]] = {
    "whole": {},
    "face": {"roi": "face", "dtype": "bitround", "codec": "zstd", "chunk_voxels": 8, "shard_voxels": 16},
}
"""Name → options of `build_store`."""


@functools.cache
def _build(bucket: Path, name: str) -> Path:
    """Build once for all tests of this process, but from within one, where the user's own settings are shut out."""
    folder = bucket.with_name(f"{bucket.name}-{name}-store")
    build_store(folder, bucket=bucket, subjects=SUBJECT, sessions=SESSION, **BUILDS[name])
    return folder


@dataclasses.dataclass(frozen=True)
class Built:
    """A store with a session on disk; not to be written to."""

    folder: Path
    metadata: bytes
    contents: Mapping[str, bytes]
    """Key below the root → content, of every object of the session."""
    session: StoredSession


def _read(folder: Path) -> Built:
    files = [path for path in (folder / GROUP).rglob("*") if path.is_file()]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    metadata = contents.pop(metadata_key(GROUP))
    return Built(folder, metadata, contents, StoredSession.parse(metadata, group=GROUP, name=NAME))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
