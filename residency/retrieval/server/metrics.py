"""What `/metrics` tells, in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Callable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counts requests and searches."""

    def __init__(self, documents: int, waiting: Callable[[], int]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = registry = CollectorRegistry()
        name = "residency_retriever_"
        self.requests = Counter(
            f"{name}requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            f"{name}request_seconds", "Seconds of a /retrieve.", buckets=_SECONDS, registry=registry
        )
        self.queries = Counter(f"{name}queries", "Queries asked.", registry=registry)
        self._batch = Histogram(
            f"{name}batch_queries", "Queries searched together.", buckets=_SIZES, registry=registry
        )
        self._search = Histogram(
            f"{name}search_seconds", "Seconds of one search.", buckets=_SECONDS, registry=registry
        )
        Gauge(f"{name}documents", "Documents of the index.", registry=registry).set(documents)
        queue = Gauge(f"{name}waiting_queries", "Queries in the queue.", registry=registry)
        queue.set_function(waiting)

    def searched(self, queries: int, seconds: float) -> None:
        """Note one search."""
        self._batch.observe(queries)
        self._search.observe(seconds)

    def text(self) -> bytes:
        """All of them."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
