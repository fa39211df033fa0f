"""What a chat handle gives out: message handles, deadlines over a block, the platform's own API."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from legato.engine import outgoing
from legato.engine.commands import PlatformCall
from legato.engine.outgoing import Buttons
from legato.errors import Misuse, ScopeTimeout, Timeout, Unsupported
from legato.model.events import MessageReceived
from legato.model.messages import Delete, Edit, Message, Pin, React

if TYPE_CHECKING:
    from legato.engine.chat import Chat

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""


class Handle:
    """A message of ours, to be changed later. Works whether or not it is delivered yet."""

    __slots__ = ("__weakref__", "_chat", "ref")

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self.ref: str = ""

    async def edit(self, text: str, *, buttons: Buttons | None = None, format: str = "") -> None:
        """Replaces text and buttons (no `buttons`: they go away)."""
        message = Message(
            text=text,
            format=format,
            buttons=outgoing.rows(buttons),
            mention=self._chat._mention,  # where an edit is shown as a message of its own
        )
        self._chat._emit(Edit(self.ref, message), need="edit")

    async def delete(self) -> None:
        """Deletes the message."""
        self._chat._emit(Delete(self.ref), need="delete")

    async def react(self, emoji: str) -> None:
        """Puts our reaction on it ("" takes it away)."""
        self._chat._emit(React(self.ref, emoji), need="react")

    async def pin(self) -> None:
        """Pins it in the chat."""
        self._chat._emit(Pin(self.ref), need="pin")

    async def unpin(self) -> None:
        """Takes the pin away."""
        self._chat._emit(Pin(self.ref, pinned=False), need="pin")


class TimeoutScope:
    """`async with chat.timeout(60):` one deadline over several questions."""

    __slots__ = ("_chat", "deadline_ms", "seconds")

    def __init__(self, chat: Chat, seconds: float) -> None:
        self._chat = chat
        self.seconds: float = seconds
        self.deadline_ms: int = 0

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


class TypingScope:
    """`async with chat.typing():` the typing sign while the steps in the block run."""

    __slots__ = ("_chat",)

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    async def __aenter__(self) -> None:
        self._chat._driving().current.typing += 1

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._chat._driver.current.typing -= 1


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
            return await PlatformCall(platform, method, params, key)

        return call


LONGEST_S = timedelta.max.total_seconds()


def seconds(duration: Seconds | None) -> float | None:
    """A duration in seconds.

    Raises:
        Misuse: It is none; said here, since a deadline that cannot be written stops every Turn.
    """
    if duration is None:
        return None
    found = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not isinstance(found, int | float) or not abs(found) <= LONGEST_S:
        raise Misuse(
            f"a duration is a number of seconds or a timedelta, not {duration!r:.60}; to wait for "
            "ever, leave it out"
        )
    return found


def reference(target: Handle | MessageReceived | str | None) -> str:
    """What `reply_to` points at: a ref of ours or a platform message id."""
    if isinstance(target, Handle):
        return target.ref
    if isinstance(target, MessageReceived):
        return target.message_id
    return target or ""
