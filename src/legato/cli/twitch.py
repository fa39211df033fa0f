"""`legato twitch`: logs the bot in to its Twitch account, tells how that stands, logs it out."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sys
import threading
import webbrowser
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from legato.abc import HttpClient, Store
from legato.app.settings import Settings
from legato.cli.common import opened, printed, settings_of
from legato.cli.landing import Landing, Page
from legato.deploy.clock import SystemClock
from legato.deploy.transport import Transport
from legato.errors import BadToken, ConfigError, Unavailable
from legato.platforms._signing import same
from legato.platforms.twitch.auth import AUTH
from legato.platforms.twitch.oauth import SCOPES, Account, Tokens

REDIRECT = "http://localhost:3000"


def twitch(options: argparse.Namespace) -> int:
    """Carries out one action; returns 0, or 1 if the account is not (or not any more) of use.

    Raises:
        ConfigError, StoreError: It cannot be done like this.
    """
    actions: dict[str, Callable[[Desk], Awaitable[int]]] = {
        "login": _login,
        "status": _status,
        "logout": _logout,
    }
    settings = settings_of(options, options.bot or "")
    if not settings.twitch_client_id or not settings.twitch_client_secret:
        raise ConfigError(
            "set TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET first: register an application at "
            "https://dev.twitch.tv/console/apps, with the OAuth redirect URL "
            f"{getattr(options, 'redirect', REDIRECT)}"
        )

    async def act() -> int:
        async with _desk(options, settings) as desk:
            return await actions[options.action](desk)

    return asyncio.run(act())


class Desk:
    """What the actions work with."""

    def __init__(
        self, options: argparse.Namespace, tokens: Tokens, http: HttpClient, store: Store
    ) -> None:
        self.options = options
        self.tokens = tokens
        self.http = http
        self.store = store

    def tell(self, text: str, facts: dict[str, object]) -> None:
        """Prints a text, or the facts for a program."""
        print(json.dumps(facts) if self.options.json else text)


@asynccontextmanager
async def _desk(options: argparse.Namespace, settings: Settings) -> AsyncIterator[Desk]:
    tokens = Tokens(
        settings.twitch_client_id,
        settings.twitch_client_secret,
        settings.key,
        auth=settings.twitch_auth or AUTH,
        clock=SystemClock(),
    )
    creating = options.action == "login"
    if creating:
        tokens.check_keys()  # before anybody is sent to a browser, and a file is made
    http = Transport()
    try:
        async with opened(options, options.bot or "", create=creating) as store:
            yield Desk(options, tokens, http, store)
    finally:
        options.secrets = (*options.secrets, *tokens.secrets)
        await http.close()


# -- login -----------------------------------------------------------------------------------------


class Login:
    """One login under way: who comes to the local page with its state ends it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._state = secrets.token_urlsafe(32)
        self._verifier = secrets.token_urlsafe(48)
        self._redirect = ""
        self._taken = False
        self.done: asyncio.Future[Account] = asyncio.get_running_loop().create_future()

    def url(self, redirect: str) -> str:
        """Where the person agrees."""
        self._redirect = redirect
        digest = hashlib.sha256(self._verifier.encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        scopes = tuple(sorted({*SCOPES, *self._desk.options.scope}))
        return self._desk.tokens.authorize_url(redirect, scopes, self._state, challenge)

    async def visit(self, query: dict[str, str]) -> Page:
        """A browser came to the local page."""
        given = query.get("state", "")
        if not same(given.encode("utf-8", "replace"), self._state.encode()):
            return Page(400, "This is not the login that was begun here.")
        if self._taken:
            return Page(200, "This login is done. See the terminal.")
        self._taken = True
        try:
            account = await self._finished(query)
        except Exception as error:  # noqa: BLE001 # goes to whoever waits for the login
            if not self.done.done():
                self.done.set_exception(error)
            return Page(400, "That did not work. See the terminal.")
        if not self.done.done():
            self.done.set_result(account)
        return Page(200, f"The bot is logged in as {account.login}. You can close this page.")

    async def _finished(self, query: dict[str, str]) -> Account:
        if "code" not in query:
            why = query.get("error_description") or query.get("error") or "it gave no code"
            raise BadToken(f"Twitch did not allow it ({printed(why)[:200]}): nothing has changed")
        desk = self._desk
        return await desk.tokens.log_in(
            desk.http, desk.store, query["code"], self._verifier, self._redirect
        )


async def _login(desk: Desk) -> int:
    login = Login(desk)
    landing = Landing(desk.options.redirect, login.visit)
    try:
        url = login.url(await landing.open())
        out = sys.stderr if desk.options.json else sys.stdout
        print(
            f"Log in to Twitch as the bot, in a browser on this machine:\n\n  {url}\n",
            file=out,
            flush=True,
        )
        if desk.options.browser:
            _browse(url)
        async with asyncio.timeout(desk.options.timeout):
            account = await login.done
    except TimeoutError:
        raise ConfigError(
            f"nobody logged in within {desk.options.timeout:g} s: start `legato twitch login` again"
        ) from None
    except Unavailable as error:
        raise ConfigError(f"{error}: start `legato twitch login` again") from None
    finally:
        await landing.close()
    text = f"The bot is logged in as {printed(account.login)} (user id {account.user_id})."
    missing = _missing(account.scopes)
    if missing:
        text += f"\nNot allowed were: {' '.join(missing)}"
    desk.tell(text, _facts(account, missing))
    return 0


def _browse(url: str) -> None:
    """Opens a browser where one can show itself; not one that would take over this terminal."""
    windows = sys.platform in ("win32", "darwin")
    if windows or any(os.environ.get(n) for n in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        # In a thread: some browsers are waited for until they end.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


# -- status and logout -------------------------------------------------------------------------------


async def _status(desk: Desk) -> int:
    account = await desk.tokens.load(desk.store)
    if account is None:
        desk.tell(
            "nobody is logged in: `legato twitch login`", {"login": None, "error": "not logged in"}
        )
        return 1
    missing = _missing(account.scopes)
    facts = _facts(account, missing)
    lines = [f"{printed(account.login)} (user id {account.user_id})"]
    lines += [f"may: {' '.join(account.scopes) or 'nothing'}"]
    if missing:
        lines += [f"may not: {' '.join(missing)} (log in again to allow it)"]
    try:
        valid = await desk.tokens.validate(desk.http, desk.store)
    except (BadToken, Unavailable) as error:
        desk.tell("\n".join([*lines, printed(str(error))]), facts | {"error": str(error)})
        return 1
    lines += [
        f"Twitch accepts the token, for {_span(valid.expires_in)} from now; it is renewed then"
    ]
    desk.tell("\n".join(lines), facts | {"expires_in": valid.expires_in, "error": None})
    return 0


async def _logout(desk: Desk) -> int:
    name, ended = await desk.tokens.log_out(desk.http, desk.store)
    if not name:
        text = "nobody is logged in"
    elif ended:
        text = f"{printed(name)} is logged out, and its token ended"
    else:
        text = (
            f"{printed(name)} is logged out here, but Twitch could not be told to end its token: disconnect "
            "the application at https://www.twitch.tv/settings/connections"
        )
    desk.tell(text, {"login": name or None, "revoked": ended})
    return 0


def _missing(scopes: tuple[str, ...]) -> list[str]:
    return sorted(set(SCOPES) - set(scopes))


def _facts(account: Account, missing: list[str]) -> dict[str, object]:
    return {
        "login": account.login,
        "user_id": account.user_id,
        "scopes": list(account.scopes),
        "missing": missing,
    }


def _span(seconds: int) -> str:
    hours, minutes = divmod(max(seconds, 0) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
