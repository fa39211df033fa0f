"""One request of the services that speak JSON (DynamoDB, SQS): signed, sent, and its refusal read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from legato.abc.http import HttpClient, HttpRequest, HttpResponse
from legato.aws.signing import Credentials, Signer

PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
EXPIRED = "ExpiredTokenException"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Refused(Exception):
    """The service's answer is an error that trying again does not mend. Never leaves our adapters.

    Attributes:
        kind: "ValidationException" ...
        text: What it says.
        answer: The whole answer.
        unsure: Whether an earlier try of the same request may have been carried out.
    """

    def __init__(self, kind: str, text: str, answer: dict[str, Any]) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text
        self.answer = answer
        self.unsure = False


class Service:
    """One service in one region.

    Args:
        endpoint: "https://sqs.eu-central-1.amazonaws.com", without a slash at its end.
        region: "eu-central-1" ...
        name: "sqs" ...
        target: Of its actions, as in "AmazonSQS".
        http: Carries the requests.
        who: Gives the credentials; asked again by `renew`.
        timeout_s: How long one request may take.
    """

    __slots__ = (
        "_endpoint", "_host", "_http", "_name", "_region", "_signer", "_target", "_timeout_s", "_who",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: str,
        region: str,
        name: str,
        target: str,
        *,
        http: HttpClient,
        who: Callable[[], Credentials],
        timeout_s: float,
    ) -> None:
        self._endpoint = endpoint
        self._host = endpoint.partition("://")[2]
        self._region = region
        self._name = name
        self._target = target
        self._http = http
        self._who = who
        self._timeout_s = timeout_s
        self.renew()

    def renew(self) -> None:
        """Takes the credentials that there are now.

        Raises:
            ConfigError: There are none.
        """
        self._signer = Signer(self._who(), self._region, self._name)

    async def send(self, action: str, body: bytes) -> HttpResponse:
        """One request. Raises what HttpClient.send raises."""
        headers = {
            "host": self._host,
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"{self._target}.{action}",
        }
        request = HttpRequest(
            "POST",
            f"{self._endpoint}/",
            self._signer.signed(headers, body, time.time()),  # noqa: TID251 - no journal sees it
            body,
            timeout_s=self._timeout_s,
        )
        return await self._http.send(request)


def refusal(answer: HttpResponse) -> Refused | None:
    """What the service refused; None if it did what it was asked for."""
    if answer.status == 200:
        return None
    try:
        found = _decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        found = {}
    kind = str(found.get("__type", "")).rpartition("#")[2] or f"HTTP {answer.status}"
    text = str(found.get("message") or found.get("Message") or "")
    return Refused(kind, text, found)


def pause_s(number: int) -> float:
    """How long to wait after so many failures: longer each time, and not all callers alike."""
    longest: float = min(LONGEST_PAUSE_S, PAUSE_S * 2**number)
    return longest * (64 + os.urandom(1)[0] % 192) / 256  # importing random costs a cold start


__all__ = ["EXPIRED", "Refused", "Service", "pause_s", "refusal"]
