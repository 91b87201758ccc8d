"""Threads and connections per process: forked children inherit neither."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


class PerProcess(Generic[T]):
    """A value that each process creates on first use.

    A forked child keeps its parent's value without using it: finalizing an inherited connection would unregister the
    parent's sockets from the event queue that both processes share.

    Parameters
    ----------
    make : callable
        Called without arguments to create the value.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}
        self._locks: dict[int, threading.Lock] = {}

    def get(self) -> T:
        """Return this process's value, created once for all threads."""
        pid = os.getpid()
        if pid not in self._values:
            # A lock per process: a fork may inherit its parent's lock in the locked state, forever.
            with self._locks.setdefault(pid, threading.Lock()):
                if pid not in self._values:
                    self._values[pid] = self._make()
        return self._values[pid]


def concurrently(
    function: Callable[[Item], Result], items: Iterable[Item], most: int, *, name: str = "fetch", wait: bool = True
) -> list[Result]:
    """Apply a function to items concurrently, `most` at a time.

    Results are in the order of the items, and the first failure in this order is raised. After a failure or an
    interrupt no further call is started; running calls are awaited unless `wait` is False. With ``most=1``, or if no
    thread can be started because the interpreter is ending, the calls are made directly.
    """
    if most == 1:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(most, thread_name_prefix=f"laion-{name}")
    try:
        return [future.result() for future in [submitted(pool, function, item) for item in items]]
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def submitted(pool: ThreadPoolExecutor, function: Callable[..., Result], *args: Any) -> Future[Result]:
    """Submit a call, or make it directly while the interpreter ends."""
    try:
        return pool.submit(function, *args)
    except RuntimeError:
        future: Future[Result] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001  (raised when the result is requested)
            future.set_exception(error)
        return future


def _forget_threads_of_dask() -> None:
    """Let Dask start its own threads in a forked child.

    Dask keeps its pools in module variables. Without this, the first computation in a child whose parent has computed
    something would wait for threads that do not exist in the child.
    """
    threaded = sys.modules.get("dask.threaded")
    if threaded is not None:
        threaded.default_pool = None  # type: ignore[attr-defined]
        threaded.pools.clear()
        threaded.pools_lock = threading.Lock()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads_of_dask)
