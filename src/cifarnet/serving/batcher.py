"""One thread that runs the network, and batches of the requests that wait for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cifarnet.predictors import Predict
from cifarnet.serving import refusals

MAX_WAITING = 4096  # images
MAX_BATCH = 64  # images gathered from several requests
TIMEOUT = 10.0  # seconds from the arrival of a request to its result


class _Job(NamedTuple):
    pixels: np.ndarray
    result: asyncio.Future[np.ndarray]


class Batcher:
    """Run a network in one thread.

    Requests that arrive while a batch is computed form the next one. Nothing waits for a batch to
    fill: alone, a request is computed at once.
    """

    def __init__(self, predict: Predict, on_batch: Callable[[int], None]) -> None:
        """Start the thread; call within a running event loop.

        Args:
            predict: the network.
            on_batch: called with the number of images of each batch, in the event loop.
        """
        self._predict, self._on_batch = predict, on_batch
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.waiting = 0  # images
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    async def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [N, classes] of pixels uint8 [N, S, S, 3].

        Raises:
            Refused: 503 if too many images wait, 504 after 10 s.
        """
        if self.waiting + len(pixels) > MAX_WAITING:
            raise refusals.busy(f"{self.waiting:,} images wait for the network")
        job = _Job(pixels, self._loop.create_future())
        self.waiting += len(pixels)
        self._jobs.put(job)
        timer = self._loop.call_later(TIMEOUT, _expire, job.result)
        try:
            return await job.result
        finally:
            timer.cancel()

    def predict_from_thread(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `predict` does, to another thread."""
        return asyncio.run_coroutine_threadsafe(self.predict(pixels), self._loop).result()

    def close(self) -> None:
        """End the thread, after the jobs it has."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, is_last = self._gather(first)
            wanted = [job for job in batch if not job.result.done()]
            result: np.ndarray | Exception = np.empty(0)
            try:
                if wanted:
                    result = self._predict(_joined(wanted))
            except Exception as error:  # of the runtime; the requests end with it
                result = error
            self._loop.call_soon_threadsafe(self._deliver, batch, wanted, result)
            if is_last:
                return

    def _gather(self, first: _Job) -> tuple[list[_Job], bool]:
        """Return the first job with the others that wait, and whether there are no more ever."""
        batch, images = [first], len(first.pixels)
        while images < MAX_BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
            images += len(job.pixels)
        return batch, False

    def _deliver(
        self, batch: list[_Job], computed: list[_Job], result: np.ndarray | Exception
    ) -> None:
        self.waiting -= sum(len(job.pixels) for job in batch)
        start = 0
        for job in computed:
            rows = slice(start, start := start + len(job.pixels))
            if job.result.done():
                continue
            if isinstance(result, Exception):
                job.result.set_exception(result)
            else:
                job.result.set_result(result[rows])
        if computed:
            self._on_batch(start)


def _joined(jobs: list[_Job]) -> np.ndarray:
    return jobs[0].pixels if len(jobs) == 1 else np.concatenate([job.pixels for job in jobs])


def _expire(result: asyncio.Future[np.ndarray]) -> None:
    if not result.done():
        result.set_exception(
            refusals.Refused(504, f"the network gave no result within {TIMEOUT:g} s")
        )
