"""From the arguments of `chat.ask` to a question and the operation that waits for its answer."""

from __future__ import annotations

from typing import Any, TypedDict

from legato.engine import outgoing
from legato.engine.commands import Ask, Layout
from legato.engine.handles import Seconds, seconds
from legato.engine.outgoing import Buttons, Source
from legato.engine.parsers import parser_for
from legato.errors import Misuse
from legato.model.events import Photo, User
from legato.model.messages import Message


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


def question(
    prompt: str | Message | None, kind: Any, options: AskOptions, epoch: int, position: str
) -> Ask:
    """The operation to wait on.

    Args:
        prompt, kind, options: As given to `chat.ask`.
        epoch, position: Name this question among all others; its buttons are marked with them.

    Raises:
        Misuse: An option or the kind is none that is known.
    """
    if not _OPTIONS.issuperset(options):
        extra = sorted(set(options) - _OPTIONS)
        raise Misuse(f"chat.ask() has no option {', '.join(map(repr, extra))}")
    parser = parser_for(kind, min=options.get("min"), max=options.get("max"))

    def lay_out() -> Layout:
        offered = outgoing.offer(parser.choices, options.get("buttons"), f"{epoch}|{position}")
        message = outgoing.prompt(
            prompt, offered.rows, options.get("format") or "", options.get("photo")
        )
        return Layout(message, offered.payloads, offered.meanings)

    user = options.get("user")
    return Ask(
        options.get("key") or parser.name,
        parser,
        lay_out,
        retry=options.get("retry"),
        attempts=options.get("attempts"),
        timeout_s=seconds(options.get("timeout")),
        remind_s=seconds(options.get("remind_after")),
        remind=options.get("remind"),
        user=user.id if isinstance(user, User) else user or "",
    )
