"""Selecting session folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intake_laion_fmri import layout
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, unknown_value
from intake_laion_fmri.remote.access import Bucket


def choose_sessions(
    bucket: Bucket,
    subject: str,
    asked: tuple[str, ...] | None,
    found: Sequence[str],
    known: Iterable[str],
) -> tuple[str, ...]:
    """Return the chosen sessions' folders, or those of all sessions.

    Parameters
    ----------
    bucket : Bucket
        Bucket to name in errors.
    subject : str
        ``"sub-01"``.
    asked : tuple of str or None
        Names from `layout.session_name`, of which the number matters: ``ses-01`` matches a folder ``ses-001``.
    found : sequence of str
        Folders for ``asked=None``, ascending.
    known : iterable of str
        Folders that may be chosen by name.

    Raises
    ------
    AccessDeniedError
        If a session is held out.
    ValueError
        If no folder has a chosen number.
    DataIntegrityError
        If two folders have the same number, so that trials would not be unique.
    """
    folders = set(known)
    chosen = []
    for session in found if asked is None else asked:
        if layout.is_held_out(session):
            use = f"Use one of {found[0]} to {found[-1]}, or" if found else "This subject has no public session here:"
            raise AccessDeniedError(
                f"{session} of {subject} is held out by the data set's authors: its betas and maps are not "
                f"public. {use} ask {layout.CONTACT}."
            )
        names = layout.same_session(session, found) or layout.same_session(session, folders)
        if not names:
            raise unknown_value("session", session, found, where=f"{subject} in {bucket.url}")
        if len(names) > 1:
            raise DataIntegrityError(
                f"{' and '.join(names)} of {subject} in {bucket.url} are two folders of the same session. Expected "
                "one folder per session: rename or remove one of them, or choose other sessions with session=."
            )
        chosen += names
    return tuple(chosen)
