"""Keys: built from entities, and parsed to kind, group and owner."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from intake_laion_fmri.layout.entities import SUBJECT, is_held_out, is_session, name_entities, session_of
from intake_laion_fmri.layout.trees import KINDS, LOCALIZERS, TREES, Kind, Tree

_NAME = r"(?![^/]*\.part(?:/|$))[A-Za-z0-9_.+-]+"
_PATTERNS = {
    "subject": SUBJECT,
    "label": r"[A-Za-z0-9+-]+",
    "hemi": r"[LR]",
    "side": r"[lr]h",
    **dict.fromkeys(("surface", "atlas", "area", "image", "transform"), _NAME),
}
"""Entity → what it may be, where that is not `_WORD`."""

_WORD = r"[A-Za-z0-9]+"


def _compile(kind: Kind) -> re.Pattern[str]:
    """Compile a template into a pattern.

    An entity that occurs twice must have the same value.
    """
    patterns = {**_PATTERNS, "session": kind.tree.session}
    pattern, seen = "", set()
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", kind.template):
        pattern += re.escape(text)
        if name:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{patterns.get(name, _WORD)})"
            seen.add(name)
    return re.compile(pattern)


_COMPILED = {tree.name: {kind.name: _compile(kind) for kind in KINDS.values() if kind.tree is tree} for tree in TREES}
_ENDINGS = ("." + kind.path.rpartition("/")[2].partition(".")[2] for kind in KINDS.values())
_EXTENSIONS = tuple(dict.fromkeys(ending for ending in _ENDINGS if "{" not in ending))


@dataclass(frozen=True)
class ObjectInfo:
    """An object as listed."""

    key: str
    """Path below the bucket's root."""
    size: int
    """Bytes."""
    etag: str
    """Changes when the content does: the store's ETag, or modification time and size of a local file."""
    origin: str | None = field(default=None, compare=False)
    """Where a mirror is in use: ``"mirror"`` if its copy is complete and current, else ``"bucket"``."""

    def __dask_tokenize__(self) -> object:
        return ("intake_laion_fmri.ObjectInfo", self.key, self.size, self.etag)


@dataclass(frozen=True)
class ParsedKey:
    """Kind and entities of a key."""

    kind: str
    """One of `KINDS`."""
    entities: Mapping[str, str]
    """Entity → value, the values spelled as in the key (``subject`` is ``"sub-01"``)."""


def key(kind: str, **entities: str) -> str:
    """Return the key of an object of a kind; entities as keys spell them: ``subject="sub-01", session="ses-01"``."""
    return KINDS[kind].template.format_map(entities)


def parse_key(path: str) -> ParsedKey | None:
    """Parse a key; None if its kind is unknown."""
    tree = tree_of(path)
    for kind, pattern in _COMPILED[tree.name].items() if tree else ():
        match = pattern.fullmatch(path)
        if match:
            return ParsedKey(kind, MappingProxyType(match.groupdict()))
    return None


def group_of(path: str) -> str:
    """Return an object's group.

    A JSON file belongs to the group of the file that it describes.
    """
    kind, tree = described_kind(path), tree_of(path)
    return KINDS[kind].group if kind else tree.rest if tree else "other"


def groups_in(tree: Tree) -> set[str]:
    """List the groups of a tree's files."""
    return {tree.rest, *(kind.group for kind in KINDS.values() if kind.tree is tree)}


def tree_of(path: str) -> Tree | None:
    """Return the tree of an object, or None."""
    return next((tree for tree in TREES if tree.holds(path)), None)


def is_needed(path: str) -> bool:
    """Return True for objects copied with every session.

    They belong to no session: ROIs and the mean R2.
    """
    kind, tree = described_kind(path), tree_of(path)
    return bool((tree and tree.is_needed) or (kind and KINDS[kind].is_needed))


def described_kind(path: str) -> str | None:
    """Return the kind of an object or of its JSON file, or None."""
    described = path.removesuffix(".json")
    endings = [""] if described == path else _EXTENSIONS
    parsed = next(filter(None, (parse_key(described + ending) for ending in endings)), None)
    return parsed.kind if parsed else None


def is_of_public(path: str) -> bool:
    """Return True unless an object belongs to a held-out session.

    Objects of the object localizer always count as public.
    """
    session = session_of(path)
    is_localizer = LOCALIZERS.holds(path) and name_entities(path).get("task") == "oloc"
    return session is None or not is_session(session) or is_localizer or not is_held_out(session)
