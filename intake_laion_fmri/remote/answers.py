"""Servers' answers, and the error for wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo

LARGEST_BYTES = 128 * 1024 * 1024
"""Largest object that is taken whole into memory: the bucket's maps have a tenth of it."""


class WrongAnswerError(DataIntegrityError):
    """The server answered a different question; another attempt may succeed."""


@dataclass(frozen=True)
class Answer:
    """An object's bytes, with the properties sent along."""

    content: bytes
    """One byte more than was asked for, at most: then the server has sent too much."""
    etag: str = ""
    """ETag of the object that the bytes are of; empty where the answer has none."""


def object_info(key: str, entry: Mapping[str, Any]) -> ObjectInfo:
    """Return an object's size and state from a listing's entry."""
    size = int(entry["size"])
    etag = entry.get("ETag") or entry.get("etag")
    if etag is None and "mtime" in entry:
        etag = f"{int(float(entry['mtime']) * 1e6):x}-{size:x}"
    return ObjectInfo(key, size, str(etag or "").strip('"'))
