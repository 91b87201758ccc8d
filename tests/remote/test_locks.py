"""Locks: of processes that died, stopped, or belong to another user; stated waits, and errors that name the holder."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiers import full, sampled

from intake_laion_fmri.remote import locks

linux = pytest.mark.skipif(sys.platform != "linux", reason="signals and users as on Linux")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be others")

HOLD = """
import os, socket, sys
from intake_laion_fmri.remote import locks
with locks.locked(sys.argv[1] + ".first", wait_seconds=0, what="loading all that is loaded late"):
    pass
if len(sys.argv) > 2:
    socket.gethostname = lambda: sys.argv[2]
if len(sys.argv) > 3:
    os.setuid(int(sys.argv[3]))
with locks.locked(sys.argv[1], wait_seconds=0, what="building"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a lock."""
    command = [sys.executable, "-c", HOLD, str(path), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a holder be given up after a short while."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(locks, "_HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(sys.modules[__name__], "HOLD", HOLD.replace("if len(sys.argv) > 3", SHORTENED, 1))


SHORTENED = "locks.LEASE_SECONDS, locks._HEARTBEAT_SECONDS = 2.0, 0.1\nif len(sys.argv) > 3"


def take(path: Path, *, wait_seconds: float = 0) -> None:
    """Take a lock and give it back."""
    with locks.locked(path, wait_seconds=wait_seconds, what="building sub-01/ses-01"):
        assert path.is_file()


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "one.lock"
    take(path)
    take(path)
    assert list(path.parent.iterdir()) == []


WITHOUT_ROOM = """
import resource, sys
from intake_laion_fmri.remote import locks
with locks.locked(sys.argv[1] + ".first", wait_seconds=0, what="loading all that is loaded late"):
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    with locks.locked(sys.argv[1], wait_seconds=5, what="building sub-01/ses-01"):
        print("held")
except OSError as error:
    print(error.errno, error.filename, error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of this kind")
def test_the_error_names_the_file_where_nothing_can_be_written(tmp_path: Path) -> None:
    """What the system says of a descriptor names none; nothing is left."""
    path = tmp_path / "one.lock"
    done = subprocess.run([sys.executable, "-c", WITHOUT_ROOM, str(path)], capture_output=True, text=True, timeout=60)
    said = (
        "the lock for building sub-01/ses-01 cannot be written: File too large. Free some space, or use another folder"
    )
    assert (done.stdout, done.stderr) == (f"{errno.EFBIG} {path} {said}\n", "")
    assert list(tmp_path.iterdir()) == []


def test_the_error_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with holder(path) as process:
        with pytest.raises(locks.HeldError, match=rf"process {process.pid} on .* is building sub-01/ses-01") as caught:
            take(path)
        assert caught.value.filename == str(path)
        assert path.exists()
        with pytest.raises(locks.HeldError, match=r"within 0 s"):
            take(path, wait_seconds=0.3)
        process.communicate("\n")
        take(path)


def test_a_holder_in_this_process_is_one_too(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with (
        locks.locked(path, wait_seconds=0, what="building"),
        pytest.raises(locks.HeldError, match=f"process {os.getpid()} "),
    ):
        take(path)


@linux
def test_a_lock_of_a_process_that_was_killed_is_taken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with holder(path) as process:
        process.kill()
        process.wait()
        take(path, wait_seconds=0.05)


@full("five seconds of waiting; the same by a mirror is in the fast tier")
@linux
@pytest.mark.usefixtures("short_lease")
def test_a_lock_of_a_node_that_is_gone_is_taken_when_it_has_shown_no_life(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with holder(path, "node-17") as process:
        with pytest.raises(locks.HeldError, match=r"process .* on node-17"):
            take(path, wait_seconds=3)  # it lives
        process.kill()
        process.wait()
        with pytest.raises(locks.HeldError):
            take(path)
        take(path, wait_seconds=20)


@linux
@pytest.mark.usefixtures("short_lease")
def test_a_lock_of_a_process_that_is_stopped_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with holder(path) as process:
        os.kill(process.pid, signal.SIGSTOP)
        take(path, wait_seconds=20)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate("\n")
        assert process.returncode == 0


@pytest.mark.usefixtures("short_lease")
@pytest.mark.parametrize("content", sampled([b"", b"garbage"], keep=1))
def test_a_process_killed_while_it_made_the_lock_is_no_holder(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "one.lock"
    path.write_bytes(content)
    take(path, wait_seconds=20)
    assert not path.exists()


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that every user reaches, other than pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@linux
@as_root
def test_a_lock_of_another_users_dead_process_is_taken(shared: Path) -> None:
    """In a folder that a group shares."""
    shared.chmod(0o777)
    path = shared / "one.lock"
    with holder(path, socket.gethostname(), "1234") as process:
        with pytest.raises(locks.HeldError, match=f"process {process.pid}"):
            as_user(4321, lambda: take(path))
        process.kill()
        process.wait()
        as_user(4321, lambda: take(path, wait_seconds=0.05))


def as_user(uid: int, action: Callable[[], None]) -> None:
    """Do something as another user."""
    os.seteuid(uid)
    try:
        action()
    finally:
        os.seteuid(0)


def test_waiting_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """A build that is interrupted does not wait for another one."""

    class EndedError(Exception):
        pass

    def end() -> None:
        raise EndedError

    path = tmp_path / "one.lock"
    with (
        locks.locked(path, wait_seconds=0, what="building"),
        pytest.raises(EndedError),
        locks.locked(path, wait_seconds=600, what="building", while_waiting=end),
    ):
        pass
    take(path)
