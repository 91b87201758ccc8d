"""The command as a real process: in a pipe, and in a pseudo-terminal that can press Ctrl-C."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CTRL_C", "SECONDS", "Seen", "in_terminal", "piped"]

SECONDS = 150.0
"""Longest that anything here is waited for."""

CTRL_C = b"\x03"

_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes standard input the terminal that Ctrl-C is pressed on, and becomes the command."""


@dataclass(frozen=True)
class Seen:
    """What was shown on a terminal."""

    raw: str
    """With the terminal's own commands."""
    code: int
    """Exit code, or less than zero after a signal."""
    seconds_after: float
    """From the keys that were pressed to the end."""

    @property
    def text(self) -> str:
        """What a reader of it sees, all frames of a progress bar one after the other."""
        lines = re.sub(r"\r\n|\r|\x1b\[2K", "\n", self.raw)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", re.sub(r"\n\n+", "\n", lines))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]


def in_terminal(
    command: Sequence[object],
    environment: dict[str, str],
    *,
    when: Callable[[str], bool] | None = None,
    keys: bytes = b"",
    width: int = 120,
) -> Seen:
    """Run a command in a terminal; once `when` is true of what was shown, press keys."""
    terminal, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, *map(str, command)],
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        env={**environment, "TERM": "xterm", "COLUMNS": str(width)},
        start_new_session=True,
    )
    os.close(other_end)
    start, shown, pressed = time.monotonic(), b"", 0.0
    try:
        while time.monotonic() - start < SECONDS:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    part = os.read(terminal, 65536)
                except OSError as error:  # nobody has the other end any more
                    if error.errno != errno.EIO:
                        raise
                    break
                if not part:
                    break
                shown += part
            if when is not None and when(shown.decode(errors="replace")):
                # What is shown before a question is waited for comes a moment before the waiting.
                time.sleep(0.3)
                when, pressed = None, time.monotonic()
                os.write(terminal, keys)
        else:
            os.killpg(process.pid, signal.SIGKILL)
    finally:
        os.close(terminal)
        code = process.wait(timeout=SECONDS)
    return Seen(shown.decode(errors="replace"), code, time.monotonic() - pressed if pressed else 0.0)


@contextmanager
def piped(command: Sequence[object], environment: dict[str, str], **options: Any) -> Any:
    """Run a command as a process group of its own with pipes; whatever happens, it ends with the block."""
    pipe = subprocess.PIPE
    # A short pipe: nobody has written everything before somebody has read something.
    usual = {"stdout": pipe, "stderr": pipe, "stdin": subprocess.DEVNULL, "pipesize": 4096, "text": True}
    process: Any = subprocess.Popen(
        [str(word) for word in command], env=environment, start_new_session=True, **(usual | options)
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=SECONDS)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


PROGRAM = (Path(sys.executable).with_name("intake-laion-fmri"),)
MODULE = (sys.executable, "-m", "intake_laion_fmri")
