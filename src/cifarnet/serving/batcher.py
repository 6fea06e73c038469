"""Who runs the network: the event loop if that is quick, else one thread, in batches."""

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
# A network that takes less than this per image, and requests of so few images, the event loop
# computes itself: waking the thread and being woken takes longer, and no one waits for long.
_QUICK_SECONDS, _QUICK_IMAGES = 0.0005, 4


class _Job(NamedTuple):
    pixels: np.ndarray
    result: asyncio.Future[np.ndarray]


class Batcher:
    """Run a network, never two calls at once.

    Requests that arrive while a batch is computed form the next one. Nothing waits for a batch to
    fill: alone, a request is computed at once.
    """

    def __init__(
        self, predict: Predict, on_batch: Callable[[int], None], seconds_per_image: float
    ) -> None:
        """Start the thread; call within a running event loop.

        Args:
            predict: the network.
            on_batch: called with the number of images of each batch, in the event loop.
            seconds_per_image: of a call with one.
        """
        self._predict, self._on_batch = predict, on_batch
        self._quick_images = _QUICK_IMAGES if seconds_per_image < _QUICK_SECONDS else 0
        self._loop = asyncio.get_running_loop()
        self._soon: list[_Job] = []  # for the event loop
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # for the thread
        self._in_thread = 0  # jobs
        self._is_closed = False
        self.waiting = 0  # images
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    async def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities float32 [N, classes] of pixels uint8 [N, S, S, 3].

        Raises:
            Refused: 503 if too many images wait or the server ends, 504 after 10 s.
        """
        if self._is_closed:
            raise refusals.busy("the server ends")
        if self.waiting + len(pixels) > MAX_WAITING:
            raise refusals.busy(f"{self.waiting:,} images wait for the network")
        job = _Job(pixels, self._loop.create_future())
        self.waiting += len(pixels)
        if self._in_thread or len(pixels) > self._quick_images:
            self._hand_over([job])
        else:
            self._soon.append(job)
            if len(self._soon) == 1:  # with the requests that the loop reads in this round
                self._loop.call_soon(self._compute_soon)
        timer = self._loop.call_later(TIMEOUT, _expire, job.result)
        try:
            return await job.result
        finally:
            timer.cancel()

    def predict_from_thread(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `predict` does, to another thread."""
        return asyncio.run_coroutine_threadsafe(self.predict(pixels), self._loop).result()

    async def close(self) -> None:
        """Refuse further requests, and end the thread after the jobs it has."""
        self._is_closed = True
        await asyncio.sleep(0)  # `_compute_soon` may have jobs for the thread
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def _compute_soon(self) -> None:
        batch, self._soon = self._soon, []
        if self._in_thread:
            self._hand_over(batch)
        else:
            self._deliver(batch, *self._compute(batch))

    def _hand_over(self, batch: list[_Job]) -> None:
        self._in_thread += len(batch)
        for job in batch:
            self._jobs.put(job)

    def _work(self) -> None:
        """Compute what is handed to the thread."""
        while (first := self._jobs.get()) is not None:
            batch, is_last = self._gather(first)
            found = self._compute(batch)
            self._loop.call_soon_threadsafe(self._deliver_from_thread, batch, *found)
            if is_last:
                return

    def _compute(self, batch: list[_Job]) -> tuple[list[_Job], np.ndarray | Exception]:
        """Return the jobs that are still wanted, and their rows or the error they end with."""
        wanted = [job for job in batch if not job.result.done()]
        try:
            return wanted, self._predict(_joined(wanted)) if wanted else np.empty(0)
        except Exception as error:  # of the runtime
            return wanted, error

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

    def _deliver_from_thread(
        self, batch: list[_Job], computed: list[_Job], result: np.ndarray | Exception
    ) -> None:
        self._in_thread -= len(batch)
        self._deliver(batch, computed, result)

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
