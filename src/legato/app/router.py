"""Which conversation an event belongs to, and what to do with it: a decision without I/O."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from legato.app.triggers import Trigger, Triggers
from legato.engine.dialog import Dialogs
from legato.model.events import Address, AnyEvent
from legato.model.ids import OVERLAY, SCOPES, conversation_key, place_of


class Start(Struct, frozen=True):
    """Start a dialog.

    Attributes:
        trigger, args: What, and with which arguments.
        key: The key it is to have.
        event: The event as its dialog shall see it.
    """

    trigger: Trigger
    args: dict[str, Any]
    key: str
    event: AnyEvent


class Router:
    """Knows the scopes in use, and so the keys under which an event may find a conversation."""

    def __init__(self, triggers: Triggers, dialogs: Dialogs) -> None:
        self._triggers = triggers
        used = {dialog.scope for dialog in dialogs if not dialog.name.startswith("legato.")}
        self._scopes = tuple(scope for scope in SCOPES if scope in used) or ("user_in_chat",)
        # Only dialogs that do not begin by a plain command can stand on top of another one.
        self._overlays = any(
            trigger.anywhere or not trigger.commands
            for trigger in triggers.all
            if not trigger.dialog.name.startswith("legato.")
        )
        whole_chat = "chat" in used or "thread" in used
        self._lane = "chat" if whole_chat else "user" if "user" in used else "user_in_chat"

    def lane(self, event: AnyEvent) -> str:
        """Events of one lane are worked on one after another: it covers every key they share."""
        key: str = getattr(event, "key", "")
        return self.lane_of(key) if key else conversation_key(event.place, self._lane)

    def lane_of(self, key: str) -> str:
        """The lane of a conversation."""
        return conversation_key(place_of(key), self._lane)

    def keys(self, event: AnyEvent) -> list[str]:
        """Keys under which a conversation may wait for this event, the likeliest first."""
        found: list[str] = []
        for scope in self._scopes:
            key = conversation_key(event.place, scope)
            if key in found:
                continue
            if self._overlays:
                found.append(key + OVERLAY)
            found.append(key)
        return found

    def replaced(self, start: Start) -> list[str]:
        """Keys of the conversations that a command ends before its dialog starts.

        In a room with many people these are the person's own, and what stands where its dialog is to
        be. What else the whole room is in goes on, unless the command is there to cancel.
        """
        event = start.event
        keys = self.keys(event)
        if start.trigger.cancels or getattr(event, "private", False):
            return keys
        return [key for key in keys if place_of(key).user or key.rstrip(OVERLAY) == start.key]

    def command(self, event: AnyEvent) -> Trigger | None:
        """The command in the event, if it is one of ours."""
        return self._triggers.command(event)

    def match(self, event: AnyEvent) -> tuple[Trigger, dict[str, Any]] | None:
        """The pattern, button or event trigger that fits, if any."""
        return self._triggers.match(event)

    def hint(self, event: AnyEvent) -> Trigger | None:
        """What answers a message that nobody took, if anything is to."""
        trigger = self._triggers.hint
        if trigger is None or trigger.match(event) is None:
            return None
        command = getattr(event, "command", "")
        if command:  # one that is not allowed here is none to be spoken of
            return None if self._triggers.has_command(command) else trigger
        text: str = getattr(event, "text", "")
        return trigger if text and self._triggers.hints_for_texts else None

    def start(self, trigger: Trigger, args: dict[str, Any], event: AnyEvent) -> Start:
        """How to start the dialog of a trigger: its key, and its place by the dialog's scope."""
        scope = trigger.dialog.scope
        place = event.place
        if scope in ("chat", "thread") and not getattr(event, "private", False):
            place = structs.replace(place, user="")  # the room is spoken to, not one person
        key = conversation_key(event.place, scope)
        return Start(trigger, args, key, structs.replace(event, place=place))


def key_of(place: Address, scope: str) -> str:
    """The plain key of a place."""
    return conversation_key(place, scope)
