"""A queue in memory, for tests and simulations."""

from legato.queues.memory.broker import MemoryBroker as MemoryBroker
from legato.queues.memory.queue import MemoryQueue as MemoryQueue
