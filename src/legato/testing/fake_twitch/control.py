"""A fake Twitch that another process moves: POST {"do": ..., ...} to /control."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from legato.testing._http import Request, Response
from legato.testing.fake_twitch.people import FakeChannel, FakeViewer
from legato.testing.fake_twitch.server import FakeTwitch
from legato.testing.fake_twitch.world import Json, Refused


class Control:
    """Obeys the requests of another process.

    Everything that can be done stands in `table`: a name, and what takes the other fields of the
    request. The answer is JSON: {"ok": true, "result": ...} or {"ok": false, "error": "..."}.

    Attributes:
        table: Names of what can be done.
    """

    def __init__(self, twitch: FakeTwitch) -> None:
        self._twitch = twitch
        self._viewers: dict[str, FakeViewer] = {}
        self.table: dict[str, Callable[..., object]] = {
            "says": self._says,
            "gives": lambda role, viewer, channel="": self._channel(channel).gives(
                role, self._viewer(viewer)
            ),
            "bans": lambda viewer, channel="", seconds=0: self._channel(channel).bans(
                self._viewer(viewer), seconds
            ),
            "drops": lambda channel="", times=1: self._channel(channel).drops(times=times),
            "sees": lambda viewer: self._viewer(viewer).sees,
            "transcript": lambda channel="": self._channel(channel).transcript,
            "state": self._state,
            "fails": lambda **fault: self._none(twitch.fails(**fault)),
            "expire": twitch.auth.expire,
            "irc.drop": twitch.irc.drop,
            "irc.reconnects": twitch.irc.reconnects,
            "irc.pings": twitch.irc.pings,
            "irc.freeze": twitch.irc.freeze,
            "irc.refuses": twitch.irc.refuses,
            "irc.cuts": twitch.irc.cuts,
            "eventsub.revokes": twitch.eventsub.revokes,
            "eventsub.reconnects": partial(self._session, "reconnects"),
            "eventsub.drop": partial(self._session, "drop"),
            "eventsub.mute": partial(self._session, "mute"),
        }

    def __call__(self, request: Request) -> Response:
        """Answers one request."""
        try:
            asked = msgspec.json.decode(request.body, type=dict[str, object])
            result = self.table[str(asked.pop("do", ""))](**asked)
        except (KeyError, TypeError, AssertionError, Refused, msgspec.DecodeError) as error:
            answer: Json = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            return Response(400, msgspec.json.encode(answer))
        return Response(200, msgspec.json.encode({"ok": True, "result": result}))

    def _session(self, does: str) -> object:
        """What befalls the newest session of EventSub."""
        return getattr(self._twitch.eventsub.sockets.session, does)()

    def _none(self, _value: object) -> None:
        """What a fault is stays here."""

    def _channel(self, name: str) -> FakeChannel:
        channels = {c.login: c for c in self._twitch.world.channels.values()}
        return channels[name.lower()] if name else next(iter(channels.values()))

    def _viewer(self, name: str) -> FakeViewer:
        if name not in self._viewers:
            self._viewers[name] = self._twitch.viewer(name)
        return self._viewers[name]

    def _says(self, viewer: str, text: str, channel: str = "", reply_to: str = "") -> str:
        """The id of the message."""
        answered = self._twitch.world.messages[reply_to] if reply_to else None
        to = self._channel(channel)
        return self._viewer(viewer).says(text, to=to, reply_to=answered).id

    def _state(self) -> Json:
        twitch = self._twitch
        return {
            "violations": twitch.violations,
            "joined": sorted(twitch.irc.joined(twitch.bot.login)),
            "connections": twitch.irc.connections,
            "subscriptions": [s.json() for s in twitch.eventsub.subscriptions],
            "refreshed": len(twitch.auth.refreshed),
            "calls": [[c.method, c.path, c.status] for c in twitch.calls],
            "transcripts": {c.login: c.transcript for c in twitch.world.channels.values()},
        }
