"""Answers that break: whatever was being read, its connection is given up at once, and not by the garbage collector."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Action, FaultyProxy, Request, claim, reset
from test_web_servers import NoParts
from tiers import sampled
from web_servers import WebServer

from intake_laion_fmri import layout
from intake_laion_fmri.config import set_network
from intake_laion_fmri.errors import BucketUnreachableError, NotInBucketError
from intake_laion_fmri.mirror.partial import TransferStoppedError
from intake_laion_fmri.mirror.transfer import Transfers
from intake_laion_fmri.remote.access import Bucket, open_bucket
from intake_laion_fmri.remote.copy import MirrorFolder

BUCKET = "s3://laion-fmri"
MAP = f"{layout.BETAS.folder('sub-01')}/sub-01_task-images_space-T1w_stat-rsquare_desc-R2mean_statmap.nii.gz"


def break_error(request: Request) -> None:
    """Refuse, with an answer that ends before it should."""
    request.body()
    request.reply(503, b"<Error>", [("Content-Type", "application/xml")], length=1000)
    request.hang_up()


def read_stream(bucket: Bucket) -> None:
    """Read to the end what another attempt would be of no use for: a body that is handed on as it comes."""
    with bucket.stream(bucket.state(MAP)) as file:
        while file.read(1000):
            pass


WAYS: dict[str, Callable[[Bucket], object]] = {
    "listing": lambda bucket: bucket.find("derivatives"),
    "folder": lambda bucket: bucket.list_folder("derivatives"),
    "small file": lambda bucket: bucket.read(MAP),
    "part": lambda bucket: bucket.read(MAP, 10, 1000),
    "stream": read_stream,
}

ACTIONS: tuple[Action, ...] = (reset, claim(1.5), break_error)


@contextmanager
def nothing_unclosed() -> Iterator[None]:
    """No connection is left to the garbage collector."""
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in warned] == []


def expect_given_up(endpoint: str, read: Callable[[Bucket], object], *, is_s3: bool, pattern: str = "^GET") -> None:
    """Read from a server whose answers break, in each way that they can."""
    set_network(attempts=1, total_seconds=10)
    with nothing_unclosed():
        for action in ACTIONS:
            with FaultyProxy.before(endpoint) as proxy, proxy.rule(pattern, action) as rule:
                given = (BUCKET, {"endpoint_url": proxy.endpoint}) if is_s3 else (proxy.endpoint,)
                with pytest.raises(BucketUnreachableError):
                    read(open_bucket(*given))
            assert rule.hits


@pytest.mark.parametrize("way", sampled(WAYS, keep=2))
def test_s3(s3: Any, way: str) -> None:
    expect_given_up(s3.endpoint, WAYS[way], is_s3=True)


@pytest.mark.parametrize("way", sampled(WAYS, keep=2))
def test_web(tiny: Path, way: str) -> None:
    with WebServer(tiny) as server:
        expect_given_up(server.url, WAYS[way], is_s3=False)


def test_web_without_parts(tiny: Path) -> None:
    """The only request that breaks is that of the body, which is the one without a range."""
    with WebServer(tiny, NoParts) as server:
        expect_given_up(server.url, read_stream, is_s3=False, pattern="^GET [^ ]+$")


class Endless:
    """Answers with a body that does not come to its end, and learns whether the client gives it up."""

    def __init__(self, status: int, begun: Callable[[], object] = lambda: None) -> None:
        self._status, self._begun = status, begun
        self._given_up = threading.Event()

    def __call__(self, request: Request) -> None:
        self._begun()
        _, headers, content = request.ask(b"")
        request.reply(self._status, content, headers, length=len(content) + 1)
        if request.outwait():
            self._given_up.set()

    @property
    def is_given_up(self) -> bool:
        """Whether it is; a while is waited for that."""
        return self._given_up.wait(20)


def test_gone_before_it_is_read(tiny: Path) -> None:
    """An answer that is refused by its status alone is given up too."""
    endless = Endless(404)
    with WebServer(tiny, NoParts) as server, FaultyProxy.before(server.url) as proxy:
        bucket = open_bucket(proxy.endpoint)
        with proxy.rule("^GET [^ ]+$", endless), pytest.raises(NotInBucketError):
            read_stream(bucket)
        assert endless.is_given_up


def test_mirroring_is_stopped_as_the_answer_comes(s3: Any, tmp_path: Path) -> None:
    """The body of an answer that nobody takes any more is given up."""
    stop = threading.Event()
    endless = Endless(206, stop.set)
    with FaultyProxy.before(s3.endpoint) as proxy:
        bucket = open_bucket(BUCKET, {"endpoint_url": proxy.endpoint})
        info = bucket.state(MAP)
        with proxy.rule("^GET", endless), pytest.raises(TransferStoppedError):
            Transfers(bucket, MirrorFolder(tmp_path), stop=stop).fetch(info)
        assert endless.is_given_up
