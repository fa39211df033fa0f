"""The SQLite store against the memory store: whatever is written, both answer alike."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from legato.abc.store import Store
from legato.model.events import Address
from legato.model.records import (
    DEAD,
    FAILED,
    HELD,
    QUEUED,
    RUNNING,
    SENDING,
    SENT,
    UNKNOWN,
    WAITING,
    Call,
    Commit,
    Conversation,
    Mail,
    OutboxItem,
    Settled,
)
from legato.stores.memory import MemoryStore
from legato.stores.sqlite import SQLiteStore

KEYS = ("a", "a:", "b", "\ud800", "n\0ul")
STATES = (QUEUED, SENDING, UNKNOWN, DEAD)
names = st.sampled_from(("x", "y", "z", "\udfff", "n\0"))
keys = st.sampled_from(KEYS)
times = st.integers(0, 50)
blobs = st.binary(max_size=20)
texts = st.text(st.characters(exclude_categories=()), max_size=8)
places = st.builds(Address, st.just("telegram"), st.just("7"), texts, texts)
calls = st.builds(Call, st.just("send"), st.dictionaries(texts, texts | st.none(), max_size=3))
rows = st.builds(
    Conversation,
    key=st.just(""),
    dialog=names,
    version=names,
    epoch=st.integers(1, 3),
    head=st.just(0),
    status=st.sampled_from((RUNNING, WAITING, FAILED, HELD)),
    wake_ms=times,
    state=blobs,
    updated_ms=times,
)
items = st.builds(
    OutboxItem,
    id=st.just(0),
    lane=names,
    place=places,
    key=keys,
    epoch=st.integers(0, 3),
    ref=names,
    call=calls,
    state=st.sampled_from(STATES),
    attempts=st.integers(0, 2**40),
    not_before_ms=times,
    error=texts,
    created_ms=times,
)
commits = st.builds(
    Commit,
    at_ms=times,
    key=keys | st.just(""),
    row=rows | st.none(),
    birth=blobs,
    segment=blobs,
    truncate=st.booleans(),
    aside=st.sampled_from(("", "", "", "aside", "b")),
    update_id=names | st.just(""),
    reply=blobs,
    deposit=st.lists(st.builds(Mail, names, keys, blobs), max_size=3).map(tuple),
    outbox=st.lists(items, max_size=3).map(tuple),
    puts=st.lists(st.tuples(names, names, blobs | st.none()), max_size=3).map(tuple),
    purge_ms=st.sampled_from((0, 0, 0, 20, 60)),
)
Call_ = Callable[[Store], Coroutine[Any, Any, Any]]


class Both(RuleBasedStateMachine):
    """Does the same to two stores."""

    ids = Bundle("ids")

    @initialize(threads=st.booleans())
    def start(self, threads: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.threads = threads
        self.runner = asyncio.Runner()
        self.model = MemoryStore()
        self.store = self._opened()
        self.heads: dict[str, tuple[int, int]] = {}  # the fences as they are
        self.serial = 0

    def _opened(self) -> SQLiteStore:
        store = SQLiteStore(Path(self.folder.name, "bot.db"), threads=self.threads)
        self.runner.run(store.open())
        return store

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            self.runner.close()
            self.folder.cleanup()

    def both(self, call: Call_) -> Any:
        """The answer of both, which must be the same."""
        expected = self.runner.run(call(self.model))
        found = self.runner.run(call(self.store))
        assert found == expected
        return found

    def _fenced(self, commit: Commit, *, stale: bool) -> Commit:
        """The commit with the fence of its conversation, and a row that goes on from there."""
        from msgspec.structs import replace

        self.serial += 1
        fence = self.heads.get(commit.key)
        if stale:
            fence = (1, self.serial) if fence is None else None
        row = commit.row and replace(commit.row, key=commit.key, head=self.serial)
        return replace(commit, expect=fence, row=row)

    def _follow(self, commit: Commit) -> None:
        """Keeps the fences after a commit that went through."""
        if not commit.key:
            return
        old = self.heads.pop(commit.key, None)
        if old and commit.aside:
            self.heads[commit.aside] = old
        if commit.row:
            self.heads[commit.key] = (commit.row.epoch, commit.row.head)

    @rule(target=ids, commit=commits, stale=st.sampled_from((False, False, False, True)))
    def commit(self, commit: Commit, stale: bool) -> Any:
        commit = self._fenced(commit, stale=stale)
        done = self.both(lambda store: store.commit(commit))
        if done.result == "committed":
            self._follow(commit)
        return multiple(*done.ids)

    @rule(target=ids, group=st.lists(commits, min_size=2, max_size=5))
    def commit_together(self, group: list[Commit]) -> Any:
        fenced = [self._fenced(commit, stale=False) for commit in group]

        async def together(store: Store) -> list[Any]:
            return await asyncio.gather(*map(store.commit, fenced))

        done = self.both(together)
        for commit, committed in zip(fenced, done, strict=True):
            if committed.result == "committed":
                self._follow(commit)
        return multiple(*(number for committed in done for number in committed.ids))

    @rule(
        numbers=st.lists(ids, max_size=3),
        state=st.sampled_from((SENT, SENT, *STATES)),
        fields=st.tuples(times, texts, keys, names, st.sampled_from(("", "77", "\ud800"))),
    )
    def settle(self, numbers: list[int], state: str, fields: tuple[Any, ...]) -> None:
        attempts, error, key, ref, message_id = fields
        fates = [
            Settled(number, state, attempts, 9, error, key, 1, ref, message_id)
            for number in numbers
        ]
        self.both(lambda store: store.settle(fates))

    @rule()
    def restart(self) -> None:
        self.runner.run(self.store.close())
        self.store = self._opened()

    @rule(now_ms=times, limit=st.integers(1, 5))
    def due(self, now_ms: int, limit: int) -> None:
        def same(found: list[Conversation]) -> list[Any]:
            return [(row.wake_ms, row.key) for row in found]

        assert same(self.runner.run(self.store.due(now_ms, limit))) == same(
            self.runner.run(self.model.due(now_ms, limit))
        )

    @rule(states=st.lists(st.sampled_from(STATES), unique=True), key=keys | st.just(""))
    def outbox(self, states: list[str], key: str) -> None:
        self.both(lambda store: store.outbox(states=states, key=key))
        self.both(lambda store: store.outbox(states=states, key=key, after=3, limit=2))

    @rule(key=keys | st.just(""), after=names, limit=st.integers(1, 3))
    def mail(self, key: str, after: str, limit: int) -> None:
        self.both(lambda store: store.mail(key=key))
        self.both(lambda store: store.mail(key=key, after=after, limit=limit))

    @rule(status=st.sampled_from(("", WAITING, FAILED)), dialog=st.sampled_from(("", "x")))
    def find(self, status: str, dialog: str) -> None:
        self.both(lambda store: store.find(status=status, dialog=dialog))
        self.both(lambda store: store.find(status=status, dialog=dialog, after="a", limit=2))

    @rule(key=keys | st.just("aside"), space=names, name=names)
    def read(self, key: str, space: str, name: str) -> None:
        self.both(lambda store: store.load(key))
        self.both(lambda store: store.get(space, name))
        self.both(lambda store: store.get("inbox", name))
        self.both(lambda store: store.get("sent", f"{key}|1|{name}"))


Both.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBoth = Both.TestCase
