"""What `/metrics` tells, in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Callable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts requests and tokens."""

    def __init__(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()
        name = "residency_model_"
        self.requests = Counter(
            f"{name}requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            f"{name}request_seconds", "Seconds of a request.", buckets=_SECONDS, registry=registry
        )
        self.first = Histogram(
            f"{name}first_token_seconds",
            "Seconds until an answer's first token.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.prompt = Counter(f"{name}prompt_tokens", "Tokens of prompts.", registry=registry)
        self.gone = Counter(f"{name}abandoned", "Requests whose client went away.", registry=registry)
        self._made = Counter(f"{name}generated_tokens", "Tokens generated.", registry=registry)
        self._rows = Histogram(
            f"{name}batch_answers", "Answers in one pass.", buckets=_SIZES, registry=registry
        )
        for label, about, count in (
            ("running_answers", "Answers under way.", running),
            ("waiting_answers", "Answers in the queue.", waiting),
        ):
            Gauge(f"{name}{label}", about, registry=registry).set_function(count)

    def passed(self, rows: int, tokens: int) -> None:
        """Note one pass of the model."""
        self._rows.observe(rows)
        self._made.inc(tokens)

    def text(self) -> bytes:
        """All of them."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
