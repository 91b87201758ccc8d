"""The command as a process: Ctrl-C at any moment, pipes that close, full disks, and terminals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from terminal import CTRL_C, MODULE, PROGRAM, SECONDS, in_terminal, piped
from tiers import full

from intake_laion_fmri import layout
from intake_laion_fmri.cli.exits import CLOSED_PIPE, FAILED
from intake_laion_fmri.cli.interrupts import INTERRUPTED
from intake_laion_fmri.remote.cache import SmallFileCache

GRACE_SECONDS = 5.0
"""How long it may take to put things in order."""

AT_IMPORT = """
import os, signal, sys
from intake_laion_fmri.__main__ import run

wanted = sys.argv.pop(1)

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
run()
"""
"""Runs the command, and presses Ctrl-C when a module is about to be imported."""

AGAIN = full("the same build again, five to ten seconds; one way is in the fast tier")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expect_one_line(stderr: str) -> None:
    """Nothing but the line, after what the command has said before."""
    assert "Traceback" not in stderr
    assert "ignored" not in stderr
    assert stderr.splitlines()[-1].startswith("Interrupted.")
    assert stderr.count("Interrupted") == 1


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        "click",
        "intake_laion_fmri.cli.main",
        "intake_laion_fmri.cli.store",
        "intake_laion_fmri.discovery",
        "numpy",
        "numpy.linalg._linalg",
        "fsspec",
        "intake_laion_fmri.remote.access",
    ],
)
def test_interrupted_within_an_import(module: str, tiny: Path, python_environment: dict[str, str]) -> None:
    """Before the commands are there, and in the midst of one, where an exception would become another: at once."""
    command = [sys.executable, "-c", AT_IMPORT, module, "info", "--bucket", tiny]
    with piped(command, python_environment) as process:
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stdout) == (INTERRUPTED, ""), stderr
    expect_one_line(stderr)


@pytest.mark.parametrize("command", [PROGRAM, MODULE], ids=["script", "module"])
def test_interrupted_while_a_server_is_silent(command: tuple[object, ...], python_environment: dict[str, str]) -> None:
    """Long before the request is given up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        options = ["--bucket", "s3://laion-fmri", "--endpoint-url", f"http://127.0.0.1:{server.getsockname()[1]}"]
        with piped([*command, "info", *options], python_environment) as process:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=GRACE_SECONDS + 5)
    assert (process.returncode, stdout) == (INTERRUPTED, "")
    expect_one_line(stderr)


@full("a process that goes on, three seconds; test_interrupted_build is in the fast tier")
def test_told_to_ignore_it(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """As shells do with what they start in the background: it is not our business then."""
    code = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", code, *PROGRAM, "mirror", "--bucket", tiny, "--to", tmp_path / "copy"]
    with piped(command, python_environment) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "Interrupted" not in stderr


@full("several interrupted runs, ten seconds; test_interrupted_build[threads] is in the fast tier")
def test_interrupted_mirror(s3: Any, tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """It ends soon, keeps what it has, and the next run goes on from there to the bucket's own files."""
    copy = tmp_path / "copy"
    command = [*PROGRAM, "mirror", "--bucket", s3.url, "--endpoint-url", s3.endpoint, "--to", copy, "--jobs", 1]
    with piped(command, python_environment) as process:
        planned = process.stdout.readline()
        first = process.stdout.readline().strip()
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=GRACE_SECONDS + 5)
    assert process.returncode == INTERRUPTED, stderr
    expect_one_line(stderr)
    assert "Run the command again for the rest" in stderr
    assert ", 0 are there, " in planned.replace(";", ",")
    kept = set(files(copy))
    assert first in kept
    assert not [name for name in kept if name.endswith(".tmp")]
    with piped(command, python_environment) as process:
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, stderr
    assert ", 0 are there, " not in stdout.replace(";", ",")
    assert first not in stdout.splitlines()[1:-1], "what was there is not fetched again"
    here = {key: content for key, content in files(copy).items() if not key.startswith(".laion-fmri/")}
    bucket = files(tiny)
    assert here == {key: bucket[key] for key in here}
    wanted = {key for key in bucket if layout.is_of_public(key) and layout.group_of(key) not in layout.LARGE_GROUPS}
    assert set(here) == wanted


@pytest.mark.parametrize(
    ("program", "workers", "interrupt"),
    [
        pytest.param(PROGRAM, 1, os.kill, id="threads"),
        pytest.param(PROGRAM, 2, os.killpg, id="processes-terminal", marks=AGAIN),
        pytest.param(PROGRAM, 2, os.kill, id="processes-alone", marks=AGAIN),
        pytest.param(MODULE, 2, os.killpg, id="processes-module", marks=AGAIN),
    ],
)
def test_interrupted_build(
    program: tuple[object, ...],
    workers: int,
    interrupt: Callable[[int, int], None],
    tiny: Path,
    tmp_path: Path,
    python_environment: dict[str, str],
) -> None:
    """In this process and in others, which a terminal interrupts as well: a line, and nothing is left lying about."""
    store = tmp_path / "store.zarr"
    command = [*program, "store", "build", "--bucket", tiny, "--to", store, "--workers", workers]
    with piped(command, python_environment) as process:
        first = process.stdout.readline()
        interrupt(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=GRACE_SECONDS + 5)
    assert process.returncode == INTERRUPTED, stderr
    assert "built" in first
    expect_one_line(stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["store.zarr"]
    with piped(command[:-2], python_environment) as process:
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stderr) == (0, "")
    assert "6 sessions complete" in stdout
    assert first.split(":")[0] not in [line.split(":")[0] for line in stdout.splitlines()]


def test_ctrl_c_on_a_terminal(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """The bar goes, the cursor is back, and the line says how to go on."""
    command = [*PROGRAM, "store", "build", "--bucket", tiny, "--to", tmp_path / "store.zarr"]
    seen = in_terminal(command, python_environment, when=lambda shown: "Building" in shown, keys=CTRL_C)
    assert seen.code == INTERRUPTED, seen.text
    assert seen.seconds_after < GRACE_SECONDS + 2
    assert seen.lines[-1] == "Interrupted. Complete sessions are kept. Run the command again for the rest."
    assert "Traceback" not in seen.text
    assert seen.raw.rfind("\x1b[?25h") > seen.raw.rfind("\x1b[?25l"), "the cursor is shown again"


# --- pipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["ls", "--bucket", "{tiny}"], ["info", "--bucket", "{tiny}", "--subject", "01"], ["store", "verify", "{store}"]],
    ids=lambda words: words[0],
)
def test_whoever_reads_it_has_gone(
    arguments: list[str], tiny: Path, tiny_store: Path, python_environment: dict[str, str]
) -> None:
    """As behind ``| true``: no traceback, no error, and not the exit code of success."""
    words = [word.format(tiny=tiny, store=tiny_store) for word in arguments]
    with piped([*PROGRAM, *words], python_environment) as process:
        process.stdout.close()  # before there is anything to read: little output may be written before one looks at it
        process.stdout = None
        _, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stderr) == (CLOSED_PIPE, "")


