"""The tokens that a Twitch bot works with: kept valid, renewed once when they are refused.

Twitch wants a token checked at start and hourly, and renewed when it is refused, not by the clock
(https://dev.twitch.tv/docs/authentication/refresh-tokens, read 2026-11-28).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from legato.abc.clock import Clock
from legato.abc.http import HttpClient
from legato.abc.store import Store
from legato.errors import BadToken, Unavailable
from legato.platforms.twitch.auth import AUTH, Auth, Granted, Refused, Valid
from legato.platforms.twitch.grants import LEASE_MS, Account, Grant, Grants

log: logging.Logger = logging.getLogger("legato.twitch")

SCOPES = ("chat:edit", "chat:read", "user:bot", "user:read:chat", "user:write:chat")
"""What a bot needs on any of the transports."""

LOGIN = "`legato twitch login`"
CHECK_S = 3600.0
CHECK_AGAIN_S = 60.0
"""When a check could not be made."""
YOUNG_MS = 60_000
"""A token that was renewed so shortly before and is refused may be refused for another reason than its
age: Twitch answers 401 also where a scope is missing. Renewing it each time would be endless."""
LOOK_S = 0.1
"""How often is looked whether another process is done."""


class Tokens:
    """The tokens of one application, and of the account that its bot speaks as. Belongs to one event
    loop; other processes may use the same account by the same store.

    Args:
        client_id, client_secret: As https://dev.twitch.tv/console/apps shows them.
        keys: LEGATO_KEY, what the account is encrypted with in the store. Only an application's own
            token can be had without.
        auth: Address of the login service.
        clock: Time.

    Attributes:
        account: Whom the bot speaks as, None until it is known.
    """

    __slots__ = (
        "_app",
        "_app_at_ms",
        "_auth",
        "_check_at",
        "_client_secret",
        "_clock",
        "_grant",
        "_grants",
        "_keys",
        "_shared",
        "account",
    )

    def __init__(
        self, client_id: str, client_secret: str, keys: str = "", *, auth: str = AUTH, clock: Clock
    ) -> None:
        self.account: Account | None = None
        self._client_secret = client_secret
        self._keys = keys
        self._clock = clock
        self._auth = Auth(client_id, client_secret, auth)
        self._grants = Grants(keys, clock)
        self._grant: Grant | None = None
        self._app = ""
        self._app_at_ms = 0
        self._check_at = 0.0
        self._shared: dict[str, asyncio.Task[str]] = {}

    def __repr__(self) -> str:
        return f"<Tokens of {self.account.login if self.account else 'nobody yet'}>"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never show; it changes when tokens do."""
        grant = (self._grant.access, self._grant.refresh) if self._grant else ()
        keys = [key.strip() for key in self._keys.split(",")]
        return tuple(filter(None, (self._client_secret, *keys, *grant, self._app)))

    # -- the account ------------------------------------------------------------------------------

    async def load(self, store: Store) -> Account | None:
        """The account that is logged in, None if there is none. No network.

        Raises:
            ConfigError: LEGATO_KEY is missing, or it is not the one that the account was encrypted with.
        """
        grant = await self._standing(store)
        if grant is not None:
            self._use(grant)
        return grant.account if grant is not None else None

    async def user_token(self, http: HttpClient, store: Store) -> str:
        """A token of the account, checked with Twitch at first and hourly.

        Raises:
            BadToken: Nobody is logged in, or Twitch does not accept the account any more.
            ConfigError: As for `load`.
            StoreError: As Store says.
        """
        grant = await self._current(store)
        if self._clock.monotonic() >= self._check_at:
            grant = await self._check(http, store)
        return grant.access

    async def refresh(self, http: HttpClient, store: Store, refused: str) -> str:
        """A token in place of one that Twitch refused with 401; the application's own one, too.

        However many ask at once, in this process and in others, it is renewed once. A token that was
        renewed just before and is still good comes back as it is: it was refused for another reason.

        Raises:
            BadToken: Twitch does not accept the account any more: somebody must log in again.
            Unavailable: Twitch (or the process that renews it) does not answer; try again later.
            ConfigError: As for `load`.
            StoreError: As Store says.
        """
        if refused and refused == self._app:
            return await self._once("app", lambda: self._new_app(http))
        grant = await self._current(store)
        if refused != grant.access:
            return grant.access
        return await self._once("user", lambda: self._renewed(http, store, refused))

    async def app_token(self, http: HttpClient, store: Store) -> str:
        """The application's own token, which webhook subscriptions need. Kept in memory only.

        Raises:
            BadToken: Twitch refused the client id or its secret.
            Unavailable: Twitch does not answer; try again later.
        """
        return self._app or await self._once("app", lambda: self._new_app(http))

    async def validate(self, http: HttpClient, store: Store) -> Valid:
        """Asks Twitch what the account's token is good for; renews it if it is good for nothing.

        Raises:
            BadToken, Unavailable, ConfigError, StoreError: As for `refresh`.
        """
        grant = await self._current(store)
        valid = await self._auth.validate(http, grant.access)
        if valid is None:
            token = await self.refresh(http, store, grant.access)
            valid = await self._auth.validate(http, token)
        if valid is None:
            raise Unavailable("Twitch does not accept the token that it just gave")
        self._check_at = self._clock.monotonic() + CHECK_S
        return valid

    async def keep_valid(self, http: HttpClient, store: Store) -> None:
        """Checks the account hourly, for as long as a connection is held in its name.

        Raises:
            BadToken: Twitch does not accept the account any more.
            ConfigError, StoreError: As for `refresh`.
        """
        while True:
            await self._clock.sleep(max(self._check_at - self._clock.monotonic(), 1.0))
            if self._clock.monotonic() >= self._check_at:
                await self._check(http, store)

    # -- logging in and out -----------------------------------------------------------------------

    def authorize_url(
        self, redirect: str, scopes: tuple[str, ...], state: str, challenge: str
    ) -> str:
        """Where a person logs the bot in; see Auth.authorize_url."""
        return self._auth.authorize_url(redirect, scopes, state, challenge)

    def check_keys(self) -> None:
        """Raises what would keep a login from being kept: no key, or no `cryptography`."""
        self._grants.vault  # noqa: B018 # it is made here, or refused

    async def log_in(
        self, http: HttpClient, store: Store, code: str, verifier: str, redirect: str
    ) -> Account:
        """Exchanges the code that the browser brought, and keeps the account in place of any other.

        Raises:
            BadToken: Twitch refused the code or the application.
            Unavailable, ConfigError, StoreError: As for `refresh`.
        """
        self.check_keys()
        try:
            granted = await self._auth.exchange(http, code, verifier, redirect)
        except Refused as error:
            if error.client:
                raise self._auth.bad_client(error) from None
            raise BadToken(f"Twitch refused this login ({error}): start {LOGIN} again") from None
        valid = await self._auth.validate(http, granted.access_token)
        if valid is None or not valid.user_id:
            raise BadToken("Twitch does not accept the token that it just gave for this login")
        account = Account(valid.user_id, valid.login, tuple(sorted(valid.scopes or ())))
        grant = self._granted(account, granted, renewed=False)
        await self._grants.keep(store, grant)
        self._use(grant)
        return account

    async def log_out(self, http: HttpClient, store: Store) -> tuple[str, bool]:
        """Forgets the account, and tells Twitch that its token ends.

        Returns:
            The account's name (its user id if its name cannot be decrypted), "" if none was logged in;
            and whether Twitch ended the token.
        """
        user_id = await self._grants.user_id(store)
        grant: Grant | None = None
        try:
            grant = await self._grants.read(store, user_id)
        except BadToken:
            log.debug("the account is encrypted with another key: Twitch cannot be told")
        await self._grants.forget(store, user_id)
        self._grant = self.account = None
        ended = False
        if grant is not None:
            try:
                await self._auth.revoke(http, grant.access)
                ended = True
            except Unavailable as error:
                log.debug("%s", error)
        return grant.account.login if grant else user_id, ended

    # -- inside -----------------------------------------------------------------------------------

    def _use(self, grant: Grant) -> None:
        self._grant = grant
        self.account = grant.account

    def _granted(self, account: Account, granted: Granted, *, renewed: bool) -> Grant:
        from secrets import token_hex

        now_ms = self._clock.now_ms()
        return Grant(
            account,
            self._auth.client_id,
            granted.access_token,
            granted.refresh_token,
            serial=token_hex(8),
            expires_ms=now_ms + granted.expires_in * 1000 if granted.expires_in else 0,
            renewed_ms=now_ms if renewed else 0,
        )

    async def _standing(self, store: Store) -> Grant | None:
        """What the store keeps: of the account that this process speaks as, once it speaks."""
        user_id = self.account.user_id if self.account else await self._grants.user_id(store)
        return await self._grants.read(store, user_id)

    async def _current(self, store: Store) -> Grant:
        """The Grant in use. Raises BadToken if there is none of use."""
        if self._grant is not None and not self._grant.refused:
            return self._grant
        return await self._read(store)

    async def _read(self, store: Store) -> Grant:
        """The Grant that the store keeps now. Raises BadToken if it is of no use."""
        grant = await self._standing(store)
        if grant is None:
            self._grant = None
            raise self._logged_out()
        if grant.client_id != self._auth.client_id:
            raise BadToken(
                f"the Twitch account {grant.account.login} was logged in for another TWITCH_CLIENT_ID: set "
                f"that one, or log in again with {LOGIN}"
            )
        if grant.refused:
            raise _lost(grant)
        self._use(grant)
        return grant

    async def _check(self, http: HttpClient, store: Store) -> Grant:
        """The hourly check. If Twitch cannot be asked, the token is taken as it is for a while."""
        self._check_at = self._clock.monotonic() + CHECK_AGAIN_S  # whoever comes now need not wait
        try:
            await self.validate(http, store)
        except Unavailable as error:
            log.warning("%s: the Twitch account is checked again in a minute", error)
        return await self._current(store)

    async def _once(self, name: str, work: Callable[[], Coroutine[Any, Any, str]]) -> str:
        """Runs work that all who ask meanwhile share. If one of them is cancelled it goes on: what it
        brings must be kept.
        """
        task = self._shared.get(name)
        if task is None:
            task = self._shared[name] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._ended(name, done))
        return await asyncio.shield(task)

    def _ended(self, name: str, task: asyncio.Task[str]) -> None:
        del self._shared[name]
        if not task.cancelled():
            task.exception()  # nobody may be left to be told

    async def _renewed(self, http: HttpClient, store: Store, refused: str) -> str:
        """Renews the token, or waits until another process has."""
        give_up = self._clock.monotonic() + 2 * LEASE_MS / 1000
        while self._clock.monotonic() < give_up:
            grant = await self._read(store)
            if grant.access != refused:
                return grant.access
            wait_ms = await self._grants.lease(store, grant)
            if not wait_ms:
                return await self._renew(http, store, grant)
            await self._clock.sleep(min(wait_ms / 1000, LOOK_S))
        raise Unavailable("another process has been renewing the Twitch account for a minute")

    async def _renew(self, http: HttpClient, store: Store, grant: Grant) -> str:
        """Renews the token; this process alone may."""
        try:
            if await self._good_yet(http, grant):
                await self._grants.release(store, grant)
                return grant.access
            granted = await self._auth.refresh(http, grant.refresh)
        except Refused as error:
            return await self._refused(store, grant, error)
        except Unavailable:
            await self._grants.release(store, grant)
            raise
        return await self._succeeded(
            store, grant, self._granted(grant.account, granted, renewed=True)
        )

    async def _good_yet(self, http: HttpClient, grant: Grant) -> bool:
        age_ms = self._clock.now_ms() - grant.renewed_ms
        if not grant.renewed_ms or age_ms > YOUNG_MS:
            return False
        return await self._auth.validate(http, grant.access) is not None

    async def _refused(self, store: Store, grant: Grant, error: Refused) -> str:
        """Twitch refused to renew it: that is kept, so that no process asks again."""
        if error.client:
            await self._grants.release(store, grant)
            raise self._auth.bad_client(error) from None
        from secrets import token_hex

        dead = msgspec.structs.replace(grant, refused=str(error), serial=token_hex(8))
        return await self._succeeded(store, grant, dead)

    async def _succeeded(self, store: Store, old: Grant, new: Grant) -> str:
        """Keeps the successor before anybody uses it."""
        standing = await self._grants.succeed(store, old, new)
        if standing is None:
            self._grant = None
            raise self._logged_out()
        self._use(standing)
        if standing.refused:
            raise _lost(standing)
        return standing.access

    def _logged_out(self) -> BadToken:
        if self.account is None:
            return BadToken(f"no Twitch account is logged in: {LOGIN}")
        return BadToken(
            f"the Twitch account {self.account.login} was logged out: {LOGIN}, then start the bot again"
        )

    async def _new_app(self, http: HttpClient) -> str:
        if self._app and self._clock.now_ms() - self._app_at_ms <= YOUNG_MS:
            valid = await self._auth.validate(http, self._app)
            if valid is not None:
                return self._app
        try:
            granted = await self._auth.application(http)
        except Refused as error:
            raise self._auth.bad_client(error) from None
        self._app, self._app_at_ms = granted.access_token, self._clock.now_ms()
        return self._app


def _lost(grant: Grant) -> BadToken:
    return BadToken(
        f"Twitch does not accept the account {grant.account.login} any more ({grant.refused}): log in again "
        f"with {LOGIN}, then start the bot again"
    )


__all__ = ["SCOPES", "Account", "Tokens"]
