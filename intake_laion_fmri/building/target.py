"""Where a store may be built: not over anything that is somebody else's, and not inside its own bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from intake_laion_fmri.remote import marks
from intake_laion_fmri.remote.access import Bucket


def expect_apart(root: Bucket, source: Bucket) -> None:
    """Raise ValueError where a store would lie inside its bucket or mirror, or these inside the store."""
    for kind, other in _roots(source):
        if root.is_local and other.is_local:
            paths = [Path(os.path.realpath(bucket.root)) for bucket in (root, other)]
            inside = paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
        else:
            first, second = (f"{bucket.root}/" for bucket in (root, other))
            inside = _serve_alike(root, other) and (first.startswith(second) or second.startswith(first))
        if inside:
            raise ValueError(
                f"The store {root.url} and the {kind} {other.url} must not lie one inside the other: what a store is "
                "built from is never written to. Build it in a folder beside it."
            )


def _serve_alike(root: Bucket, other: Bucket) -> bool:
    """Return True if the same path is the same object in both, as far as is known."""
    if not (root.is_s3 and other.is_s3):
        return type(root.file_system) is type(other.file_system)
    return root.messages.endpoint() == other.messages.endpoint()


def _roots(bucket: Bucket) -> Iterator[tuple[str, Bucket]]:
    yield "bucket", bucket
    if bucket.copies.mirror is not None:
        yield "mirror", Bucket(os.fspath(bucket.copies.mirror.path))


def is_foreign(content: bytes) -> bool:
    """Return True for metadata of a Zarr group or array that is not this package's; False for damaged ones."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return not marks.STORE.recognises(content)
