"""Copying a plan's objects: few large and many small ones concurrently."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import received_before
from intake_laion_fmri.mirror.report import MirrorPlan, MirrorProgress, left_alone_message
from intake_laion_fmri.mirror.targets import STALE_SECONDS, LeftAloneError, ObjectBusyError
from intake_laion_fmri.mirror.transfer import Fetched, Transfers
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.locks import LEASE_SECONDS

REQUESTS_PER_OBJECT = 4
"""Ranged requests under way for a large object."""

CONNECTIONS = 32
"""Most requests under way."""

_REPORT_SECONDS = 0.2
_BUSY_SECONDS = 0.5
"""Seconds until an object that another process is fetching is tried again."""

PATIENT_SECONDS = 1.25 * LEASE_SECONDS
"""How long to wait for a stuck process: longer than the lock of a dead process lasts."""

_OF_ONE_OBJECT = {
    *(errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.EBUSY, getattr(errno, "ETXTBSY", errno.EBUSY)),
}
"""Errors of a disk that concern a single file."""

Outcome = tuple[ObjectInfo, "Future[Fetched]"]


class CopyingRun:
    """A run that copies a plan's objects."""

    def __init__(
        self,
        plan: MirrorPlan,
        folder: MirrorFolder,
        jobs: int,
        progress: Callable[[MirrorProgress], None],
        piece_bytes: int,
        request_bytes: int,
    ) -> None:
        self.left_alone = dict(plan.left_alone)
        """Key → obstacle at its path."""
        self.current = {info.key: info for info in plan.objects if info.key not in self.left_alone}
        """Key → the object as it was copied."""
        self.received = 0
        """Bytes."""
        self.seconds = 0.0
        self.interrupted = False
        self._plan, self._folder, self._progress = plan, folder, progress
        self._jobs = jobs
        self._stop, self._lock = threading.Event(), threading.Lock()
        requests = min(REQUESTS_PER_OBJECT, max(1, CONNECTIONS // jobs))
        given = (plan.bucket, folder, requests, piece_bytes, request_bytes)
        self._transfers = Transfers(*given, received=self._receive, stop=self._stop)
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._busy: dict[ObjectInfo, _Busy] = {}
        self._errors: list[Exception] = []
        self._done: list[tuple[Fetched, ObjectInfo]] = []
        self._start = time.monotonic()
        self._reported = -1.0

    def all(self) -> list[tuple[Fetched, ObjectInfo]]:
        """Copy every object; return each result with its planned object."""
        todo = [*self._plan.unrecorded, *self._plan.fetch]
        self._report(None, force=True)
        if not todo:
            return []
        with (
            ThreadPoolExecutor(min(self._jobs, CONNECTIONS), thread_name_prefix="laion-large") as large,
            ThreadPoolExecutor(min(4 * self._jobs, CONNECTIONS), thread_name_prefix="laion-small") as small,
        ):
            self._pools = {True: small, False: large}
            try:
                for info in todo:
                    self._begin(info)
                alone = len(self.left_alone)
                while (
                    len(self._done) + len(self._errors) + len(self.left_alone) - alone < len(todo)
                    and not self._stop.is_set()
                ):
                    self._take()
            except BaseException:
                self.interrupted = True
                raise
            finally:
                self._stop.set()
                for pool in (large, small):
                    pool.shutdown(wait=False, cancel_futures=True)
        self.seconds = time.monotonic() - self._start
        if self._errors:
            raise _one_error(self._errors, self._folder.path, sorted(self.left_alone.items()))
        return self._done

    def _begin(self, info: ObjectInfo, wait_seconds: float = 0.0) -> None:
        is_small = info.size <= self._transfers.request_bytes
        future = self._pools[is_small].submit(self._transfers.fetch, info, wait_seconds)
        future.add_done_callback(lambda done: self._outcomes.put((info, done)))

    def _receive(self, count: int) -> None:
        with self._lock:  # each transfer calls it from threads of its own
            self.received += count

    def _take(self) -> None:
        """Process a finished object, or wait briefly.

        Objects that another process is fetching are tried again later.
        """
        try:
            info, future = self._outcomes.get(timeout=_REPORT_SECONDS)
        except queue.Empty:
            self._report(None)
        else:
            self._settle(info, future)
        for info, busy in list(self._busy.items()):
            if busy.is_due(self._folder, info):
                busy.due = float("inf")
                self._begin(info, PATIENT_SECONDS if busy.is_stuck else 0.0)

    def _settle(self, info: ObjectInfo, future: Future[Fetched]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, ObjectBusyError):
            busy = self._busy.setdefault(info, _Busy())
            if not busy.is_stuck:
                busy.due = time.monotonic() + _BUSY_SECONDS
                return
            text = f"another process has received no data of {info.key} for {STALE_SECONDS:.0f} s: {error}"
            error = OSError(errno.EBUSY, text)
        self._busy.pop(info, None)
        if error is None:
            fetched = future.result()
            self._done.append((fetched, info))
            self.current[info.key] = fetched.info
            self._report(info.key, force=True)
        elif isinstance(error, LeftAloneError):
            self.left_alone[info.key] = str(error)
            del self.current[info.key]
        elif isinstance(error, Exception):
            self._errors.append(error)
            if not _is_of_one_object(error):
                self._finish_those_under_way(error)
        else:
            raise error

    def _finish_those_under_way(self, error: Exception) -> None:
        """Start no more objects after an error that would recur.

        Transfers under way are awaited, unless the disk has failed.
        """
        for pool in self._pools.values():
            pool.shutdown(wait=isinstance(error, BucketUnreachableError), cancel_futures=True)
        self._stop.set()

    def _report(self, finished: str | None, *, force: bool = False) -> None:
        seconds = time.monotonic() - self._start
        if force or seconds - self._reported >= _REPORT_SECONDS:
            self._reported = seconds
            n_files = len(self._plan.unrecorded) + len(self._plan.fetch)
            n_bytes = self._plan.bytes_to_fetch
            received = min(self.received, n_bytes)
            self._progress(MirrorProgress(len(self._done), n_files, received, n_bytes, seconds, finished))


@dataclass
class _Busy:
    """An object that another process is fetching."""

    due: float = 0.0
    """When it is looked at again."""
    seen: int = -1
    """Bytes that the other has received."""
    moved: float = field(default_factory=time.monotonic)
    """When that last changed."""
    is_stuck: bool = False
    """Whether the other process makes no progress: it is waited for once more, until its lock expires, then named."""

    def is_due(self, folder: MirrorFolder, info: ObjectInfo) -> bool:
        """Return True when it is time for another attempt."""
        if time.monotonic() < self.due:
            return False
        received = received_before(folder, info)
        if received != self.seen:
            self.seen, self.moved = received, time.monotonic()
        self.is_stuck = time.monotonic() - self.moved > STALE_SECONDS
        return True


def _is_of_one_object(error: Exception) -> bool:
    """Return True if an error concerns a single object."""
    if isinstance(error, AccessDeniedError | NotInBucketError | DataIntegrityError):
        return True
    return (
        isinstance(error, OSError) and not isinstance(error, BucketUnreachableError) and error.errno in _OF_ONE_OBJECT
    )


def _one_error(errors: Sequence[Exception], to: Path, left_alone: Sequence[tuple[str, str]]) -> Exception:
    """Return the first error, with counts of others and of files left alone."""
    first = next((error for error in errors if not isinstance(error, AccessDeniedError)), errors[0])
    others = len(errors) - 1
    more = [f"The same applies to {others} more {'object' if others == 1 else 'objects'}."] if others else []
    more += [left_alone_message(to, left_alone)] if left_alone else []
    if not more:
        return first
    if isinstance(first, AccessDeniedError | NotInBucketError | DataIntegrityError | BucketUnreachableError):
        made: Exception = type(first)(" ".join([str(first), *more]))
    elif isinstance(first, OSError) and first.errno is not None:
        made = OSError(first.errno, " ".join([str(first.strerror), *more]))
    else:
        return first
    made.__cause__ = first
    return made
