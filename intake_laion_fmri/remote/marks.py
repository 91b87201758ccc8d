"""Marks of this project's files: only these are overwritten, moved or deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from intake_laion_fmri.remote.atomic import is_unfinished
from intake_laion_fmri.remote.parents import AnyPath

_LARGEST_MARK = 4_000_000


@dataclass(frozen=True)
class Mark:
    """The mark of a kind of files of this project."""

    what: str
    """What it is, to follow "is not": ``"a store of this package"``."""
    name: str
    """The file or folder below it that tells; empty where it is a file that tells of itself."""
    recognises: Callable[[bytes], bool]
    """Takes the beginning of that file; returns True if it has the mark. A folder of that name needs no more."""

    def is_on(self, path: AnyPath) -> bool:
        """Return True if a path carries the mark."""
        file = Path(path, self.name)
        if self.name and file.is_dir():
            return self.recognises(b"")
        if not file.is_file():
            return False
        with open(file, "rb") as opened:
            return self.recognises(opened.read(_LARGEST_MARK))


def _json_tells(*keys: str, value: str | None = None) -> Callable[[bytes], bool]:
    """Return a function that recognises a JSON text by keys."""

    def tells(content: bytes) -> bool:
        try:
            found = json.loads(content)
            for key in keys:
                found = found[0][key] if isinstance(found, list) else found[key]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            return False
        return value is None or found == value

    return tells


STORE = Mark("a store of this package", "zarr.json", _json_tells("attributes", "laion_fmri_store"))
CACHE = Mark("the cache of this package", "CACHEDIR.TAG", lambda content: b"intake-laion-fmri" in content)
CATALOG = Mark(
    "a catalog that this package wrote", "", lambda content: content.startswith(b"# Written by `intake-laion-fmri ")
)
INVENTORY = Mark("an inventory that this package wrote", "", _json_tells("subjects"))
SETTINGS = Mark("the settings of this package", "", _json_tells("made by", value="intake-laion-fmri"))
ARRAY_COMMENT = "# intake-laion-fmri"
"""Stands in the header of a ``.npy`` file, which is a Python literal, behind it; readers skip it."""
ARRAY = Mark(
    "an array that this package wrote", "", lambda content: ARRAY_COMMENT.encode() in content[:256].partition(b"\n")[0]
)
DEMO = Mark(
    "a demo bucket",
    "dataset_description.json",
    _json_tells("GeneratedBy", "Name", value="intake_laion_fmri.demo"),
)


def raise_unless_ours(path: AnyPath, mark: Mark) -> None:
    """Raise unless a target is absent, empty or marked as ours.

    Raises
    ------
    FileExistsError
        Names what is there, and what to do.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return
    if path.is_dir() and mark.name:
        # A mark that is being written comes from another thread or process of this project.
        found = sorted(name for name in os.listdir(path) if not is_unfinished(name, mark.name))
        if not found or mark.is_on(path):
            return
        held = f"it holds {', '.join(map(repr, found[:3]))}{', …' if len(found) > 3 else ''}"
    elif path.is_file() and not mark.name and (path.stat().st_size == 0 or mark.is_on(path)):
        return
    else:
        held = "a folder" if path.is_dir() else "a file" if path.is_file() else "neither a file nor a folder"
    raise FileExistsError(
        f"{path} is not {mark.what} ({held}): nothing is written there. Give a path that does not exist, is empty, "
        f"or was written by this package."
    )
