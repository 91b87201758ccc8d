"""A proxy before an S3 server that does to chosen requests what networks and servers do at times."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Action", "FaultyProxy", "Request", "answer", "cut", "drop", "flip", "lose_answer"]

_OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "date", "server"}
_SECONDS = 30


class Request(BaseHTTPRequestHandler):
    """One request, and what can be done with it."""

    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server: FaultyProxy

    def handle_any(self) -> None:
        """Do with it what the first rule that is meant says; forward it where there is none."""
        (self.server.action_for(f"{self.command} {self.path}") or Request.forward)(self)

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

    def ask(self, body: bytes, *, keep_sums: bool = True) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the server's answer."""
        connection = http.client.HTTPConnection(self.server.target, timeout=_SECONDS)
        try:
            kept = [(name, value) for name, value in self.headers.items() if name.lower() not in _OF_A_CONNECTION]
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in kept:
                if keep_sums or not _is_sum(name):
                    connection.putheader(name, value)
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
        self.wfile.write(content)

    def hang_up(self) -> None:
        """End the connection, whatever the other side is at."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

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


def cut(request: Request) -> None:
    """Answer with the first half, as if it were all."""
    request.forward(of_answer=lambda content: content[: len(content) // 2])


@dataclass(eq=False)
class _Rule:
    pattern: str
    action: Action
    skip: int
    times: int | None

    def takes(self, line: str) -> bool:
        if not re.search(self.pattern, line):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class FaultyProxy(ThreadingHTTPServer):
    """The proxy, in threads of this process."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.target = urlsplit(endpoint).netloc
        self.seen: list[str] = []
        """Method and path of every request so far."""
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """URL of the proxy."""
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def rule(self, pattern: str, action: Action, *, skip: int = 0, times: int | None = None) -> Iterator[None]:
        """Do something with requests whose method and path match, but the first few, and so many times at most."""
        rule = _Rule(pattern, action, skip, times)
        with self._lock:
            self._rules.append(rule)
        try:
            yield
        finally:
            with self._lock:
                self._rules.remove(rule)

    @property
    def unused(self) -> list[str]:
        """The patterns of rules that have not been applied as many times as they may."""
        return [rule.pattern for rule in self._rules if rule.times is not None and rule.times > 0]

    def action_for(self, line: str) -> Action | None:
        """Return what is to be done with a request, by method and path; None to forward it."""
        with self._lock:
            self.seen.append(line)
            return next((rule.action for rule in self._rules if rule.takes(line)), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone, such as one that was killed, is no error of the proxy."""

    @classmethod
    @contextmanager
    def before(cls, endpoint: str) -> Iterator[FaultyProxy]:
        """Run a proxy before a server."""
        with cls(endpoint) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                yield proxy
            finally:
                proxy.shutdown()
                thread.join(_SECONDS)


def _flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def _is_sum(name: str) -> bool:
    """Whether a header holds a checksum of the body, by which the other side would notice a change at once."""
    return name.lower() == "content-md5" or name.lower().startswith(("x-amz-checksum", "x-amz-sdk-checksum"))
