"""One message to many: durable, resumable, within the platform's limit for bulk messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from legato.engine import outgoing
from legato.errors import Misuse
from legato.model.events import Address
from legato.model.ids import place_of
from legato.model.messages import Message, Send
from legato.model.records import COMMITTED, Commit, OutboxItem

if TYPE_CHECKING:
    from legato.app.runtime import Runtime

PAGE = 90
"""Calls a commit, unless one recipient needs more: DynamoDB writes at most 100 items at once."""

Progress = Callable[[int], object]


async def broadcast(
    runtime: Runtime,
    to: Iterable[str | Address],
    message: Message | str,
    *,
    id: str,
    progress: Progress | None = None,
) -> int:
    """Queues `message` for everybody; returns how many it was queued for by this call.

    Page by page: a page is one commit under an id made of `id` and its number. So a call that died
    in the middle is simply made again with the same recipients in the same order: pages that are
    queued are passed over. The relay then sends them behind what each chat is waiting for, within
    the bulk limit of the bot; answers of dialogs are not held up.

    Args:
        runtime: The running App.
        to: `chat.id`s of conversations, or Addresses.
        message: A text or a Message.
        id: Unique name of this broadcast.
        progress: Called with the number of recipients that are queued so far.

    Raises:
        Misuse: A recipient is nobody that a bot of this process can write to.
    """
    content = (
        message
        if isinstance(message, Message)
        else Message(outgoing.checked_text(message, None, None, "inline"))
    )
    now = runtime.clock.now_ms()
    queued = done = number = 0
    page: list[OutboxItem] = []

    async def commit() -> None:
        nonlocal queued, done
        fresh = bool(page) and await _queue(runtime, page, f"broadcast:{id}:{done}")
        queued += number - done if fresh else 0
        done = number
        page.clear()
        if progress is not None:
            progress(done)

    for recipient in to:
        items = _items(runtime, _place(runtime, recipient), content, now)
        if page and len(page) + len(items) > PAGE:
            await commit()
        page += items
        number += 1
    if number > done:
        await commit()
    return queued


def _items(runtime: Runtime, place: Address, message: Message, now: int) -> list[OutboxItem]:
    calls = runtime.platform(place).render(Send(message), place)
    return [
        OutboxItem(
            0,
            place.lane,
            place,
            "",
            0,
            "",
            msgspec.structs.replace(
                call, bulk=True, until_ms=runtime.settings.term.sends_until_ms()
            ),
            created_ms=now,
        )
        for call in calls
    ]


async def _queue(runtime: Runtime, items: Sequence[OutboxItem], update_id: str) -> bool:
    """Commits one page. False: it was committed before."""
    commit = Commit(at_ms=runtime.clock.now_ms(), update_id=update_id, outbox=tuple(items))
    written = await runtime.store.commit(commit)
    if written.result != COMMITTED:
        return False
    runtime.relay.offer(
        [msgspec.structs.replace(i, id=n) for i, n in zip(items, written.ids, strict=True)]
    )
    return True


def _place(runtime: Runtime, recipient: str | Address) -> Address:
    place = recipient if isinstance(recipient, Address) else place_of(recipient)
    if runtime.adapters(place) is None:
        bots = ", ".join(":".join(bot) for bot in runtime.platforms) or "none"
        raise Misuse(
            f"app.broadcast(): {recipient!r} is no chat.id of a bot that runs here ({bots}): a "
            "chat.id is what a dialog with that person reads, as telegram:<bot>:<chat>:<user>:"
        )
    return place
