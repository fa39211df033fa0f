"""API Gateway's part of a WebSocket API: connections, their events, and the management API that writes to them."""

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import pytest

from legato import App
from legato.abc import Clock
from legato.aws.signing import Credentials, Signer
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.function.invocation import Invocation
from legato.model.records import UNKNOWN
from legato.stores.sqlite import SQLiteStore
from tests.unit.deploy.function_kit import Context

ANN, BOB = "secret-of-anns-session", "secret-of-bobs-session"
LINK = "L0SM9cOFvHcCIhw="
KEY, SECRET = "AKIATEST", "canary-of-the-aws-secret"
SOCKET = "wss://abc123.execute-api.eu-central-1.amazonaws.com/prod"


class Gateway:
    """The management API, as a server of this machine.

    Attributes:
        frames: What was posted to each connection.
        open: Connections that there are; others are gone.
        failures: Statuses of the next answers.
    """

    def __init__(self) -> None:
        self.frames: dict[str, list[Any]] = defaultdict(list)
        self.open: set[str] = set()
        self.failures: list[int] = []
        self.largest = 0
        self.forged: list[str] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(gateway._posted(self.path, dict(self.headers), body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """It says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _posted(self, path: str, headers: dict[str, str], body: bytes) -> int:
        given = {name.lower(): value for name, value in headers.items()}
        if not _signed(path, given, body):
            self.forged.append(path)
            return 403
        if self.failures:
            return self.failures.pop(0)
        stage, marker, connection = (unquote(part) for part in path[1:].split("/"))
        assert (stage, marker) == ("prod", "@connections")
        if connection not in self.open:
            return 410
        self.largest = max(self.largest, len(body))
        self.frames[connection].append(json.loads(body))
        return 200


def _signed(path: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether the request carries the signature of KEY for execute-api."""
    from calendar import timegm
    from time import strptime

    names = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    stamp = timegm(strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
    kept = {n: headers[n] for n in names if n not in ("x-amz-date", "x-amz-security-token")}
    signer = Signer(Credentials(KEY, SECRET), "eu-central-1", "execute-api")
    return signer.signed(kept, body, stamp, path)["authorization"] == headers["authorization"]


class Site:
    """A bot behind the gateway; its processes share a store."""

    def __init__(self, app: App, gateway: Gateway, clock: Clock | None = None) -> None:
        self.app = app
        self.gateway = gateway
        self.clock = clock
        self.process = self.cold()

    def cold(self) -> Function:
        process = Function(self.app, {"web_socket": SOCKET})
        if self.clock is not None:
            process.clock = self.clock
            process.invocation = Invocation(self.clock)
        return process

    def restart(self) -> None:
        self.process.close()
        self.process = self.cold()

    def invoke(self, event: object) -> dict[str, Any]:
        return Lambda(self.process)(event, Context())


class Page:
    """A browser's page: what socket.js does."""

    def __init__(self, site: Site, session: str, connection: str) -> None:
        self.site = site
        self.session = session
        self.connection = connection
        self.ids = 0

    def opens(self) -> Self:
        self.site.gateway.open.add(self.connection)
        assert self.site.invoke(event(self.connection, "CONNECT"))["statusCode"] == 200
        self.sends()
        return self

    def closes(self) -> None:
        self.site.gateway.open.discard(self.connection)
        assert self.site.invoke(event(self.connection, "DISCONNECT"))["statusCode"] == 200

    def sends(self, seq: int = -1, **more: object) -> int:
        frame = json.dumps({"session": self.session, "seq": seq, **more})
        status: int = self.site.invoke(event(self.connection, "MESSAGE", frame))["statusCode"]
        return status

    def says(self, text: str) -> int:
        self.ids += 1
        return self.sends(id=f"{self.connection.rstrip('=')}-{self.ids}", text=text)

    @property
    def news(self) -> list[Any]:
        """What came, put together."""
        found, pieces = [], ""
        for frame in self.site.gateway.frames[self.connection]:
            if "of" in frame:
                pieces += frame["part"]
                if not frame["more"]:
                    found.append(json.loads(pieces))
                    pieces = ""
            else:
                found.append(frame)
        return found

    @property
    def seq(self) -> int:
        """Number of the last change that it has seen."""
        return max([news["seq"] for news in self.news if "seq" in news], default=-1)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What it shows."""
        shown: dict[str, dict[str, Any]] = {}
        for news in self.news:
            for name, data in news.get("changes", []):
                if name == "history":
                    shown = {entry["id"]: entry for entry in data}
                elif name == "show":
                    shown[data["id"]] = data
                elif name == "delete":
                    shown.pop(data, None)
        return list(shown.values())

    @property
    def shows(self) -> list[str]:
        return ["".join(run[0] for run in entry.get("runs", [])) for entry in self.entries]


def event(connection: str, kind: str, body: str = "") -> dict[str, Any]:
    """An event of the gateway."""
    about: dict[str, Any] = {
        "routeKey": {"CONNECT": "$connect", "DISCONNECT": "$disconnect"}.get(kind, "$default"),
        "eventType": kind,
        "extendedRequestId": "DdFlzFX3FiAFTWw=",
        "requestTime": "29/Nov/2026:10:00:00 +0000",
        "messageDirection": "IN",
        "stage": "prod",
        "connectedAt": 1795946400000,
        "requestTimeEpoch": 1795946400001,
        "identity": {"sourceIp": "192.0.2.7", "userAgent": "Mozilla/5.0"},
        "requestId": "DdFlzFX3FiAFTWw=",
        "domainName": "abc123.execute-api.eu-central-1.amazonaws.com",
        "connectionId": connection,
        "apiId": "abc123",
    }
    if kind == "MESSAGE":
        about["messageId"] = "DdFl0cCLliACGZw="
        return {"requestContext": about, "body": body, "isBase64Encoded": False}
    if kind == "DISCONNECT":
        about |= {"disconnectStatusCode": 1001, "disconnectReason": "Going away"}
    host = {"Host": about["domainName"]}
    return {
        "headers": host,
        "multiValueHeaders": {name: [value] for name, value in host.items()},
        "requestContext": about,
        "isBase64Encoded": False,
    }


@contextmanager
def a_site(app: App, folder: Path, clock: Clock | None = None) -> Iterator[Site]:
    """A bot whose store is in a folder, which becomes the working directory."""
    with Gateway() as gateway, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "eu-central-1")
        patch.setenv("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", gateway.address)
        for name in ("AWS_SESSION_TOKEN", "TELEGRAM_TOKEN", "LEGATO_STORE"):
            patch.delenv(name, raising=False)
        site = Site(app, gateway, clock)
        try:
            yield site
        finally:
            site.process.close()
        assert gateway.forged == []


def stored() -> list[Any]:
    """What is not delivered, in the store of this folder."""

    async def read() -> list[Any]:
        store = SQLiteStore("legato.db", shared=True)
        await store.open()
        try:
            return list(await store.outbox(states=("queued", "sending", "dead", UNKNOWN)))
        finally:
            await store.close()

    return asyncio.run(read())
