"""Small files pinned by checksum, and patience with silent servers."""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import Protocol

from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError
from intake_laion_fmri.remote.cache import keep, read_kept
from intake_laion_fmri.remote.messages import Messages

PINNED_ATTEMPTS = 2
PINNED_SECONDS = 20.0
"""Longest wait for a small file from a web server."""

PATIENCE_SECONDS = 60.0
"""How long a web server that failed is not asked again in this process."""

_failures: dict[str, tuple[float, BucketUnreachableError]] = {}
"""Root → when and how it failed."""


class _Root(Protocol):
    def locate(self, key: str) -> str:
        """Return a file's URL, for messages."""

    def read_within(self, key: str) -> bytes:
        """Read a whole file within `PINNED_SECONDS`."""


def is_silent(messages: Messages) -> bool:
    """Return True if a root failed within the last `PATIENCE_SECONDS`."""
    failed, _ = _failures.get(messages.address, (-math.inf, None))
    return time.monotonic() - failed < PATIENCE_SECONDS


def raise_if_silent(messages: Messages, key: str) -> None:
    """Raise BucketUnreachableError if a root failed lately; see `is_silent`."""
    failed, error = _failures.get(messages.address, (-math.inf, None))
    if error is not None and is_silent(messages):
        raise BucketUnreachableError(
            f"{messages.locate(key)} is not requested {time.monotonic() - failed:.0f} s after this failure: {error}"
        ) from error.__cause__


def remember_silent(messages: Messages, error: BucketUnreachableError) -> None:
    """Note that a root does not respond."""
    if not is_silent(messages):
        _failures[messages.address] = (time.monotonic(), error)


def read_pinned(root: _Root, key: str, *, sha256: str, cache: Path | None) -> bytes:
    """Read a small file of known checksum, cached after the first time.

    A cached file with another sum is fetched again. A file appears in `cache` whole and checked, or not at all; several
    processes may fetch it at a time. Where the folder cannot be written to, the file is used without being kept.

    Raises
    ------
    NotInBucketError, AccessDeniedError, BucketUnreachableError
        If it cannot be fetched: within `PINNED_SECONDS`, however slow the server. After a failure a root is not asked
        again for `PATIENCE_SECONDS`.
    DataIntegrityError
        If what was fetched has another sum.
    """
    kept = read_kept(cache / key) if cache else None
    if kept is not None and hashlib.sha256(kept).hexdigest() == sha256:
        return kept
    content = root.read_within(key)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataIntegrityError(
            f"{root.locate(key)}: expected the SHA-256 {sha256}, found {found}. It was discarded; try again."
        )
    if cache:
        keep(cache / key, content)
    return content
