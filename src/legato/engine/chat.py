"""The handle a dialog receives. Every method is a thin way to say one operation to the driver."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NoReturn, Self, TypeVar, Unpack, overload

from legato.engine import outgoing
from legato.engine.asking import Ask, AskOptions
from legato.engine.commands import (
    Fork,
    Goto,
    Receive,
    Sleep,
    Step,
    Tx,
    WaitFor,
    event_tag_of,
)
from legato.engine.handles import (
    Handle,
    PlatformApi,
    Seconds,
    TimeoutScope,
    TypingScope,
    reference,
    seconds,
)
from legato.engine.outgoing import Buttons, Source
from legato.engine.replay import Driver
from legato.engine.surroundings import Surroundings
from legato.errors import Timeout, Unsupported
from legato.model.events import Event, File, MessageReceived, Photo, User
from legato.model.messages import Message, Outgoing, Send, Typing

T = TypeVar("T")


class Chat(Surroundings):
    """One conversation, as its dialog sees it.

    Attributes:
        id: The conversation's key: pass it to a webhook, a job or a colleague, who resumes the
            dialog with `app.signal(id, name, value)`.
    """

    __slots__ = ()

    # -- saying ---------------------------------------------------------------------------------

    async def say(
        self,
        text: str = "",
        *,
        buttons: Buttons | None = None,
        photo: Source | Photo | None = None,
        file: Source | File | None = None,
        reply_to: Handle | MessageReceived | str | None = None,
        format: str = "",
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
            reply_to=reference(reply_to),
            mention=self._mention,
            silent=silent,
            preview=preview,
        )
        if message.media is not None and not self._services.capabilities.photos and not text:
            raise Unsupported(f"{self.platform} shows no pictures or files: give a text as well")
        handle = Handle(self)
        handle.ref = self._emit(Send(message), handle=weakref.ref(handle))
        return handle

    async def send_typing(self) -> None:
        """Shows the platform's typing sign for some seconds. See `typing` for longer."""
        if self._services.capabilities.typing:
            self._emit(Typing())

    def typing(self) -> TypingScope:
        """`async with chat.typing(): ...` shows the typing sign for as long as the steps in the block
        run; where the platform has none, nothing.
        """
        return TypingScope(self)

    def _conversing(self) -> Driver:
        if not self._services.capabilities.texts:
            raise Unsupported(
                "nobody is there to talk to: this dialog was started by an event. Let a step call "
                "app.broadcast(...) or app.signal(...)"
            )
        return self._driving()

    def _emit(self, out: Outgoing, *, handle: Any = None, need: str = "") -> str:
        driver = self._conversing()
        if need and not getattr(self._services.capabilities, need):
            raise Unsupported(f"{self.platform} cannot {need} messages")
        return driver.say(out, handle)

    # -- asking ---------------------------------------------------------------------------------

    @overload
    async def ask(
        self, prompt: str | Message | None = None, **options: Unpack[AskOptions]
    ) -> str: ...
    @overload
    async def ask(
        self, prompt: str | Message | None, kind: type[T], **options: Unpack[AskOptions]
    ) -> T: ...
    @overload
    async def ask(
        self, prompt: str | Message | None, kind: Callable[[str], T], **options: Unpack[AskOptions]
    ) -> T: ...
    @overload
    async def ask(
        self, prompt: str | Message | None, kind: Any, **options: Unpack[AskOptions]
    ) -> Any: ...
    async def ask(self, prompt: Any = None, kind: Any = str, **options: Unpack[AskOptions]) -> Any:
        """Asks until the answer parses, and returns it typed.

        Args:
            prompt: The question; None asks nothing and only waits.
            kind: int, float, str, bool, Decimal, date, an Enum, Literal[...], a list of texts, a
                compiled regex, Photo, File, Location, Contact, or any function of the text that
                raises ValueError.
            options: retry, attempts, timeout, remind_after, remind, min, max, buttons, user,
                format, photo, key: see AskOptions.

        Raises:
            Timeout: No good answer in time (or within the dialog's idle limit).
            TooManyAttempts: `attempts` answers did not parse.
        """
        driver = self._conversing()
        operation = Ask(prompt, kind, options, self._epoch, driver.position)
        if driver.replaying:
            driver.pass_over(int(prompt is not None))
        elif (message := operation.layout.message) is not None:
            driver.say(Send(self._addressed(message)))
        return await operation

    async def choose(
        self,
        prompt: str,
        answers: Sequence[str] | dict[str, Any],
        **options: Unpack[AskOptions],
    ) -> Any:
        """Asks for one of `answers` (buttons where there are some, numbered text where not).

        Returns the chosen text, or with a dict the value behind it. `options` as in `ask`.
        """
        chosen = await self.ask(prompt, list(answers), **options)
        return answers[chosen] if isinstance(answers, dict) else chosen

    async def confirm(self, prompt: str, **options: Unpack[AskOptions]) -> bool:
        """Asks yes or no. `options` as in `ask`."""
        answer: bool = await self.ask(prompt, bool, **options)
        return answer

    def _addressed(self, message: Message) -> Message:
        return message if message.mention else outgoing.mentioning(message, self._mention)

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
        self._conversing()
        tags = tuple(
            event_tag_of(kind) for kind in (kinds if isinstance(kinds, tuple) else (kinds,))
        )
        who = user.id if isinstance(user, User) else user or ""
        return await Receive(
            key or ",".join(tags), tags, timeout_s=seconds(timeout), user=who, pattern=pattern
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
        await Sleep(seconds(duration) or 0.0, key)

    def timeout(self, duration: Seconds) -> TimeoutScope:
        """`async with chat.timeout(60): ...` raises Timeout when the whole block takes longer."""
        return TimeoutScope(self, seconds(duration) or 0.0)

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
            timeout: Limit of one try, 0 = none; by default the App's (`App(step_timeout=)`).
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
            timeout_s=seconds(timeout),
        )
        return await step

    async def tx(
        self,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        timeout: Seconds | None = None,
        key: str = "",
        **kwargs: Any,
    ) -> T:
        """Runs SQL of yours in the very transaction that journals its result: exactly once.

        `fn` is an `async` function whose first parameter is that transaction: asyncpg's Connection
        where the store is Postgres, calls of the same names where it is SQLite. It may run again
        after a rollback, so it must do nothing else. If it raises, nothing is written, and the
        exception is raised here.

        Args:
            fn: The function.
            args, kwargs: Its arguments, after the transaction.
            timeout: Limit of one run; it holds locks meanwhile.
            key: Name in the journal, if the function's is not name enough.

        Raises:
            Unsupported: The store has no such thing.
            StepError: It raised an exception that is not registered (see `legato.register`).
        """
        self._driving()
        name = key or getattr(fn, "__name__", type(fn).__name__)
        result: T = await Tx(name, fn, args, kwargs, timeout_s=seconds(timeout))
        return result

    async def download(self, file: Photo | File, path: str) -> str:
        """Saves a received photo or file under `path` (a step); returns the path."""
        self._driving()
        return str(await Step("download", self._services.download, (file, path), {}))

    @overload
    async def wait_for(
        self, name: str, type: type[T], *, timeout: Seconds | None = None, key: str = ""
    ) -> T: ...
    @overload
    async def wait_for(
        self, name: str, type: None = None, *, timeout: Seconds | None = None, key: str = ""
    ) -> Any: ...
    async def wait_for(
        self, name: str, type: Any = None, *, timeout: Seconds | None = None, key: str = ""
    ) -> Any:
        """Waits for `app.signal(chat.id, name, value)`; the value comes typed.

        A signal that came before this line was reached is kept and found.

        Raises:
            Timeout: It did not come in time.
        """
        self._driving()
        return await WaitFor(name, type, key or name, seconds(timeout))

    async def goto(self, dialog: Callable[..., Any] | str, **state: Any) -> NoReturn:
        """Ends here and goes on as `dialog(chat, **state)`: a tail call that empties the journal,
        so that endless loops stay short. Never returns.
        """
        self._driving()
        while True:  # nothing comes back
            await Goto(dialog, state)

    # -- several things at once --------------------------------------------------------------------

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> list[Any]:
        """Runs all branches; their results in order. The first error cancels the others."""
        results: list[Any] = await self._fork("gather", branches)
        return results

    async def first(self, *branches: Coroutine[Any, Any, T]) -> T:
        """The result of whichever branch is over first; the others are cancelled."""
        result: T = await self._fork("first", branches)
        return result

    async def race(self, *branches: Coroutine[Any, Any, T]) -> tuple[int, T]:
        """Like `first`, and tells which: (index, result)."""
        result: tuple[int, T] = await self._fork("race", branches)
        return result

    async def _fork(self, mode: str, branches: tuple[Any, ...]) -> Any:
        try:
            self._driving()
            return await Fork(mode, branches)
        finally:
            for coro in branches:  # those that were never begun: without this Python complains
                if hasattr(coro, "cr_frame") and not (coro.cr_suspended or coro.cr_running):
                    coro.close()

    # -- the platform's own API --------------------------------------------------------------------

    def __getattr__(self, name: str) -> PlatformApi:
        if name in outgoing.PLATFORMS:
            return PlatformApi(self, name)
        raise AttributeError(f"chat has no {name!r}")
