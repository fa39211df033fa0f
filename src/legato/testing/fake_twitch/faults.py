"""What may go wrong between a client and Twitch's HTTP services, on demand."""

from __future__ import annotations

from msgspec import Struct


class Fault(Struct, eq=False):
    """One thing that goes wrong with requests.

    Attributes:
        kind: "status" (an error answer), "hang" (no answer, ever), "reset" (the connection is cut)
            or "slow" (the answer comes late).
        status, message: Of an error answer; not JSON but HTML if `html`.
        reset_s: With 429: in so many seconds there are points again.
        seconds: Of "slow".
        carried_out: Whether the request has its effect all the same.
        method, path: Only requests of this HTTP method, and whose path begins so ("" any).
        skip: So many matching requests pass first.
        times: So many then fail; -1: all.
        hits: How many have failed so far.
    """

    kind: str
    status: int = 500
    message: str = ""
    html: bool = False
    reset_s: float = 0.0
    seconds: float = 0.0
    carried_out: bool = False
    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1
    hits: int = 0

    def end(self) -> None:
        """No further request fails by this."""
        self.times = 0

    def hit(self, method: str, path: str) -> bool:
        """Whether it befalls this request; counts it then."""
        if self.times == 0 or not path.startswith(self.path):
            return False
        if self.method and self.method != method:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1 if self.times > 0 else 0
        self.hits += 1
        return True


ERRORS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