def test_both_streams_have_gone(tiny: Path, python_environment: dict[str, str]) -> None:
    """As behind ``2>&1 | head -1``; and where there is no output from the start."""
    with piped([*PROGRAM, "ls", "--bucket", tiny], python_environment, stderr=subprocess.STDOUT) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=SECONDS) == CLOSED_PIPE
    for redirected in (">&-", ">&- 2>&-"):
        shell = f'exec "$@" {redirected}'
        with piped(["bash", "-c", shell, "-", *PROGRAM, "info", "--bucket", tiny], python_environment) as process:
            assert process.communicate(timeout=SECONDS) == ("", "")
        assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("arguments", [["ls", "--bucket", "{tiny}"], ["--help"]], ids=lambda words: words[0])
def test_output_to_a_full_disk(arguments: list[str], tiny: Path, python_environment: dict[str, str]) -> None:
    """A line, not a traceback, and not the exit code of success."""
    words = [word.format(tiny=tiny) for word in arguments]
    with piped(["bash", "-c", 'exec "$@" >/dev/full', "-", *PROGRAM, *words], python_environment) as process:
        _, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == FAILED
    assert stderr == "Error: [Errno 28] No space left on device\n"


@full("a slow line, six seconds; the lines of a run are tested without a process")
def test_plain_lines_in_a_pipe(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Nothing of a terminal, even where a terminal's colours are asked for."""
    environment = python_environment | {"FORCE_COLOR": "1", "TERM": "xterm"}
    for words in (
        ["info", "--bucket", tiny],
        ["mirror", "--bucket", tiny, "--to", tmp_path / "copy", "--kind", "trials"],
        ["store", "build", "--bucket", tiny, "--to", tmp_path / "store", "--subject", "01", "--session", 1],
        ["demo", tmp_path / "demo", "--scale", "tiny"],
    ):
        with piped([*PROGRAM, *words], environment) as process:
            stdout, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, stderr
        assert stdout
        assert "\x1b" not in stdout + stderr
        assert "\r" not in stdout + stderr
        assert "━" not in stdout + stderr


def test_an_encoding_without_a_letter(own_tiny: Path, python_environment: dict[str, str]) -> None:
    """It is told by its number, and the rest is told too."""
    (own_tiny / "stimuli").mkdir(exist_ok=True)
    (own_tiny / "stimuli" / "日.csv").write_bytes(b"1")
    environment = python_environment | {"PYTHONIOENCODING": "latin-1"}
    with piped([*PROGRAM, "ls", "stimuli/", "--bucket", own_tiny], environment) as process:
        stdout, stderr = process.communicate(timeout=SECONDS)
    assert (process.returncode, stderr) == (0, "")
    assert "\tstimuli/\\u65e5.csv\n" in stdout


# --- terminals --------------------------------------------------------------------------------------------------------


def test_tables_on_a_terminal(tiny: Path, python_environment: dict[str, str]) -> None:
    """Headings, sizes with units, and nothing wider than the terminal; keys in one piece, to be copied."""
    seen = in_terminal([*PROGRAM, "info", "--bucket", tiny], python_environment, width=90)
    assert seen.code == 0
    assert seen.lines[0].startswith(f"{tiny}: 2 subjects, ")
    assert seen.lines[1].split()[:2] == ["subject", "sessions"]
    assert [line.split()[0] for line in seen.lines if line.startswith("sub-")] == ["sub-01", "sub-03"]
    assert " kB" in seen.text
    assert max(map(len, seen.lines[1:])) <= 90
    seen = in_terminal([*PROGRAM, "info", "--bucket", tiny, "--subject", "1"], python_environment)
    assert "FFA1, FFA2, OFA, pSTSfaces" in seen.text
    assert ["sub-01", "ses-31", "held", "out"] in [line.split()[:4] for line in seen.lines]
    seen = in_terminal(
        [*PROGRAM, "ls", "--bucket", tiny, "--kind", "betas", "--session", 1], python_environment, width=40
    )
    keys = [line.split()[-1] for line in seen.lines if line.endswith(".nii.gz")]
    assert all((tiny / key).is_file() for key in keys)
    assert len(keys) == 2
    assert seen.lines[-1].startswith("4 objects, ")


@full("a slow line, four seconds; test_ctrl_c_on_a_terminal draws a bar too")
def test_a_bar_with_one_time_left(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Of a build: the lines of sessions stand above it, and it is gone in the end."""
    command = [*PROGRAM, "store", "build", "--bucket", tiny, "--to", tmp_path / "store.zarr"]
    seen = in_terminal(command, python_environment)
    assert seen.code == 0, seen.text
    frames = [line for line in seen.lines if line.startswith("Building")]
    assert [line for line in frames if "6 sessions" in line and "%" in line]
    assert [line for line in frames if " left" in line]
    assert all(line.count(" left") <= 1 for line in seen.lines)
    assert max(len(line) for line in frames) <= 120
    built = [line for line in seen.lines if ": built, " in line and "Building" not in line]
    assert len({line.split(":")[0] for line in built}) == 6
    assert seen.lines[-1] == f"{tmp_path / 'store.zarr'}: 6 sessions complete, 6 of them built now."


@full("a slow line, six seconds; the lines of a run are tested without a terminal")
def test_the_bar_of_a_mirror(s3: Any, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Rate, time left and files; no line for each of hundreds of files."""
    options = ["--bucket", s3.url, "--endpoint-url", s3.endpoint, "--to", tmp_path / "copy", "--subject", "01"]
    seen = in_terminal([*PROGRAM, "mirror", *options], python_environment)
    assert seen.code == 0, seen.text
    frames = [line for line in seen.lines if line.startswith("Copying")]
    assert [line for line in frames if "B/s, " in line and line.endswith(" left") and " files, " in line]
    assert "derivatives/" not in seen.text
    assert "files complete" in seen.lines[-1]


@full("processes and terminals, five seconds; test_ctrl_c_on_a_terminal draws a bar too")
def test_lines_in_a_pipe_and_a_bar_on_the_terminal(
    tiny: Path, tmp_path: Path, python_environment: dict[str, str]
) -> None:
    """With ``> log`` the lines go there, and only there."""
    command = ["/bin/sh", "-c", 'exec "$@" > "$0"', tmp_path / "log", *PROGRAM, "store", "build", "--bucket", tiny]
    seen = in_terminal([*command, "--to", tmp_path / "store.zarr", "--json"], python_environment)
    assert seen.code == 0, seen.text
    assert "Building" in seen.text
    assert "built" not in seen.text
    assert len(json.loads((tmp_path / "log").read_text())["sessions"]) == 6


def test_asking_before_the_cache_is_cleared(
    tmp_path: Path, python_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal only, and whoever does not say yes keeps it."""
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / "cache"))
    SmallFileCache.of_user().put("a small file", b"123")
    (kept,) = tmp_path.glob("cache/*/objects/*")
    environment = python_environment | {"LAION_FMRI_CACHE": str(tmp_path / "cache")}
    for answer, code in ((b"n\n", FAILED), (b"\n", FAILED), (CTRL_C, INTERRUPTED), (b"y\n", 0)):
        assert kept.is_file()
        command = [*PROGRAM, "cache", "clear"]
        seen = in_terminal(command, environment, when=lambda shown: "[y/N]" in shown, keys=answer)
        assert seen.code == code, seen.text
        assert "Traceback" not in seen.text
        assert "Error" not in seen.text
    assert not kept.exists()


@full("builds twice in processes, three seconds")
def test_a_dumb_terminal(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """No commands that it does not know."""
    command = ["/usr/bin/env", "TERM=dumb", *PROGRAM, "store", "build", "--bucket", tiny, "--to", tmp_path / "store"]
    seen = in_terminal([*command, "--subject", "01", "--session", 1], python_environment)
    assert seen.code == 0
    assert "\x1b[2K" not in seen.raw
    assert shutil.rmtree(tmp_path / "store") is None
