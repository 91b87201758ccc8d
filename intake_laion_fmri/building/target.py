"""Where a store may be built: not over anything that is somebody else's, and not inside its own bucket."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from intake_laion_fmri.errors import NotInBucketError
from intake_laion_fmri.remote import marks
from intake_laion_fmri.remote.access import Bucket, MirroredBucket
from intake_laion_fmri.store.groups import ForeignError
from intake_laion_fmri.store.metadata import metadata_key
from intake_laion_fmri.store.root import StoreRoot

__all__ = ["expect_apart", "expect_own", "is_foreign"]


def expect_own(root: StoreRoot) -> None:
    """Raise where something is in the place of a store, or of the folder beside it, that this package has not written.

    Raises
    ------
    FileExistsError
        Unless it is absent or empty, or holds the root of a store.
    """
    if root.is_local:
        if not os.path.isfile(root.path(metadata_key(""))):  # what these are is told by whoever reads them
            marks.raise_unless_ours(root.root, marks.STORE)
        root.workshop.expect_own()
        return
    try:
        listing = root.list_folder("")
    except NotInBucketError:  # neither the folder, nor perhaps what it is in: the first object will tell
        return
    names = [*listing.files, *listing.folders]
    if names and metadata_key("") not in names:
        raise ForeignError.of(root.url, names)


def expect_apart(root: StoreRoot, place: Bucket) -> None:
    """Raise ValueError where a store would lie inside its bucket or mirror, or these inside the store."""
    for kind, other in _roots(place):
        if root.is_local and other.is_local:
            paths = [Path(os.path.realpath(one.root)) for one in (root, other)]
            inside = paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
        else:
            first, second = (f"{one.root}/" for one in (root, other))
            inside = root.serves_like(other) and (first.startswith(second) or second.startswith(first))
        if inside:
            raise ValueError(
                f"The store {root.url} and the {kind} {other.url} must not lie one inside the other: what a store is "
                "built from is never written to. Build it in a folder beside it."
            )


def _roots(place: Bucket) -> Iterator[tuple[str, Bucket]]:
    yield "bucket", place
    if isinstance(place, MirroredBucket):
        yield "mirror", Bucket(os.fspath(place.mirror.path))


def is_foreign(content: bytes) -> bool:
    """Tell whether metadata are of a Zarr group or array that is none of this package's; damaged ones are not."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return not marks.STORE.recognises(content)
