"""Drivers of processes: each imports everything once and forks a process for whatever it is asked for.

That costs next to nothing. Everything ends by itself: what is forked by an alarm, a driver with its input.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Driver", "begin", "classes_of", "environment"]


class Driver:
    """A driver, seen from the tests: it takes and gives lines of JSON."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process, self._seconds = process, seconds

    @classmethod
    @contextmanager
    def running(
        cls, script: str, *, seconds: float, errors: Path | None = None, own: Mapping[str, str] | None = None
    ) -> Iterator[Driver]:
        """Start a script as a driver.

        Parameters
        ----------
        script : str
            Its file.
        seconds : float
            How long an answer may take.
        errors : Path, optional
            Takes what it complains of.
        own : mapping, optional
            Further environment variables.
        """
        with open(errors or os.devnull, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file if errors else None,
                text=True,
                bufsize=1,
                env=environment() | dict(own or {}),
            )
        try:
            yield cls(process, seconds)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    def ask(self, command: Any) -> None:
        """Send a line."""
        self._process.stdin.write(json.dumps(command) + "\n")

    def answer(self) -> Any:
        """Wait for a line."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout=self._seconds):
                raise TimeoutError(f"{self._process.args} does not respond")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} is gone; see the file with its errors")
        return json.loads(line)


def environment() -> dict[str, str]:
    """Return the environment of this process without what a user has set for this package."""
    # One thread of BLAS: later Pythons warn of a fork where there are more, whoever has started them.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAION_FMRI_")}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}


def begin(seconds: int, max_bytes: int | None = None) -> None:
    """Prepare a forked process: it ends after so many seconds, and writes no file larger than so many bytes."""
    signal.alarm(seconds)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if max_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))


def classes_of(error: BaseException) -> list[str]:
    """Return the names of an exception's class and of those above it."""
    return [one.__name__ for one in type(error).__mro__]
