"""A function's secrets: one signed request before the bot's code is imported."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from legato.deploy.function.parameters import load
from legato.errors import ConfigError, StoreUnavailable
from legato.testing._http import Request, Response, Server

ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIATEST",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "LEGATO_PARAMETERS": "/legato/adder/",
    "LEGATO_SECRETS": "TELEGRAM_TOKEN:3,TELEGRAM_SECRET:1",
}
STORED = {"/legato/adder/TELEGRAM_TOKEN:3": "1:a", "/legato/adder/TELEGRAM_SECRET:1": "s"}


class Ssm:
    """Parameter Store. It answers from `answers` first."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Response] = []
        self.stored = dict(STORED)

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        if self.answers:
            return self.answers.pop(0)
        names = json.loads(request.body)["Names"]
        assert len(names) <= 10
        found = [
            {"Name": name.partition(":")[0], "Value": self.stored[name]}
            for name in names
            if name in self.stored
        ]
        return Response(200, json.dumps({"Parameters": found}).encode())


@contextmanager
def served() -> Iterator[tuple[Ssm, dict[str, str]]]:
    """It, in a thread of its own, and an environment that names it."""
    import threading

    ssm, loop, ready = Ssm(), asyncio.new_event_loop(), threading.Event()
    server, ports = Server(ssm), list[int]()

    async def opened() -> None:
        ports.append(await server.open())
        ready.set()

    def run() -> None:
        loop.run_until_complete(opened())
        loop.run_forever()
        loop.run_until_complete(server.close())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    try:
        yield ssm, ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports[0]}"}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


def test_secrets_come_by_one_signed_request() -> None:
    with served() as (ssm, environment):
        load(environment)

        (request,) = ssm.requests
        assert environment["TELEGRAM_TOKEN"] == "1:a"
        assert environment["TELEGRAM_SECRET"] == "s"
        assert json.loads(request.body) == {"Names": list(STORED), "WithDecryption": True}
        assert request.headers["x-amz-target"] == "AmazonSSM.GetParameters"
        assert "/eu-central-1/ssm/aws4_request" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "token"
        load(environment)  # it has them
        assert len(ssm.requests) == 1


def test_many_come_ten_at_a_time() -> None:
    with served() as (ssm, environment):
        names = [f"NAME_{number}" for number in range(23)]
        ssm.stored = {f"/legato/adder/{name}": name.lower() for name in names}
        environment["LEGATO_SECRETS"] = ",".join(names)

        load(environment)

        assert len(ssm.requests) == 3
        assert [environment[name] for name in names] == [name.lower() for name in names]


def test_what_stands_in_the_environment_is_not_asked_for() -> None:
    environment = dict(ENVIRONMENT) | {"TELEGRAM_TOKEN": "2:b", "TELEGRAM_SECRET": "t"}
    load(environment)
    bare = {"PATH": "/bin"}
    load(bare)

    assert environment["TELEGRAM_TOKEN"] == "2:b"
    assert bare == {"PATH": "/bin"}


def test_a_function_reads_the_versions_that_it_was_deployed_with() -> None:
    with served() as (ssm, environment):
        ssm.stored |= {
            "/legato/adder/TELEGRAM_TOKEN:4": "2:b",  # of a deployment that came later, or failed
            "/legato/adder/API_KEY": "newest",
        }
        environment["LEGATO_SECRETS"] += ",API_KEY"

        load(environment)

        found = [environment[name] for name in ("TELEGRAM_TOKEN", "TELEGRAM_SECRET", "API_KEY")]
        assert found == ["1:a", "s", "newest"]


@pytest.mark.parametrize("there", ["", "/legato/adder/TELEGRAM_SECRET:2"])
def test_a_secret_that_is_not_there_is_named(there: str) -> None:
    with served() as (ssm, environment):
        ssm.stored[there] = ssm.stored.pop("/legato/adder/TELEGRAM_SECRET:1")

        with pytest.raises(ConfigError, match="no /legato/adder/TELEGRAM_SECRET:1: run"):
            load(environment)


def test_a_refusal_is_told_and_a_busy_service_is_asked_again() -> None:
    with served() as (ssm, environment):
        ssm.answers = [Response(400, b'{"__type":"AccessDeniedException"}')]
        with pytest.raises(ConfigError, match="AccessDenied") as raised:
            load(environment)
        assert len(traceback.extract_tb(raised.tb)) == 2, "what the function's log would show"
        ssm.answers = [Response(400, b'{"__type":"ThrottlingException"}'), Response(500, b"")]
        load(environment)
        assert environment["TELEGRAM_TOKEN"] == "1:a"
        environment.pop("TELEGRAM_TOKEN")
        ssm.answers = [Response(500, b"busy")] * 3
        with pytest.raises(StoreUnavailable, match="busy"):
            load(environment)


def test_without_credentials_or_a_region_it_says_so() -> None:
    for missing in ("AWS_REGION", "AWS_ACCESS_KEY_ID"):
        environment = {name: value for name, value in ENVIRONMENT.items() if name != missing}
        with pytest.raises(ConfigError, match=missing):
            load(environment)
