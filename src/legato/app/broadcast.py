"""One message to many: durable, resumable, within the platform's limit for bulk messages.

    whom (lists of LIST, LISTS a commit) -> page after page of messages, and with each how far that is

Who is called again with the same id goes on where it was, whether the call before died or its invocation of a
function had no time left. Whom it is for was written down before the first message: later calls need not name the
same people in the same order. A page is one commit under an id made of the broadcast's and its number, so of two
who are at it one is told that a page is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from legato.app.outside import nonce
from legato.engine import outgoing
from legato.engine.steps import PutDown, idempotency_key
from legato.errors import Misuse, Unavailable
from legato.model.events import Address
from legato.model.ids import place_of
from legato.model.messages import Message, Send
from legato.model.records import COMMITTED, SENT, Commit, OutboxItem

if TYPE_CHECKING:
    from legato.app.runtime import Runtime

PAGE = 90
"""Calls a commit, unless one recipient needs more: DynamoDB writes at most 100 items at once."""
LIST = 990
"""Recipients that are kept under one name: some ten thousand bytes each hundred, and a number of pages."""
LISTS = 8
"""Lists a commit."""
HERE = 500
"""An invocation of a function sends so many of one call: more than it can. Ticks send the others."""

Progress = Callable[[int], object]
Put = tuple[str, str, bytes | None]


class Kept(Struct):
    """How far a broadcast is: kept for as long as the ids of updates.

    Attributes:
        total: Recipients.
        done: How many of them are queued.
        lists: Begins the names of the lists of them, "" if they are too few for that.
        step, counted: The step that queued the last ones, and how many it has queued in all its tries.
    """

    total: int
    done: int = 0
    lists: str = ""
    step: str = ""
    counted: int = 0


_kept = msgspec.json.Decoder(Kept)
_list = msgspec.json.Decoder(list[Address])


async def broadcast(
    runtime: Runtime,
    to: Iterable[str | Address],
    message: Message | str,
    *,
    id: str,
    progress: Progress | None = None,
) -> int:
    """Queues `message` for everybody; returns how many it was queued for by this call, or by all tries of the step
    that makes it.

    The relay then sends it behind what each chat is waiting for, within the bulk limit of the bot; answers of dialogs
    are not held up.

    Args:
        runtime: The running App.
        to: `chat.id`s of conversations, or Addresses.
        message: A text or a Message.
        id: Unique name of this broadcast.
        progress: Called with the number of recipients that are queued so far.

    Raises:
        Misuse: A recipient is nobody that a bot of this process can write to.
        Unavailable: The invocation of a function has no time left, and no step is under way that goes on in the next
            one: call it again with the same id.
    """
    content = (
        message
        if isinstance(message, Message)
        else Message(outgoing.checked_text(message, None, None, "inline"))
    )
    return await _Broadcast(runtime, content, id, progress).queue(to)


class _Broadcast:
    """One call.

    Invariant: `_kept` is what the store has, or had a moment ago.
    """

    def __init__(
        self, runtime: Runtime, message: Message, id: str, progress: Progress | None
    ) -> None:
        self._runtime = runtime
        self._message = message
        self._id = id
        self._name = f"broadcast|{id}"
        self._progress = progress
        self._step = idempotency_key()
        self._kept = Kept(0)
        self._counted = 0
        self._offered = 0
        self._list: tuple[str, list[Address]] = ("", [])

    async def queue(self, to: Iterable[str | Address]) -> int:
        """See broadcast."""
        known = await self._read()
        few: list[Address] = []
        if known is None:
            few = await self._write_down(map(self._place, to))
        elif not known.lists and known.done < known.total:
            few = [self._place(one) for one in to]
        kept = self._kept
        self._counted = kept.counted if self._step and kept.step == self._step else 0
        if self._kept.done:
            self._tell()
        while self._kept.done < self._kept.total:
            await self._queue_some(await self._people(few))
            self._tell()
            if self._kept.done < self._kept.total:
                self._look_at_the_time()
        await self._forget_lists()
        return self._counted

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._kept.done)

    # -- whom it is for -----------------------------------------------------------------------

    async def _write_down(self, to: Iterator[Address]) -> list[Address]:
        """Keeps whom it is for; returns them if they are so few that they are not kept."""
        part = list(islice(to, LIST))
        if len(part) <= PAGE:
            self._kept = Kept(len(part))
            return part
        lists, total, puts = f"{self._name}|{nonce()}|", 0, list[Put]()
        while part:
            puts.append((SENT, f"{lists}{total}", msgspec.json.encode(part)))
            total += len(part)
            part = list(islice(to, LIST))
            if len(puts) == LISTS or not part:
                await self._commit(puts)
                puts = []
        self._kept = Kept(total, lists=lists)
        if not await self._commit([self._put()], f"broadcast:{self._id}:whom"):
            await self._read()  # another one was faster
        return []

    async def _people(self, few: list[Address]) -> list[Address]:
        """Those that come next, as far as they are at hand; none if that was all."""
        kept = self._kept
        if not kept.lists:
            return few[kept.done : kept.total]
        begin = kept.done - kept.done % LIST
        name = f"{kept.lists}{begin}"
        if self._list[0] != name:
            found = await self._runtime.store.get(SENT, name)
            if found is None:
                now = await self._read()
                if now is not None and now.done > kept.done:  # another one has come to the end
                    return await self._people(few)
                raise Misuse(
                    f"app.broadcast(id={self._id!r}) was begun more than a week ago, and whom it was for is forgotten: "
                    f"{kept.done} of {kept.total} people were queued"
                )
            self._list = (name, _list.decode(found))
        return self._list[1][kept.done - begin :]

    async def _forget_lists(self) -> None:
        kept = self._kept
        if kept.lists:
            names = [f"{kept.lists}{begin}" for begin in range(0, kept.total, LIST)]
            self._kept = replace(kept, lists="")
            puts: list[Put] = [self._put(), *((SENT, name, None) for name in names)]
            while puts:
                await self._commit(puts[:PAGE])
                puts = puts[PAGE:]

    def _place(self, recipient: str | Address) -> Address:
        place = recipient if isinstance(recipient, Address) else place_of(recipient)
        if self._runtime.adapters(place) is None:
            bots = ", ".join(":".join(bot) for bot in self._runtime.platforms) or "none"
            raise Misuse(
                f"app.broadcast(): {recipient!r} is no chat.id of a bot that runs here ({bots}): a "
                "chat.id is what a dialog with that person reads, as telegram:<bot>:<chat>:<user>:"
            )
        return place

    # -- what is queued -----------------------------------------------------------------------

    async def _queue_some(self, people: list[Address]) -> None:
        """Commits one page, unless it is there."""
        before, items, count = self._kept, list[OutboxItem](), 0
        now_ms = self._runtime.clock.now_ms()
        for place in people:
            fresh = self._items(place, now_ms)
            if items and len(items) + len(fresh) > PAGE:
                break
            items += fresh
            count += 1
        if not count:  # whoever began it named more people
            self._kept = replace(before, total=before.done)
            return
        self._kept = replace(
            before,
            done=before.done + count,
            step=self._step,
            counted=self._counted + count,
        )
        update_id = f"broadcast:{self._id}:{before.done}"
        if await self._commit([self._put()], update_id, items):
            self._counted += count
            return
        mine = self._kept
        found = await self._read()
        if found is None or found.done <= before.done:  # of a version that kept no count
            self._kept = replace(mine, step=before.step, counted=before.counted)
        elif self._step and found.step == self._step:
            self._counted = found.counted

    def _items(self, place: Address, now_ms: int) -> list[OutboxItem]:
        until_ms = self._runtime.settings.term.sends_until_ms()
        calls = self._runtime.platform(place).render(Send(self._message), place)
        return [
            OutboxItem(
                0,
                place.lane,
                place,
                "",
                0,
                "",
                replace(call, bulk=True, until_ms=until_ms),
                created_ms=now_ms,
            )
            for call in calls
        ]

    def _look_at_the_time(self) -> None:
        if self._runtime.settings.term.may_begin():
            return
        if self._step:
            raise PutDown
        raise Unavailable(
            f"app.broadcast(id={self._id!r}): {self._kept.done} of {self._kept.total} people are queued, and this "
            "invocation has no time left: call it again with the same id, and it goes on there"
        )

    # -- the store ----------------------------------------------------------------------------

    async def _read(self) -> Kept | None:
        found = await self._runtime.store.get(SENT, self._name)
        if found is None:
            return None
        self._kept = _kept.decode(found)
        return self._kept

    def _put(self) -> Put:
        return SENT, self._name, msgspec.json.encode(self._kept)

    async def _commit(
        self, puts: list[Put], update_id: str = "", items: Iterable[OutboxItem] = ()
    ) -> bool:
        """False: it was committed before."""
        runtime, items = self._runtime, tuple(items)
        now_ms = runtime.clock.now_ms()
        commit = Commit(at_ms=now_ms, update_id=update_id, outbox=items, puts=tuple(puts))
        written = await runtime.store.commit(commit)
        if written.result != COMMITTED:
            return False
        if not runtime.settings.term.sends_until_ms() or self._offered + len(items) <= HERE:
            self._offered += len(items)
            runtime.relay.offer([replace(i, id=n) for i, n in zip(items, written.ids, strict=True)])
        return True


__all__ = ["broadcast"]
