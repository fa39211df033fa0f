"""Every queue passes the shipped suite."""

import pytest

from legato.abc.queue import Queue
from legato.model import shards
from legato.queues.memory import MemoryBroker, MemoryQueue
from legato.queues.rabbitmq import RabbitQueue, queue
from legato.testing.conformance.queue import QueueConformance
from tests.integration import rabbit_kit

ALL_SLOTS = "test_a_letter_goes_by_its_slot"
"""One test binds every slot, which takes half a second; to the others fewer are as good."""


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


class TestRabbitQueue(QueueConformance):
    """On a broker of its own, in a vhost a test."""

    @pytest.fixture(autouse=True)
    def _broker(
        self, rabbit_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        self.url = rabbit_url
        if request.node.name != ALL_SLOTS:
            for module in (shards, queue):
                monkeypatch.setattr(module, "SLOTS", 64)

    async def make_queue(self) -> Queue:
        return RabbitQueue(self.url, "bot", prefetch=self.prefetch)

    async def kill(self, queue: Queue) -> None:
        assert isinstance(queue, RabbitQueue)
        await rabbit_kit.die(queue)

    async def cut(self, queue: Queue) -> None:
        assert isinstance(queue, RabbitQueue)
        rabbit_kit.cut(queue)
