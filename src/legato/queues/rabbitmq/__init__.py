"""RabbitMQ as the queue of a cluster."""

from __future__ import annotations

from legato.errors import MissingExtra

try:
    import pamqp as _pamqp
except ImportError:
    raise MissingExtra("RabbitMQ", "rabbitmq") from None

from legato.queues.rabbitmq.queue import RabbitQueue

del _pamqp

__all__ = ["RabbitQueue"]
