"""Questions: from the arguments of `chat.ask` to what is shown, and what is an answer."""

from __future__ import annotations

from typing import Any, TypedDict

from msgspec import Struct, structs

from legato.engine import outgoing
from legato.engine.commands import ACCEPTED, NO, REJECTED, Answer, Op
from legato.engine.handles import Seconds, seconds
from legato.engine.outgoing import Buttons, Source
from legato.engine.parsers import Parser, parser_for
from legato.errors import Misuse
from legato.model.events import (
    AnyEvent,
    ButtonPressed,
    MessageEdited,
    MessageReceived,
    Photo,
    User,
)
from legato.model.messages import Message
from legato.model.records import Wait
from legato.model.values import to_stored


class AskOptions(TypedDict, total=False):
    """Keyword arguments of `chat.ask`, `choose` and `confirm`.

    Attributes:
        retry: Said after an answer that does not parse; by default the parser's own reason.
        attempts: So many answers at most, then TooManyAttempts.
        timeout: Seconds or timedelta to wait for a good answer, then Timeout.
        remind_after: Asks again (or says `remind`) after so long, once.
        remind: Text of the reminder; by default the question.
        min, max: Bounds of numbers and dates, or of a text's length.
        buttons: Answers to offer; a press counts as its text (or its data).
        user: Only this person's answer counts (in a whole room).
        format: Of the question: "", "markdown" or "html".
        photo: Shown with the question.
        key: Name in the journal, if the type alone is not name enough.
    """

    retry: str | None
    attempts: int | None
    timeout: Seconds | None
    remind_after: Seconds | None
    remind: str | None
    min: Any
    max: Any
    buttons: Buttons | None
    user: User | str | None
    format: str
    photo: Source | Photo | None
    key: str


_OPTIONS = frozenset(AskOptions.__annotations__)


class Layout(Struct, frozen=True):
    """A question as it is shown.

    Attributes:
        message: What is said, None for nothing.
        payloads: What a press of each button carries, unique to this question.
        meanings: What the parser reads for each of them.
    """

    message: Message | None
    payloads: tuple[str, ...]
    meanings: tuple[str, ...]


class Ask(Op):
    """A question: waits for a message (or button) that its parser can read.

    Args:
        prompt, kind, options: As given to `chat.ask`.
        epoch, position: Name this question among all others; its buttons are marked with them.

    Attributes:
        parser: Reads the answers.
        options: As given.

    Raises:
        Misuse: An option or the kind is none that is known.
    """

    __slots__ = ("_layout", "_place", "_prompt", "_user", "options", "parser")

    kind = "ask"
    person = True

    def __init__(
        self,
        prompt: str | Message | None,
        kind: Any,
        options: AskOptions,
        epoch: int,
        position: str,
    ) -> None:
        if not _OPTIONS.issuperset(options):
            extra = sorted(set(options) - _OPTIONS)
            raise Misuse(f"chat.ask() has no option {', '.join(map(repr, extra))}")
        self.parser: Parser = parser_for(kind, min=options.get("min"), max=options.get("max"))
        self.options: AskOptions = options
        self.name: str = options.get("key") or self.parser.name
        self.timeout_s: float | None = seconds(options.get("timeout"))
        user = options.get("user")
        self._user = user.id if isinstance(user, User) else user or ""
        self._prompt = prompt
        buttons = self.parser.choices or "buttons" in options
        self._place = f"{epoch}|{position}" if buttons else ""
        self._layout: Layout | None = None

    @property
    def remind_s(self) -> float | None:
        """When it is asked again, in seconds."""
        return seconds(self.options.get("remind_after"))

    @property
    def layout(self) -> Layout:
        """What is shown; laid out when it is needed, since a replay passes most questions by, and not
        kept while the question waits.

        Raises:
            Misuse: It cannot be shown like this.
        """
        if self._layout is None:
            options = self.options
            offered = outgoing.offer(self.parser.choices, options.get("buttons"), self._place)
            message = outgoing.prompt(
                self._prompt, offered.rows, options.get("format") or "", options.get("photo")
            )
            self._layout = Layout(message, offered.payloads, offered.meanings)
        return self._layout

    def wait(self, path: str) -> Wait:
        payloads = self.layout.payloads
        self._layout = None
        return Wait(
            path=path,
            kind=self.kind,
            name=self.name,
            events=("message", "button") if payloads else ("message",),
            user=self._user,
            buttons=payloads,
        )

    def accept(self, event: AnyEvent) -> Answer:
        if isinstance(event, MessageEdited) or not isinstance(event, _ANSWERS):
            return NO
        if self._user and event.place.user != self._user:
            return NO
        if isinstance(event, ButtonPressed):
            shown = self.layout
            if event.data not in shown.payloads:
                return NO  # a stale button of an earlier question
            event = structs.replace(event, data=shown.meanings[shown.payloads.index(event.data)])
        try:
            value = self.parser.read(event)
        except ValueError as error:
            return Answer(REJECTED, reason=str(error))
        return Answer(ACCEPTED, to_stored(value, where=f"the answer to ask(..., {self.name})"))


_ANSWERS = (MessageReceived, ButtonPressed)
