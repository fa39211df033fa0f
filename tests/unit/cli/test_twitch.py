"""`legato twitch`: an account is logged in by a browser, looked at, and logged out."""

import argparse
import asyncio
import json
import re
import socket
import threading
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from legato.cli.main import main
from legato.cli.twitch import Desk as Place
from legato.cli.twitch import Login
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.fake_twitch import FakeTwitch
from tests.unit.platforms.twitch_login import REDIRECT, Desk, LoginService

KEY = "canary0canary0canary0canary0canary0canary0c"
LOGIN = ("twitch", "login", "--redirect", "http://localhost:0")


@pytest.fixture
def twitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTwitch]:
    monkeypatch.chdir(tmp_path)
    for name in ("LEGATO_STORE", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEGATO_KEY", KEY)
    monkeypatch.setenv("BROWSER", "the one of the test")
    with FakeTwitch().threaded() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server
        assert server.violations == []


class Browser:
    """Where the command sends it, it goes; `pages` are what it is shown."""

    def __init__(self) -> None:
        self.pages: list[tuple[int, str]] = []
        self.before = ""
        """A query that somebody else brings to the local page first."""
        self.thread: threading.Thread | None = None

    def open(self, url: str) -> bool:
        self.thread = threading.current_thread()
        home = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        if self.before:
            self.visit(f"{home}/?{self.before}")
        self.visit(url)
        return True

    def visit(self, url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                self.pages.append((response.status, response.read().decode()))
        except urllib.error.HTTPError as error:
            with error:
                self.pages.append((error.code, error.read().decode()))

    def rest(self) -> None:
        """Returns once it has seen its pages."""
        if self.thread is not None:
            self.thread.join(10)

    @property
    def shown(self) -> list[tuple[int, str]]:
        """Status and text of each page."""
        self.rest()
        return [(status, re.sub("<.*?>", "", page)) for status, page in self.pages]


@pytest.fixture
def browser(twitch: FakeTwitch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    del twitch  # which must live for longer
    made = Browser()
    monkeypatch.setattr(webbrowser, "open", made.open)
    yield made
    made.rest()


class Cli:
    """Runs commands; no secret of the test may ever be written."""

    def __init__(self, capsys: pytest.CaptureFixture[str], twitch: FakeTwitch) -> None:
        self._capsys = capsys
        self._twitch = twitch
        self.err = ""

    def __call__(self, *argv: str, code: int = 0) -> str:
        found = main(argv)
        out, self.err = self._capsys.readouterr()
        assert found == code, out + self.err
        auth = self._twitch.auth
        refresh = {token.refresh for token in auth.tokens.values()}
        for secret in {KEY, auth.client_secret, *auth.tokens, *refresh} - {""}:
            assert secret not in out + self.err
        return out

    def json(self, *argv: str, code: int = 0) -> dict[str, object]:
        return dict(json.loads(self(*argv, "--json", code=code)))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], twitch: FakeTwitch) -> Cli:
    return Cli(capsys, twitch)


def test_a_bot_is_logged_in_looked_at_and_logged_out(
    cli: Cli, twitch: FakeTwitch, browser: Browser, tmp_path: Path
) -> None:
    login = twitch.bot.login
    assert f"logged in as {login} (user id {twitch.bot.id})" in cli(*LOGIN)
    assert browser.shown == [
        (200, f"LegatoThe bot is logged in as {login}. You can close this page.")
    ]
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"twitch-token" in kept
    assert not any(token.encode() in kept for token in twitch.auth.tokens)

    status = cli("twitch", "status")
    assert status.startswith(f"{login} (user id {twitch.bot.id})\n")
    assert "may: chat:edit chat:read user:bot user:read:chat user:write:chat\n" in status
    assert "accepts the token, for 3 h 59 min" in status

    assert f"{login} is logged out, and its token ended" in cli("twitch", "logout")
    assert "nobody is logged in: `legato twitch login`" in cli("twitch", "status", code=1)
    assert "nobody is logged in" in cli("twitch", "logout")


def test_what_is_asked_for_is_state_challenge_and_scopes_each_time_new(
    cli: Cli, twitch: FakeTwitch, browser: Browser
) -> None:
    del browser
    cli(*LOGIN, "--scope", "moderator:manage:chat_messages")
    cli(*LOGIN)

    first, second = (call.query for call in twitch.called("/oauth2/authorize"))
    assert "moderator:manage:chat_messages" in first["scope"][0].split()
    assert "moderator:manage:chat_messages" not in second["scope"][0]
    assert first["force_verify"] == ["true"]
    for name in ("state", "code_challenge"):
        assert len(first[name][0]) == 43  # 256 bits
        assert first[name] != second[name]


def test_a_program_reads_json_and_the_address_stands_beside_it(
    cli: Cli, twitch: FakeTwitch, browser: Browser
) -> None:
    del browser
    assert cli.json(*LOGIN) == {
        "login": twitch.bot.login,
        "user_id": twitch.bot.id,
        "scopes": ["chat:edit", "chat:read", "user:bot", "user:read:chat", "user:write:chat"],
        "missing": [],
    }
    assert "/oauth2/authorize?" in cli.err
    status = cli.json("twitch", "status")
    assert (status["error"], status["login"]) == (None, twitch.bot.login)
    assert cli.json("twitch", "logout") == {"login": twitch.bot.login, "revoked": True}
    assert cli.json("twitch", "status", code=1) == {"login": None, "error": "not logged in"}


def test_a_visit_with_another_state_changes_nothing(cli: Cli, browser: Browser) -> None:
    browser.before = urlencode({"code": "of-somebody-else", "state": "guessed"})

    assert "logged in as" in cli(*LOGIN)

    assert browser.shown[0] == (400, "LegatoThis is not the login that was begun here.")
    assert browser.shown[1][0] == 200


async def test_a_second_visit_is_harmless() -> None:
    bot = Desk(LoginService(), MemoryStore(), FakeClock())
    login = Login(Place(argparse.Namespace(scope=[]), bot.tokens, bot.http, bot.store))
    answer = bot.service.agree(login.url(REDIRECT))

    pages = await asyncio.gather(login.visit(answer), login.visit(answer))

    assert [page.status for page in pages] == [200, 200]
    assert pages[1].text == "This login is done. See the terminal."
    assert bot.service.count("authorization_code") == 1
    assert (await login.done).login == "legatobot"


def test_a_person_who_refuses_ends_it_and_nothing_is_kept(
    cli: Cli, twitch: FakeTwitch, browser: Browser
) -> None:
    twitch.auth.denies = True

    cli(*LOGIN, code=2)

    assert "Twitch did not allow it (The user denied you access): nothing has changed" in cli.err
    assert browser.shown == [(400, "LegatoThat did not work. See the terminal.")]
    assert "nobody is logged in" in cli("twitch", "status", code=1)


def test_an_application_that_twitch_does_not_know_is_named(
    cli: Cli, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    del browser
    monkeypatch.setenv("TWITCH_CLIENT_SECRET", "canary-wrong")

    cli(*LOGIN, code=2)

    assert "check TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET" in cli.err
    assert "canary" not in cli.err


def test_a_login_that_twitch_cannot_finish_says_so(
    cli: Cli, twitch: FakeTwitch, browser: Browser
) -> None:
    del browser
    twitch.fails(503, "/oauth2/token")

    cli(*LOGIN, code=2)

    assert "answered HTTP 503: start `legato twitch login` again" in cli.err


def test_nobody_is_waited_for_forever(cli: Cli) -> None:
    cli(*LOGIN, "--no-browser", "--timeout", "0.01", code=2)

    assert "nobody logged in within 0.01 s" in cli.err


def test_a_lost_account_and_an_expired_token_are_told_apart(
    cli: Cli, twitch: FakeTwitch, browser: Browser
) -> None:
    del browser
    cli(*LOGIN)
    twitch.auth.expire()
    assert "accepts the token" in cli("twitch", "status")  # it was renewed
    twitch.fails(503, "/oauth2/validate")
    assert "answered HTTP 503" in cli("twitch", "status", code=1)

    twitch.auth.forget(twitch.bot)

    assert "log in again with `legato twitch login`" in cli("twitch", "status", code=1)
    assert "legato twitch login" in str(cli.json("twitch", "status", code=1)["error"])


def test_scopes_that_were_not_allowed_are_told(
    cli: Cli, twitch: FakeTwitch, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = browser.open
    monkeypatch.setattr(
        webbrowser, "open", lambda url: real(url.replace("user%3Abot", "user%3Aread%3Aemail"))
    )

    assert "Not allowed were: user:bot" in cli(*LOGIN)

    assert "may not: user:bot (log in again to allow it)" in cli("twitch", "status")
    assert twitch.called("/oauth2/validate")


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("LEGATO_KEY", "", "openssl rand -base64 32"),
        ("LEGATO_KEY", "tiny", "too short"),
        ("TWITCH_CLIENT_ID", "", "http://localhost:3000"),
        ("TWITCH_CLIENT_SECRET", "", "dev.twitch.tv/console"),
        ("LEGATO_STORE", "memory://", "set LEGATO_STORE"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, cure: str
) -> None:
    monkeypatch.setenv(name, value)

    cli("twitch", "login", code=2)

    assert cure in cli.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "https://localhost:3000",
        "http://bot.example.org",
        "http://localhost:99999",
        "localhost:3000",
        "http://localhost:3000/?a=b",
        "",
    ],
)
def test_only_this_machine_can_be_come_back_to(cli: Cli, address: str) -> None:
    cli("twitch", "login", f"--redirect={address}", code=2)

    assert "the browser must come back to this machine" in cli.err


def test_a_port_that_is_taken_is_told(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        cli("twitch", "login", "--redirect", f"http://localhost:{port}", code=2)

    assert f"port {port} cannot be used" in cli.err
    assert "--redirect" in cli.err


def test_status_and_logout_make_no_store(cli: Cli, tmp_path: Path) -> None:
    for action in ("status", "logout"):
        cli("twitch", action, code=2)
        assert "there is no store" in cli.err
    assert list(tmp_path.iterdir()) == []


def test_another_key_is_told_and_the_account_can_be_forgotten_all_the_same(
    cli: Cli, twitch: FakeTwitch, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    del browser
    cli(*LOGIN)
    monkeypatch.setenv("LEGATO_KEY", "some-other-passphrase")
    cli("twitch", "status", code=2)
    assert "another LEGATO_KEY" in cli.err

    told = cli("twitch", "logout")

    assert f"{twitch.bot.id} is logged out here, but Twitch could not be told" in told
    assert "nobody is logged in" in cli("twitch", "status", code=1)
