"""Ctrl-C: the program ends with a line and the exit code 130, whatever it is doing.

While there is something to put in order, KeyboardInterrupt is raised, so that files are closed and temporary ones
removed. Before that, within an import (which would make other errors of the exception), where it takes too long (a
server that is silent), and at a second Ctrl-C, the process is left at once. Nothing is lost by that: whatever this
package writes survives being killed at any moment.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code: ended by Ctrl-C; what a shell tells of a program that died of it."""

GRACE_SECONDS = 5.0
"""How long it may take to put things in order."""

RETRY_SECONDS = 0.01
"""How soon it is tried again where an exception would do harm."""

_SHOW_CURSOR = "\x1b[?25h"


class _State:
    orderly = False
    held = False
    asked = False
    watchdog = False
    promised = ""


def watch() -> None:
    """Take over Ctrl-C, from the start of a program on; a program that was started to ignore it does so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)


@contextmanager
def in_order() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C in here, where `watch` has taken it over; outside, the program is left."""
    _State.orderly = True
    try:
        yield
    finally:
        _State.orderly = False


@contextmanager
def held() -> Iterator[None]:
    """Raise no KeyboardInterrupt in here, but soon after: for what takes no time, and must not be left half done."""
    import threading

    if threading.current_thread() is not threading.main_thread():  # no other is ever interrupted
        yield
        return
    before, _State.held = _State.held, True
    try:
        yield
    finally:
        _State.held = before


def promise(text: str) -> None:
    """Set the sentence that tells the user what becomes of interrupted work."""
    _State.promised = text


def message() -> str:
    """Return the line to leave with."""
    return f"Interrupted. {_State.promised}".strip()


def leave() -> NoReturn:
    """Leave the process at once, with the line and the exit code."""
    _end_workers()
    with contextlib.suppress(OSError):
        # A progress bar hides the cursor.
        start = f"{_SHOW_CURSOR}\n" if os.isatty(2) else ""
        os.write(2, f"{start}{message()}\n".encode())
    os._exit(INTERRUPTED)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if not _State.orderly or _State.asked or _importing(frame):
        leave()
    if not _State.watchdog:
        _State.watchdog = True
        _later(GRACE_SECONDS, leave)
    if _State.held:
        _later(RETRY_SECONDS, _again)
        return
    _State.asked = True
    _end_workers()
    _silence()
    raise KeyboardInterrupt


def _end_workers() -> None:
    """End the processes that work for this one, which would otherwise finish what they are at, or outlive it."""
    processes = sys.modules.get("multiprocessing")
    for worker in processes.active_children() if processes else ():
        worker.kill()


def _silence() -> None:
    """Let nobody complain of the connections that are left as they are: aiohttp does, through its loop's logger."""
    logging = sys.modules.get("logging")
    if logging:
        logging.getLogger("asyncio").disabled = True


def _again() -> None:
    """Interrupt the main thread, also where it waits for the system."""
    import threading

    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _later(seconds: float, action: Callable[[], object]) -> None:
    import threading  # not before: the sooner this module is loaded, the sooner it watches

    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
