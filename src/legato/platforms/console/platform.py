"""The Console: lines that come, and what is shown."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterable, Awaitable, Callable

import msgspec
from msgspec import Struct

from legato.abc.clock import Clock
from legato.abc.http import HttpClient, HttpRequest
from legato.abc.platform import Capabilities, Limits, Parsed, Platform, Sink, Verdict
from legato.abc.store import Store
from legato.errors import Forged, Malformed, Unavailable, Unsupported
from legato.model.events import (
    Address,
    Attachment,
    Contact,
    File,
    Location,
    Photo,
    User,
)
from legato.model.messages import Outgoing, Raw, Typing
from legato.model.records import Call
from legato.platforms._own import call_of, pressed, wrote
from legato.platforms._text import clean
from legato.platforms.console.screen import (
    Key,
    block,
    brief,
    headline,
    keys_of,
    params_of,
    printable,
)

PERSON = User("you", "You", roles=("owner",))
"""Whoever sits at the terminal may do what moderators may."""
SHOWN = 100
"""Messages whose buttons can still be pressed and whose edits are recognised."""

_ATTACHED = re.compile(r"\[(photo|file|location|contact):\s*(.*?)\s*\]")


class Line(Struct, omit_defaults=True):
    """One raw update.

    Attributes:
        id: Unique over all runs.
        at_ms: When.
        text: What was typed; not used with `data`.
        data: Payload of the button that was pressed.
        message: The message the button stands under.
    """

    id: str
    at_ms: int = 0
    text: str = ""
    data: str = ""
    message: str = ""


_lines = msgspec.json.Decoder(Line)


class Console(Platform):
    """One person at a terminal.

    Args:
        prefixes: What a command may begin with.
        clock: Time.
        lines: What the person types; stdin by default.
        write: Shows text; stdout by default.
        settled: Awaited after each line: returns once the answers to it are shown. For input that
            does not come from a person: a number there means a button that must be shown first.
    """

    __slots__ = (
        "_clock",
        "_count",
        "_lines",
        "_newest",
        "_prefixes",
        "_settled",
        "_shown",
        "_started",
        "_write",
        "bot",
        "capabilities",
        "limits",
        "name",
        "secrets",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        prefixes: tuple[str, ...] = ("/", "!"),
        lines: AsyncIterable[str] | None = None,
        write: Callable[[str], object] | None = None,
        settled: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.name: str = "console"
        self.bot: str = "terminal"
        self.capabilities: Capabilities = Capabilities()
        self.limits: Limits = Limits()
        self.secrets: tuple[str, ...] = ()
        self._clock = clock
        self._prefixes = tuple(filter(None, prefixes))
        self._lines = lines
        self._write = write or _print
        self._settled = settled
        self._started = clock.now_ms()
        self._count = 0
        self._shown: dict[str, tuple[str, tuple[Key, ...]]] = {}
        self._newest = ""

    # -- in -----------------------------------------------------------------------------------

    def verify(self, request: HttpRequest) -> None:
        raise Forged("the console has no webhook")

    def parse(self, body: bytes) -> Parsed:
        try:
            line = _lines.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Malformed(f"console update: {error}") from error
        place = Address(self.name, self.bot, PERSON.id, PERSON.id)
        if line.data:
            return pressed(
                place, PERSON, line.at_ms, data=line.data, message=line.message, id=line.id
            )
        text, attachments = _attached(line.text)
        return wrote(
            place, PERSON, line.at_ms, text, line.id,
            prefixes=self._prefixes, attachments=attachments,
        )  # fmt: skip

    async def listen(self, sink: Sink, http: HttpClient, store: Store) -> None:
        """Reads lines until there are no more; each goes to the bot once the last was taken."""
        lines = self._lines
        if lines is None:
            from legato.platforms.console.stdin import stdin_lines

            lines = stdin_lines()
        async for typed in lines:
            text = typed.rstrip("\r\n")
            if not text.strip():
                continue
            await self._offer(sink, msgspec.json.encode(self._read(text)))
            if self._settled is not None:
                await self._settled()

    def _read(self, text: str) -> Line:
        """What a typed line means now: a button that is shown, or itself."""
        self._count += 1
        line_id, now_ms = f"{self._started}-{self._count}", self._clock.now_ms()
        message, key = self._pressed(text.strip())
        if key is None:
            return Line(line_id, now_ms, clean(text))
        if key.say:
            return Line(line_id, now_ms, key.say)
        return Line(line_id, now_ms, data=key.data, message=message)

    def _pressed(self, typed: str) -> tuple[str, Key | None]:
        """The message and the button that a typed line presses."""
        _, keys = self._shown.get(self._newest, ("", ()))
        if typed.isascii() and typed.isdecimal() and 0 < int(typed[:9]) <= len(keys):
            return self._newest, keys[int(typed) - 1]
        for key in keys:
            if key.text == typed:
                return self._newest, key
        if typed.startswith("[") and typed.endswith("]"):
            for message, (_, older) in reversed(self._shown.items()):
                for key in older:
                    if key.text == typed[1:-1]:
                        return message, key
        return "", None

    async def _offer(self, sink: Sink, body: bytes) -> None:
        while True:
            try:
                return await sink(body)
            except Unavailable as error:
                await self._clock.sleep(error.retry_after_s)

    # -- out ----------------------------------------------------------------------------------

    def render(self, out: Outgoing, place: Address) -> list[Call]:
        if isinstance(out, Typing):
            return []
        if isinstance(out, Raw):
            raise Unsupported(f"the console has no method {out.method[:80]!r}")
        return [call_of(out, params_of)]

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        try:
            return self._show(call)
        except (OSError, ValueError) as error:  # stdout was closed
            return Verdict("refused", error=f"the terminal is gone: {error}"[:500])

    def _show(self, call: Call) -> Verdict:
        params, target = call.params, str(call.params.get("message", ""))
        before, _ = self._shown.get(target, ("an earlier message", ()))
        if call.method == "say":
            self._count += 1
            target = f"{self._started}-{self._count}"
            answers, _ = self._shown.get(str(params.get("reply_to", "")), ("", ()))
            self._write(block("", params, answers))
            self._remember(target, params)
            self._newest = target
        elif call.method == "edit":
            self._write(block(f"(edited, was: {brief(before)}) ", params, ""))
            self._remember(target, params)
            if params.get("buttons"):
                self._newest = target
        elif call.method == "delete":
            self._write(f"bot: (deleted: {brief(before)})\n")
            self._shown.pop(target, None)
        elif call.method == "react":
            emoji = printable(str(params.get("emoji", "")))
            done = f"reacts {emoji} to" if emoji else "takes the reaction back from"
            self._write(f"bot: ({done}: {brief(before)})\n")
        else:
            done = "pinned" if params.get("pinned") else "unpinned"
            self._write(f"bot: ({done}: {brief(before)})\n")
        return Verdict("sent", target)

    def _remember(self, target: str, params: dict[str, object]) -> None:
        self._shown.pop(target, None)
        self._shown[target] = (headline(params), tuple(keys_of(params)))
        while len(self._shown) > SHOWN:
            del self._shown[next(iter(self._shown))]


# -- what came -------------------------------------------------------------------------------------


def _attached(text: str) -> tuple[str, tuple[Attachment, ...]]:
    """(the text without them, what "[photo: cat.jpg]" and the like stand for)."""
    found: list[Attachment] = []

    def take(match: re.Match[str]) -> str:
        attachment = _attachment(match[1], match[2])
        if attachment is None:
            return match[0]
        found.append(attachment)
        return ""

    rest = _ATTACHED.sub(take, text)
    return (rest.strip(), tuple(found)) if found else (text, ())


def _attachment(kind: str, value: str) -> Attachment | None:
    if not value:
        return None
    if kind == "photo":
        return Photo(value)
    if kind == "file":
        return File(value, value.replace("\\", "/").rpartition("/")[2])
    if kind == "contact":
        return Contact(value, PERSON.name, PERSON.id)
    try:
        latitude, longitude = map(float, value.split(","))
    except ValueError:
        return None
    within = -90 <= latitude <= 90 and -180 <= longitude <= 180
    return Location(latitude, longitude) if within else None


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
