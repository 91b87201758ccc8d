"""Threads and processes that build sessions, and their reusable memory."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading

import numpy as np
from numpy.typing import NDArray

_PARENT_SECONDS = 1.0
"""How soon a worker process notices that its parent has ended, where the system does not tell."""

_kept = threading.local()


def keep_memory() -> None:
    """Reuse this thread's memory for all of its sessions.

    Reused memory costs a tenth of the time of new pages. Workers of a cluster do not keep it, because they outlive the
    build.
    """
    _kept.block = np.empty(0, dtype=np.float32)


def begin_process() -> None:
    """Initialise a worker process.

    Ctrl-C ends the process silently; its parent reports.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, name="laion-parent", daemon=True).start()
    keep_memory()


def _end_with_parent() -> None:
    """End this process when its parent ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    pid = os.getppid()
    while parent.is_alive() and os.getppid() == pid:
        parent.join(_PARENT_SECONDS)
    os._exit(1)


def block_memory(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an uninitialised array to read a session into."""
    size = math.prod(shape)
    if not hasattr(_kept, "block"):
        return np.empty(shape, dtype=np.float32)
    if _kept.block.size < size:
        del _kept.block  # before there are two
        _kept.block = np.empty(size, dtype=np.float32)
    block: NDArray[np.float32] = _kept.block[:size].reshape(shape)
    return block
