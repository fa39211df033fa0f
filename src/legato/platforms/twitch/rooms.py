"""The channels a bot is in: their names and ids, and what the bot may do there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

FEW = (20, 30.0)
MANY = (100, 30.0)
"""Messages within seconds, by the bot's role in a channel.
https://dev.twitch.tv/docs/chat#rate-limits (read 2026-11-28)
"""
_POWER = frozenset(("broadcaster", "moderator"))


class Rooms:
    """What is known of the channels. On IRC they are named, everywhere else they have an id.

    Args:
        logins: The names of the channels to be in.

    Attributes:
        logins: As given, in lower case.
        ids: From name to id.
        changed: Called when the bot's rights in a channel change.
    """

    __slots__ = ("_names", "_powers", "changed", "ids", "logins")

    def __init__(self, logins: Iterable[str]) -> None:
        self.logins: tuple[str, ...] = tuple(dict.fromkeys(login.lower() for login in logins))
        self.ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._powers: dict[str, bool] = {}
        self.changed: Callable[[], None] = lambda: None

    def learn(self, login: str, room: str) -> None:
        """The channel of this name has this id."""
        if room and self.ids.get(login) != room:
            self.ids[login] = room
            self._names[room] = login
            if self._powers.get(login):
                self.changed()

    def login(self, room: str) -> str:
        """The name of the channel with this id. A server that is not Twitch knows channels by their
        names alone: there the id is the name.
        """
        return self._names.get(room, room)

    def hold(self, login: str, roles: Iterable[str]) -> None:
        """The bot has these roles in the channel of this name, and no others."""
        power = not _POWER.isdisjoint(roles)
        if power != self._powers.get(login, False):
            self._powers[login] = power
            self.changed()
        self._powers[login] = power

    @property
    def powers(self) -> tuple[str, ...]:
        """Ids of the channels in which the bot may say much."""
        logins = (login for login, power in self._powers.items() if power)
        return tuple(sorted(self.ids[login] for login in logins if login in self.ids))

    def window(self, room: str, bot: str, told: Iterable[str] = ()) -> tuple[int, float]:
        """How much the bot may say in the channel with this id.

        Args:
            room: The channel.
            bot: The bot's own id.
            told: `powers` of another process, which hears what this one does not.
        """
        known = self._powers.get(self.login(room))
        return MANY if room == bot or (room in told if known is None else known) else FEW

    def unknown(self) -> list[str]:
        """Names whose id is not known."""
        return [login for login in self.logins if login not in self.ids]

    def kept(self) -> bytes:
        """The names and ids, for the store."""
        return msgspec.json.encode(self.ids)

    def take(self, kept: bytes) -> None:
        """What `kept` gave."""
        for login, room in msgspec.json.decode(kept, type=dict[str, str]).items():
            self.learn(login, room)
