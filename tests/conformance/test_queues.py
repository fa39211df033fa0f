"""Every queue passes the shipped suite."""

import pytest

from legato.abc.queue import Queue
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.testing.conformance.queue import QueueConformance


class TestMemoryQueue(QueueConformance):
    @pytest.fixture(autouse=True)
    def _broker(self) -> None:
        self.broker = MemoryBroker()

    async def make_queue(self) -> Queue:
        return MemoryQueue(self.broker, prefetch=self.prefetch)

    async def kill(self, queue: Queue) -> None:
        assert isinstance(queue, MemoryQueue)
        queue.die()

    async def cut(self, queue: Queue) -> None:
        assert isinstance(queue, MemoryQueue)
        queue.cut()
