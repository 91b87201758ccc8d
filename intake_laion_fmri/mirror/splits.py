"""Published split files beside a mirror, for offline use.

They are not part of the bucket and therefore lie in the mirror's metadata folder, by revision. Readers verify their
checksums; see `splits.SplitSource`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from intake_laion_fmri import layout
from intake_laion_fmri.axes.roles import SHARED
from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError
from intake_laion_fmri.mirror.selection import subject_of
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.access import open_root
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.splits import list_pools
from intake_laion_fmri.splits.sources import (
    FILES_IN_FLIGHT,
    SplitSource,
    copied,
    copies_in,
    named_source,
    published_sums,
    upstream,
)


def pools_of(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the pools of a listing's subjects, and the shared one.

    Empty if the bucket has its own splits.
    """
    listed = list(keys)
    if any(key.startswith(f"{layout.SPLITS_ROOT}/") for key in listed):
        return ()
    found = {subject_of(key) for key in listed}
    return tuple(pool for pool in list_pools() if pool == SHARED or pool in found)


def bring_splits(folder: MirrorFolder, pools: Sequence[str]) -> tuple[str, ...]:
    """Copy the published split files of some pools that are missing.

    Returns descriptions of failures. They are not errors, because the bucket's own files are complete.
    """
    copies, source = copies_in(folder.path), _source()
    missing = [
        key
        for key, sha256 in published_sums().items()
        if key.partition("/")[0] in pools and copied(copies / key, sha256) is None
    ]
    if not missing:
        return ()

    def bring(key: str) -> None:
        pool, _, name = key.removesuffix(".json").partition("/")
        content = source.read(pool, name)
        if hashlib.sha256(content).hexdigest() == published_sums()[key]:  # others are the user's own: they stay there
            atomic.write_whole(copies / key, content, within=folder.path)

    try:
        folder.workplace("splits")
        concurrently(bring, missing, FILES_IN_FLIGHT, name="splits")
    except (BucketUnreachableError, DataIntegrityError, OSError) as error:
        return (f"The published split files were not copied; without them splits are unavailable offline: {error}",)
    return ()


def _source() -> SplitSource:
    """Return the user's split files, or the published ones."""
    given = named_source(None)
    if not given:
        return upstream()
    root = open_root(given)
    return SplitSource(root.url, root)
