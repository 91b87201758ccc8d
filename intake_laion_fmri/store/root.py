"""The root of a store, for reading: a `Bucket` on any file system that fsspec knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from intake_laion_fmri.remote.access import Bucket, check_storage_options, open_root
from intake_laion_fmri.remote.messages import Messages, Wording


def _denied(messages: Messages, key: str) -> str:
    if messages.is_local:
        return f"{messages.locate(key)} may not be read or written: its permissions forbid it. Change them."
    return (
        f"{messages.locate(key)} may not be read or written: the server refuses it to these credentials. Check "
        f"{messages.wording.options_argument}."
    )


_WORDING = Wording("store", "store_options", elsewhere="", denied=_denied)


def open_store(store: str | os.PathLike[str] | Bucket, store_options: Mapping[str, Any] | None = None) -> Bucket:
    """Open the root of a store.

    Parameters
    ----------
    store : str or path
        URL that fsspec knows, or a local folder.
    store_options : mapping, optional
        Options of its file system. For S3 credentials and region are found as in every other program; a public store
        needs ``{"anon": True}``.

    Returns
    -------
    Bucket
        Nothing is contacted yet.

    Raises
    ------
    ValueError
        If fsspec knows no such protocol.
    TypeError
        If `store` is neither a text nor a path, or `store_options` is no mapping.
    """
    if isinstance(store, Bucket):
        return store
    check_storage_options(store_options, _WORDING.options_argument)
    # It is the user's own: credentials and region are found as in every other program.
    return open_root(store, store_options, s3_defaults={}, wording=_WORDING)


def first_link(root: Bucket, group: str, keys: Iterable[str]) -> str:
    """Return the first path of a group that leads out of a store on a local disk, or an empty text."""
    if not root.is_local:
        return ""
    top = os.path.realpath(root.root)
    for folder in sorted({f"{group}/{key}".rpartition("/")[0] for key in keys} | {group}):
        if not _is_within(os.path.realpath(root.path(folder)), top):
            return folder
    for key in keys:
        path = root.path(f"{group}/{key}")
        if os.path.islink(path) and not _is_within(os.path.realpath(path), top):
            return key
    return ""


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
