"""What may go wrong between a bot and Telegram, on demand."""

from __future__ import annotations

from msgspec import Struct

from legato.testing.fake_telegram.forms import Params

_QUIET = frozenset(("getMe", "getUpdates", "setWebhook", "deleteWebhook", "getWebhookInfo"))
"""Spared by faults that name no method: a bot should start."""


class Fault(Struct, eq=False):
    """One thing that goes wrong with calls.

    Attributes:
        kind: "status" (an error answer), "hang" (no answer, ever), "reset" (the connection is cut)
            or "slow" (the answer comes late).
        status, retry_after, description: Of an error answer; not JSON but HTML if `html`.
        html: As a proxy in between would answer.
        seconds: Of "slow".
        carried_out: Whether the call has its effect all the same.
        method, chat: Only calls of this method, in this chat ("" and 0: any).
        skip: So many matching calls pass first.
        times: So many then fail; -1: all.
        hits: How many have failed so far.
    """

    kind: str
    status: int = 500
    retry_after: float = 0
    description: str = ""
    html: bool = False
    seconds: float = 0.0
    carried_out: bool = False
    method: str = ""
    chat: int = 0
    skip: int = 0
    times: int = 1
    hits: int = 0

    def end(self) -> None:
        """No further call fails by this."""
        self.times = 0

    def hit(self, method: str, params: Params) -> bool:
        """Whether it befalls this call; counts it then."""
        if self.times == 0:
            return False
        if self.method.lower() != method.lower() if self.method else method in _QUIET:
            return False
        if self.chat and str(params.get("chat_id", "")) != str(self.chat):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1 if self.times > 0 else 0
        self.hits += 1
        return True


DESCRIPTIONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden: bot was blocked by the user",
    404: "Not Found",
    429: "Too Many Requests: retry after {retry_after:g}",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
