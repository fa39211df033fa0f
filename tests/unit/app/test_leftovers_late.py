"""Mail becomes visible in another order than that of its numbers: a smaller one may be committed later."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from legato import App, Chat
from legato.app.postbox import Postbox
from legato.model.records import Commit, Mail
from legato.stores.memory import MemoryStore
from tests.unit.app.kit import World, message, place, running

app = App("late", help=False)


@app.message(r"echo .*")
async def echo(chat: Chat) -> None:
    await chat.say(chat.message.text)


class Late(MemoryStore):
    """Shows some mail only later, as a database does whose transaction is not over yet.

    Attributes:
        hidden: Ids of that mail.
        read: How many letters were read by looks at all mailboxes.
        at_end: Awaited before somebody hears that a mailbox has nothing more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden: set[str] = set()
        self.read = 0
        self.at_end: Callable[[], Awaitable[None]] | None = None

    async def mail(self, **how: Any) -> list[Mail]:
        """See Store.mail."""
        found = [mail for mail in await super().mail(**how) if mail.id not in self.hidden]
        if not how.get("key"):
            self.read += len(found)
        elif not found and self.at_end is not None:
            at_end, self.at_end = self.at_end, None
            await at_end()
        return found


def says(text: str, number: int) -> Any:
    return message(text, place(str(number), str(number)))


def elsewhere(world: World) -> Postbox:
    return world.process().postbox


async def look(world: World) -> None:
    await world.runtime.leftovers.look(10)
    await world.rest()


@pytest.mark.parametrize("looks", [0, 1, 3])
async def test_mail_that_is_committed_after_a_later_one_was_read_is_seen(looks: int) -> None:
    store = Late()
    async with running(app, store) as world:
        await world.runtime.resume()
        for _ in range(looks):
            await elsewhere(world).deposit([says("echo before", 9)])
            await look(world)
        early = says("echo early", 1)
        store.hidden.add(early.id)
        await elsewhere(world).deposit([early, says("echo later", 2)])
        await look(world)
        assert world.said[-1] == "echo later"
        store.hidden.clear()
        await look(world)
        assert world.said[-2:] == ["echo later", "echo early"]
        assert await store.mail() == []


async def test_it_is_seen_also_if_its_mailbox_is_being_emptied_at_that_moment() -> None:
    store = Late()
    async with running(app, store) as world:
        await world.runtime.resume()
        early = says("echo early", 1)
        store.hidden.add(early.id)
        await elsewhere(world).deposit([early, says("echo later", 1)])

        async def shown() -> None:
            store.hidden.clear()
            for _ in range(2):  # afterwards it lies behind all looks
                await world.runtime.leftovers.look(10)

        await world.runtime.leftovers.look(10)
        store.at_end = shown
        await elsewhere(world).deposit([says("echo last", 1)])
        await look(world)
        await look(world)
        assert world.said == ["echo later", "echo last", "echo early"]


async def test_what_waits_is_read_twice_and_not_with_every_look() -> None:
    store = Late()
    async with running(app, store) as world:
        await world.runtime.resume()
        waiting = [Mail(f"w{n}", f"test:bot:{n}:{n}:", b"{") for n in range(50)]
        await store.commit(Commit(at_ms=0, deposit=tuple(waiting)))
        for _ in range(5):
            await look(world)
        assert store.read == 2 * len(waiting)
