"""What a Store keeps: conversations, journal segments, outbox items; and the Commit that writes
them. Times are milliseconds since the Unix epoch, of our clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from legato.model.events import Address, AnyEvent


class Record(Struct, frozen=True, array_like=True):
    """One journaled result.

    Attributes:
        path: Position in the tree of calls and branches: "3", or "2.0.1" inside a gather.
        kind: "ask", "receive", "sleep", "step", "tx", "call", "signal", ... or "!" for an
            exception thrown in from outside (cancellation, a user who is gone).
        name: `key=` if given, else the step's function, else the expected type.
        at_ms: When it was delivered: what `chat.now()` says from here on.
        value: The result as JSON builtins with tags (`model.values`).
        error: (registered exception name, its arguments as stored values) instead of a result.
    """

    path: str
    kind: str
    name: str
    at_ms: int
    value: object = None
    error: tuple[str, list[object]] | None = None


class Wait(Struct, frozen=True, omit_defaults=True):
    """What one pending operation waits for: stored beside the conversation, so that the router
    can pass an event on without loading the function.

    Attributes:
        path, kind, name: As in Record.
        events: Tags of the events that can match: "message", "edited", "button", "signal" ...
        user: Only this person, "" for anybody.
        signal: Name of the signal waited for.
        buttons: If not empty, a ButtonPressed must carry one of these payloads.
        pattern: If not empty, the text must match this regular expression (re.search).
        deadline_ms: When it times out (or the sleep is over); 0 = never.
        scope: Which enclosing chat.timeout() the deadline belongs to; -1 = the operation's own.
        remind_ms: When the question is asked again, 0 = never.
        attempts: Answers that did not parse so far.
    """

    path: str
    kind: str
    name: str
    events: tuple[str, ...] = ()
    user: str = ""
    signal: str = ""
    buttons: tuple[str, ...] = ()
    pattern: str = ""
    deadline_ms: int = 0
    scope: int = -1
    remind_ms: int = 0
    attempts: int = 0


class Birth(Struct, frozen=True, omit_defaults=True):
    """What one epoch started from. Never changes during the epoch.

    Attributes:
        event: The event that started the conversation (it outlives `goto`).
        args: Keyword arguments of the dialog (from goto), as stored values.
        at_ms: Start of the epoch.
    """

    event: AnyEvent
    args: dict[str, object] = {}
    at_ms: int = 0

    @property
    def place(self) -> Address:
        """Where the conversation takes place."""
        return self.event.place


class State(Struct, frozen=True, omit_defaults=True):
    """The part of a conversation that changes with every commit.

    Attributes:
        waits: The pending operations.
        said: Messages committed since the last record while "running", so that a resumed Turn
            does not say them again.
        error: Traceback of a failed conversation, or the mismatch of a held one.
        intents: Paths of the `at_most_once` steps that are about to run, or under way.
        beside: While "running": what other branches wait for, with the times and counts that no
            record tells (a reminder that was given, answers that did not parse).
        gotos: While "running": tail calls since the last wait.
        claims: While "running": how often it was taken up at this place after an invocation that ended
            too early.
        build: Number of the code that wrote journal and waits, 0 where builds have none.
    """

    waits: tuple[Wait, ...] = ()
    said: int = 0
    error: str = ""
    intents: tuple[str, ...] = ()
    beside: tuple[Wait, ...] = ()
    gotos: int = 0
    claims: int = 0
    build: int = 0


RUNNING = "running"
"""In the middle of a Turn: must be resumed if no process works on it."""
WAITING = "waiting"
FAILED = "failed"
"""A bug: parked with journal, traceback and event, until an operator retries or cancels."""
HELD = "held"
"""The code no longer follows the journal, and the dialog's policy is `hold`."""


class Conversation(Struct, frozen=True):
    """One running Dialog with one chat.

    Attributes:
        key: Text key from `conversation_key`; unique among running conversations.
        dialog: Registered name of the dialog.
        version: The dialog's declared version when this epoch began.
        epoch: Unique and growing over all conversations that ever had this key.
        head: Commits in this epoch so far. (epoch, head) is the fence.
        status: "running", "waiting", "failed" or "held".
        wake_ms: Earliest deadline or reminder, 0 = none.
        state: Encoded State.
        updated_ms: Time of the last commit.
    """

    key: str
    dialog: str
    version: str
    epoch: int
    head: int
    status: str
    wake_ms: int
    state: bytes
    updated_ms: int


class Loaded(Struct, frozen=True):
    """A conversation as read from the store.

    Attributes:
        conversation: Its row.
        birth: Encoded Birth of the current epoch.
        segments: Encoded lists of Record, in order, of the current epoch.
    """

    conversation: Conversation
    birth: bytes
    segments: list[bytes]


class Call(Struct, frozen=True, omit_defaults=True):
    """One rendered call of a platform's API, ready to be sent.

    Attributes:
        method: The platform's method, e.g. "sendMessage".
        params: Its parameters, JSON builtins.
        files: (parameter, local path, file name) to upload with it.
        target: A ref ("ref:...") whose platform message id must be filled in before sending.
        fill: Name of the parameter that takes it.
        bulk: Counts against the platform's limit for bulk messages (broadcasts).
        idempotent: Sending it twice does no harm (edits, deletions, typing).
        result: "message" if the answer holds a message whose id is the handle's.
        expires_ms: Do not send after this time; 0 = send whenever.
        trace: W3C traceparent of the Turn that said it, "" if nobody traces.
        until_ms: Until then it is sent by the invocation of a function that has committed it, and by nobody else;
            0 = it was a process without a deadline.
    """

    method: str
    params: dict[str, object] = {}
    files: tuple[tuple[str, str, str], ...] = ()
    target: str = ""
    fill: str = ""
    bulk: bool = False
    idempotent: bool = False
    result: str = ""
    expires_ms: int = 0
    trace: str = ""
    until_ms: int = 0


