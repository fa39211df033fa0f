"""Several processes use one Twitch account by one SQLite file: each dead token is renewed once."""

import asyncio
import json
import sys
from pathlib import Path

from legato.abc import HttpRequest
from legato.stores.sqlite import SQLiteStore
from legato.testing._http import Request, Response, Server
from legato.testing.clock import FakeClock
from tests.unit.platforms.twitch_login import Desk, LoginService

PROCESSES = 3
CALLS = 80
LIVES = 12
"""Calls for which a token is good."""


class Service:
    """The login service and an API behind it, which ends each token after some calls."""

    def __init__(self, login: LoginService) -> None:
        self.login = login
        self.expired = 0
        self.answered = 0
        self.server = Server(self.answer)

    def answer(self, request: Request) -> Response:
        if request.target.startswith("/oauth2/"):
            known = HttpRequest(request.method, request.target, request.headers, request.body)
            given = self.login.answer(known)
            return Response(given.status, given.body)
        if request.headers["authorization"].removeprefix("Bearer ") not in self.login.alive:
            return Response(401)
        self.answered += 1
        if self.answered % LIVES == 0:
            self.login.expire()
            self.expired += 1
        return Response(200)


async def test_processes_on_one_file_renew_each_dead_token_once(tmp_path: Path) -> None:
    path = str(tmp_path / "bot.db")
    service = Service(LoginService())
    await logged_in(service.login, path)
    port = await service.server.open()
    try:
        told = await asyncio.gather(
            *(renewer(path, f"http://127.0.0.1:{port}") for _ in range(PROCESSES))
        )
    finally:
        await service.server.close()

    login = service.login
    assert [one["answered"] for one in told] == [CALLS] * PROCESSES
    assert all(one["refused"] for one in told)  # each of them met dead tokens
    # The last token may have ended with the last call, when nobody needed another one.
    assert service.expired - 1 <= login.count("refresh_token") <= service.expired
    # Each refresh token was good when it was used: the service has refused none.
    assert len(login.refreshing) == 1
    assert b"twitch-token" in content(tmp_path)
    assert b"canary" not in content(tmp_path)


def content(folder: Path) -> bytes:
    """All that stands in a folder's files: the database's, and those beside it."""
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def logged_in(login: LoginService, path: str) -> None:
    store = SQLiteStore(path)
    await store.open()
    await Desk(login, store, FakeClock()).log_in()
    await store.close()


async def renewer(path: str, base: str) -> dict[str, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.twitch_renewer",
        path,
        base,
        str(CALLS),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"canary" not in err
    return dict(json.loads(out))
