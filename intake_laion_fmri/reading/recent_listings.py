"""Listings cached for some minutes within a process, for interactive queries.

Local folders are always listed again, as other programs may change them. Opening data always lists the bucket, because
sizes and ETags are pinned from the listing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from intake_laion_fmri.reading.contents import dataset_objects
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

Listing = TypeVar("Listing", list[str], dict[str, ObjectInfo])

LISTING_SECONDS = 300.0
"""Lifetime of a server's cached listing."""

_listings: dict[tuple[Bucket, str, str], tuple[float, Any]] = {}
"""Bucket, kind of listing and folder → time and listing, a few hundred objects per subject."""


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
    if not listing:  # an absent folder may appear later
        listing = ask(folder)
        _listings[key] = (now, listing)
    return listing
