"""Stores on servers that only resemble S3, and builds that are told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy, Request
from tiers import sampled

from intake_laion_fmri import build_store, open_betas

BUCKET = "odd-stores"


@pytest.fixture(scope="module")
def proxy(s3: Any) -> Iterator[FaultyProxy]:
    s3.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with FaultyProxy.before(s3.endpoint) as running:
        yield running


def refusing(status: int, code: str, is_meant: Callable[[str], bool]) -> Callable[[Request], None]:
    """Return what refuses requests with certain headers."""

    def act(request: Request) -> None:
        if not any(is_meant(name.lower()) for name in request.headers):
            request.forward()
            return
        request.body()
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>not implemented</Message></Error>"
        request.reply(status, text.encode(), [("Content-Type", "application/xml")])

    return act


REFUSALS = {
    "conditions are not implemented": refusing(501, "NotImplemented", lambda name: name == "if-none-match"),
    "conditions are invalid": refusing(400, "InvalidArgument", lambda name: name == "if-none-match"),
    "conditions are never met": refusing(412, "PreconditionFailed", lambda name: name == "if-none-match"),
    "sums are not implemented": refusing(501, "NotImplemented", lambda name: "checksum" in name or "trailer" in name),
}


@pytest.mark.parametrize("refusal", sampled(REFUSALS, keep=2))
def test_a_store_on_a_server_that_knows_less(s3: Any, proxy: FaultyProxy, tiny: Path, refusal: str) -> None:
    """Such headers only settle a race, or check what is read back anyway."""
    url = f"s3://{BUCKET}/{refusal.replace(' ', '-')}"
    options = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": proxy.endpoint}}
    given = {"bucket": tiny, "subjects": "sub-01", "sessions": 1, "roi": "face", "store_options": options}
    with proxy.rule("PUT ", REFUSALS[refusal]):
        assert [one.status for one in build_store(url, **given)] == ["built"]
        assert [one.status for one in build_store(url, **given)] == ["complete"]
    ds = open_betas("sub-01", session=1, roi="face", store=url, store_options=options)
    assert ds.betas.values.tobytes() == open_betas("sub-01", session=1, roi="face", bucket=tiny).betas.values.tobytes()


WORKERS = """
import os, sys, time
from intake_laion_fmri.building import processes

def begin(job):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    from concurrent.futures import ProcessPoolExecutor
    import multiprocessing
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=processes.begin_process) as pool:
        list(pool.map(begin, range(2)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="signals as on Linux")
@pytest.mark.parametrize("how", sampled([signal.SIGTERM, signal.SIGKILL], keep=1))
def test_worker_processes_end_with_their_parent(
    tmp_path: Path, how: signal.Signals, python_environment: dict[str, str]
) -> None:
    """However that ends."""
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=python_environment) as process:
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(2)]
        os.kill(process.pid, how)
        process.wait(timeout=60)
        # The pipe ends when the last process that may write to it has.
        assert process.stdout.read() == ""
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_a_script_without_a_main_guard(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Python's workers begin by running it again: the error says what the script lacks."""
    script = tmp_path / "script.py"
    call = f"build_store({str(tmp_path / 's.zarr')!r}, bucket={str(tiny)!r}, subjects='sub-01', scheduler='processes')"
    script.write_text(f"from intake_laion_fmri import build_store\n{call}\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=python_environment)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: sub-01/ses-01 was not stored: ")
    assert last.endswith("script calls build_store outside of `if __name__ == '__main__':`.")
