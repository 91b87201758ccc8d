"""Ctrl-C: the program ends immediately, with a line and the exit code 130.

While a command runs, the first Ctrl-C raises KeyboardInterrupt, so that files are closed and temporary files removed.
Before that, during an import (which would turn the exception into other errors), and at a second Ctrl-C, the process
exits immediately. Nothing is lost: what this package writes stays valid when it is killed at any time.
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
"""Exit code: interrupted by Ctrl-C; the code that shells report for SIGINT."""

_SHOW_CURSOR = "\x1b[?25h"


class _State:
    orderly = False
    promised = ""


def watch() -> None:
    """Handle Ctrl-C, unless the program was started to ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


@contextmanager
def in_order() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C within the block.

    This needs `watch`. Outside the block, the process exits immediately.
    """
    _State.orderly = True
    try:
        yield
    finally:
        _State.orderly = False


def promise(text: str) -> None:
    """Set the text that is printed after an interrupt."""
    _State.promised = text


def leave() -> NoReturn:
    """Exit the process immediately, with a line and the exit code."""
    with contextlib.suppress(OSError):
        # The terminal has printed ^C, and a progress bar has hidden the cursor.
        start = f"{_SHOW_CURSOR}\n" if os.isatty(2) else ""
        os.write(2, f"{start}Interrupted. {_State.promised}".strip(" ").encode() + b"\n")
    os._exit(INTERRUPTED)


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Worker processes would otherwise finish their work first, or outlive this process.
    processes = sys.modules.get("multiprocessing")
    for worker in processes.active_children() if processes else ():
        worker.kill()
    if not _State.orderly or _importing(frame):
        leave()
    _State.orderly = False
    import logging

    logging.getLogger("asyncio").disabled = True  # aiohttp would report unclosed connections here
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
