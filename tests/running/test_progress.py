"""Progress: one switch for all long work, a bar on a terminal, lines or nothing elsewhere."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from terminal import in_terminal

from intake_laion_fmri import build_store, load_betas, mirror_bucket
from intake_laion_fmri.running.progress import ProgressBar, is_shown


@dataclass
class Work:
    bytes: int
    n_bytes: int = 4_000_000_000
    seconds: float = 2.0
    counted: str = "1 of 4 sessions"


@pytest.mark.parametrize(
    ("progress", "environment", "expected"),
    [
        *((None, value, value == "1") for value in ("", "0", "1")),
        *((True, value, True) for value in ("", "0", "1")),
        *((False, value, False) for value in ("", "0", "1")),
    ],
)
def test_the_switch(progress: bool | None, environment: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument takes precedence over the environment; in a pipe, as here, nothing is shown by itself."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setenv("LAION_FMRI_PROGRESS", environment)
    assert is_shown(progress) is expected


def test_a_switch_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_FMRI_PROGRESS", "yes")
    with pytest.raises(ValueError, match=r"LAION_FMRI_PROGRESS must be 1 .* or 0 .*, found 'yes'"):
        is_shown(None)


def test_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """The first, one every ten seconds, and the last."""
    with ProgressBar("Reading", True) as bar:
        for done in (1, 2, 3, 4):
            bar.report(Work(done * 1_000_000_000))
    first, last = capsys.readouterr().err.splitlines()
    assert first == "Reading: 25% 1 of 4 sessions, 500.0 MB/s, 00:06 left"
    assert last == "Reading: 100% 1 of 4 sessions, 2.00 GB/s, 00:00 left"


def test_a_bar_on_a_terminal() -> None:
    code = """
import time
from intake_laion_fmri.running.progress import counting
with counting("Reading", 100, None) as count:
    for _ in range(10):
        count(10)
        time.sleep(0.2)
print("done")
"""
    seen = in_terminal([sys.executable, "-c", code], {**os.environ, "TERM": "xterm"})
    assert seen.code == 0
    bars = [
        line for line in seen.lines if line.startswith("Reading") and "%" in line and "/s" in line and "left" in line
    ]
    assert bars
    assert seen.lines[-1] == "done"
    assert "\x1b[?25h" in seen.raw  # the cursor is back


def test_all_long_work_has_it(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_betas("sub-01", roi="face", bucket=tiny, progress=True)
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", sessions=1, roi="face", progress=True)
    mirror_bucket(tmp_path / "mirror", bucket=tiny, subjects="sub-01", kinds="trials", progress=True)
    lines = capsys.readouterr().err.splitlines()
    for label in ("Loading", "Building", "Copying"):
        assert any(line.startswith(f"{label}: 100%") for line in lines), lines


def test_nothing_in_a_pipe(tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_betas("sub-01", roi="face", bucket=tiny)
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", sessions=1, roi="face")
    assert capfd.readouterr() == ("", "")


def test_a_bar_fits_a_cell_of_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rich's own width the end was cut off: how fast, and how long."""
    pytest.importorskip("ipywidgets", reason="rich draws by it in notebooks; the extra notebook has it")
    monkeypatch.delenv("JUPYTER_COLUMNS", raising=False)
    monkeypatch.setattr("rich.console.Console", functools.partial(Console, force_jupyter=True))
    bar = ProgressBar("Loading", progress=True)._started()
    assert bar is not None
    bar.stop()
    assert bar.console.width == 80
