"""Speed of answers, and the bound below which they are abandoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from intake_laion_fmri.remote.retry import NetworkPolicy
from intake_laion_fmri.running.forks import PerProcess


class _Line:
    """The network line shared by all requests of this process."""

    def __init__(self) -> None:
        self._count, self._seconds, self._since = 0, 0.0, time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds that a request alone would have used the line.

        Idea: time is divided by the number of requests under way, so that each of n answers may be n times slower.
        Cost: O(1) under a lock, at the beginning and end of each request.
        """
        return self._add(0)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request during a ``with`` block."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, count: int) -> float:
        with self._lock:
            now = time.monotonic()
            self._seconds += (now - self._since) / max(1, self._count)
            self._since = now
            self._count += count
            return self._seconds


shared_line = PerProcess(_Line)


class Pace:
    """Speed of an answer, with a lower bound.

    Trickling bytes are no progress: a transfer could last for days.
    """

    def __init__(self, policy: NetworkPolicy) -> None:
        self._policy, self._count = policy, 0
        self._began, self._of_line = time.monotonic(), shared_line.get().seconds

    @property
    def is_slow(self) -> bool:
        """True if the answer is slower than its share of the minimum."""
        return self._count <= self._policy.slowest * (shared_line.get().seconds - self._of_line)

    def received(self, count: int) -> None:
        """Count bytes; raise TimeoutError if they were too slow."""
        self._count += count
        seconds = time.monotonic() - self._began
        if seconds > self._policy.total_seconds and self.is_slow:
            raise TimeoutError(f"{self._count} bytes in {seconds:.0f} s is too slow to continue")
