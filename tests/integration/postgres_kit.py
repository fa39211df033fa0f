"""People who write turns to a store as fast as they can, and a count of what became of each."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Self

from legato.abc.store import Store
from legato.errors import StoreUnavailable
from legato.model.records import COMMITTED, DUPLICATE, QUEUED, Commit, OutboxItem
from legato.stores.dynamodb.failures import Unknown as DynamoDBUnknown
from legato.stores.postgres.writer import Unknown
from legato.testing.conformance._samples import item, row


class Person:
    """Writes one conversation, turn after turn: each is an update, a segment and a message.

    A turn that the store could not write is tried again, as a worker does, until it is known.
    """

    def __init__(self, crowd: Crowd, key: str) -> None:
        self.crowd = crowd
        self.key = key
        self.head = 0
        self.written: list[bytes] = []

    def turn(self) -> Commit:
        """The next one."""
        name = f"{self.key}{self.head + 1}"
        return Commit(
            at_ms=1000,
            key=self.key,
            expect=(1, self.head) if self.head else None,
            row=row(self.key, 1, self.head + 1, wake_ms=self.head),
            birth=b"" if self.head else b"birth",
            segment=name.encode(),
            update_id=name,
            reply=name.encode(),
            outbox=(item(name, key=self.key),),
        )

    async def live(self) -> None:
        """Writes until the crowd is stopped and the last turn is known."""
        while not self.crowd.stopped:
            await self.write(self.turn())
            await asyncio.sleep(0)

    async def write(self, commit: Commit) -> None:
        """Writes one turn, however often it takes."""
        unknown = False
        while True:
            try:
                done = await self.crowd.store.commit(commit)
            except StoreUnavailable as error:
                unknown = unknown or isinstance(error, (Unknown, DynamoDBUnknown))
                self.crowd.refused += 1
                await asyncio.sleep(random.uniform(0.01, 0.1))
                continue
            break
        # Whoever is told that nothing was written must find that nothing was.
        if done.result != COMMITTED:
            assert unknown, f"{commit.update_id} is {done.result}"
            assert (done.result, done.reply) == (DUPLICATE, commit.reply)
        self.head += 1
        self.written.append(commit.segment)
        self.crowd.turns += 1


class Crowd:
    """So many people on one store.

    Attributes:
        turns: Acknowledged so far.
        refused: How often the store was unavailable.
        stopped: Whether they are to end.
    """

    def __init__(self, store: Store, people: int = 30, prefix: str = "p") -> None:
        self.store = store
        self.turns = 0
        self.refused = 0
        self.stopped = False
        self.people = [Person(self, f"telegram:7:{prefix}{n}:{n}:") for n in range(people)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(person.live()) for person in self.people]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped = True
        async with asyncio.timeout(100):
            await asyncio.gather(*self._tasks)

    async def go_on(self, turns: int) -> None:
        """Waits until so many more are acknowledged."""
        goal = self.turns + turns
        async with asyncio.timeout(100):
            while self.turns < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def wrong(self, store: Store) -> list[str]:
        """What is not as the people were told; [] if all is well."""
        found = []
        items: list[OutboxItem] = []
        while page := await store.outbox(states=(QUEUED,), after=items[-1].id if items else 0):
            items += page
        told = Counter(str(sent.call.params["text"]) for sent in items)
        for person in self.people:
            loaded = await store.load(person.key)
            segments = loaded.segments if loaded else []
            if segments != person.written:
                found.append(f"{person.key} has {len(segments)} of {len(person.written)} turns")
            for segment in person.written:
                if told.pop(segment.decode(), 0) != 1:
                    found.append(f"{segment.decode()} is not said once")
                if await store.get("inbox", segment.decode()) != segment:
                    found.append(f"{segment.decode()} was forgotten")
        return found + [f"{name} is said by nobody" for name in told]
