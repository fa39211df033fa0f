"""The queues of a function: updates go into one before they are worked on, short timers through another.

    request -> letters -> SQS FIFO (group = lane, deduplication id = update) -> 200
    SQS FIFO -> the same function, or another -> Turns, one after another in a lane
    a timer that is due within 15 minutes -> a standard queue with a delay -> its conversation is woken

Messages are told from others by the queue that they come from, never by what they say: whoever may write to some
queue of the function must not speak for anybody. What looks like ours and comes from elsewhere is refused, since it may
be a queue that somebody forgot to name in the settings.

Nothing rests on a message that comes once, in time, or at all: letters are known by their ids, a wake that comes twice
or too early does nothing, and a lost one is made up for by the scheduler's tick.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from legato.abc import Clock, HttpClient, HttpResponse, Platform
from legato.app.letters import letters
from legato.deploy.function.invocation import CLOSE_S, NoTime
from legato.deploy.function.outside import Failures, buried, failed
from legato.deploy.function.start import taken_over
from legato.deploy.parts import make_sender
from legato.engine import journal
from legato.errors import ConfigError, StoreError, Unavailable
from legato.model.events import Address, AnyEvent
from legato.model.ids import place_of
from legato.queues.sqs import Post
from legato.queues.sqs.address import FIFO
from legato.queues.sqs.letters import Wake, read
from legato.queues.sqs.sender import LONGEST_DELAY_S

if TYPE_CHECKING:
    from legato.abc.queue import Letter
    from legato.app.runtime import Runtime
    from legato.app.settings import Settings
    from legato.deploy.function.invocation import Invocation

SUSPECT_AFTER = 2
"""What was handed out more often may be what ends the process: each further try is counted (legato.app.poison)."""
PATIENT = 10
"""So often, what there was no time for is handed out again at once."""
LONGEST_PAUSE_S = 16
AT_ONCE = 64
EARLY_MS = 1000
"""A wake that comes so early is waited for."""
AHEAD_MS = 75_000
"""A tick sends wakes for timers that are due before the next one, which may be late."""
AHEAD = 200
ACKS_S = 1.0

Record = dict[str, Any]
Happen = Callable[[Record], Awaitable[Exception | None]]

log: logging.Logger = logging.getLogger("legato.function")


class Queues:
    """The queues that are set. Belongs to one event loop.

    Args:
        settings: LEGATO_QUEUE and LEGATO_TIMERS.
        http: Carries requests; not closed with this.
        clock, invocation: What time it is, and how much is left.

    Raises:
        ConfigError: One is no address of a queue, or there are no credentials.
    """

    def __init__(
        self, settings: Settings, http: HttpClient, clock: Clock, invocation: Invocation
    ) -> None:
        queue, timers = settings.queue, settings.timers
        self._letters = make_sender(queue, "LEGATO_QUEUE", http, fifo=True) if queue else None
        self._timers = make_sender(timers, "LEGATO_TIMERS", http, fifo=False) if timers else None
        self._clock = clock
        self._invocation = invocation

    @property
    def takes_in(self) -> bool:
        """Whether updates go into a queue first."""
        return self._letters is not None

    # -- in ---------------------------------------------------------------------------------------

    async def put(self, runtime: Runtime, platform: Platform, body: bytes) -> HttpResponse:
        """Puts an authentic update into the queue; returns the answer once it is there.

        Raises:
            Unavailable: It is not, as far as is known.
        """
        assert self._letters is not None
        found, parsed = letters(platform, runtime.router, body, self._clock.now_ms())
        if parsed is None:
            posts = [Post(letter.id, letter) for letter in found]
        else:
            lanes = [runtime.router.lane(event) for event in parsed.events]  # type: ignore[arg-type] # as letters()
            posts = [Post(lane, letter) for lane, letter in zip(lanes, found, strict=True)]
            nowhere = Address(platform.name, platform.bot, "")
            for ack in parsed.acks:
                runtime.relay.ack(ack, parsed.events[0].place if parsed.events else nowhere)
        try:
            async with asyncio.timeout(self._invocation.left_s):
                await self._letters.publish(posts)
        except TimeoutError as error:
            raise Unavailable("the queue has not confirmed it in time") from error
        finally:
            await runtime.relay.flush(min(ACKS_S, self._invocation.left_s), give_up=True)
        try:
            await platform.remember(runtime.store)
        except StoreError as error:
            log.debug("%s could not keep what it learned: %s", platform.name, error)
        if parsed is None or parsed.reply is None:
            return HttpResponse(200)
        return HttpResponse(200, {"content-type": parsed.reply_type}, parsed.reply)

    # -- out --------------------------------------------------------------------------------------

    async def worked(
        self, runtime: Runtime, records: Sequence[Record], failures: Failures, happen: Happen
    ) -> None:
        """Works on messages of SQS; leaves in `failures` what went wrong with each, None if nothing did.

        Groups are worked on side by side, the messages of one in order. What follows a failed one in its
        group is not tried: it would overtake.

        Args:
            records: As Lambda gives them.
            happen: Does what is to be done with a message that is not ours.

        Raises:
            StoreError: It cannot be learned what is left to send from an earlier try.
        """
        lanes = {lane for record in records if (lane := self._left_in(record))}
        others = lanes and await taken_over(
            runtime, self._invocation, lambda item: item.lane in lanes
        )
        groups: dict[str, list[int]] = {}
        for number, record in enumerate(records):
            groups.setdefault(_group(record), []).append(number)
        alone = [[number] for number in groups.pop("", [])]
        room = asyncio.Semaphore(AT_ONCE)

        async def in_order(numbers: list[int]) -> None:
            async with room:
                for at, number in enumerate(numbers):
                    record = records[number]
                    failures[number] = (
                        Unavailable("another process sends what goes before")
                        if others and self._left_in(record) in others
                        else await self._one(runtime, record, happen)
                    )
                    if failures[number] is not None:
                        for later in numbers[at + 1 :]:
                            failures[later] = Unavailable("one before it in its group failed")
                        return

        await _all([in_order(numbers) for numbers in (*groups.values(), *alone)])

    def _left_in(self, record: Record) -> str:
        """The lane of a message that was handed out before: whoever had it may have died before its answers were
        sent, and they go before all that comes now. "" for any other.
        """
        if _count(record) == 1 or not self._is_ours(record):
            return ""
        found = read(str(record.get("body") or ""))
        if isinstance(found, Wake):
            return place_of(found.key).lane
        event = None if found is None else _opened(found)
        return "" if event is None else event.place.lane

    def _is_ours(self, record: Record) -> bool:
        arn = str(record.get("eventSourceARN") or "")
        return any(sender.where.is_of(arn) for sender in (self._letters, self._timers) if sender)

    async def _one(self, runtime: Runtime, record: Record, happen: Happen) -> Exception | None:
        arn, text = str(record.get("eventSourceARN") or ""), str(record.get("body") or "")
        found = read(text)
        if self._letters is not None and self._letters.where.is_of(arn):
            if found is None or isinstance(found, Wake):
                name = f"sqs:{record.get('messageId', '')}"
                return await buried(runtime, name, text.encode("utf-8", "surrogatepass"))
            return await self._letter(runtime, found, _count(record))
        if self._timers is not None and self._timers.where.is_of(arn):
            return await self._wake(runtime, found)
        if found is not None:
            setting = "LEGATO_TIMERS" if isinstance(found, Wake) else "LEGATO_QUEUE"
            error = ConfigError(f"messages of {arn} look like ours: is it to be {setting}?")
            log.error("%s (it stays in its queue)", error)
            return error
        return await happen(record)

    async def _letter(self, runtime: Runtime, letter: Letter, count: int) -> Exception | None:
        """Works on one letter; returns why it must come again."""
        if not self._invocation.may_begin():
            return NoTime()
        event = _opened(letter)
        if event is None:
            return await buried(runtime, letter.id, letter.body)
        try:
            async with asyncio.timeout(self._invocation.left_s):
                await self._apply(runtime, event, count)
        except TimeoutError as error:
            log.warning("%s comes again: there was no time left for it", letter.id)
            return error
        except (StoreError, Unavailable) as error:
            log.warning("%s comes again: %s", letter.id, error)
            return error
        except Exception as error:
            log.exception("%s failed, outside of any dialog", letter.id)
            return await failed(runtime, event, error)
        return None

    async def _apply(self, runtime: Runtime, event: AnyEvent, count: int) -> None:
        if runtime.adapters(event.place) is None:
            place = event.place
            raise Unavailable(f"no {place.platform} bot {place.bot} is set up here")
        await runtime.handle(event, suspect=count > SUSPECT_AFTER)

    async def again(self, records: Sequence[Record], failures: Failures) -> None:
        """Lets messages of our own queues that failed come again soon: else they would wait until the queue's own time
        for them is over. What follows a failed one in its group comes with it; SQS hands nothing of a group out while
        an earlier message is hidden, so their order does not rest on this. What goes wrong costs time only.
        """
        works = [
            sender.show(shown)
            for sender in (self._letters, self._timers)
            if sender is not None and (shown := _shown(sender.where.is_of, records, failures))
        ]
        try:
            async with asyncio.timeout(self._invocation.rest_s(CLOSE_S)):
                await asyncio.gather(*works)
        except (Unavailable, TimeoutError) as error:
            why = str(error) or "no time left"
            log.warning("messages come again when the queue's own time is over: %s", why)

    # -- time -------------------------------------------------------------------------------------

    async def alarms(self, wakes: dict[str, int]) -> None:
        """Lets conversations be woken at these times, as far as a delay reaches. What goes wrong costs accuracy: the
        scheduler's tick wakes them, too.
        """
        if self._timers is None or not wakes:
            return
        now_ms = self._clock.now_ms()
        soon = [
            (Wake(key, at_ms), delay_s)
            for key, at_ms in wakes.items()
            if (delay_s := max(0, -((now_ms - at_ms) // 1000))) <= LONGEST_DELAY_S
        ]
        if not soon:
            return
        try:
            async with asyncio.timeout(self._invocation.rest_s(CLOSE_S)):
                await self._timers.wake(soon)
        except (Unavailable, TimeoutError) as error:
            log.warning(
                "%d timers fire with the next tick: %s", len(soon), str(error) or "no time left"
            )

    async def ahead(self, runtime: Runtime) -> dict[str, int]:
        """Timers that are due before the next tick and were set too long before to have a wake under way."""
        if self._timers is None:
            return {}
        now_ms = self._clock.now_ms()
        rows = await runtime.store.due(now_ms + AHEAD_MS, AHEAD)
        return {
            row.key: row.wake_ms
            for row in rows
            if row.wake_ms > now_ms and row.wake_ms - row.updated_ms > LONGEST_DELAY_S * 1000
        }

    async def _wake(self, runtime: Runtime, wake: object) -> Exception | None:
        if not isinstance(wake, Wake):
            log.error("a message among timers cannot be read, and is dropped")
            return None
        early_ms = wake.at_ms - self._clock.now_ms()
        if early_ms > EARLY_MS:
            self._invocation.alarm(wake.key, wake.at_ms)  # clocks differ: once more
            return None
        if not self._invocation.may_begin():
            return NoTime()
        try:
            async with asyncio.timeout(self._invocation.left_s):
                if early_ms > 0:
                    await self._clock.sleep(early_ms / 1000)
                await self._fire(runtime, wake.key)
        except (StoreError, Unavailable, TimeoutError) as error:
            log.warning("%s is woken later: %s", wake.key, str(error) or "no time left")
            return error
        return None

    async def _fire(self, runtime: Runtime, key: str) -> None:
        """Wakes one conversation, if something is due in it."""
        loaded = await runtime.store.load(key)
        if loaded is None:
            return
        row = loaded.conversation
        lane = runtime.router.lane_of(key)
        if not 0 < row.wake_ms <= self._clock.now_ms():
            return
        await runtime.lanes.run(
            lane,
            lambda: runtime.trials.turn(row, lambda: runtime.dispatcher.wake(key, row)),
        )


def _opened(letter: Letter) -> AnyEvent | None:
    """What a letter says; None if it cannot be read, here or where it was put in."""
    if letter.kind == "dead":
        return None
    try:
        return journal.decode_event(letter.body)
    except (msgspec.DecodeError, RecursionError) as error:
        log.error("letter %s cannot be read (kept as dead): %s", letter.id, error)  # noqa: TRY400
        return None


async def _all(works: list[Coroutine[Any, Any, None]]) -> None:
    """Waits for all, then raises what one of them raised."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _shown(
    ours: Callable[[str], bool], records: Sequence[Record], failures: Failures
) -> list[tuple[str, int]]:
    """Which messages are to be seen again, by their handles, and after how many seconds."""
    shown: list[tuple[str, int]] = []
    pauses: dict[str, int | None] = {}
    for record, error in zip(records, failures, strict=True):
        handle = str(record.get("receiptHandle") or "")
        if error is None or not handle or not ours(str(record.get("eventSourceARN") or "")):
            continue
        group = _attribute(record, "MessageGroupId") or handle
        if group not in pauses:  # the first of a group is what the others wait for
            pauses[group] = _pause_s(error, _count(record))
        pause_s = pauses[group]
        if pause_s is not None:
            shown.append((handle, pause_s))
    return shown


def _pause_s(error: Exception, count: int) -> int | None:
    """How long a message that failed stays hidden; None: as long as the queue hides it. It must not be handed out so
    often, and so fast, that the queue gives it up.
    """
    if isinstance(error, NoTime | TimeoutError):  # which took the whole time of an invocation
        if count < PATIENT:
            return 0
        count -= PATIENT - 1
    pause_s: int = 2 ** min(count - 1, 20)
    return pause_s if pause_s <= LONGEST_PAUSE_S else None


def _attribute(record: Record, name: str) -> str:
    found = record.get("attributes")
    return str(found.get(name) or "") if isinstance(found, dict) else ""


def _group(record: Record) -> str:
    """Whose turn a message must wait for, "" for nobody's: in a standard queue groups share time, and have no order."""
    arn, group = str(record.get("eventSourceARN") or ""), _attribute(record, "MessageGroupId")
    return f"{arn}|{group}" if group and arn.endswith(FIFO) else ""


def _count(record: Record) -> int:
    """How often a message was handed out, this time included."""
    text = _attribute(record, "ApproximateReceiveCount")
    return int(text) if text.isascii() and text.isdigit() else 1


__all__ = ["Queues"]
