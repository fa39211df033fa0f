"""Which answers there are, without a process."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from legato.cli.main import main
from legato.errors import ConfigError
from legato.functions.config import Function
from legato.functions.host import Host, Options
from legato.functions.limits import Limits
from legato.functions.meter import PRICES
from legato.functions.outcome import Outcome
from legato.functions.pool import Busy
from legato.functions.server import Front
from tests.unit.deploy.asgi_kit import request

INVOKE = "/2015-03-31/functions/bot/invocations"


class Scripted(Host):
    """Its functions end as they are told."""

    def __init__(self, ends: object) -> None:
        bot = Function(name="bot", folder=Path(), handler="bot.handler")
        super().__init__({"bot": bot}, Options(limits=Limits()))
        self.ends = ends
        self.events: list[Any] = []
        self.contexts: list[str] = []

    async def invoke(self, name: str, event: bytes, client_context: str = "") -> Outcome:
        self.events.append(json.loads(event))
        self.contexts.append(client_context)
        if isinstance(self.ends, Exception):
            raise self.ends
        assert isinstance(self.ends, Outcome)
        return self.ends


async def asked(
    ends: object, method: str, path: str, *body: bytes, client: str = "127.0.0.1"
) -> Any:
    front = Front(Scripted(ends), PRICES["own"])

    async def local(scope: Any, receive: Any, send: Any) -> None:
        await front(scope | {"client": (client, 1)}, receive, send)

    return await request(local, method, path, *body)


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (Outcome("ok", b'{"statusCode": 204}'), 204),
        (Outcome("ok", b'{"statusCode": 9}'), 502),
        (Outcome("ok", b'{"statusCode": 200, "headers": []}'), 200),
        (Outcome("ok", b'{"statusCode": 200, "headers": [1]}'), 502),
        (Outcome("error", b'{"errorMessage": "inside"}'), 502),
        (Outcome("timeout", b"{}"), 504),
        (Busy("bot"), 429),
        (ConfigError("no node"), 502),
    ],
)
async def test_a_url_tells_how_it_ended_and_nothing_of_why(ends: object, status: int) -> None:
    answer = await asked(ends, "GET", "/bot/x")

    assert answer.status == status
    assert b"inside" not in answer.body


@pytest.mark.parametrize(
    ("ends", "status", "error"),
    [
        (Outcome("ok", b"1"), 200, None),
        (Outcome("crash", b"{}"), 200, None),
        (Busy("bot"), 429, "TooManyRequestsException"),
        (ConfigError("no node"), 502, "InvalidRuntimeException"),
    ],
)
async def test_invoke_tells_how_it_ended(ends: object, status: int, error: str | None) -> None:
    answer = await asked(ends, "POST", INVOKE, b"{}")

    assert (answer.status, answer.headers.get("x-amzn-errortype")) == (status, error)
    failed = isinstance(ends, Outcome) and ends.kind != "ok"
    assert ("x-amz-function-error" in answer.headers) == failed


async def test_invoke_refuses_what_is_no_json_and_functions_that_are_not_there() -> None:
    ok = Outcome("ok", b"1")

    assert (await asked(ok, "POST", INVOKE, b"{")).status == 400
    assert (await asked(ok, "POST", INVOKE.replace("bot", "no"), b"{}")).status == 404
    assert (await asked(ok, "POST", f"{INVOKE}/more", b"{}")).status == 404
    assert (await asked(ok, "POST", "/", b"{}")).status == 405
    assert (await asked(ok, "GET", "/nothing")).status == 404


@pytest.mark.parametrize(
    "name",
    [
        "bot:live",
        "bot:$LATEST",
        "000000000000:function:bot",
        "arn:aws:lambda:local:000000000000:function:bot",
        "arn:aws:lambda:local:000000000000:function:bot:live",
    ],
)
async def test_invoke_knows_a_function_by_all_its_names(name: str) -> None:
    path = INVOKE.replace("bot", quote(name, safe=""))

    assert (await asked(Outcome("ok", b"1"), "POST", path, b"{}")).body == b"1"


async def test_invoke_hands_on_what_a_client_says_of_itself() -> None:
    host = Scripted(Outcome("ok", b"\xff", "image/x"))

    async def local(scope: Any, receive: Any, send: Any) -> None:
        await Front(host, PRICES["own"])(scope | {"client": ("127.0.0.1", 1)}, receive, send)

    about = base64.b64encode(b'{"custom":\n {"a": 1}}').decode()
    answer = await request(local, "POST", INVOKE, b"{}", headers={"x-amz-client-context": about})
    assert (answer.body, answer.headers["content-type"]) == (b"\xff", "image/x")
    assert host.contexts == ['{"custom": {"a": 1}}']
    for wrong in ("!", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode()):
        answer = await request(
            local, "POST", INVOKE, b"{}", headers={"x-amz-client-context": wrong}
        )
        assert answer.status == 400


async def test_a_body_of_more_than_6_mb_is_refused() -> None:
    answer = await asked(Outcome("ok", b"1"), "POST", "/bot", *[b"x" * 2_000_000] * 4)

    assert answer.status == 413


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db8::1", "somebody"])
async def test_from_elsewhere_there_are_urls_only(client: str) -> None:
    ok = Outcome("ok", b"1")

    for path in ("/", "/-/meter", "/-/status", "/-/logs/bot"):
        assert (await asked(ok, "GET", path, client="127.0.0.1")).status == 200
        assert (await asked(ok, "GET", path, client=client)).status == 404
    assert (await asked(ok, "POST", INVOKE, b"{}", client=client)).status == 404
    assert (await asked(ok, "GET", "/healthz", client=client)).status == 200
    assert (await asked(ok, "GET", "/bot", client=client)).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:9000", 200), ("localhost:9000", 200), ("[::1]:9000", 200), ("evil.example", 404)],
)
async def test_a_name_that_points_here_does_not_open_the_logs(host: str, status: int) -> None:
    front = Front(Scripted(Outcome("ok", b"1")), PRICES["own"])

    async def local(scope: Any, receive: Any, send: Any) -> None:
        await front(scope | {"client": ("127.0.0.1", 1)}, receive, send)

    headers = {"host": host}
    assert (await request(local, "GET", "/-/logs/bot", headers=headers)).status == status
    assert (await request(local, "GET", "/bot", headers=headers)).status == 200


@pytest.mark.parametrize("sign", [{"http_version": "1.0"}, {"headers": [(b"via", b"1.1 proxy")]}])
async def test_a_proxy_is_known_by_its_manners(sign: dict[str, Any]) -> None:
    front = Front(Scripted(Outcome("ok", b"1")), PRICES["own"])

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        await front(scope | {"client": ("127.0.0.1", 1)} | sign, receive, send)

    assert (await request(proxied, "GET", "/-/status")).status == 404
    assert (await request(proxied, "GET", "/bot")).status == 200


async def test_who_takes_longer_than_the_end_may_is_told() -> None:
    class Slow(Scripted):
        async def invoke(self, name: str, event: bytes, client_context: str = "") -> Outcome:
            began.set()
            await asyncio.Event().wait()
            raise AssertionError

    began = asyncio.Event()
    front = Front(Slow(None), PRICES["own"])

    async def local(scope: Any, receive: Any, send: Any) -> None:
        await front(scope | {"client": ("127.0.0.1", 1)}, receive, send)

    for draining in (False, True):
        front.draining = draining
        began.clear()
        asked = asyncio.create_task(request(local, "POST", INVOKE, b"{}"))
        await began.wait()
        asked.cancel()
        if draining:
            assert (await asked).status == 503
        else:
            with pytest.raises(asyncio.CancelledError):
                await asked


def test_the_command_says_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        ([str(tmp_path)], "has no function"),
        ([str(tmp_path / "no")], "there is no folder"),
        ([str(tmp_path), "--price", "free"], "there are aws-arm, aws-x86, own"),
        ([str(tmp_path), "--port", "1", "--meter"], "nothing answers"),
    ):
        assert main(["functions", *arguments]) == 2
        assert says in capsys.readouterr().err
