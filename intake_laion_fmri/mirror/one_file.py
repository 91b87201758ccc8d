"""One object as a local file, for programs that need a path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intake_laion_fmri import layout
from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.plan import plan_from_listings
from intake_laion_fmri.mirror.run import fill_mirror
from intake_laion_fmri.mirror.selection import MirrorSelection
from intake_laion_fmri.remote.access import Bucket, open_source
from intake_laion_fmri.remote.cache import keep, path_in_cache
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.proofs import file_is


def path_of_object(bucket: Bucket, info: ObjectInfo) -> Path:
    """Return a local file with an object's content.

    An object on a server is fetched.

    Parameters
    ----------
    bucket : Bucket
        A folder: the file is its own. With a mirror, it is the copy in the mirror, made if there is none.
    info : ObjectInfo
        From a listing.

    Returns
    -------
    path
        In the user's cache where there is no mirror, or none that can be written to.

    Raises
    ------
    NotInBucketError
        If the object is gone, or there is nowhere to keep it.
    AccessDeniedError, BucketUnreachableError, DataIntegrityError
        If it cannot be fetched.
    """
    if bucket.is_local:
        return Path(bucket.path(info.key))
    mirror = bucket.copies.mirror
    return (mirror and _in_mirror(bucket, mirror, info)) or _in_cache(bucket, info)


def _in_mirror(bucket: Bucket, mirror: MirrorFolder, info: ObjectInfo) -> Path | None:
    """Return the mirror's copy; None if it cannot be made."""
    found = bucket.copies.path_of(info)
    if found is not None:
        return found
    try:
        selection = MirrorSelection(groups=(layout.group_of(info.key),))
        plan = plan_from_listings(open_source(bucket), mirror, selection, {"": {info.key: info}}, [])
        fill_mirror(replace(plan, listings={}, pools=()))
    except (NotInBucketError, AccessDeniedError, BucketUnreachableError):
        raise
    except (OSError, DataIntegrityError):  # a mirror that is somebody else's, or on a full disk
        return None
    return bucket.copies.path_of(info)


def _in_cache(bucket: Bucket, info: ObjectInfo) -> Path:
    """Return the cache's file.

    The file is fetched again unless its ETag proves it.
    """
    path = path_in_cache(f"{bucket.url}\n{info.etag}\n{info.size}", info.key)
    if path is None:
        raise NotInBucketError(
            f"{bucket.locate(info.key)} is not on this machine and has no path, as the cache is switched off. Give a "
            "folder for it with mirror=FOLDER."
        )
    if path.is_file() and file_is(path, path.stat(), info):
        return path
    with bucket.stream(info) as file:
        keep(path, file.read())
    if path.is_file() and path.stat().st_size == info.size:
        return path
    raise NotInBucketError(
        f"{bucket.locate(info.key)} is not on this machine, and {path} cannot be written. Give a folder for it with "
        "mirror=FOLDER."
    )
