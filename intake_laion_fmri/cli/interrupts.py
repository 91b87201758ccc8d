"""Ctrl-C: the program ends at once, with a line and the exit code 130.

While there is something to put in order, KeyboardInterrupt is raised, so that files are closed and temporary ones
removed. Before that, within an import (which would make other errors of the exception), and at a second Ctrl-C, the
process is left at once. Nothing is lost by that: whatever this package writes survives being killed at any moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code: ended by Ctrl-C; what a shell tells of a program that died of it."""

_SHOW_CURSOR = "\x1b[?25h"


class _State:
    orderly = False
    promised = ""


def watch() -> None:
    """Handle Ctrl-C from the program's start.

    A program that was started to ignore it still does.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


@contextmanager
def in_order() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C within the block.

    `watch` must be in charge. Outside the block the process leaves at once.
    """
    _State.orderly = True
    try:
        yield
    finally:
        _State.orderly = False


def promise(text: str) -> None:
    """Set the line about interrupted work that the user will see."""
    _State.promised = text


def leave() -> NoReturn:
    """Leave the process at once, with a line and the exit code."""
    with contextlib.suppress(OSError):
        # A terminal has put ^C there, and a progress bar hides its cursor.
        start = f"{_SHOW_CURSOR}\n" if os.isatty(2) else ""
        os.write(2, f"{start}Interrupted. {_State.promised}".strip(" ").encode() + b"\n")
    os._exit(INTERRUPTED)


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Processes that work for this one would otherwise finish what they are at, or outlive it.
    processes = sys.modules.get("multiprocessing")
    for worker in processes.active_children() if processes else ():
        worker.kill()
    if not _State.orderly or _importing(frame):
        leave()
    _State.orderly = False
    import logging

    logging.getLogger("asyncio").disabled = True  # by which aiohttp complains of connections that are left as they are
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
