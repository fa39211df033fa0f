"""A platform adapter: pure translation both ways, plus `listen` where the platform needs a
connection of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from legato.abc.http import HttpClient, HttpRequest
from legato.abc.store import Store
from legato.model.events import Address, Event, File, Photo
from legato.model.messages import Outgoing
from legato.model.records import Call


class Parsed(Struct, frozen=True):
    """What one raw update holds.

    Attributes:
        events: Events in order; empty for kinds nobody needs (they are acknowledged and counted).
        acks: Calls to make at once, outside the ordered lane, whose loss does no harm
            (answerCallbackQuery).
        reply: Body to answer the request with where the platform demands one (challenges).
        reply_type: The media type of `reply`.
        kind: The platform's name of the update, for metrics; "" if unreadable.
    """

    events: tuple[Event, ...] = ()
    acks: tuple[Call, ...] = ()
    reply: bytes | None = None
    kind: str = ""
    reply_type: str = "application/json"


class Verdict(Struct, frozen=True):
    """What a send came to.

    Attributes:
        outcome: "sent"; "retry" (certainly not carried out: try again); "unknown" (it may have
            been carried out); "gone" (this chat cannot be reached any more); "refused" (never
            try again as it is).
        message_id: Platform id of the message sent, "" if none.
        result: The platform's answer (JSON builtins), for chat.<platform>.<method>().
        retry_after_s: With "retry": wait at least so long; 0 = the relay's own backoff.
        whole_bot: With "retry_after_s": the limit binds the whole bot and not only this chat.
        error: Human-readable reason without secrets.
        code: The platform's error code, 0 if none.
        moved_to: The chat has this new id from now on (group -> supergroup); retry there.
    """

    outcome: str
    message_id: str = ""
    result: object = None
    retry_after_s: float = 0.0
    whole_bot: bool = False
    error: str = ""
    code: int = 0
    moved_to: str = ""


class Limits(Struct, frozen=True):
    """Sending limits, as token buckets: (messages, per seconds, burst). None = no limit of ours.

    Attributes:
        private: Per one-to-one chat.
        group: Per group or room.
        bulk: For broadcasts, over the whole bot.
        bot: For everything, over the whole bot.
    """

    private: tuple[float, float, int] | None = None
    group: tuple[float, float, int] | None = None
    bulk: tuple[float, float, int] | None = None
    bot: tuple[float, float, int] | None = None


class Capabilities(Struct, frozen=True):
    """What a platform can show. By these the chat handle raises Unsupported (edit, delete, react,
    pin, photos without a text), says nothing (typing), or addresses the person (public); the rest
    is for `render`, which falls back (buttons become numbered text), and for the conformance suite.
    """

    texts: bool = True
    """There is somebody to talk to; a dialog that a file or a schedule started has nobody."""
    buttons: bool = True
    edit: bool = True
    delete: bool = True
    react: bool = True
    pin: bool = True
    photos: bool = True
    files: bool = True
    typing: bool = True
    webhook_reply: bool = False
    """A call may ride back in the answer to the webhook request."""
    public: bool = False
    """Rooms are public and loud: answers mention the person."""


class Offered(Struct, frozen=True):
    """A command that the bot offers to people.

    Attributes:
        name: Without prefix, lower case.
        help: One line that says what it does.
        private, groups: Whether it works in a talk between two, and in rooms with many people.
    """

    name: str
    help: str
    private: bool = True
    groups: bool = True


Sink = Callable[[bytes], Awaitable[None]]
"""Takes one raw update; returns once it is durably ours (a Turn committed or a mailbox entry).
Raises Unavailable if it must be offered again, Malformed if it is not readable."""


class Platform(ABC):
    """One bot on one platform. Pure except for `send`, `setup` and `listen`.

    Implementations must pass `legato.testing.conformance.platform.PlatformConformance`.

    Attributes:
        name: The platform's name: also its webhook path ("/telegram") and `chat.<name>`.
        bot: The bot's id, first part of every key. Known without network where possible.
        capabilities, limits: As above.
        secrets: Strings that must never show in logs or errors.
    """

    __slots__ = ()

    name: str
    bot: str
    capabilities: Capabilities
    limits: Limits
    secrets: tuple[str, ...]

    # -- in -----------------------------------------------------------------------------------

    @abstractmethod
    def verify(self, request: HttpRequest) -> None:
        """Checks that a webhook request comes from the platform, on raw bytes, in constant time,
        before anything is parsed.

        Raises:
            Forged: It does not, or no secret is configured.
        """

    @abstractmethod
    def parse(self, body: bytes) -> Parsed:
        """Reads one raw update. Unknown kinds and unknown fields never fail.

        Raises:
            Malformed: Not readable at all (bad JSON, a wrong type where we must read).
        """

    # -- out ----------------------------------------------------------------------------------

    @abstractmethod
    def render(self, out: Outgoing, place: Address) -> list[Call]:
        """Translates one outgoing thing into calls, in order; long texts are split. The last
        call of a Send stands for its handle (`result="message"`); targets that are refs are left
        in `Call.target` / `Call.fill`.

        Raises:
            Unsupported: The platform has nothing like it and no fallback.
        """

    @abstractmethod
    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        """Performs one call. Never raises for what the platform or the network does: that is the
        Verdict. Never retries by itself.
        """

    def webhook_reply(self, call: Call, place: Address) -> bytes | None:
        """The call as body of the answer to a webhook request (JSON), None if it cannot ride."""
        return None

    def forwarding(self) -> dict[str, str]:
        """Headers that make a raw update, sent on by a process of ours to another one's webhook,
        authentic there. Default: none; the platform has no such form.
        """
        return {}

    def replied(self, body: bytes) -> tuple[Call, Address] | None:
        """The call in an answer to a webhook request (`webhook_reply` backwards) and where it goes,
        None if there is none: for who sent the request in the platform's place.
        """
        return None

    def group(self, place: Address) -> bool:
        """Whether the place is a group or room (which limit binds). Default: user != chat."""
        return place.user != place.chat

    def limit(self, call: Call, place: Address) -> tuple[int, float] | None:
        """At most so many messages to this chat within any so many seconds (a sliding window), of
        which this call is one; None: no such limit. Asked before each send, so it may change with
        the bot's role there. Default: None.
        """
        return None

    # -- life ---------------------------------------------------------------------------------

    def way(self, public_url: str) -> str:
        """How updates come where this public address is set, for people to read."""
        return f"webhook {public_url}/{self.name}" if public_url else "polling"

    def listens(self, public_url: str) -> bool:
        """Whether `listen` must run where this public address is set. Default: only without one."""
        return not public_url

    async def load(self, store: Store) -> None:
        """Takes what an earlier `setup` kept in the store (a webhook secret it made, the bot's own
        name): for a process that verifies and parses but never runs `setup`, as a cloud function.
        No network. Idempotent. Default: nothing was kept.
        """

    def offer(self, commands: Sequence[Offered]) -> None:
        """Told once, before `setup`, which commands the bot has: for a menu, where there is one.
        Default: there is none.
        """

    async def remember(self, store: Store) -> None:
        """Keeps in the store what updates and answers have told of chats since (a new id, say), for
        the `load` of other processes. Called after every update: it costs nothing if there is no
        news. Default: there is never any.

        Raises:
            StoreError: It is kept the next time.
        """

    async def setup(self, http: HttpClient, store: Store, public_url: str) -> None:
        """Called once before updates flow: checks the token; with a `public_url` switches to
        webhooks at "{public_url}/{name}", else to polling. Idempotent.

        Raises:
            BadToken: The platform refused our credentials.
            Unavailable: Not reachable now.
        """

    async def listen(self, sink: Sink, http: HttpClient, store: Store) -> None:
        """Holds a connection (or polls) and hands every raw update to `sink`, one after another
        per conversation, moving on only when it returned. Reconnects with jittered backoff.
        Runs until cancelled. Default: returns at once (webhooks only).
        """

    def file_request(self, file: Photo | File, answer: Verdict | None) -> HttpRequest | Call:
        """How to download a received file: first called with None; if that gives a Call, its
        Verdict is passed in and an HttpRequest must come back, to the platform's own host.

        Raises:
            Unsupported: The platform offers no download.
        """
        from legato.errors import Unsupported

        raise Unsupported(f"files of {self.name} cannot be downloaded")


__all__ = [
    "Capabilities",
    "Limits",
    "Parsed",
    "Platform",
    "Sink",
    "Verdict",
]
