"""A bot as the sender sees it: its adapter, and the limits of its sends."""

from __future__ import annotations

import logging

from legato.abc import HttpClient, Platform, Verdict
from legato.abc.redaction import ERROR_CHARS, redacted
from legato.model.events import Address
from legato.model.records import Call
from legato.outbox.lanes import Lane
from legato.outbox.limits import BotLimits, Pace

log: logging.Logger = logging.getLogger("legato.relay")


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

    async def send(self, call: Call, place: Address, http: HttpClient) -> Verdict:
        """Lets the adapter try once. Never raises an Exception."""
        try:
            return await self.platform.send(call, place, http)
        except Exception as error:  # noqa: BLE001 - an adapter's bug must not stop the lane
            import traceback

            secrets = self.platform.secrets
            text = redacted("".join(traceback.format_exception(error)), secrets, limit=10_000)
            log.error("the %s adapter failed to send %s:\n%s", place.platform, call.method, text)  # noqa: TRY400
            reason = redacted(f"{type(error).__name__}: {error}", secrets, ERROR_CHARS)
            return Verdict("refused", error=f"a bug in the {place.platform} adapter: {reason}")
