"""Amazon SQS: the queue before a bot that is a cloud function. Needs nothing but the standard library and msgspec.

What it rests on (the developer guide, read 2026-11): a FIFO queue hands out the messages of one group in order, and
none of them while an earlier one is in flight; a message sent again with its deduplication id within five minutes is
one message; SendMessageBatch takes ten messages and 1 MiB, and may fail for some of them; a FIFO queue takes no delay
of a single message, a standard one takes up to 15 minutes. Whoever receives a message twice must not mind: the store
knows each letter by its id.

    sender.py     puts letters into a FIFO queue, and wakes into a standard one
    letters.py    how they lie in a message
    address.py    the URL

Why two queues: docs/decisions/0020-a-queue-before-functions.md.
"""

from legato.queues.sqs.sender import Post as Post
from legato.queues.sqs.sender import SqsSender as SqsSender

__all__ = ["Post", "SqsSender"]