QUEUED = "queued"
SENDING = "sending"
"""Written before the send only where delivery is at_most_once."""
UNKNOWN = "unknown"
"""Sent or not: nobody knows. For an operator (or the dialog) to settle."""
DEAD = "dead"
"""Refused for good, or out of retries."""


class OutboxItem(Struct, frozen=True):
    """A committed call that is not delivered yet.

    Attributes:
        id: Grows in commit order. 0 before the store gave one.
        lane: Items of one lane are delivered strictly in order of id.
        place: Where it goes.
        key, epoch: The conversation that said it; "" and 0 for none.
        ref: Name of its handle within the epoch ("ref:<path>:<n>"), "" if nobody holds one: then
            the item is forgotten once sent, else its platform message id is kept.
        call: The rendered call.
        delivery: "at_least_once" or "at_most_once".
        state: QUEUED, SENDING, UNKNOWN or DEAD.
        attempts: Sends tried so far.
        not_before_ms: Do not try earlier.
        error: Why it is dead or unknown, or why the last try failed. Never holds a secret.
        created_ms: When it was committed.
    """

    id: int
    lane: str
    place: Address
    key: str
    epoch: int
    ref: str
    call: Call
    delivery: str = "at_least_once"
    state: str = QUEUED
    attempts: int = 0
    not_before_ms: int = 0
    error: str = ""
    created_ms: int = 0


class Settled(Struct, frozen=True):
    """The fate of one outbox item, written by the relay.

    Attributes:
        id: The item.
        state: "sent" (the row goes away), or the new QUEUED / SENDING / UNKNOWN / DEAD.
        message_id: Platform id to keep under (key, epoch, ref); "" = keep nothing.
    """

    id: int
    state: str
    attempts: int = 0
    not_before_ms: int = 0
    error: str = ""
    key: str = ""
    epoch: int = 0
    ref: str = ""
    message_id: str = ""


SENT = "sent"


class Mail(Struct, frozen=True):
    """An event that is acknowledged, but not yet applied to its conversation.

    Attributes:
        id: The event's dedupe key.
        key: The conversation (or lane) it is for.
        payload: The encoded event.
    """

    id: str
    key: str
    payload: bytes


class Commit(Struct, frozen=True, kw_only=True):
    """One atomic write: all of it, or nothing.

    Attributes:
        at_ms: Now.
        key: The conversation's key ("" if no conversation is touched).
        expect: (epoch, head) that the row must have; None: there must be no row under `key`.
            Checked only if `key` is set.
        row: The new row; None deletes conversation, journal (the conversation ended).
        birth: Encoded Birth, at the start of an epoch.
        segment: Encoded records to append under (key, row.epoch, expect head or 0); b"" for none.
        truncate: Delete the journal of earlier epochs (goto, restart). Nothing reads it again, so a
            store may do that whenever an epoch begins.
        aside: Move the row that stands under `key` (with its journal) to this other key first;
            `expect` is then that row's, and `row` starts anew as if there were none.
        update_id: The event this commit consumes. If it was consumed before, nothing is written
            and the result is "duplicate". A deposited event is taken out of the mailbox.
        reply: Body that answers the webhook request, given again if the update is repeated.
        deposit: Events to keep in the mailbox; one already known (waiting or consumed) is ignored.
        outbox: Items to queue (their ids are given by the store).
        puts: (space, name, value) to remember; value None forgets.
        purge_ms: Forget consumed update ids and kept message ids older than this, and whatever else was put
            into their space (SENT); 0 = do not.
        within: Runs inside the transaction, on the store's own connection (asyncpg.Connection for
            Postgres), after fence and update id have been checked; returns the segment to append
            instead of `segment`. If it raises, nothing is written and the error goes to the caller
            as it is; if the connection broke meanwhile, StoreUnavailable does. It may be called
            again after a rollback, so it must do nothing but SQL on what it is given. A store that
            has no such thing raises Unsupported before writing anything.
    """

    at_ms: int
    key: str = ""
    expect: tuple[int, int] | None = None
    row: Conversation | None = None
    birth: bytes = b""
    segment: bytes = b""
    truncate: bool = False
    aside: str = ""
    update_id: str = ""
    reply: bytes = b""
    deposit: tuple[Mail, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    puts: tuple[tuple[str, str, bytes | None], ...] = ()
    purge_ms: int = 0
    within: Callable[[Any], Awaitable[bytes]] | None = None


COMMITTED = "committed"
DUPLICATE = "duplicate"
CONFLICT = "conflict"


class Committed(Struct, frozen=True):
    """What became of a Commit.

    Attributes:
        result: COMMITTED, DUPLICATE (the update was consumed before) or CONFLICT (the fence did
            not hold). Nothing was written unless COMMITTED.
        ids: Ids of the outbox items, in order.
        reply: For DUPLICATE: the body stored with the update, b"" if none.
    """

    result: str
    ids: tuple[int, ...] = ()
    reply: bytes = b""
