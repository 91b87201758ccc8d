"""Sidecars: JSON files beside a source's files, as an attribute."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from intake_laion_fmri.errors import Remarks
from intake_laion_fmri.reading.contents import Fetched
from intake_laion_fmri.reading.roi_files import UNREADABLE
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

_ENDINGS = (".nii.gz", ".func.gii", ".tsv", ".mgz", ".h5", ".csv")
MAX_SIDECAR_BYTES = 1024 * 1024
"""Maximum size of a sidecar, which usually has some kilobytes; bounds time and memory."""


def sidecar_key(key: str) -> str:
    """Return the key of a file's JSON sidecar."""
    stem = next((key.removesuffix(ending) for ending in _ENDINGS if key.endswith(ending)), key)
    return f"{stem}.json"


def read_sidecars(
    bucket: Bucket, objects: Mapping[str, ObjectInfo], infos: Iterable[ObjectInfo]
) -> tuple[dict[str, Any], Remarks]:
    """Read the sidecars of files, one request each.

    Parameters
    ----------
    bucket : Bucket
        Where to read from.
    objects : mapping
        A listing that includes existing sidecars.
    infos : iterable of ObjectInfo
        The files.

    Returns
    -------
    contents : dict
        Key of a file → content of its sidecar; files without one are left out.
    remarks : Remarks
        Remarks on unusable sidecars.
    """
    beside = {info.key: objects[key] for info in infos if (key := sidecar_key(info.key)) in objects}
    fetched = Fetched(bucket, (info for info in beside.values() if info.size <= MAX_SIDECAR_BYTES))
    found: dict[str, Any] = {}
    faults = []
    for key, info in beside.items():
        name = bucket.locate(info.key)
        if info.size > MAX_SIDECAR_BYTES:
            faults.append(f"a sidecar ({name}: expected at most {MAX_SIDECAR_BYTES} bytes, found {info.size})")
            continue
        try:
            found[key] = json.loads(fetched[info.key])
        except (*UNREADABLE, ValueError, RecursionError) as error:
            faults.append(f"a sidecar ({name}: expected JSON, found: {error})")
    return found, Remarks(tuple(faults))


def sidecar_attribute(
    bucket: Bucket, objects: Mapping[str, ObjectInfo], infos: Iterable[ObjectInfo], *, wanted: object
) -> tuple[dict[str, str], Remarks]:
    """Return the attribute ``sidecars`` (key → sidecar, as JSON) if wanted."""
    if not wanted:
        return {}, Remarks()
    found, remarks = read_sidecars(bucket, objects, infos)
    return {"sidecars": json.dumps(found)}, remarks
