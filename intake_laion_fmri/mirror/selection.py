"""Selecting objects for a mirror by subject, session, group and entity.

A session's betas cannot be read without the files of its subject: the noise ceilings and the mean R2, the ROIs and the
brain mask come along with any choice of sessions. They obey every other filter, but for the mean R2 and the brain mask:
without these no session can be read, whatever its files were chosen by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from intake_laion_fmri import layout
from intake_laion_fmri.errors import AccessDeniedError, LicenseNotAcceptedError, unknown_value
from intake_laion_fmri.reading.arguments import ALL, SessionSelection, check_sessions, check_subjects

AVERAGES = "averages"
"""The files of a subject as a whole, among the sessions that are chosen."""

_MASKS = {"r2_mean", "brain_mask"}
"""Kinds of files that tell which voxels there are."""

EntityFilter = Mapping[str, str | Sequence[str] | None]
"""One of `layout.ENTITIES` → the value or values that a file's name may have for it; None is no filter."""


@dataclass(frozen=True)
class MirrorSelection:
    """A selection of objects by their keys."""

    subjects: tuple[str, ...] | None = None
    """None is all of them."""
    sessions: tuple[str, ...] | None = None
    """None is all of them, and every other file."""
    averages: bool = False
    """Whether the files of a subject as a whole are chosen, besides sessions."""
    groups: tuple[str, ...] | None = None
    """Of `layout.GROUPS`; None is all of them but `layout.LARGE_GROUPS`."""
    entities: Mapping[str, tuple[str, ...]] | None = None
    """Entity → its values."""
    besides: frozenset[str] = frozenset()
    """Large groups that are chosen where `groups` is None."""

    @classmethod
    def from_arguments(
        cls,
        *,
        subjects: str | Sequence[str] | None = ALL,
        sessions: SessionSelection | None = ALL,
        kinds: str | Sequence[str] | None = None,
        entities: EntityFilter | None = None,
        include_stimuli: bool = False,
        include_raw: bool = False,
    ) -> MirrorSelection:
        """Check the arguments of `mirror.plan_mirror`.

        Raises
        ------
        ValueError
            If something cannot be what it should, with the nearest names.
        AccessDeniedError
            If a held-out session is asked for, or the stimuli that are given under an agreement only.
        """
        groups = _checked_groups(kinds)
        besides = frozenset([*(["stimuli"] if include_stimuli else []), *(["raw", "events"] if include_raw else [])])
        values = _checked_entities(entities or {})
        if "stimuli" in besides.union(groups or ()) and "stimuli" in values.get("suffix", ()):
            raise LicenseNotAcceptedError(
                f"{layout.GATED} holds the images, which require a data use agreement. Request access at "
                f"{layout.REQUEST_URL}."
            )
        names, averages = _checked_sessions(sessions)
        return cls(None if subjects is None else check_subjects(subjects), names, averages, groups, values, besides)

    def wants(self, *groups: str) -> bool:
        """Return True if any of these groups is chosen."""
        chosen = layout.GROUPS.keys() - layout.LARGE_GROUPS if self.groups is None else set(self.groups)
        return not (chosen | self.besides).isdisjoint(groups)

    def takes(self, key: str) -> bool:
        """Return True if an object is chosen, readable or not."""
        return (
            self.wants(layout.group_of(key))
            and (self.subjects is None or subject_of(key) in (None, *self.subjects))
            and self._takes_session(key)
            and (self.has_entities(key) or self._masks(key))
        )

    def expect_in(self, keys: Iterable[str], *, where: str) -> None:
        """Raise ValueError for sessions and entities that do not occur.

        The message suggests the nearest names.
        """
        known = list(keys)
        found = {session for key in known if (session := layout.session_of(key)) and layout.is_session(session)}
        for session in self.sessions or ():
            if not layout.same_session(session, found):
                public = sorted(name for name in found if not layout.is_held_out(name))
                raise unknown_value("session", session, public, where=where)
        for name, values in (self.entities or {}).items():
            occurring = {value for key in known if (value := layout.name_entities(key).get(name))}
            for value in values:
                if occurring and value not in occurring:
                    raise unknown_value(name, value, sorted(occurring), where=where)

    def _takes_session(self, key: str) -> bool:
        if self.sessions is None and not self.averages:
            return True
        session = layout.session_of(key)
        if self.averages and session is None and key.startswith(f"{layout.BETAS_ROOT}/"):
            return True
        if self.sessions is None:
            return False
        tree = layout.tree_of(key)
        if session is not None and (tree is None or tree.has_sessions):
            return layout.is_session(session) and layout.session_name(session) in self.sessions
        return layout.is_needed(key) or layout.group_of(key) in (self.groups or ())

    def _masks(self, key: str) -> bool:
        """Return True for masks, which filters of names must keep."""
        parsed = layout.parse_key(key) if self.sessions is not None else None
        return parsed is not None and parsed.kind in _MASKS

    def has_entities(self, key: str) -> bool:
        """Return True unless the name has an entity that was not chosen."""
        if not self.entities:
            return True
        found = layout.name_entities(key)
        return all(found.get(name, values[0]) in values for name, values in self.entities.items())


def subject_of(key: str) -> str | None:
    """Return an object's subject, by its folder, or None."""
    match = re.search(r"(?:^|/)(sub-[A-Za-z0-9]+)/", key)
    return match[1] if match else None


def _checked_sessions(sessions: object) -> tuple[tuple[str, ...] | None, bool]:
    """Return the chosen sessions, and whether subject-level files are chosen."""
    if sessions is None or sessions == ALL:
        return None, False
    given = [sessions] if isinstance(sessions, str | bytes) or not isinstance(sessions, Iterable) else list(sessions)
    rest = [name for name in given if name != AVERAGES]
    if given and not rest:
        return None, True
    names = check_sessions(rest)
    for name in names or ():
        if layout.is_held_out(name):
            raise AccessDeniedError(
                f"{name} is held out by the data set's authors: it cannot be copied. Contact {layout.CONTACT}."
            )
    return names, len(rest) < len(given)


def _checked_groups(kinds: object) -> tuple[str, ...] | None:
    if kinds is None or kinds == ALL:
        return None
    given = [kinds] if isinstance(kinds, str) or not isinstance(kinds, Iterable) else list(kinds)
    if not given:
        raise ValueError(f"kinds=[] is empty. Expected one or more of {', '.join(layout.GROUPS)}.")
    for name in given:
        if name not in layout.GROUPS:
            raise unknown_value("kind", name, layout.GROUPS)
    return tuple(name for name in layout.GROUPS if name in given)


def _checked_entities(entities: EntityFilter) -> dict[str, tuple[str, ...]]:
    chosen = {}
    for name, given in entities.items():
        if name not in (*layout.ENTITIES, *layout.RAW_ENTITIES):
            raise unknown_value("entity", name, [*layout.ENTITIES, *layout.RAW_ENTITIES])
        if given is None:
            continue
        values = [given] if isinstance(given, str) else list(given)
        if not values or not all(isinstance(value, str) and value for value in values):
            raise ValueError(
                f"{name}={given!r}: expected a string such as 'T1w' or '{name}-T1w', or a list of strings."
            )
        bare = [value.removeprefix(f"{name}-") for value in values]
        chosen[name] = tuple("." + value.lstrip(".") if name == "extension" else value for value in bare)
    return chosen
