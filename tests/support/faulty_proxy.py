"""A proxy before an S3 server that does to chosen requests what networks and servers do at times."""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "Action",
    "ByChance",
    "FaultyProxy",
    "Request",
    "Rule",
    "answer",
    "claim",
    "cut",
    "drip",
    "drip_headers",
    "drop",
    "edit",
    "flip",
    "flip_values",
    "forward",
    "go_away",
    "instead",
    "lose_answer",
    "page",
    "raw",
    "redirect",
    "replace",
    "reset",
    "reset_at_once",
    "shift",
    "silence",
    "stall",
    "unranged",
    "with_headers",
]

_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "date", "server"}
_SECONDS = 60
"""Longest that anything here goes on by itself."""


class Request(BaseHTTPRequestHandler):
    """One request, and what can be done with it."""

    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server: FaultyProxy

    def handle_any(self) -> None:
        """Do with it what the first rule that is meant says; forward it where there is none."""
        asked = " ".join(filter(None, (self.command, self.path, self.headers.get("Range"))))
        (self.server.action_for(asked) or Request.forward)(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815  (the names of the base class)

    def body(self, share: float = 1.0) -> bytes:
        """Receive the body, or the first part of it."""
        return self.rfile.read(int(int(self.headers.get("Content-Length", 0)) * share))

    def forward(
        self, *, of_body: Callable[[bytes], bytes] | None = None, of_answer: Callable[[bytes], bytes] | None = None
    ) -> None:
        """Let the server answer; what passes may be changed on its way."""
        body = self.body()
        status, headers, content = self.ask(of_body(body) if of_body else body, keep_sums=of_body is None)
        if of_answer:
            content = of_answer(content)
            headers = [(name, value) for name, value in headers if not _is_sum(name)]
        self.reply(status, content, headers)

    def ask(
        self, body: bytes, *, keep_sums: bool = True, changed: Mapping[str, str | None] | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the server's answer; headers in small letters may be changed, or left out with None."""
        changed = changed or {}
        connection = http.client.HTTPConnection(self.server.target, timeout=_SECONDS)
        try:
            kept = [(name, value) for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION]
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in kept:
                sent = changed.get(name.lower(), value)
                if sent is not None and (keep_sums or not _is_sum(name)):
                    connection.putheader(name, sent)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            content = found.read()
            headers = [(name, value) for name, value in found.getheaders() if name.lower() not in _OF_A_CONNECTION]
            if self.command == "HEAD":
                headers.append(("Content-Length", found.getheader("Content-Length", "0")))
            return found.status, headers, content
        finally:
            connection.close()

    def reply(self, status: int, content: bytes, headers: list[tuple[str, str]], *, length: int | None = None) -> None:
        """Send an answer, which may call itself longer than it is."""
        self.send_response(status)
        if self.command != "HEAD":
            headers = [*headers, ("Content-Length", str(len(content) if length is None else length))]
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.send(content)

    def send(self, content: bytes) -> None:
        """Send bytes of a body, and count them."""
        self.wfile.write(content)
        self.server.count(len(content))

    def hang_up(self) -> None:
        """End the connection, whatever the other side is at."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break the connection: the other side gets a reset instead of an end."""
        self.close_connection = True
        self.rfile.close()  # it holds the socket open
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def outwait(self, seconds: float = _SECONDS) -> bool:
        """Do nothing until the other side has hung up, or so long; return whether it has."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self.connection], [], [], left)[0]:
                return False
            try:
                if not self.connection.recv(65536):
                    return True
            except OSError:
                return True
        return False

    def setup(self) -> None:
        """Take note of the connection."""
        super().setup()
        self.server.met(self)

    def finish(self) -> None:
        """Forget it."""
        self.server.left(self)
        super().finish()

    def handle(self) -> None:
        """Serve a connection, unless it is one of those that are dropped at once."""
        if self.server.refuses():
            self.reset()
        else:
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


Action = Callable[[Request], None]
"""What is done with a request."""


def answer(status: int, code: str) -> Action:
    """Refuse, as S3 does."""

    def act(request: Request) -> None:
        request.body()
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}, by the proxy</Message></Error>"
        is_head = request.command == "HEAD"
        headers = [("Content-Type", "application/xml"), *([("Content-Length", "0")] if is_head else [])]
        request.reply(status, b"" if is_head else text.encode(), headers)

    return act


def drop(request: Request) -> None:
    """Hang up in the middle of what is sent, of which the server learns nothing, or of what is answered."""
    if request.command == "PUT":
        request.body(0.5)
    else:
        status, headers, content = request.ask(request.body())
        request.reply(status, content[: len(content) // 2], headers, length=len(content))
    request.hang_up()


def lose_answer(request: Request) -> None:
    """Let the server do it, and hang up instead of saying so."""
    request.ask(request.body())
    request.hang_up()


def flip(request: Request) -> None:
    """Change a bit in the middle of what is sent, or of what is answered."""
    if request.command == "PUT":
        request.forward(of_body=_flipped)
    else:
        request.forward(of_answer=_flipped)


def flip_values(request: Request) -> None:
    """Change the lowest bit of each of some thousand numbers at the beginning of the answer."""

    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        for place in range(256, min(len(changed), 256 + 4 * 4096), 4):
            changed[place] ^= 1
        return bytes(changed)

    request.forward(of_answer=change)


def cut(request: Request) -> None:
    """Answer with the first half, as if it were all."""
    request.forward(of_answer=lambda content: content[: len(content) // 2])


def forward(request: Request) -> None:
    """Do no harm."""
    request.forward()


def silence(request: Request) -> None:
    """Take the request and never answer."""
    request.body()
    request.outwait()
    request.reset()


def stall(request: Request) -> None:
    """Answer with the headers and half of the body, and then send nothing more."""
    status, headers, content = request.ask(request.body())
    request.reply(status, content[: len(content) // 2], headers, length=max(1, len(content)))
    request.outwait()
    request.reset()


def drip(pause: float, size: int = 1) -> Action:
    """Send the body so many bytes at a time, with so many seconds between."""

    def act(request: Request) -> None:
        status, headers, content = request.ask(request.body())
        request.reply(status, b"", headers, length=len(content))
        until = time.monotonic() + _SECONDS
        for start in range(0, len(content), size):
            request.send(content[start : start + size])
            if request.outwait(pause) or time.monotonic() > until:
                break
        request.reset()

    return act


def drip_headers(request: Request) -> None:
    """Send a header that never ends, ten bytes a second."""
    request.body()
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        request.wfile.write(b"x")
        if request.outwait(0.1):
            break
    request.reset()


def reset(request: Request) -> None:
    """Break the connection in the middle of the body."""
    status, headers, content = request.ask(request.body())
    request.reply(status, content[: len(content) // 2], headers, length=max(1, len(content)))
    time.sleep(0.02)  # what is under way when a reset comes is thrown away
    request.reset()


def reset_at_once(request: Request) -> None:
    """Break the connection instead of answering."""
    request.body()
    request.reset()


def claim(share: float) -> Action:
    """Send the whole body with a wrong length: so many times the true one. What is said to follow never does."""

    def act(request: Request) -> None:
        status, headers, content = request.ask(request.body())
        request.reply(status, content, headers, length=int(len(content) * share))
        if share > 1:
            request.hang_up()

    return act


def unranged(request: Request) -> None:
    """Answer with the whole object where a part is asked for."""
    status, headers, content = request.ask(request.body(), changed={"range": None})
    request.reply(status, content, headers)


def shift(request: Request) -> None:
    """Answer with as many bytes, of another place of the object."""
    first, last = map(int, re.findall(r"\d+", request.headers["Range"]))
    moved = max(1, min(first, 4096))
    status, headers, content = request.ask(request.body(), changed={"range": f"bytes={first - moved}-{last - moved}"})
    request.reply(status, content, headers)


def edit(pattern: str, replacement: str) -> Action:
    """Change a text wherever it stands in the answer, such as a listing."""

    def act(request: Request) -> None:
        request.forward(of_answer=lambda content: re.sub(pattern.encode(), replacement.encode(), content, flags=re.S))

    return act


def with_headers(**changed: str | None) -> Action:
    """Change headers of the answer, or leave them out; ``_`` is a hyphen."""
    names = {name.replace("_", "-").lower(): value for name, value in changed.items()}

    def act(request: Request) -> None:
        status, headers, content = request.ask(request.body())
        told = [(name, names.get(name.lower(), value)) for name, value in headers]
        request.reply(status, content, [(name, value) for name, value in told if value is not None])

    return act


def instead(content: bytes, *, status: int = 200, content_type: str = "text/html") -> Action:
    """Answer with this."""

    def act(request: Request) -> None:
        request.body()
        is_head = request.command == "HEAD"
        headers = [("Content-Type", content_type), *([("Content-Length", str(len(content)))] if is_head else [])]
        request.reply(status, b"" if is_head else content, headers)

    return act


def page(status: int) -> Action:
    """Answer with a page, as a gateway does, or a hotel."""
    return instead(b"<!DOCTYPE html><html><body><p>Please <a href='/login'>log in</a>.</body></html>", status=status)


def raw(content: bytes) -> Action:
    """Answer with bytes that are no HTTP, and hang up."""

    def act(request: Request) -> None:
        request.body()
        request.wfile.write(content)
        request.hang_up()

    return act


def redirect(url: str, status: int = 307) -> Action:
    """Send the client elsewhere; ``{path}`` is that of the request."""

    def act(request: Request) -> None:
        request.body()
        headers = [("Location", url.format(path=request.path)), ("Content-Type", "application/xml")]
        request.reply(status, b"", [*headers, *([("Content-Length", "0")] if request.command == "HEAD" else [])])

    return act


def replace(put: Callable[[], object]) -> Action:
    """Have the object replaced, and then let the server answer."""

    def act(request: Request) -> None:
        put()
        request.forward()

    return act


def go_away(seconds: float) -> Action:
    """Take the whole server away for a while: its connections break, and new ones are refused."""

    def act(request: Request) -> None:
        request.body()
        request.close_connection = True
        request.server.go_away(seconds)

    return act


class ByChance:
    """Does one of some things with a share of the requests, and forwards the others; the same with the same seed."""

    def __init__(self, seed: int, share: float, actions: Sequence[Action]) -> None:
        self._chance, self._share, self._actions = random.Random(seed), share, actions
        self._lock = threading.Lock()
        self.hits = 0
        """How often it has done something."""

    def __call__(self, request: Request) -> None:
        """Choose, and do it."""
        with self._lock:
            is_hit = self._chance.random() < self._share
            action = self._chance.choice(self._actions) if is_hit else forward
            self.hits += is_hit
        action(request)


@dataclass(eq=False)
class Rule:
    """What is done with some requests, and with how many it has been done."""

    pattern: str
    action: Action
    skip: int
    times: int | None
    hits: int = 0

    def takes(self, line: str) -> bool:
        """Whether a request is one of them."""
        if not re.search(self.pattern, line):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            if not self.times:
                return False
            self.times -= 1
        self.hits += 1
        return True


class FaultyProxy(ThreadingHTTPServer):
    """The proxy, in threads of this process."""

    daemon_threads = True
    block_on_close = False  # a thread that waits for its client is no reason to wait for it
    request_queue_size = 64

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.target = urlsplit(endpoint).netloc
        self.seen: list[str] = []
        """Method, path and range of every request so far."""
        self.n_bytes = 0
        """Bytes of bodies sent so far."""
        self.n_connections = 0
        """Connections so far."""
        self.n_dropped = 0
        """Connections that were broken as soon as they were made."""
        self.drop_every: int | None = None
        """Every so many-th connection is broken as soon as it is made."""
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._turn = 0
        self._open: set[Request] = set()
        self._thread: threading.Thread | None = None
        self._back: threading.Timer | None = None

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def rule(self, pattern: str, action: Action, *, skip: int = 0, times: int | None = None) -> Iterator[Rule]:
        """Do something with requests whose method and path match, but the first few, and so many times at most."""
        rule = Rule(pattern, action, skip, times)
        with self._lock:
            self._rules.append(rule)
        try:
            yield rule
        finally:
            with self._lock:
                self._rules.remove(rule)

    @property
    def rules(self) -> list[Rule]:
        """The rules in force, the first that is meant before the others."""
        with self._lock:
            return list(self._rules)

    @property
    def unused(self) -> list[str]:
        """The patterns of rules that have not been applied as many times as they may."""
        return [rule.pattern for rule in self._rules if rule.times is not None and rule.times > 0]

    def action_for(self, line: str) -> Action | None:
        """Return what is to be done with a request, by method, path and range; None to forward it."""
        with self._lock:
            self.seen.append(line)
            return next((rule.action for rule in self._rules if rule.takes(line)), None)

    def count(self, n_bytes: int) -> None:
        """Take note of what was sent."""
        with self._lock:
            self.n_bytes += n_bytes

    def met(self, request: Request) -> None:
        """Take note of a connection."""
        with self._lock:
            self.n_connections += 1
            self._open.add(request)
            is_late = self._thread is None
        if is_late:  # accepted before the server went away
            _throw_out(request)

    def left(self, request: Request) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(request)

    def refuses(self) -> bool:
        """Whether a connection that was just made is one of those that are broken."""
        with self._lock:
            self._turn += 1
            is_dropped = bool(self.drop_every) and self._turn % self.drop_every == 0
            self.n_dropped += is_dropped
        return is_dropped

    def start(self) -> None:
        """Serve, in a thread."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Serve no more: whoever comes is refused, whoever is here is thrown out."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self.shutdown()
        thread.join(_SECONDS)
        self.socket.close()
        for request in list(self._open):
            _throw_out(request)

    def go_away(self, seconds: float) -> None:
        """Stop, and start again at the same address after a while."""
        self._back = threading.Timer(seconds, self._return)
        self._back.daemon = True
        self.stop()
        self._back.start()

    def _return(self) -> None:
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()  # to the port that it had
        self.server_activate()
        self.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone, such as one that was killed, is no error of the proxy."""

    @classmethod
    @contextmanager
    def before(cls, endpoint: str) -> Iterator[FaultyProxy]:
        """Run a proxy before a server."""
        with cls(endpoint) as proxy:
            proxy.start()
            try:
                yield proxy
            finally:
                if proxy._back:
                    proxy._back.cancel()
                    proxy._back.join(_SECONDS)
                proxy.stop()


def _flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def _is_sum(name: str) -> bool:
    """Whether a header holds a checksum of the body, by which the other side would notice a change at once."""
    return name.lower() == "content-md5" or name.lower().startswith(("x-amz-checksum", "x-amz-sdk-checksum"))


def _throw_out(request: Request) -> None:
    with contextlib.suppress(OSError, ValueError):
        request.connection.shutdown(socket.SHUT_RDWR)
