"""The handle a dialog receives. Every method is a thin way to say one operation to the driver."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self, TypeVar, overload

from legato.engine import guard, outgoing
from legato.engine.commands import (
    Ask,
    Fork,
    Goto,
    PlatformCall,
    Receive,
    Sleep,
    Step,
    WaitFor,
    event_tag_of,
    perform,
)
from legato.engine.outgoing import Buttons, Source
from legato.engine.parsers import parser_for
from legato.engine.replay import Driver
from legato.errors import Evict, Misuse, ScopeTimeout, Timeout, Unsupported
from legato.model.events import Event, File, MessageReceived, Photo, User
from legato.model.messages import Delete, Edit, Message, Outgoing, Pin, React, Send, Typing
from legato.model.records import Birth

T = TypeVar("T")
Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""


class Handle:
    """A message of ours, to be changed later. Works whether or not it is delivered yet."""

    __slots__ = ("__weakref__", "_chat", "ref")

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self.ref = ""

    async def edit(
        self, text: str, *, buttons: Buttons | None = None, format: str = ""
    ) -> None:  # noqa: A002
        """Replaces text and buttons (no `buttons`: they go away)."""
        message = Message(text=text, format=format, buttons=outgoing.rows(buttons))
        self._chat._emit(Edit(self.ref, message), need="edit")

    async def delete(self) -> None:
        """Deletes the message."""
        self._chat._emit(Delete(self.ref), need="delete")

    async def react(self, emoji: str) -> None:
        """Puts our reaction on it ("" takes it away)."""
        self._chat._emit(React(self.ref, emoji), need="react")

    async def pin(self, pinned: bool = True) -> None:
        """Pins or unpins it."""
        self._chat._emit(Pin(self.ref, pinned), need="pin")


class TimeoutScope:
    """`async with chat.timeout(60):` one deadline over several questions."""

    __slots__ = ("_chat", "deadline_ms", "seconds")

    def __init__(self, chat: Chat, seconds: float) -> None:
        self._chat = chat
        self.seconds = seconds
        self.deadline_ms = 0

    async def __aenter__(self) -> Self:
        driver = self._chat._driving()
        self.deadline_ms = driver.now_ms + round(self.seconds * 1000)
        driver.current.scopes += (self,)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        branch = self._chat._driver.current
        branch.scopes = tuple(scope for scope in branch.scopes if scope is not self)
        if isinstance(error, ScopeTimeout) and error.scope is self:
            raise Timeout(f"nothing within {self.seconds:g} seconds") from None


class Chat:
    """One conversation, as its dialog sees it.

    Attributes:
        id: The conversation's key: pass it to a webhook, a job or a colleague, who resumes the
            dialog with `app.signal(id, name, value)`.
    """

    __slots__ = ("_birth", "_driver", "_epoch", "_services", "id")

    def __init__(
        self, driver: Driver, key: str, epoch: int, birth: Birth, services: outgoing.Services
    ) -> None:
        self.id = key
        self._driver = driver
        self._epoch = epoch
        self._birth = birth
        self._services = services

    # -- who and where --------------------------------------------------------------------------

    @property
    def user(self) -> User:
        """Who started this conversation."""
        return self._birth.event.user or User(self._birth.place.user or "?")

    @property
    def platform(self) -> str:
        """Name of the platform: "telegram", "twitch", "console" ..."""
        return self._birth.place.platform

    @property
    def locale(self) -> str:
        """The user's language as the platform tells it, "" if unknown."""
        return self.user.locale

    @property
    def event(self) -> Event:
        """The event that started this conversation."""
        return self._birth.event

    @property
    def message(self) -> MessageReceived:
        """The message that started it.

        Raises:
            Misuse: It was started by something else (a button, a member who joined).
        """
        if not isinstance(self._birth.event, MessageReceived):
            raise Misuse(f"this dialog was started by a {type(self._birth.event).__name__}")
        return self._birth.event

    @property
    def args(self) -> str:
        """Text after the command that started it (the payload of a deep link), "" if none."""
        return getattr(self._birth.event, "args", "")

    # -- deterministic services -----------------------------------------------------------------

    def now(self) -> datetime:
        """The time of the last thing that happened here: the same in every replay (UTC)."""
        return datetime.fromtimestamp(self._driver.now_ms / 1000, UTC)

    @property
    def random(self) -> Any:
        """A `random.Random` of this place in the dialog: the same in every replay."""
        return self._services.random(self._seed("random"))

    def uuid(self) -> Any:
        """A UUID of this place in the dialog: the same in every replay, unique elsewhere."""
        return self._services.uuid(self._seed("uuid"))

    @property
    def log(self) -> Any:
        """A logger that is silent while the dialog is replayed."""
        driver = self._driver
        return self._services.logger(self.id, hidden=driver.evicting or driver.skip > 0)

    def _seed(self, what: str) -> str:
        """Grows with every use at one place, and starts afresh at the next operation, so that a
        new call shifts no later one."""
        branch = self._driving().current
        branch.draws += 1
        return f"{self.id}|{self._epoch}|{self._driver.position}|{what}|{branch.draws}"

    # -- saying ---------------------------------------------------------------------------------

    async def say(
        self,
        text: str = "",
        *,
        buttons: Buttons | None = None,
        photo: Source | Photo | None = None,
        file: Source | File | None = None,
        reply_to: Handle | MessageReceived | str | None = None,
        format: str = "",  # noqa: A002
        keyboard: str = "inline",
        silent: bool = False,
        preview: bool = True,
    ) -> Handle:
        """Sends a message; returns a handle to edit or delete it by.

        It is committed with the dialog's next wait or step, and then delivered, in order.

        Args:
            text: The text, or the caption of `photo` or `file`.
            buttons: Texts, Buttons, (text, data) pairs, or rows (lists) of them.
            photo: A local path, an http(s) address, or a Photo somebody sent.
            file: Likewise, as a document.
            reply_to: A message to answer.
            format: "" (plain), "markdown" or "html".
            keyboard: "inline", "reply" or "remove".
            silent: Deliver without a sound.
            preview: Whether links are previewed.

        Raises:
            Unsupported: The platform cannot, and there is no text to fall back to.
        """
        message = Message(
            text=outgoing.checked_text(text, photo, file, keyboard),
            format=format,
            buttons=outgoing.rows(buttons),
            keyboard=keyboard,
            media=outgoing.media(photo, file),
            reply_to=_reference(reply_to),
            mention=self._birth.place.user if self._services.capabilities.public else "",
            silent=silent,
            preview=preview,
        )
        if message.media is not None and not self._services.capabilities.photos and not text:
            raise Unsupported(f"{self.platform} shows no pictures or files: give a text as well")
        handle = Handle(self)
        handle.ref = self._emit(Send(message), handle=weakref.ref(handle))
        return handle

    async def send_typing(self) -> None:
        """Shows the platform's typing sign for some seconds."""
        if self._services.capabilities.typing:
            self._emit(Typing())

    def _emit(self, out: Outgoing, *, handle: Any = None, need: str = "") -> str:
        driver = self._driving()
        if need and not getattr(self._services.capabilities, need):
            raise Unsupported(f"{self.platform} cannot {need} messages")
        return driver.say(out, handle)

    # -- asking ---------------------------------------------------------------------------------

    @overload
    async def ask(self, prompt: str | Message | None, kind: type[T], **options: Any) -> T: ...
    @overload
    async def ask(
        self, prompt: str | Message | None, kind: Callable[[str], T], **options: Any
    ) -> T: ...
    @overload
    async def ask(self, prompt: str | Message | None = None, **options: Any) -> str: ...
    @overload
    async def ask(self, prompt: str | Message | None, kind: Any, **options: Any) -> Any: ...

    async def ask(
        self,
        prompt: str | Message | None = None,
        kind: Any = str,
        *,
        retry: str | None = None,
        attempts: int | None = None,
        timeout: Seconds | None = None,
        remind_after: Seconds | None = None,
        remind: str | None = None,
        min: Any = None,  # noqa: A002
        max: Any = None,  # noqa: A002
        buttons: Buttons | None = None,
        user: User | str | None = None,
        format: str = "",  # noqa: A002
        photo: Source | Photo | None = None,
        key: str = "",
    ) -> Any:
        """Asks until the answer parses, and returns it typed.

        Args:
            prompt: The question; None asks nothing and only waits.
            kind: int, float, str, bool, Decimal, date, an Enum, Literal[...], a list of texts, a
                compiled regex, Photo, File, Location, Contact, or any function of the text that
                raises ValueError.
            retry: Said after an answer that does not parse; by default the parser's own reason.
            attempts: So many answers at most.
            timeout: Seconds or timedelta to wait for a good answer.
            remind_after: Asks again (or says `remind`) after so long, once.
            min, max: Bounds of numbers and dates, or of a text's length.
            buttons: Answers to offer; a press counts as its text.
            user: Only this person's answer counts (in a whole room).
            format, photo: Of the question, as in `say`.
            key: Name in the journal, if the type alone is not name enough.

        Raises:
            Timeout: No good answer in time (or within the dialog's idle limit).
            TooManyAttempts: `attempts` answers did not parse.
        """
        parser = parser_for(kind, min=min, max=max)
        offered = outgoing.offer(parser.choices, buttons, f"{self._epoch}|{self._driver.position}")
        message = outgoing.prompt(prompt, offered.rows, format, photo)
        self._driving()
        if message is not None:
            self._emit(Send(self._addressed(message)))
        op = Ask(
            key or parser.name,
            parser,
            message,
            retry=retry,
            attempts=attempts,
            timeout_s=_seconds(timeout),
            remind_s=_seconds(remind_after),
            remind=remind,
            user=user.id if isinstance(user, User) else user or "",
            buttons=offered.payloads,
            meanings=offered.meanings,
        )
        return await perform(op)

    async def choose(
        self, prompt: str, options: Sequence[str] | dict[str, Any], **more: Any
    ) -> Any:
        """Asks for one of `options` (buttons where there are some, numbered text where not).

        Returns the chosen text, or with a dict the value behind it. `more` as in `ask`.
        """
        chosen = await self.ask(prompt, list(options), **more)
        return options[chosen] if isinstance(options, dict) else chosen

    async def confirm(self, prompt: str, **more: Any) -> bool:
        """Asks yes or no. `more` as in `ask`."""
        return await self.ask(prompt, bool, **more)

    def _addressed(self, message: Message) -> Message:
        if not self._services.capabilities.public or message.mention:
            return message
        return outgoing.mentioning(message, self._birth.place.user)

    async def receive(
        self,
        *,
        timeout: Seconds | None = None,
        kinds: type[Event] | tuple[type[Event], ...] = MessageReceived,
        pattern: str = "",
        user: User | str | None = None,
        key: str = "",
    ) -> Any:
        """The next message (or event of `kinds`), raw; only texts that match `pattern`, if given.

        Raises:
            Timeout: None came in time (or within the dialog's idle limit).
        """
        self._driving()
        tags = tuple(event_tag_of(kind) for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        who = user.id if isinstance(user, User) else user or ""
        return await perform(
            Receive(
                key or ",".join(tags), tags, timeout_s=_seconds(timeout), user=who, pattern=pattern
            )
        )

    def __aiter__(self) -> Self:
        """`async for message in chat:` every message until the idle limit."""
        return self

    async def __anext__(self) -> MessageReceived:
        try:
            message: MessageReceived = await self.receive()
        except Timeout:
            raise StopAsyncIteration from None
        return message

    # -- time, effects, the outside ---------------------------------------------------------------

    async def sleep(self, duration: Seconds, *, key: str = "") -> None:
        """Sleeps durably: seconds or days, through restarts."""
        self._driving()
        await perform(Sleep(_seconds(duration) or 0.0, key))

    def timeout(self, duration: Seconds) -> TimeoutScope:
        """`async with chat.timeout(60): ...` raises Timeout when the whole block takes longer."""
        return TimeoutScope(self, _seconds(duration) or 0.0)

    async def run(
        self,
        fn: Callable[..., Any],
        *args: Any,
        retries: int = 0,
        at_most_once: bool = False,
        timeout: Seconds | None = None,
        key: str = "",
        **kwargs: Any,
    ) -> Any:
        """Runs a side effect once and journals its result (or exception).

        `fn` may be sync (it gets a thread) or async. It runs at least once: after a crash in the
        middle it runs again, with the same `legato.idempotency_key()`.

        Args:
            fn: The function.
            args, kwargs: Its arguments.
            retries: Tries again so often when it raises, with growing pauses.
            at_most_once: Never runs twice; after a crash raises StepInterrupted instead.
            timeout: Limit of one try.
            key: Name in the journal, if the function's is not name enough.

        Raises:
            StepError: It raised an exception that is not registered (see `legato.register`).
            StepInterrupted: See `at_most_once`.
        """
        self._driving()
        name = key or getattr(fn, "__name__", type(fn).__name__)
        step = Step(
            name,
            fn,
            args,
            kwargs,
            retries=retries,
            at_most_once=at_most_once,
            timeout_s=_seconds(timeout),
        )
        return await perform(step)

    async def download(self, file: Photo | File, path: str) -> str:
        """Saves a received photo or file under `path` (a step); returns the path."""
        self._driving()
        return str(await perform(Step("download", self._services.download, (file, path), {})))

    @overload
    async def wait_for(self, name: str, type: type[T], **options: Any) -> T: ...
    @overload
    async def wait_for(self, name: str, type: None = None, **options: Any) -> Any: ...

    async def wait_for(
        self,
        name: str,
        type: Any = None,  # noqa: A002
        *,
        timeout: Seconds | None = None,
        key: str = "",
    ) -> Any:
        """Waits for `app.signal(chat.id, name, value)`; the value comes typed.

        A signal that came before this line was reached is kept and found.

        Raises:
            Timeout: It did not come in time.
        """
        self._driving()
        return await perform(WaitFor(name, type, key or name, _seconds(timeout)))

    async def goto(self, dialog: Callable[..., Any] | str, **state: Any) -> NoReturn:
        """Ends here and goes on as `dialog(chat, **state)`: a tail call that empties the journal,
        so that endless loops stay short. Never returns."""
        self._driving()
        await perform(Goto(dialog, state))
        raise AssertionError("unreachable")

    # -- several things at once --------------------------------------------------------------------

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> list[Any]:
        """Runs all branches; their results in order. The first error cancels the others."""
        self._driving()
        results: list[Any] = await perform(Fork("gather", branches))
        return results

    async def first(self, *branches: Coroutine[Any, Any, T]) -> T:
        """The result of whichever branch is over first; the others are cancelled."""
        self._driving()
        result: T = await perform(Fork("first", branches))
        return result

    async def race(self, *branches: Coroutine[Any, Any, T]) -> tuple[int, T]:
        """Like `first`, and tells which: (index, result)."""
        self._driving()
        result: tuple[int, T] = await perform(Fork("race", branches))
        return result

    # -- the platform's own API --------------------------------------------------------------------

    def __getattr__(self, name: str) -> PlatformApi:
        if name in outgoing.PLATFORMS:
            return PlatformApi(self, name)
        raise AttributeError(f"chat has no {name!r}")

    def _driving(self) -> Driver:
        """The driver, if this dialog is what runs right now."""
        driver = self._driver
        if driver.evicting:
            raise Evict
        if guard.ACTIVE.driver is not driver:
            raise Misuse(
                "chat.* was called outside its dialog (in a step, a task or another dialog): "
                "return the value to the dialog and call chat.* there"
            )
        return driver


class PlatformApi:
    """`chat.telegram`: any method of the platform's own API by its name, journaled."""

    __slots__ = ("_chat", "_name")

    def __init__(self, chat: Chat, name: str) -> None:
        self._chat = chat
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        chat, platform = self._chat, self._name

        async def call(key: str = "", **params: Any) -> Any:
            chat._driving()
            if platform != chat.platform:
                raise Unsupported(
                    f"chat.{platform}.{method}: this conversation is on {chat.platform}"
                )
            return await perform(PlatformCall(platform, method, params, key))

        return call


def _seconds(duration: Seconds | None) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    return duration


def _reference(target: Handle | MessageReceived | str | None) -> str:
    if isinstance(target, Handle):
        return target.ref
    if isinstance(target, MessageReceived):
        return target.message_id
    return target or ""
