"""Progress bars for terminals and notebooks, plain lines elsewhere.

Nothing is shown in a pipe unless requested by an argument ``progress=True`` or by ``LAION_FMRI_PROGRESS=1``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

ENVIRONMENT = "LAION_FMRI_PROGRESS"
"""Environment variable: ``1`` shows all progress, ``0`` none; an argument takes precedence."""

MOMENT = 1.0
"""Seconds before a bar is shown."""

LINE_SECONDS = 10.0
"""Seconds between plain lines."""

_NOTEBOOK_COLUMNS = 80
"""Width of a bar in a notebook: rich's default of 115 exceeds JupyterLab's cells, which hides rate and time left."""


class Done(Protocol):
    """State of long work."""

    @property
    def bytes(self) -> int:
        """Finished bytes."""

    @property
    def n_bytes(self) -> int:
        """Total bytes."""

    @property
    def seconds(self) -> float:
        """Time since the start."""

    @property
    def counted(self) -> str:
        """Finished items in words; may be empty."""


AnyDone = TypeVar("AnyDone", bound=Done)
Switch: TypeAlias = bool | Callable[[AnyDone], None] | None
"""True to show progress, False not to, None to show it on terminals and in notebooks; or a function to call."""


def is_shown(progress: bool | None) -> bool:
    """Return True if argument, environment or output ask for progress.

    Raises
    ------
    ValueError
        If the environment variable is neither 0 nor 1.
    """
    if progress is not None:
        return progress
    given = os.environ.get(ENVIRONMENT, "")
    if given in {"0", "1"}:
        return given == "1"
    if given:
        raise ValueError(f"{ENVIRONMENT} must be 1 (show progress) or 0 (show none), found {given!r}. Set or unset it.")
    return _on_terminal() or "ipykernel" in sys.modules


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def shown(label: str, progress: Switch[AnyDone], *, after: float = MOMENT) -> Iterator[Callable[[AnyDone], None]]:
    """Yield the function that receives reports: the user's or a bar's."""
    if callable(progress):
        yield progress
        return
    with ProgressBar(label, progress, after=after) as bar:
        yield bar.report


@contextmanager
def counting(label: str, n_bytes: int, progress: bool | None) -> Iterator[Callable[[float], None]]:
    """Yield a thread-safe function that adds bytes to a bar."""
    with ProgressBar(label, progress, after=MOMENT) as bar:
        count = _Count(n_bytes, bar.report)
        yield count.add
        count.add(n_bytes)
        bar.report(count)


class _Count:
    """Counts and reports bytes processed by any thread.

    Parameters
    ----------
    n_bytes : int
        Total bytes.
    report : callable
        Called with this object up to ten times a second.
    """

    def __init__(self, n_bytes: int, report: Callable[[Done], None]) -> None:
        self.n_bytes, self._report = n_bytes, report
        self._done, self._lock = 0.0, threading.Lock()
        self._begun = self._reported = time.monotonic()

    @property
    def bytes(self) -> int:
        """Finished bytes, at most the total despite repeated attempts."""
        return min(round(self._done), self.n_bytes)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._begun

    @property
    def counted(self) -> str:
        """Finished bytes in words."""
        return f"{size(self.bytes)} of {size(self.n_bytes)}"

    def add(self, n_bytes: float) -> None:
        """Count bytes."""
        with self._lock:
            self._done += n_bytes
            if time.monotonic() - self._reported >= 0.1:
                self._report(self)
                self._reported = time.monotonic()


class ProgressBar:
    """Progress bar on a terminal or in a notebook; lines elsewhere, optionally.

    Parameters
    ----------
    label : str
        Description of the work.
    progress : bool, optional
        Whether to show it; see `is_shown`.
    after : float, default 0
        Seconds before it is shown; with ``progress=True`` it is shown immediately.
    """

    def __init__(self, label: str, progress: bool | None = None, *, after: float = 0.0) -> None:
        self._label = label
        self._shown_from = self._next_line = time.monotonic() + (0.0 if progress else after)
        self._progress: Progress | None = None
        self._is_shown, self._draws = is_shown(progress), True
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        elif self._last:
            self._print(self._last)

    def report(self, done: Done) -> None:
        """Show finished bytes, rate and remaining time."""
        rate = done.bytes / done.seconds if done.bytes and done.seconds > 0 else 0.0
        speed = f"{size(rate)}/s" if rate else ""
        left = f"{duration((done.n_bytes - done.bytes) / rate)} left" if rate else ""
        self.show(done.bytes, done.n_bytes, done.counted, speed, left)

    def show(self, done: float, total: float | None, *notes: str) -> None:
        """Show finished work, of a total if known, with notes."""
        if not self._is_shown or time.monotonic() < self._shown_from:
            return
        note = ", ".join(filter(None, notes))
        if self._progress is None and self._draws:
            self._progress = self._started()
            self._draws = self._progress is not None
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, total=total, note=note)
            return
        share = f" {100 * done / total:.0f}%" if total else ""
        self._last = f"{self._label}:{share} {note}".rstrip()
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._print(self._last)

    def above(self, write: Callable[[], None]) -> None:
        """Call a function that writes to standard output, above the bar."""
        if self._progress is None or not sys.stdout.isatty():
            write()
            return
        self._progress.stop()
        write()
        self._progress.start()

    def _print(self, line: str) -> None:
        self._last = ""
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)

    def _started(self) -> Progress | None:
        """Start a bar; return None where no bar can be drawn."""
        from importlib.util import find_spec

        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        console = Console(stderr=True, highlight=False)
        if not (find_spec("ipywidgets") if console.is_jupyter else console.is_terminal):
            return None
        if console.is_jupyter and "JUPYTER_COLUMNS" not in os.environ:
            console.width = _NOTEBOOK_COLUMNS
        progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=10)),
            TaskProgressColumn("{task.percentage:>3.0f}%", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            redirect_stdout=False,  # click would bypass rich's redirection
            redirect_stderr=not console.is_jupyter,
            expand=True,
        )
        progress.add_task(self._label, total=None, note="")
        progress.start()
        return progress


def size(n_bytes: float) -> str:
    """Format bytes in decimal units."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.{2 if unit in ('GB', 'TB') else 1}f} {unit}"


def duration(seconds: float) -> str:
    """Format a time as ``minutes:seconds`` or ``hours:minutes:seconds``."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
