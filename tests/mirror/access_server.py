"""A small access service on loopback: it speaks the documented protocol, and refuses as it is told to."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

REQUEST_ID = "lfm_0123456789abcdef"


@dataclass
class AccessServer:
    """What it has, how it answers, and what it was asked."""

    files: dict[str, bytes]
    """Name → content."""
    url: str = ""
    refusal: tuple[int, Any, dict[str, str]] | None = None
    """Status, ``detail`` and headers of the answer to ``refresh``."""
    sums: dict[str, str] = field(default_factory=dict)
    """Name → SHA-256 to tell instead of the true one."""
    good_for: int = 1000
    """How many requests an address answers."""
    cut_after: int | None = None
    """Bytes of a body after which the next connections break, once each."""
    tokens: dict[str, int] = field(default_factory=dict)
    """Address → requests left."""
    asked: list[str] = field(default_factory=list)
    """Requests in their order, the ranges of files too."""
    gives_parts: bool = True

    def manifest(self) -> dict[str, Any]:
        return {"current_terms_version": "1.1", "files": [self.entry(name) for name in self.files]}

    def entry(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        sha256 = self.sums.get(name, hashlib.sha256(content).hexdigest())
        return {"name": name, "size": len(content), "sha256": sha256}

    def addressed(self, name: str) -> dict[str, Any]:
        token = secrets.token_hex(16)
        self.tokens[token] = self.good_for
        return {**self.entry(name), "url": f"{self.url}/bucket/{name}?X-Amz-Signature={token}"}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> AccessServer:
        found: AccessServer = self.server.state
        return found

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/api/v1/manifest":
            self.state.asked.append("manifest")
            self.answer(200, self.state.manifest())
            return
        name, token = path.rpartition("/")[2], query.partition("=")[2]
        part = self.headers.get("Range", "")
        self.state.asked.append(f"{name} {part}".strip())
        if self.state.tokens.get(token, 0) < 1:
            self.answer(403, "Request has expired")
            return
        self.state.tokens[token] -= 1
        content = self.state.files[name]
        bounds = re.fullmatch(r"bytes=(\d+)-(\d+)", part) if self.state.gives_parts else None
        start, stop = (int(bounds[1]), int(bounds[2]) + 1) if bounds else (0, len(content))
        self.send_response(206 if bounds else 200)
        if bounds:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        cut, self.state.cut_after = self.state.cut_after, None
        self.wfile.write(content[start:stop] if cut is None else content[start : start + cut])
        if cut is not None:
            self.close_connection = True

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.asked.append("refresh")
        if self.state.refusal:
            self.answer(self.state.refusal[0], self.state.refusal[1], self.state.refusal[2])
        elif self.path != "/api/v1/refresh" or question != {"request_id": REQUEST_ID, "dataset_version": "v1"}:
            self.answer(404, "request not found")
        else:
            files = [self.state.addressed(name) for name in self.state.files]
            self.answer(200, {"expires_at": "2030-01-01T00:00:00Z", "files": files})

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content if status == 200 else {"detail": content}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def access_server(files: dict[str, bytes]) -> Iterator[AccessServer]:
    """Run the service."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        state = AccessServer(files, f"http://127.0.0.1:{server.server_port}")
        server.state = state  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state
        server.shutdown()
