"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

import functools

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    exposition,
)

CONTENT_TYPE = exposition.CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 256, 1024)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "cifarnet_requests",
            "Requests answered, by path and status.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "cifarnet_request_seconds",
            "Seconds from the head of a request to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "cifarnet_batch_images",
            "Images per call of the network.",
            buckets=_IMAGES,
            registry=self._registry,
        )
        self.waiting = Gauge(
            "cifarnet_waiting_images", "Images that wait for the network.", registry=self._registry
        )
        self.on_batch = self._batches.observe
        # `labels` takes longer than counting does.
        self._counter = functools.lru_cache(maxsize=256)(self._requests.labels)

    def on_response(self, path: str, status: int, seconds: float) -> None:
        """Count a response; `path` is one that the server has, or `other`."""
        self._counter(path, str(status)).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all counters."""
        return exposition.generate_latest(self._registry)
