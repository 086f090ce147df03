"""A server on this machine that misbehaves as asked, and remembers what it was asked for."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHUNK = 64 * 1024


@dataclass
class Plan:
    """What the server does with the next requests, one entry each; afterwards it behaves."""

    body: bytes
    faults: list[dict[str, Any]] = field(default_factory=list)
    ranges: bool = True
    etag: bool = True
    requests: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies that were sent in all."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: Plan

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        plan = self.plan
        with plan.lock:
            plan.requests.append({"path": self.path, **dict(self.headers)})
            fault = plan.faults.pop(0) if plan.faults else {}
        self.close_connection = True
        if "status" in fault:
            self.answer(fault["status"], b"an error page", fault.get("headers", {}))
        elif "redirect" in fault:
            self.answer(302, b"", {"Location": fault["redirect"]})
        else:
            self.give(plan, fault)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.plan.statuses.append(status)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def give(self, plan: Plan, fault: dict[str, Any]) -> None:
        body = fault.get("body", plan.body)
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if plan.etag and self.headers.get("If-None-Match") == tag:
            self.answer(304, b"", {"ETag": tag})
            return
        start, status, extra = 0, 200, {}
        asked = self.headers.get("Range")
        if asked and plan.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            begin = start + fault.get("shift", 0)
            status, extra = 206, {"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
        piece = body[start:]
        plan.statuses.append(status)
        self.send_response(status)
        if plan.etag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(piece) + fault.get("length_off_by", 0)))
        self.send_header("Connection", "close")
        for name, value in {**extra, **fault.get("headers", {})}.items():
            self.send_header(name, value)
        self.end_headers()
        stop = fault.get("drop_after", len(piece) + max(0, fault.get("length_off_by", 0)))
        for at in range(0, min(stop, len(piece)), CHUNK):
            block = piece[at : min(at + CHUNK, stop)]
            try:
                self.wfile.write(block)
            except OSError:
                return
            with plan.lock:
                plan.sent += len(block)
            time.sleep(fault.get("pause", 0))
        self.wfile.flush()
        if "silent" in fault:
            time.sleep(fault["silent"])


@contextmanager
def serve(plan: Plan) -> Iterator[str]:
    """The server's address while it runs."""
    handler = type("Bound", (Handler,), {"plan": plan})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
