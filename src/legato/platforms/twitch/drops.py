"""Why Twitch did not show a message, and what follows.

IRC says it in a NOTICE (tag "msg-id"), Helix with HTTP 200 and a `drop_reason`, in the same words:
https://dev.twitch.tv/docs/chat/irc#notice-message-ids (read 2026-11-28).
"""

from __future__ import annotations

import re

from legato.abc import Clock, Verdict
from legato.model.records import Call
from legato.platforms.twitch.events import INVISIBLE

_GONE = frozenset(
    (
        "msg_banned",
        "msg_channel_blocked",
        "msg_channel_suspended",
        "msg_room_not_found",
        "msg_suspended",
        "tos_ban",
    )
)
"""The bot cannot say anything in this channel any more."""
_LATER = {
    "msg_ratelimit": 5.0,
    "msg_slowmode": 30.0,
    "msg_timedout": 60.0,
    "rate_limited": 5.0,
    "slow_mode": 30.0,
}
"""Seconds to wait where the text does not tell."""
SOON_S = 0.1
_DUPLICATE = "msg_duplicate"
_NO_PARENT = "invalid_parent"
_OTHERS = frozenset((_NO_PARENT, "no_permission", "unrecognized_cmd", "unavailable_command"))
_NOT_SHOWN = "Twitch did not show it ("
_SECONDS = re.compile(r"\b([0-9]{1,7}) (?:more )?seconds?\b")


def is_drop(code: str) -> bool:
    """Whether a NOTICE with this id answers a message of ours, in its place."""
    return code.startswith("msg_") or code in _GONE or code in _OTHERS


def dropped(code: str, text: str) -> Verdict:
    """The verdict on a message that Twitch did not show."""
    error = f"{_NOT_SHOWN}{code}): {text}"[:500]
    if code in _GONE:
        return Verdict("gone", error=error)
    if code in (_DUPLICATE, _NO_PARENT):  # the next try has another form: see Forms
        return Verdict("retry", retry_after_s=SOON_S, error=error)
    if code in _LATER:
        told = _SECONDS.search(text)
        wait_s = float(told[1]) if told else _LATER[code]
        return Verdict("retry", retry_after_s=max(1.0, wait_s), error=error)
    return Verdict("refused", error=error)


def code_of(verdict: Verdict) -> str:
    """Why Twitch did not show it, in a word; "" if it is another verdict."""
    if not verdict.error.startswith(_NOT_SHOWN):
        return ""
    return verdict.error.removeprefix(_NOT_SHOWN).partition(")")[0]


SAME_S = 30.0
"""Within this time Twitch drops the same text of one who is no moderator."""
SIGNS = 4
PARENTS = 100


class Forms:
    """Gives a message the form in which Twitch will show it.

    Where Twitch drops a text because it was just said in the same channel, such texts get an
    invisible sign behind them, which makes them others: people's chat clients do that as well. A
    message that cannot be answered any more is not answered.
    """

    __slots__ = ("_clock", "_parents", "_said")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[str, dict[str, float]] = {}
        self._parents: dict[str, None] = {}

    def of(self, call: Call, channel: str) -> tuple[str, str]:
        """(text, id of the message it answers) as they are to be sent."""
        reply_to = str(call.params.get("reply_to", ""))
        said = self._recent(channel)
        text = words = str(call.params["text"])
        for count in range(1, SIGNS):
            if text not in said:
                break
            text = f"{words} {INVISIBLE * count}"
        return text, "" if reply_to in self._parents else reply_to

    def shown(self, channel: str, text: str) -> None:
        """This was said."""
        if channel in self._said:
            self._said[channel][text] = self._clock.monotonic()

    def dropped(self, channel: str, text: str, reply_to: str, code: str) -> None:
        """This was not shown: the next try has another form."""
        if code == _DUPLICATE:
            self._said.setdefault(channel, {})
            self.shown(channel, text)
        elif code == _NO_PARENT and reply_to:
            self._parents[reply_to] = None
            if len(self._parents) > PARENTS:
                del self._parents[next(iter(self._parents))]

    def _recent(self, channel: str) -> dict[str, float]:
        said = self._said.get(channel)
        if not said:
            return {}
        old = self._clock.monotonic() - SAME_S - 1.0
        for text in [text for text, at in said.items() if at < old]:
            del said[text]
        return said
