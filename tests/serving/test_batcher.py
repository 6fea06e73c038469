"""Batches: what waits while one is computed forms the next; bounds, faults, the end."""

import asyncio
import threading

import numpy as np
import pytest
from helpers.serving import noise, run

from cifarnet.serving.batcher import MAX_BATCH, MAX_WAITING, Batcher
from cifarnet.serving.refusals import Refused
from cifarnet.serving.uploads import Decoders


class Slow:
    """A network whose first call waits; it gives the mean of each image."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self.threads: set[str] = set()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        self.leave.wait(30)
        if (pixels == 255).all(axis=(1, 2, 3)).any():
            raise ValueError("white")
        return pixels.mean(axis=(1, 2, 3))[:, None]


async def started(batcher: Batcher, network: Slow, pixels: np.ndarray) -> asyncio.Task:
    """Start a request and return once the network computes it."""
    task = asyncio.ensure_future(batcher.predict(pixels))
    await asyncio.get_running_loop().run_in_executor(None, network.entered.wait, 30)
    return task


def test_what_waits_forms_the_next_batch_and_each_gets_its_own():
    async def ask() -> None:
        network, batches = Slow(), []
        batcher = Batcher(network, batches.append, 1.0)
        first = await started(batcher, network, noise(2))
        rest = [asyncio.ensure_future(batcher.predict(noise(n, n))) for n in range(1, 12)]
        await asyncio.sleep(0)
        assert batcher.waiting == 2 + 66
        network.leave.set()
        for images, task in [
            (noise(2), first),
            *((noise(n, n), rest[n - 1]) for n in range(1, 12)),
        ]:
            assert np.array_equal((await task)[:, 0], images.mean(axis=(1, 2, 3)))
        assert batches == [2, 66]  # 55 would leave room
        assert batcher.waiting == 0 and network.threads == {"inference"}
        await batcher.close()

    assert MAX_BATCH == 64
    run(ask())


def test_a_quick_network_is_run_at_once_unless_the_thread_computes():
    async def ask() -> None:
        network, batches = Slow(), []
        network.leave.set()
        batcher = Batcher(network, batches.append, 0.0001)
        await batcher.predict(noise(4))
        assert network.threads == {threading.current_thread().name}
        await batcher.predict(noise(5))
        assert "inference" in network.threads
        network.leave.clear()
        network.entered.clear()
        large = await started(batcher, network, noise(5))
        small = asyncio.ensure_future(batcher.predict(noise(1)))
        await asyncio.sleep(0)
        assert not small.done()
        network.leave.set()
        await asyncio.gather(large, small)
        assert batches == [4, 5, 5, 1]
        await batcher.close()

    run(ask())


def test_too_many_waiting_images_are_refused():
    async def ask() -> None:
        network = Slow()
        batcher = Batcher(network, lambda _: None, 1.0)
        first = await started(batcher, network, noise(1))
        second = asyncio.ensure_future(batcher.predict(noise(MAX_WAITING - 1)))
        await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await batcher.predict(noise(1))
        assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "1"})
        network.leave.set()
        await asyncio.gather(first, second)
        await batcher.close()

    run(ask())


def test_a_late_result_is_a_time_out_and_is_not_computed(monkeypatch):
    async def ask() -> None:
        network, batches = Slow(), []
        batcher = Batcher(network, batches.append, 1.0)
        first = await started(batcher, network, noise(1))
        monkeypatch.setattr("cifarnet.serving.batcher.TIMEOUT", 0.0)
        with pytest.raises(Refused) as caught:
            await batcher.predict(noise(3))
        assert caught.value.status == 504
        network.leave.set()
        await first
        await batcher.close()
        await asyncio.sleep(0)
        assert batches == [1] and batcher.waiting == 0

    run(ask())


def test_a_fault_of_the_network_ends_its_requests_only():
    async def ask() -> None:
        network = Slow()
        network.leave.set()
        batcher = Batcher(network, lambda _: None, 1.0)
        with pytest.raises(ValueError, match="white"):
            await batcher.predict(np.full((1, 32, 32, 3), 255, np.uint8))
        rows = await batcher.predict(noise(1))
        assert np.array_equal(rows[:, 0], noise(1).mean(axis=(1, 2, 3)))
        await batcher.close()

    run(ask())


def test_the_end_waits_for_no_one_that_waits_for_the_event_loop():
    """A thread that computes a map asks for several batches, also while the server ends."""

    async def ask() -> None:
        network = Slow()
        batcher, threads = Batcher(network, lambda _: None, 1.0), Decoders(32, 1)

        def explain() -> list[np.ndarray]:
            return [batcher.predict_from_thread(noise(1, seed)) for seed in range(2)]

        mapped = asyncio.ensure_future(threads.run(explain))
        await asyncio.get_running_loop().run_in_executor(None, network.entered.wait, 30)
        ending = asyncio.ensure_future(batcher.close())
        await asyncio.sleep(0)
        network.leave.set()
        await asyncio.wait_for(ending, 30)
        await asyncio.wait_for(threads.close(), 30)
        with pytest.raises(Refused, match="the server ends"):
            await mapped

    run(ask())
