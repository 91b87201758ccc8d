"""Running build jobs on threads, processes or the workers of a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from intake_laion_fmri.building.plan import Job
from intake_laion_fmri.building.processes import begin_process, keep_memory
from intake_laion_fmri.building.report import BuildProgress, SessionReport
from intake_laion_fmri.building.session import build_session
from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.remote.locks import HeldError
from intake_laion_fmri.store.groups import ForeignError, GroupBusyError
from intake_laion_fmri.store.metadata import session_group
from intake_laion_fmri.store.writing import NotWritableError

if TYPE_CHECKING:
    from distributed import Client


_REPORT_SECONDS = 0.2
"""Shortest time between two reports of progress."""


class Stopped(Exception):  # noqa: N818  (nothing went wrong in it)
    """A session was abandoned because the build has stopped."""


class Tally:
    """Counts sessions and bytes for progress; its event stops the threads."""

    def __init__(self, jobs: Iterable[Job], progress: Callable[[BuildProgress], None] | None) -> None:
        self._sizes = {job.group: job.size for job in jobs}
        self._progress = progress
        self._lock = threading.Lock()
        self._start = self._reported = time.monotonic()
        self._sessions = self._bytes = 0
        self.counts_bytes = False
        self.stop = threading.Event()
        self._tell(None)

    def received(self, count: int) -> None:
        """Count bytes of a stream; called by the reading thread."""
        if self.stop.is_set():
            raise Stopped
        with self._lock:
            self._bytes += count
            if time.monotonic() - self._reported >= _REPORT_SECONDS:
                self._tell(None)

    def finished(self, report: SessionReport) -> None:
        """Count a session."""
        with self._lock:
            self._sessions += 1
            if not self.counts_bytes or report.status == "complete":
                self._bytes += self._sizes[session_group(report.subject, report.session)]
            self._tell(report)

    def _tell(self, finished: SessionReport | None) -> None:
        self._reported = time.monotonic()
        if self._progress is not None:
            total = sum(self._sizes.values())
            seconds = self._reported - self._start
            received = min(self._bytes, total)
            self._progress(BuildProgress(self._sessions, len(self._sizes), received, total, seconds, finished))


@contextmanager
def open_executor(client: Client | None, scheduler: str, workers: int, tally: Tally) -> Iterator[Executor]:
    """Start the threads, processes or cluster for the jobs.

    They are shut down at the end of the block.
    """
    if client is not None:
        executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)  # cancels what has not been begun; what has is done to its end
        return
    pool: Executor
    if scheduler == "processes":
        from dask.multiprocessing import get_context

        pool = ProcessPoolExecutor(workers, mp_context=get_context(), initializer=begin_process)
    else:
        tally.counts_bytes = True
        pool = ThreadPoolExecutor(workers, thread_name_prefix="laion-build", initializer=keep_memory)
    try:
        yield pool
    finally:
        tally.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def run_jobs(
    jobs: Sequence[Job], executor: Executor, tally: Tally
) -> tuple[list[SessionReport], list[tuple[Job, BaseException]]]:
    """Run the jobs until one meets a fault common to all."""
    reports: list[SessionReport] = []
    failures: list[tuple[Job, BaseException]] = []
    waiting = list(jobs)
    while waiting:
        extra = (tally.received,) if tally.counts_bytes else ()
        pending: dict[Future[SessionReport], Job] = {
            executor.submit(build_session, job, *extra): job for job in waiting
        }
        waiting = []
        for future in as_completed(pending):
            job = pending[future]
            error = None if future.cancelled() else future.exception()
            if future.cancelled() or isinstance(error, Stopped):
                continue
            if error is None:
                reports.append(future.result())
                tally.finished(future.result())
            elif isinstance(error, GroupBusyError) or (isinstance(error, HeldError) and not job.wait):
                waiting.append(replace(job, wait=True))
            else:
                failures.append((job, error))
                if not isinstance(error, _OF_ONE_SESSION) or isinstance(error, NotWritableError):
                    tally.stop.set()
                    for other in pending:
                        other.cancel()
        if tally.stop.is_set():
            break
    return reports, failures


_OF_ONE_SESSION = (DataIntegrityError, NotInBucketError, AccessDeniedError, ForeignError)
"""Faults of a session's own sources or target, which say nothing of the others."""


def described_failure(failures: Sequence[tuple[Job, BaseException]]) -> BaseException:
    """Return the first failure, with the names of the other failed sessions."""
    (job, error), *others = failures
    text = f"{job.group} was not stored: {error or type(error).__name__}"
    if others:
        text += f" Also not stored: {', '.join(other.group for other, _ in others)}."
    text += " Complete sessions can be read; run this again for the others."
    if isinstance(error, BrokenProcessPool):
        text += (
            " A worker ended early: it ran out of memory, or the script calls build_store outside of `if __name__ == "
            "'__main__':`."
        )
    kind = type(error)
    described: BaseException
    if isinstance(error, DataIntegrityError | NotInBucketError | AccessDeniedError | BucketUnreachableError):
        described = kind(text)
    elif isinstance(error, OSError):
        described = kind(text) if error.errno is None else kind(error.errno, text)
    elif isinstance(error, ValueError):
        described = ValueError(text)
    else:
        described = RuntimeError(text)
    described.__cause__ = error
    return described
