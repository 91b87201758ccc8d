"""Listings kept for a while within a process, for users' questions.

Those of a local folder, which anything may have changed, are not kept. Opening data always asks the bucket, because
sizes and ETags are pinned from its answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from intake_laion_fmri.reading.contents import dataset_objects
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

Listing = TypeVar("Listing", list[str], dict[str, ObjectInfo])

LISTING_SECONDS = 300.0
"""How long a server's listing answers users' questions: a page of them asks for each once."""

_listings: dict[tuple[Bucket, str, str], tuple[float, Any]] = {}
"""Bucket, kind of listing and folder → when it was made, and the listing: a few hundred objects a subject."""


def recent_folders(bucket: Bucket, folder: str, *, refresh: bool) -> list[str]:
    """List the folders of a folder; `refresh` asks the server again."""
    return _recent(bucket, "folders", folder, bucket.folders, refresh=refresh)


def recent_objects(bucket: Bucket, folder: str, *, refresh: bool) -> dict[str, ObjectInfo]:
    """List the objects below a folder; `refresh` asks the server again."""
    return _recent(bucket, "objects", folder, bucket.find, refresh=refresh)


def recent_dataset_objects(bucket: Bucket, *, refresh: bool) -> dict[str, ObjectInfo]:
    """List objects without a subject; `refresh` asks the server again."""
    return _recent(bucket, "objects of the data set", "", lambda _: dataset_objects(bucket), refresh=refresh)


def _recent(bucket: Bucket, kind: str, folder: str, ask: Callable[[str], Listing], *, refresh: bool) -> Listing:
    if bucket.is_local:
        return ask(folder)
    now = time.monotonic()
    for outdated in [key for key, (made, _) in list(_listings.items()) if now - made > LISTING_SECONDS]:
        _listings.pop(outdated, None)
    key = (bucket, kind, folder)
    listing: Listing | None = None if refresh else _listings.get(key, (now, None))[1]
    if not listing:  # an absent folder may be there later
        listing = ask(folder)
        _listings[key] = (now, listing)
    return listing
