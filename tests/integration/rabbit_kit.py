"""What happens to a RabbitQueue from outside."""

from __future__ import annotations

import asyncio

from legato.queues.rabbitmq import RabbitQueue


def cut(queue: RabbitQueue) -> None:
    """Breaks its connections, as a broken network would; it makes new ones."""
    for link in (queue._publishing, queue._working):
        if link._connection is not None:
            link._connection.lose("the test cut it")


async def die(queue: RabbitQueue) -> None:
    """As SIGKILL of its process: nothing says goodbye, and nothing comes back."""
    consumers, queue._consumers = queue._consumers, set()
    tasks = [task for consumer in consumers if (task := consumer._task)]
    tasks += [task for link in (queue._publishing, queue._working) if (task := link._task)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    cut(queue)
