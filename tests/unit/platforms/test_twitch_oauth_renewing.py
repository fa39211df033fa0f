"""A refused Twitch token is renewed once, whoever asks and whoever dies; or the account is lost, which is
said once.
"""

import asyncio

import pytest

from legato.abc import MaybeSent, NotSent, Store
from legato.errors import BadToken, StoreUnavailable, Unavailable
from legato.model.records import Commit, Committed
from legato.stores.memory import MemoryStore
from legato.testing.clock import FakeClock
from legato.testing.crash import Crash, CrashingStore
from tests.unit.platforms.twitch_login import Desk, LoginService, complaint


@pytest.fixture
def desk() -> Desk:
    return Desk(LoginService(), MemoryStore(), FakeClock())


# -- renewing ---------------------------------------------------------------------------------------


async def test_however_many_are_refused_at_once_it_is_renewed_once(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()

    tokens = await asyncio.gather(*(desk.refresh(old) for _ in range(50)))
    late = await desk.refresh(old)  # its answer took longer than the renewal

    assert {*tokens, late} == desk.service.alive
    assert desk.service.count("refresh_token") == 1


async def test_processes_that_are_refused_at_once_renew_it_once(desk: Desk) -> None:
    await desk.log_in()
    desks = [desk, *(desk.another() for _ in range(4))]
    old = await desk.token()
    for one in desks:
        assert await one.token() == old

    for round_ in (1, 2, 3):
        desk.service.expire()
        work = [asyncio.create_task(one.refresh(old)) for one in desks for _ in range(3)]
        while not all(task.done() for task in work):
            desk.clock.advance(0.1)  # those who wait look again
            await asyncio.sleep(0)
        assert {task.result() for task in work} == desk.service.alive
        assert desk.service.count("refresh_token") == round_
        old = work[0].result()
        desk.clock.advance(120)


async def test_a_new_token_is_kept_before_anybody_has_it(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    desk.store = CrashingStore(desk.store, _keeps_a_token, before=True)

    with pytest.raises(Crash):
        await desk.refresh(old)

    assert desk.service.count("refresh_token") == 1  # it was given, but nobody could use it


async def test_a_process_that_dies_right_after_keeping_it_loses_nothing(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    dying = desk.another()
    dying.store = KeepsThenDies(desk.store)

    with pytest.raises(Crash):
        await dying.refresh(old)

    assert await desk.refresh(old) in desk.service.alive
    assert desk.service.count("refresh_token") == 1


async def test_whoever_renews_it_and_dies_is_waited_for_no_longer_than_its_lease(
    desk: Desk,
) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    grant = await desk.tokens._read(desk.store)
    assert await desk.another().tokens._grants.lease(desk.store, grant) == 0  # and is heard no more

    waiting = asyncio.create_task(desk.refresh(old))
    waited = 0.0
    while not waiting.done():
        desk.clock.advance(0.1)
        waited += 0.1
        await asyncio.sleep(0)
        if waited < 29:
            assert desk.service.count("refresh_token") == 0

    assert waiting.result() in desk.service.alive
    assert 29 < waited < 32


async def test_a_lease_from_the_future_is_none(desk: Desk) -> None:
    await desk.log_in()
    desk.service.expire()
    grant = await desk.tokens._read(desk.store)
    desk.clock.jump(86_400)
    await desk.another().tokens._grants.lease(desk.store, grant)
    desk.clock.jump(-86_400)  # somebody mended the clock

    assert await desk.refresh(grant.access) in desk.service.alive


async def test_a_process_that_was_stopped_beyond_its_lease_takes_what_another_has_kept(
    desk: Desk,
) -> None:
    desk.service.once = False
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    slow = desk.another()
    slow.store = Delayed(desk.store)
    stopped = asyncio.create_task(slow.refresh(old))
    await slow.store.reached.wait()  # it has a new token, and stands before keeping it
    desk.clock.advance(31)
    mine = await desk.refresh(old)

    slow.store.go.set()

    assert await stopped == mine
    assert await desk.another().token() == mine
    assert desk.service.count("refresh_token") == 2


async def test_a_caller_who_leaves_does_not_take_the_new_token_along(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    leaving = asyncio.create_task(desk.refresh(old))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    assert await desk.refresh(old) in desk.service.alive
    assert desk.service.count("refresh_token") == 1


@pytest.mark.parametrize(
    "fault", [NotSent("no route"), MaybeSent("cut off"), complaint(503, ""), complaint(429, "")]
)
async def test_when_twitch_does_not_answer_the_next_try_is_free(
    desk: Desk, fault: Exception
) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    desk.service.faults = [fault]
    with pytest.raises(Unavailable):
        await desk.refresh(old)

    assert await desk.another().refresh(old) in desk.service.alive  # without waiting


async def test_a_token_that_is_refused_for_another_reason_is_not_renewed_again_and_again(
    desk: Desk,
) -> None:
    await desk.log_in()
    desk.service.expire()
    token = await desk.refresh(await desk.token())
    for _ in range(5):
        assert await desk.refresh(token) == token  # it lacks a scope, say
    assert desk.service.count("refresh_token") == 1

    desk.service.expire()  # and yet one that dies so young is renewed

    assert await desk.refresh(token) != token
    assert desk.service.count("refresh_token") == 2


# -- losing the account -----------------------------------------------------------------------------


async def test_a_refused_renewal_is_said_once_and_never_tried_again(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    other = desk.another()
    await other.token()
    desk.service.disconnect()
    with pytest.raises(BadToken, match=r"legatobot any more .Invalid refresh token.*twitch login"):
        await desk.refresh(old)
    asked = len(desk.service.asked)

    for one in (desk, other, desk.another()):
        with pytest.raises(BadToken, match="legato twitch login"):
            await one.refresh(old)
    for one in (desk, desk.another()):
        with pytest.raises(BadToken, match="legato twitch login"):
            await one.token()

    assert len(desk.service.asked) == asked


async def test_logging_in_again_mends_a_process_that_still_runs(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.disconnect()
    with pytest.raises(BadToken):
        await desk.refresh(old)

    await desk.another().log_in()

    assert await desk.token() in desk.service.alive


async def test_a_wrong_client_secret_costs_no_account(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    desk.service.secret = "a new one was made in the console"
    with pytest.raises(BadToken, match="TWITCH_CLIENT_SECRET"):
        await desk.refresh(old)

    desk.service.secret = desk.tokens._client_secret

    assert await desk.refresh(old) in desk.service.alive


async def test_a_token_that_twitch_gives_and_does_not_take_is_no_loop(desk: Desk) -> None:
    await desk.log_in()
    desk.service.faults = [
        complaint(401, "invalid access token"),
        desk.service._give(refresh=True),
        complaint(401, "invalid access token"),
    ]

    with pytest.raises(Unavailable, match="that it just gave"):
        await desk.tokens.validate(desk.http, desk.store)


async def test_a_store_that_cannot_keep_it_gives_no_token(desk: Desk) -> None:
    await desk.log_in()
    old = await desk.token()
    desk.service.expire()
    working, desk.store = desk.store, Full(desk.store)
    with pytest.raises(StoreUnavailable):
        await desk.refresh(old)
    desk.store = working
    assert desk.service.count("refresh_token") == 0  # it must be able to write the lease first


# -- stores that do it badly -------------------------------------------------------------------------


def _keeps_a_token(commit: Commit) -> bool:
    return any(space == "twitch-token" for space, _, _ in commit.puts)


class KeepsThenDies(CrashingStore):
    def __init__(self, inner: Store) -> None:
        super().__init__(inner, lambda _: False)

    async def commit(self, commit: Commit) -> Committed:
        done = await self.inner.commit(commit)
        if _keeps_a_token(commit):
            raise Crash
        return done


class Delayed(CrashingStore):
    """Stands still before it keeps a token, until it is told to go on."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner, lambda _: False)
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def commit(self, commit: Commit) -> Committed:
        if _keeps_a_token(commit):
            self.reached.set()
            await self.go.wait()
        return await self.inner.commit(commit)


class Full(CrashingStore):
    def __init__(self, inner: Store) -> None:
        super().__init__(inner, lambda _: False)

    async def commit(self, commit: Commit) -> Committed:
        raise StoreUnavailable("no room")
