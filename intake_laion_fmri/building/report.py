"""The report and the progress of a build."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BuildProgress", "SessionReport"]


@dataclass(frozen=True)
class SessionReport:
    """Outcome of building one session."""

    subject: str
    """``"sub-01"``."""
    session: str
    """``"ses-01"``."""
    status: str
    """``"built"``; ``"renewed"``: its sources had been replaced, or objects of it were lost or damaged; or
    ``"complete"``: nothing was to be done."""
    bytes_read: int = 0
    """Of the stream."""
    bytes_written: int = 0
    """Of the betas."""
    seconds: float = 0.0
    """From the listing of the bucket to the verified group."""
    missing: tuple[str, ...] = ()
    """The coordinates that are left out, in words."""


@dataclass(frozen=True)
class BuildProgress:
    """Progress of a build, without sessions that were complete before."""

    sessions: int
    """Sessions that are done."""
    n_sessions: int
    """Sessions to be done."""
    bytes: int
    """Packed bytes that were read. Known during a session where it is built in this process, else after it."""
    n_bytes: int
    """Packed bytes of all these sessions."""
    seconds: float
    """Since the first session was begun."""
    finished: SessionReport | None = None
    """The session that has just been finished."""

    @property
    def counted(self) -> str:
        """Finished sessions in words."""
        return f"{self.sessions} of {self.n_sessions} sessions"

    @property
    def seconds_left(self) -> float | None:
        """Remaining seconds at the mean rate; None before the first session."""
        return (self.n_bytes - self.bytes) * self.seconds / self.bytes if self.bytes else None
