"""What the store keeps of the account that a bot speaks as, and who may renew it.

("twitch-token", "bot")        the account's user id
("twitch-token", <user id>)    its Grant: a serial number, then the rest, encrypted
("twitch-lease", <user id>)    which process renews it just now

A refresh token may be good for one use only, and two processes that use it at once could lose the account.
So one process takes a lease first, which ends by itself if its holder dies. Whatever takes the place of a
Grant (its successor, another login, nothing) consumes an "update" named after its serial number, and so
does each turn of a lease: of all who try, the store lets one through. A process that was stopped for longer
than its lease cannot write its token over a newer one.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from legato.abc.clock import Clock
from legato.abc.store import Store
from legato.errors import BadToken, StoreUnavailable
from legato.model.records import COMMITTED, Commit
from legato.platforms.twitch.vault import NotOurs, Vault

TOKENS = "twitch-token"
LEASES = "twitch-lease"
BOT = "bot"
LEASE_MS = 30_000
"""Three times what the request may take."""
REPLACED = 20
"""Tries; each fails only if another process was faster."""

Puts = tuple[tuple[str, str, bytes | None], ...]


class Account(Struct, frozen=True):
    """Whom a bot speaks as, and what it was allowed."""

    user_id: str
    login: str
    scopes: tuple[str, ...] = ()


class Grant(Struct, frozen=True):
    """An account with its tokens.

    Attributes:
        account: Whose they are.
        client_id: Of the application that they were given to.
        access, refresh: The tokens.
        serial: Names this Grant; its successor has another one.
        expires_ms: When the access token ends, as far as was said; 0 = unknown.
        renewed_ms: When it succeeded another one; 0 = it came from a login.
        refused: Why it cannot be renewed any more, "" if it can.
    """

    account: Account
    client_id: str
    access: str
    refresh: str
    serial: str
    expires_ms: int = 0
    renewed_ms: int = 0
    refused: str = ""


class _Lease(Struct, frozen=True):
    serial: str
    turn: int
    until_ms: int


class Grants:
    """Reads and writes Grants, in whatever store it is given.

    Args:
        keys: LEGATO_KEY.
        clock: Time.
    """

    __slots__ = ("_clock", "_keys", "_vault")

    def __init__(self, keys: str, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._vault: Vault | None = None

    @property
    def vault(self) -> Vault:
        """What seals them, made when it is first wanted.

        Raises:
            ConfigError: There is no key, or none that can be one.
            MissingExtra: The package `cryptography` is not installed.
        """
        if self._vault is None:
            self._vault = Vault(self._keys)
        return self._vault

    async def user_id(self, store: Store) -> str:
        """The account that was logged in last, "" if none is. Needs no key."""
        return (await store.get(TOKENS, BOT) or b"").decode()

    async def read(self, store: Store, user_id: str) -> Grant | None:
        """The account's Grant, None if it is not logged in.

        Raises:
            ConfigError: There is no key.
            BadToken: Another key is needed to read it.
        """
        kept = await store.get(TOKENS, user_id) if user_id else None
        if kept is None:
            return None
        try:
            return msgspec.json.decode(self.vault.open(kept.partition(b":")[2]), type=Grant)
        except (NotOurs, msgspec.MsgspecError):
            raise BadToken(
                "the Twitch account in the store was encrypted with another LEGATO_KEY: set that one, or "
                "log in again with `legato twitch login`"
            ) from None

    async def keep(self, store: Store, grant: Grant) -> None:
        """Keeps what a login has brought, in place of any other account."""
        user_id = grant.account.user_id
        before = await self.user_id(store)
        if before not in ("", user_id):
            await self.forget(store, before)
        await self._replace(store, user_id, self._kept(grant), user_id.encode())

    async def succeed(self, store: Store, old: Grant, new: Grant) -> Grant | None:
        """Keeps the successor of a Grant if that stands yet; returns what stands then, None if the
        account was logged out.
        """
        puts = ((TOKENS, old.account.user_id, self._kept(new)),)
        if await self._swap(store, old.account.user_id, old.serial, puts):
            return new
        return await self.read(store, old.account.user_id)

    async def forget(self, store: Store, user_id: str) -> None:
        """Logs an account out of the store. Needs no key. Idempotent."""
        await self._replace(store, user_id, None, None)

    # -- who may renew it -------------------------------------------------------------------------

    async def lease(self, store: Store, grant: Grant) -> int:
        """Tries to become the one process that renews a Grant.

        Returns:
            0 if it is ours now, else for how many milliseconds at most it is another's.
        """
        user_id, now_ms = grant.account.user_id, self._clock.now_ms()
        lease = await self._lease(store, grant)
        # More than a whole lease ahead: the clock was put back since.
        if lease is not None and 0 < lease.until_ms - now_ms <= LEASE_MS:
            return lease.until_ms - now_ms
        turn = 0 if lease is None else lease.turn + 1
        taken = _Lease(grant.serial, turn, now_ms + LEASE_MS)
        committed = await store.commit(
            Commit(
                at_ms=now_ms,
                update_id=f"twitch:{user_id}:lease:{grant.serial}:{turn}",
                puts=((LEASES, user_id, msgspec.json.encode(taken)),),
            )
        )
        return 0 if committed.result == COMMITTED else LEASE_MS

    async def release(self, store: Store, grant: Grant) -> None:
        """Lets another process try at once; only for the one whose lease it is."""
        lease = await self._lease(store, grant)
        if lease is not None:
            free = msgspec.structs.replace(lease, until_ms=0)
            puts = ((LEASES, grant.account.user_id, msgspec.json.encode(free)),)
            await store.commit(Commit(at_ms=self._clock.now_ms(), puts=puts))

    async def _lease(self, store: Store, grant: Grant) -> _Lease | None:
        """Who renews this Grant, or did last; None: nobody yet."""
        kept = await store.get(LEASES, grant.account.user_id)
        lease = msgspec.json.decode(kept, type=_Lease) if kept else None
        return lease if lease is not None and lease.serial == grant.serial else None

    # -- writing ----------------------------------------------------------------------------------

    def _kept(self, grant: Grant) -> bytes:
        return grant.serial.encode() + b":" + self.vault.seal(msgspec.json.encode(grant))

    async def _replace(
        self, store: Store, user_id: str, kept: bytes | None, bot: bytes | None
    ) -> None:
        """Replaces whatever stands."""
        puts = ((TOKENS, user_id, kept), (TOKENS, BOT, bot), (LEASES, user_id, None))
        for _ in range(REPLACED):
            standing = await store.get(TOKENS, user_id)
            serial = standing.partition(b":")[0].decode() if standing else ""
            if await self._swap(store, user_id, serial, puts):
                return
        raise StoreUnavailable("the Twitch account in the store does not stop changing")

    async def _swap(self, store: Store, user_id: str, serial: str, puts: Puts) -> bool:
        """Writes if the Grant that stands has this serial number ("": none stands)."""
        name = f"twitch:{user_id}:after:{serial}" if serial else ""
        committed = await store.commit(
            Commit(at_ms=self._clock.now_ms(), update_id=name, puts=puts)
        )
        return committed.result == COMMITTED


__all__ = ["Account", "Grant", "Grants"]
