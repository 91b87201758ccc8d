"""What was opened before a fork is read in the child: connections and threads belong to one process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiers import full, sampled
from web_servers import WebServer

from intake_laion_fmri.running.forks import PerProcess

SCRIPT = """
import json, os, signal, sys
import dask
import fsspec
import numpy as np
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
import intake_laion_fmri as laion

class OneThatIsAsync(AsyncFileSystem):
    protocol = "oneasync"
    local = LocalFileSystem()

    async def _ls(self, path, detail=True, **kwargs):
        return self.local.ls(path.removeprefix("oneasync://"), detail=detail)

    async def _info(self, path, **kwargs):
        return self.local.info(path.removeprefix("oneasync://"))

    async def _cat_file(self, path, start=None, end=None, **kwargs):
        return self.local.cat_file(path.removeprefix("oneasync://"), start, end)

fsspec.register_implementation("oneasync", OneThatIsAsync)

def children(work, n=2):
    # All at once, as the workers of a loader.
    pids = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            signal.alarm(40)
            try:
                work()
            except BaseException as error:
                print(type(error).__name__, error, file=sys.stderr, flush=True)
                os._exit(3)
            os._exit(0)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

given, scheduler = json.loads(sys.argv[1]), sys.argv[2]
ds = laion.open_betas("sub-01", roi="face", **given)
expected = np.load(sys.argv[3])

def read():
    with dask.config.set(scheduler=scheduler):
        values = ds.betas.values
    assert np.array_equal(values, expected, equal_nan=True)

def again():
    opened = laion.open_betas("sub-01", roi="face", **given)
    with dask.config.set(scheduler=scheduler):
        assert np.array_equal(opened.betas.values, expected, equal_nan=True)

print(json.dumps([children(read), read(), children(read), children(lambda: (read(), children(read))), children(again)]))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("forks") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def expected(tiny: Path, script: Path) -> Path:
    import numpy as np

    from intake_laion_fmri import open_betas

    path = script.with_name("expected.npy")
    np.save(path, open_betas("sub-01", bucket=tiny, roi="face").betas.values)
    return path


def read_in_children(script: Path, expected: Path, scheduler: str, **given: Any) -> None:
    """Children forked before and after this process has read, and theirs, must all read the same values."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script)]
    done = subprocess.run(
        [*command, json.dumps(given), scheduler, str(expected)], capture_output=True, text=True, timeout=150
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[0, 0], None, [0, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("scheduler", sampled(["synchronous", "threads"], keep=1))
def test_dataset_from_s3(s3: Any, script: Path, expected: Path, scheduler: str) -> None:
    """Whatever was connected before a fork, each child connects itself."""
    read_in_children(script, expected, scheduler, bucket=s3.url, storage_options=s3.storage_options)


@full("processes; test_dataset_from_s3[synchronous] guards the mechanism")
def test_store_on_s3(s3: Any, s3_store: str, script: Path, expected: Path) -> None:
    read_in_children(
        script, expected, "threads", store=s3_store, store_options=s3.store_options, bucket=s3.url,
        storage_options=s3.storage_options,
    )  # fmt: skip


@full("processes; test_dataset_from_s3[synchronous] guards the mechanism")
def test_web_server(tiny: Path, script: Path, expected: Path) -> None:
    with WebServer(tiny) as server:
        read_in_children(script, expected, "synchronous", bucket=server.url)


@full("processes; test_dataset_from_s3[synchronous] guards the mechanism")
def test_any_other_file_system(tiny: Path, script: Path, expected: Path) -> None:
    read_in_children(script, expected, "threads", bucket=f"oneasync://{tiny}")


@full("processes; test_dataset_from_s3[synchronous] guards the mechanism")
def test_folder_in_threads(tiny: Path, script: Path, expected: Path) -> None:
    """The threads that Dask keeps from one computation to the next are not there in a child."""
    read_in_children(script, expected, "threads", bucket=str(tiny))


AT_THE_END = """
import atexit, json, sys
import dask
import intake_laion_fmri as laion
given = json.loads(sys.argv[1])
ds = laion.open_betas("sub-01", roi="face", session=1, **given)
def read():
    with dask.config.set(scheduler="synchronous"):
        print(ds.betas.values.shape)
    print(laion.open_trials("sub-01", session=2, **given).shape[0])
atexit.register(read)
"""


@full("processes, four seconds; test_dataset_from_s3[synchronous] is in the fast tier")
def test_read_while_the_interpreter_ends(s3: Any) -> None:
    """What `atexit` calls may start no thread: it reads with none."""
    given = {"bucket": s3.url, "storage_options": s3.storage_options}
    command = [sys.executable, "-c", AT_THE_END, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("(40, 16)\n46\n", "")


def test_a_value_of_a_process_is_made_once_by_all_of_its_threads() -> None:
    """What a second thread made would be thrown away: a connection that fsspec goes on to hand to others."""
    made: list[object] = []
    second = threading.Event()

    def make() -> object:
        made.append(object())
        if len(made) > 1:
            second.set()
        second.wait(0.2)  # long enough for the other thread to come this far, were it let in
        return made[-1]

    value = PerProcess(make)
    both = threading.Barrier(2)

    def get() -> object:
        both.wait(10)
        return value.get()

    with ThreadPoolExecutor(2) as pool:
        found = {pool.submit(get) for _ in range(2)}
    assert {one.result() for one in found} == set(made)
    assert len(made) == 1


MIRRORS = """
import os, signal, sys, threading, time
from intake_laion_fmri.mirror import streams
from intake_laion_fmri.mirror import mirror_bucket

inside, go = threading.Event(), threading.Event()

class Clock:
    # Keeps the first thread that asks for the time while it holds what all requests of the process share.
    def __getattr__(self, name):
        return getattr(time, name)

    def monotonic(self):
        if sys._getframe(1).f_code is streams._Line._add.__code__ and not inside.is_set():
            inside.set()
            go.wait()
        return time.monotonic()

def fill(name):
    mirror_bucket(os.path.join(sys.argv[2], name), bucket=sys.argv[1], subjects="sub-01", sessions=1, kinds="trials")

streams.time = Clock()
parent = threading.Thread(target=fill, args=("parent",))
parent.start()
inside.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    fill("child")
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
go.set()
parent.join()
"""


def test_mirror_in_a_child_of_a_mirror(tiny: Path, tmp_path: Path) -> None:
    """What the requests of a process share is not held, in a child, by a thread that is not there."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", MIRRORS, str(tiny), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("0\n", "")
    for name in ("parent", "child"):
        assert len(list((tmp_path / name / "derivatives").rglob("*_trials.tsv"))) == 1
