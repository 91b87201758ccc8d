"""Patience with silent servers."""

from __future__ import annotations

import math
import time

from intake_laion_fmri.errors import BucketUnreachableError
from intake_laion_fmri.remote.messages import Messages

PINNED_ATTEMPTS = 2
PINNED_SECONDS = 20.0
"""Longest wait for a small file from a web server."""

PATIENCE_SECONDS = 60.0
"""How long a web server that failed is not asked again in this process."""

_failures: dict[str, tuple[float, BucketUnreachableError]] = {}
"""Root → when and how it failed."""


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
