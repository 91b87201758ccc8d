"""Locks for every file system: lock files refreshed by their owner."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from intake_laion_fmri.remote.parents import AnyPath, make_folder

LEASE_SECONDS = 20.0
"""A lock whose holder has given no sign of life for so long is taken over."""

_HEARTBEAT_SECONDS = 4.0
_LOOK_SECONDS = 1.0
_MOST_MISSES = 1000
"""How often a folder that others remove is made again, before something else must be wrong with it."""


class HeldError(OSError):
    """Another process holds the lock; the message names it."""


@contextmanager
def locked(
    path: AnyPath, *, wait_seconds: float, what: str, while_waiting: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold a lock against other processes, on any file system.

    A lock of a process of this machine that has died is taken over at once, and any other that has given no sign of
    life for `LEASE_SECONDS` when it has been waited for so long. A process that is stopped for that time and goes on
    may thus meet another one: what the lock guards has to bear that.

    Parameters
    ----------
    path : str or path
        The lock's file; its folder is made, again and again if others remove it.
    wait_seconds : float
        How long to wait for another process.
    what : str
        What the holder is doing, for the message: ``"building sub-01/ses-01"``.
    while_waiting : callable, optional
        Called each second; it ends the waiting by raising something.

    Raises
    ------
    HeldError
        If another process has it, and how long it was waited for.
    OSError
        If the file cannot be made or written: names it.
    """
    from filelock import SoftFileLease, Timeout

    path = Path(path)
    lock = SoftFileLease(path, lease_duration=LEASE_SECONDS, heartbeat_interval=_HEARTBEAT_SECONDS, mode=0o644)
    begin, misses = time.monotonic(), 0
    while True:
        waited = time.monotonic() - begin
        try:
            make_folder(path.parent)
            lock.acquire(timeout=max(0.0, min(wait_seconds - waited, _LOOK_SECONDS)))
            break
        except (FileExistsError, FileNotFoundError):
            # Another owner may remove the folder between any two system calls here.
            misses += 1
            if misses == _MOST_MISSES:
                raise
        except Timeout:
            if waited >= LEASE_SECONDS and _is_empty(path):
                lock.force_break()  # its process died between making the file and writing its name
            elif waited + _LOOK_SECONDS >= wait_seconds:
                owner = lock.owner
                holder = f"process {owner.pid} on {owner.hostname}" if owner else "another process"
                raise _held(path, holder, wait_seconds, what) from None
            while_waiting()
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            # Errors about a descriptor, such as a full disk, do not name the file.
            reason = os.strerror(error.errno)
            text = f"the lock for {what} cannot be written: {reason}. Free some space, or use another folder"
            raise OSError(error.errno, text, os.fspath(path)) from error
    try:
        yield
    finally:
        lock.release()


def _is_empty(path: Path) -> bool:
    """Return True for an empty lock file.

    filelock would treat it as a lock of an older version and wait for ever.
    """
    try:
        return path.lstat().st_size == 0
    except OSError:
        return False


def _held(path: Path, holder: str, wait_seconds: float, what: str) -> HeldError:
    """Describe the holder of a lock."""
    with contextlib.suppress(OSError, KeyError, ImportError):
        import pwd

        holder += f" (user {pwd.getpwuid(path.lstat().st_uid).pw_name})"
    waited = f", and did not finish within {wait_seconds:.0f} s" if wait_seconds else ""
    return HeldError(
        errno.EAGAIN,
        f"{holder} is {what}{waited}. Wait until it has finished and try again. If it no longer runs, remove this file",
        os.fspath(path),
    )
