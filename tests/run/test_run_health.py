"""Listening to a service: late answers count, silence does not, and a launcher that slept is no proof."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from residency.run import health


class Stub:
    """A server on loopback that takes `delay` seconds for each answer, one after the other."""

    def __init__(self) -> None:
        self.delay, self.status, self.asked = 0.0, 200, 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.asked += 1
                time.sleep(stub.delay)
                self.send_response(stub.status)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

            def handle(self) -> None:
                with suppress(OSError):  # who asked has gone
                    super().handle()

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/health"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


def listened(pulse: health.Pulse, seconds: float) -> bool:
    """Whether it counts as hung at any moment within so many seconds."""
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        if pulse.hung(now):
            return True
        time.sleep(0.01)
    return False


def test_a_look(stub: Stub) -> None:
    assert health.ask(stub.url, 5) == health.Answer(True, "it answered 200")
    stub.status = 503
    assert health.ask(stub.url, 5) == health.Answer(False, "it answered 503")
    stub.delay = 0.3
    assert health.ask(stub.url, 0.05) == health.Answer(False, "it did not answer in time")
    assert not health.ask("http://127.0.0.1:9/health", 5).well
    assert not health.ask("nonsense", 5).well


def test_one_that_answers_late_is_not_hung(stub: Stub) -> None:
    stub.delay = 0.25
    pulse = health.Pulse(stub.url, 0.1, 0.8, time.monotonic())
    assert not listened(pulse, 0.7)
    assert stub.asked >= 2


def test_one_that_never_answers_is_hung(stub: Stub) -> None:
    stub.delay = 1.5
    began = time.monotonic()
    assert listened(health.Pulse(stub.url, 0.05, 0.3, began), 5)
    assert 0.3 < time.monotonic() - began < 2


def test_one_that_says_that_it_is_ill_is_hung(stub: Stub) -> None:
    stub.status = 503
    pulse = health.Pulse(stub.url, 0.05, 0.3, time.monotonic())
    assert listened(pulse, 5)
    assert pulse.said == "it answered 503"


def test_time_in_which_the_launcher_stood_still_does_not_count(stub: Stub) -> None:
    now = time.monotonic()
    pulse = health.Pulse(stub.url, 10.0, 60.0, now)
    assert not pulse.hung(now + 1)
    assert not pulse.hung(now + 1000)
    for second in range(1, 59):
        assert not pulse.hung(now + 1000 + second)
    assert pulse.hung(now + 1062)
