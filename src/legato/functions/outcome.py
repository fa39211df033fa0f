"""How an invocation ends."""

from __future__ import annotations

import json

from msgspec import Struct


class Outcome(Struct, frozen=True):
    """How an invocation ended.

    Attributes:
        kind: "ok", "error", "timeout", "crash" or "init".
        body: What the handler returned, or {"errorType": ..., "errorMessage": ...}, as JSON.
        streamed: Content type of what a handler streamed; "" = it returned something.
    """

    kind: str
    body: bytes
    streamed: str = ""


class Lost(Exception):
    """Private: the process had died in its sleep."""


class NotLoaded(Exception):
    """The function could not be started; `outcome` says why, and `took_s` after how long."""

    def __init__(self, outcome: Outcome, took_s: float = 0.0) -> None:
        super().__init__(outcome.body)
        self.outcome = outcome
        self.took_s = took_s


def error_body(kind: str, text: str) -> bytes:
    """What a caller is told of a failure that the function could not tell itself."""
    return json.dumps({"errorType": kind, "errorMessage": text}).encode()


__all__ = ["Lost", "NotLoaded", "Outcome", "error_body"]
