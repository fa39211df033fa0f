"""The management API of an API Gateway WebSocket API: how a function writes to connections.

    POST https://{api}.execute-api.{region}.amazonaws.com/{stage}/@connections/{connection}

200: it is on its way to the page. 410: there is no such connection any more. 429, 5xx: later. 403: the
function has no right to. At most 128 KB at once.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
(read 2026-11-29)
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from legato.abc import HttpClient, HttpRequest, Verdict
from legato.abc.http import MaybeSent, NotSent
from legato.aws.address import domain, region_of, who_asks
from legato.aws.signing import Signer
from legato.errors import ConfigError

PIECE = 30_000
"""Characters in one frame to a page: each has at most 4 bytes."""
PUSH_S = 5.0

log: logging.Logger = logging.getLogger("legato.web")

_encode = msgspec.json.Encoder().encode


def api_of(about: dict[str, Any]) -> str:
    """Where one posts to the connections of an event's API: it has a name of its own below amazonaws.com, also
    where pages use another one. An address that is given instead may hold its "{id}".
    """
    stage = quote(str(about.get("stage", "")), safe="")
    given = os.environ.get("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", "").removesuffix("/")
    if given:
        return f"{given.replace('{id}', str(about.get('apiId', '')))}/{stage}"
    host = str(about.get("domainName", ""))
    if not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        region = region_of({})
        host = f"{about.get('apiId', '')}.execute-api.{region}.{domain(region)}"
    return f"https://{host}/{stage}"


async def post(http: HttpClient, api: str, connection: str, news: object) -> Verdict:
    """Sends one thing to a page, in pieces if it is long: "sent", "gone", "retry" or "refused"."""
    text = _encode(news).decode()
    if len(text) <= PIECE:
        return await _posted(http, api, connection, text.encode())
    name, verdict = os.urandom(6).hex(), Verdict("sent")
    for start in range(0, len(text), PIECE):
        part, more = text[start : start + PIECE], start + PIECE < len(text)
        piece = _encode({"of": name, "part": part, "more": more})
        verdict = await _posted(http, api, connection, piece)
        if verdict.outcome != "sent":
            break
    return verdict


async def _posted(http: HttpClient, api: str, connection: str, body: bytes) -> Verdict:
    where = urlsplit(f"{api}/%40connections/{quote(connection, safe='')}")
    try:
        signer = Signer(who_asks(), region_of({}), "execute-api")
    except ConfigError as error:
        log.warning("a page cannot be written to: %s", error)
        return Verdict("refused", error=str(error))
    headers = {"host": where.netloc, "content-type": "application/json"}
    headers = signer.signed(headers, body, time.time(), where.path)
    try:
        answer = await http.send(
            HttpRequest("POST", where.geturl(), headers, body, timeout_s=PUSH_S)
        )
    except (NotSent, MaybeSent) as error:
        return Verdict("retry", error=f"the page was not reached: {error}")
    if answer.status == 200:
        return Verdict("sent")
    if answer.status == 410:
        return Verdict("gone", error="the page is gone")
    why = f"HTTP {answer.status} {answer.body[:200].decode('utf-8', 'replace')}"
    if answer.status == 429 or answer.status >= 500:
        return Verdict("retry", error=why)
    log.error(
        "a page cannot be written to: %s. The function needs the right execute-api:ManageConnections",
        why,
    )
    return Verdict("refused", error=why)


__all__ = ["api_of", "post"]
