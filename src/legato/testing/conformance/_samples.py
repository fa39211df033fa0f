"""Records for the store's conformance suite: short to write, and distinct wherever it matters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from legato.abc.store import Store
from legato.model.events import Address
from legato.model.records import (
    COMMITTED,
    QUEUED,
    WAITING,
    Call,
    Commit,
    Committed,
    Conversation,
    OutboxItem,
)

KEY = "telegram:7:1:1:"
PLACE = Address(platform="telegram", bot="7", chat="1", user="1")
_T = TypeVar("_T")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine in an event loop of its own, so that the suite needs no pytest plugin."""
    return asyncio.run(coroutine)


def row(key: str = KEY, epoch: int = 1, head: int = 1, **fields: Any) -> Conversation:
    """A conversation's row, waiting, with everything else as in `fields`."""
    values: dict[str, Any] = {
        "dialog": "adder",
        "version": "1",
        "status": WAITING,
        "wake_ms": 0,
        "state": f"state of {epoch}.{head}".encode(),
        "updated_ms": 1000 * epoch + head,
    }
    return Conversation(key=key, epoch=epoch, head=head, **(values | fields))


def begin(key: str = KEY, epoch: int = 1, **fields: Any) -> Commit:
    """The first commit of a conversation, with one segment."""
    values: dict[str, Any] = {
        "at_ms": 1000,
        "row": row(key, epoch),
        "birth": f"birth of {epoch}".encode(),
        "segment": f"segment {epoch}.1".encode(),
    }
    return Commit(key=key, expect=None, **(values | fields))


def proceed(key: str = KEY, epoch: int = 1, head: int = 1, **fields: Any) -> Commit:
    """The commit that follows on (epoch, head), with one segment."""
    values: dict[str, Any] = {
        "at_ms": 2000,
        "row": row(key, epoch, head + 1),
        "segment": f"segment {epoch}.{head + 1}".encode(),
    }
    return Commit(key=key, expect=(epoch, head), **(values | fields))


def item(text: str = "hello", key: str = KEY, **fields: Any) -> OutboxItem:
    """An item to queue."""
    values: dict[str, Any] = {
        "id": 0,
        "lane": PLACE.lane,
        "place": PLACE,
        "epoch": 1,
        "ref": "",
        "call": Call("sendMessage", {"chat_id": "1", "text": text}),
    }
    return OutboxItem(key=key, **(values | fields))


async def done(store: Store, commit: Commit) -> Committed:
    """Commits what must succeed."""
    committed = await store.commit(commit)
    assert committed.result == COMMITTED, committed
    return committed


async def everything(store: Store, *keys: str) -> list[object]:
    """All that can be read: two equal lists mean that nothing was written between them."""
    seen: list[object] = [await store.load(key) for key in (KEY, *keys)]
    seen += await store.find()
    seen += await store.due(2**62, 1000)
    seen += await store.mail()
    seen += await texts(store, QUEUED, "sending", "unknown", "dead")
    seen += [await store.get("space", "name")]
    return seen


async def texts(store: Store, *states: str, **options: Any) -> list[str]:
    """Texts of the outbox items in these states (QUEUED if none are given), by id."""
    items = await store.outbox(states=states or (QUEUED,), **options)
    return [str(found.call.params["text"]) for found in items]


Test = Callable[[Any, Store], Awaitable[None]]


def on_store(test: Test) -> Callable[[Any], None]:
    """Makes a plain method of a coroutine method `test(self, store)`.

    It is given a fresh, open store of the suite's `make_store`, which is closed afterwards, as are those
    that `self.restart` made of it.
    """

    def method(suite: Any) -> None:
        run(_on_store(suite, test))

    # No functools.wraps: pytest would follow it and ask for a fixture named "store".
    method.__name__ = getattr(test, "__name__", "test")
    method.__qualname__ = getattr(test, "__qualname__", "test")
    method.__doc__ = test.__doc__
    return method


async def _on_store(suite: Any, test: Test) -> None:
    store: Store = await suite.make_store()
    suite.opened = [store]
    try:
        await store.open()
        await test(suite, store)
    finally:
        for opened in suite.opened:
            await opened.close()
