"""Options, subjects and sessions of a store, from its metadata."""

from __future__ import annotations

from collections.abc import Iterable

from intake_laion_fmri.errors import NotInStoreError, unknown_value
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.store.format import StoredSession
from intake_laion_fmri.store.metadata import metadata_key, read_root, read_subject, session_group
from intake_laion_fmri.store.options import StoreOptions


def read_options(root: Bucket) -> StoreOptions:
    """Read a store's options; NotInStoreError if there is no store."""
    content = root.read_present([metadata_key("")])
    if not content:
        raise NotInStoreError(
            f"There is no store at {root.url}. Check the argument 'store', or build it with 'intake-laion-fmri store "
            f"build --to {root.url}'."
        )
    return read_root(content[metadata_key("")], name=root.locate(metadata_key("")))


def stored_subjects(root: Bucket) -> list[str]:
    """List a store's subjects, sorted."""
    return [name for name in root.folders("") if name.startswith("sub-")]


def read_sessions(root: Bucket, subject: str, sessions: Iterable[str]) -> dict[str, StoredSession]:
    """Read the metadata of complete sessions, one request each."""
    keys = {metadata_key(session_group(subject, session)): session for session in sessions}
    return {
        keys[key]: StoredSession.parse(content, group=session_group(subject, keys[key]), name=root.locate(key))
        for key, content in root.read_present(keys).items()
    }


class UnknownSubjectError(NotInStoreError, ValueError):
    """The store lacks the subject, which may not exist at all."""


def public_sessions(root: Bucket, subject: str) -> tuple[str, ...]:
    """Read the public sessions of the bucket at building."""
    key = metadata_key(subject)
    content = root.read_present([key])
    if not content:
        raise UnknownSubjectError(str(unknown_value("subject", subject, stored_subjects(root), where=root.url)))
    return read_subject(content[key], subject=subject, name=root.locate(key))
