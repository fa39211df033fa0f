"""What starts a dialog: commands, patterns, buttons, events. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from legato.abc import Offered
from legato.engine.commands import event_tag
from legato.engine.dialog import Dialog
from legato.errors import Misuse
from legato.model.events import AnyEvent, ButtonPressed, Happened, MessageEdited, MessageReceived

ONLY: dict[str, Callable[[AnyEvent], bool]] = {
    "private": lambda event: bool(getattr(event, "private", False)),
    "groups": lambda event: not getattr(event, "private", False),
    "moderators": lambda event: _has_role(event, "moderator", "broadcaster", "admin", "owner"),
    "broadcaster": lambda event: _has_role(event, "broadcaster", "owner"),
}
"""Values of `only=`: who may set a trigger off."""


class Trigger(Struct, frozen=True, kw_only=True):
    """One way to start a dialog.

    Attributes:
        dialog: What it starts.
        commands: Names, lower case, without prefix; () if it is no command.
        pattern: Regular expression for a message's text or a button's data; "" = any.
        events: Tags of the events it listens to.
        help: One line for /help, "" = not listed.
        anywhere: Runs during another dialog, which then shows its question again.
        cancels: Raises Cancelled inside the waiting dialog first.
        only: "" or a key of ONLY.
    """

    dialog: Dialog
    commands: tuple[str, ...] = ()
    pattern: str = ""
    events: tuple[str, ...] = ("message",)
    help: str = ""
    anywhere: bool = False
    cancels: bool = False
    only: str = ""

    def allows(self, event: AnyEvent) -> bool:
        """Whether this person and place may set it off."""
        return not self.only or ONLY[self.only](event)

    def match(self, event: AnyEvent) -> dict[str, Any] | None:
        """Arguments for the dialog if the event sets it off, else None."""
        if event_tag(event) not in self.events or not self.allows(event):
            return None
        if isinstance(event, MessageEdited) and "edited" not in self.events:
            return None
        if not self.pattern:
            return {}
        found = re.search(self.pattern, _subject(event))
        return None if found is None else found.groupdict()


def button_pattern(template: str) -> str:
    """A regular expression for "buy:{item}"; each {name} becomes an argument of the dialog.

    Raises:
        Misuse: A name is no identifier, or stands twice.
    """
    parts = re.split(r"\{([^{}]*)\}", template)
    names = parts[1::2]
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise Misuse(f"button template {template!r}: {{names}} must be different identifiers")
    pieces = [
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>.+?)"
        for index, part in enumerate(parts)
    ]
    return "^" + "".join(pieces) + "$"


def kind_pattern(kind: str) -> str:
    """A regular expression for "s3:ObjectCreated:*"."""
    return "^" + ".*".join(re.escape(part) for part in kind.split("*")) + "$"


def _subject(event: AnyEvent) -> str:
    """What a pattern is looked for in."""
    if isinstance(event, ButtonPressed):
        return event.data
    return event.kind if isinstance(event, Happened) else getattr(event, "text", "")


def _has_role(event: AnyEvent, *roles: str) -> bool:
    return event.user is not None and any(role in roles for role in event.user.roles)


class Triggers:
    """All triggers of an App, in the order they were written."""

    def __init__(self) -> None:
        self.all: list[Trigger] = []
        self.hint: Trigger | None = None  # for commands that nobody takes
        self.hints_for_texts: bool = False  # and for any other text
        self._commands: dict[str, Trigger] = {}

    def add(self, trigger: Trigger) -> None:
        """Registers a trigger.

        Raises:
            Misuse: The command is taken, or `only` is unknown.
        """
        if trigger.only and trigger.only not in ONLY:
            raise Misuse(f"only={trigger.only!r}: choose one of {', '.join(map(repr, ONLY))}")
        for name in trigger.commands:
            if name in self._commands:
                raise Misuse(
                    f"command {name!r} has two handlers: {self._commands[name].dialog.name!r} "
                    f"and {trigger.dialog.name!r}"
                )
            self._commands[name] = trigger
        self.all.append(trigger)

    def command(self, event: AnyEvent) -> Trigger | None:
        """The trigger of the command in this message, if it is one of ours."""
        if not isinstance(event, MessageReceived) or isinstance(event, MessageEdited):
            return None
        if not event.command:
            return None
        found = self._commands.get(event.command)
        return found if found is not None and found.allows(event) else None

    def match(self, event: AnyEvent) -> tuple[Trigger, dict[str, Any]] | None:
        """The first trigger (commands aside) that the event sets off; a bare `@app.message()`
        only takes what no pattern took.
        """
        fallback: tuple[Trigger, dict[str, Any]] | None = None
        for trigger in self.all:
            if trigger.commands:
                continue
            args = trigger.match(event)
            if args is None:
                continue
            if trigger.pattern or "message" not in trigger.events:
                return trigger, args
            fallback = fallback or (trigger, args)
        return fallback

    def has_command(self, name: str) -> bool:
        """Whether a command of this name is registered."""
        return name in self._commands

    def offered(self) -> list[Offered]:
        """The commands that everybody who reads /help may use."""
        return [
            Offered(t.commands[0], t.help, private=t.only != "groups", groups=t.only != "private")
            for t in self.all
            if t.commands and t.help and t.only in ("", "private", "groups")
        ]

    def help(self) -> list[tuple[str, str]]:
        """(command, help) of all commands that have a help text."""
        return [(t.commands[0], t.help) for t in self.all if t.commands and t.help]
