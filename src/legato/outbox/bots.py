"""A bot as the sender sees it: its adapter, and the limits of its sends."""

from __future__ import annotations

from legato.abc import Platform
from legato.model.events import Address
from legato.outbox.lanes import Lane
from legato.outbox.limits import BotLimits, Pace


class Bot:
    """A bot's adapter and its limits."""

    __slots__ = ("limits", "platform")

    def __init__(self, platform: Platform) -> None:
        self.platform: Platform = platform
        self.limits: BotLimits[Lane] = BotLimits(platform.limits)

    def pace(self, place: Address) -> Pace:
        """The limit that binds this chat."""
        limits = self.limits
        return limits.group if self.platform.group(place) else limits.private
