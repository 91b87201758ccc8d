"""Names of subjects and sessions, and the BIDS entities in a file's name."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from intake_laion_fmri.errors import is_several, redact

SUBJECT = r"sub-[A-Za-z0-9]+"
SESSION = r"ses-[0-9]{1,4}"  # sessions are counted through from the first: no name may ask for a billion of them

ANY_SESSION = r"ses-[A-Za-z0-9]+"
"""Localizers and raw data have sessions with names, too: ``ses-4BarScreenfLoc``."""

HELD_OUT_SESSIONS = frozenset(range(31, 35))
"""Session numbers whose objects may be listed, but not read."""

PARTICIPANT_CODES: Mapping[str, str] = MappingProxyType(
    {"sub-01": "p01", "sub-06": "p02", "sub-05": "p03", "sub-03": "p04", "sub-07": "p05"}
)
"""The code in the labels of a subject's unique images. It does not follow the subject's number."""

ENTITIES = ("task", "space", "desc", "stat", "suffix", "extension")
"""Parts of a file's name by which files are chosen, besides subject and session."""

RAW_ENTITIES = ("run", "echo", "part")
"""The same, of raw data."""


def subject_name(subject: object) -> str:
    """Return a subject's name in BIDS spelling.

    Whether the bucket holds it is not looked at. ValueError for what cannot be a subject's name, or is a list of them.
    """
    if is_several(subject):
        raise ValueError(
            f"Not a subject: {redact.text(repr(subject))}. Expected one, such as 'sub-01'. To open several on the "
            f"images they share, use intake_laion_fmri.open_shared(['sub-01', 'sub-03'])."
        )
    name = _entity("sub", subject)
    if name is None:
        text = subject.strip() if isinstance(subject, str) else ""
        near = re.fullmatch(r"(?:sub)?[ _-]*([A-Za-z0-9]+)", text, re.IGNORECASE)
        hint = f" Did you mean {_entity('sub', near[1])!r}?" if near else ""
        raise ValueError(
            f"Not a subject: {redact.text(repr(subject))}. Expected a name such as 'sub-01' or '01'.{hint}"
        )
    return name


def session_name(session: object) -> str:
    """Return a session's name as the published bucket spells it.

    The number counts, not its leading zeros. Whether the bucket holds it is not looked at, nor how its folder is
    spelled (see `same_session`). ValueError for what cannot be a session's name.
    """
    name = _entity("ses", session)
    if name is None or not re.fullmatch(SESSION, name):
        raise ValueError(
            f"Not a session: {redact.text(repr(session))}. Expected a name such as 'ses-01', '01' or 1, a list "
            "of these, or 'all' alone."
        )
    return f"ses-{session_number(name):02d}"


def same_session(session: str, names: Iterable[str]) -> list[str]:
    """List names with a session's number, sorted, such as ``ses-1`` and ``ses-001``."""
    number = session_number(session)
    return sorted({name for name in names if session_number(name) == number})


def session_number(session: str) -> int:
    """Return a session's number: 1 for ``"ses-01"``."""
    return int(session.removeprefix("ses-"))


def is_subject(name: str) -> bool:
    """Return True for a subject's folder name: ``sub-01``."""
    return re.fullmatch(SUBJECT, name) is not None


def is_session(name: str) -> bool:
    """Return True for a session's folder name: ``ses-01``."""
    return re.fullmatch(SESSION, name) is not None


def is_held_out(session: str) -> bool:
    """Return True if a session is held out: ``ses-31`` to ``ses-34``."""
    return session_number(session) in HELD_OUT_SESSIONS


def session_of(path: str) -> str | None:
    """Return the session in an object's key, or None."""
    match = re.search(r"(?:^|[/_])(ses-[A-Za-z0-9]+)(?=[/_.]|$)", path)
    return match[1] if match else None


def name_entities(path: str) -> Mapping[str, str]:
    """Parse BIDS entities of a file name, with ``suffix`` and ``extension``.

    A name without any entity has no suffix.
    """
    stem, dot, extension = path.rpartition("/")[2].partition(".")
    parts = stem.split("_")
    found = {name: value for name, separator, value in (part.partition("-") for part in parts) if separator}
    if found and "-" not in parts[-1]:
        found["suffix"] = parts[-1]
    if dot:
        found["extension"] = dot + extension
    return found


def clean_label(label: str) -> str:
    """Return an ROI's public name: ``FFA1`` for the label ``FFA-1``."""
    return label.replace("-", "")


def _entity(prefix: str, value: object) -> str | None:
    """Return ``prefix-value`` with a number of two digits.

    None for a value that is no name.
    """
    # To numpy before 2.4 its truth values are indices.
    if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b":
        return None
    try:
        # numpy's integers are no `int`, but say that they are indices.
        text = value if isinstance(value, str) else str(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        return None
    text = text.strip().removeprefix(f"{prefix}-")
    if not re.fullmatch(r"[A-Za-z0-9]+", text):
        return None
    if text.startswith(prefix) and text.removeprefix(prefix).isdecimal():
        text = text.removeprefix(prefix)  # 'sub01' can mean one thing only
    return f"{prefix}-{text.zfill(2) if text.isdecimal() else text}"
