"""Keys as file names: impossible ones, and aliases."""

from __future__ import annotations

import re
import unicodedata

from intake_laion_fmri import layout
from intake_laion_fmri.remote.records import METADATA_FOLDER

NAME_BYTES = 255
"""Longest name of a file that file systems take."""

_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*(?:/[A-Za-z0-9_][\w.+-]*)*", re.ASCII).fullmatch
"""What nearly all keys are like; thousands of them are looked at in a row."""


def rejection(key: str) -> str | None:
    """Return why a key cannot be a mirror's file, or None.

    The text follows "it": ``"has a part '..'"``.
    """
    parts = key.split("/")
    if _PLAIN(key) and parts[0] != METADATA_FOLDER and ".." not in parts and len(key) <= NAME_BYTES:
        return None
    if not {"", ".", ".."}.isdisjoint(parts):
        return "is empty, absolute, or has an empty part, '.' or '..'"
    if "\\" in key or re.match("[A-Za-z]:", key):
        return "has a backslash or begins with a drive letter"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in key):
        return "has control or invisible characters"
    if unicodedata.normalize("NFKC", parts[0]).casefold() == METADATA_FOLDER:
        return f"begins with {METADATA_FOLDER!r}, the mirror's internal folder"
    if any(len(part.encode()) > NAME_BYTES for part in parts):
        return f"has a name of more than {NAME_BYTES} bytes"
    return None


def alias_of(key: str) -> str | None:
    """Return the key with the ROI's public name, if different."""
    if not key.startswith(f"{layout.ROIS_ROOT}/"):
        return None
    alias = re.sub(r"(?<=_label-)[^_./]+(?=_[^/]*$)", lambda label: layout.clean_label(label[0]), key)
    return alias if alias != key else None
