"""Requests to an ASGI application, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from legato.deploy.http import Asgi, Message


class Answer:
    """What an application sent.

    Attributes:
        status, headers, body: Of the response; status 0 if there was none.
        done: Whether the body came to its end.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = False

    async def send(self, message: Message) -> None:
        """The server's side of it."""
        if message["type"] == "http.response.start":
            assert not self.status, "two responses to one request"
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            assert message["type"] == "http.response.body"
            self.body += message.get("body", b"")
            self.done = not message.get("more_body", False)


def scope_of(
    method: str, path: str, headers: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """The scope of an HTTP request."""
    raw = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": raw,
    } | more


async def request(
    app: Asgi,
    method: str,
    path: str,
    *pieces: bytes,
    headers: dict[str, str] | None = None,
    cut: bool = False,
    fails: Sequence[str] = (),
) -> Answer:
    """One request; its body comes in `pieces`.

    Args:
        app: The application.
        method, path, headers: Of the request.
        pieces: Of the body.
        cut: The client goes away before the end of the body.
        fails: Types of messages that the server cannot send any more.
    """
    answer = Answer()
    bodies = list(pieces) or [b""]
    messages: list[Message] = [
        {"type": "http.request", "body": body, "more_body": cut or n < len(bodies) - 1}
        for n, body in enumerate(bodies)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Message) -> None:
        if message["type"] in fails:
            raise OSError("the client went away")
        await answer.send(message)

    await app(scope_of(method, path, headers), receive, send)
    return answer
