"""sqs_worker.py bot.py [forget]: a process of a function for each line of stdin, which may be killed after a write.

in:  {"event": ..., "fuse": 3, "later_s": 40}     killed (SIGKILL) once its third write was carried out, before it knows;
                                                   0: never. Its clock goes so much before ours
out: {"answer": ...}               None if it was killed; {"error": ...} if it ended in another way
"""

import json
import os
import signal
import sys
import traceback
import uuid
from typing import Any

from msgspec import structs

from legato.abc import HttpRequest, HttpResponse
from legato.app.runtime import Runtime
from legato.deploy.clock import SystemClock
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.invocation import Invocation
from legato.deploy.function.queueing import Queues
from legato.deploy.loader import load_app
from legato.deploy.transport import Transport
from legato.platforms.telegram import Telegram
from legato.stores.dynamodb import DynamoDBStore

IMPORTED = (Queues, Telegram, DynamoDBStore)
"""What a process needs: it is a copy of this one."""
READS = ("GetItem", "BatchGetItem", "Query", "DescribeTable", "GetQueueUrl")


class Context:
    """What Lambda tells of the invocation."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


class Later(SystemClock):
    """Goes before ours."""

    def __init__(self, later_s: int) -> None:
        self._later_ms = later_s * 1000

    def now_ms(self) -> int:
        return super().now_ms() + self._later_ms


def light(left: int) -> None:
    """Kills this process after so many writes, those to the platform among them."""
    send = Transport.send

    async def fused(self: Transport, request: HttpRequest) -> HttpResponse:
        nonlocal left
        answer = await send(self, request)
        if request.headers.get("x-amz-target", ".").rpartition(".")[2] not in READS:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Transport.send = fused  # type: ignore[method-assign]


def forget() -> None:
    """A sabotage: no update is known again."""
    handle = Runtime.handle

    async def forgetful(self: Any, event: Any, **more: Any) -> Any:
        return await handle(self, structs.replace(event, id=f"{event.id}-{uuid.uuid4()}"), **more)

    Runtime.handle = forgetful  # type: ignore[method-assign]


def invoked(app: Any, event: Any, fuse: int, later_s: int) -> dict[str, Any]:
    """The life of one process."""
    if fuse:
        light(fuse)
    function = Function(app, {})
    function.clock = Later(later_s)
    function.invocation = Invocation(function.clock)
    try:
        return {"answer": Lambda(function)(event, Context())}
    except Exception:  # noqa: BLE001 - the test tells
        return {"error": traceback.format_exc()}
    finally:
        function.close()


def main() -> None:
    app = load_app(sys.argv[1])
    if "forget" in sys.argv:
        forget()
    for line in sys.stdin:
        asked = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            answer = json.dumps(invoked(app, **asked))
            os.write(write, answer.encode())
            os._exit(0)
        os.close(write)
        answer = os.read(read, 65536).decode()
        os.close(read)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            answer = '{"answer": null}'
        sys.stdout.write((answer or '{"error": "no answer"}') + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
