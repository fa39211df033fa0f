"""One connection to the chat server: what a client says, and what it is answered.

https://dev.twitch.tv/docs/chat/irc (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from legato.testing.fake_twitch.payloads import badge_tags, source, tags, untagged
from legato.testing.fake_twitch.people import FakeChannel
from legato.testing.fake_twitch.world import LONGEST, Account, FakeMessage, Refused

if TYPE_CHECKING:
    from legato.testing.fake_twitch.irc import Irc

SERVER = "tmi.twitch.tv"
CAPS = ("twitch.tv/tags", "twitch.tv/commands", "twitch.tv/membership")
ANONYMOUS = "justinfan"
"""Nicks that begin so may listen without a token."""


class Wire(Protocol):
    """What carries the lines."""

    def send(self, text: str, /) -> None:
        """Sends one line."""

    def close(self) -> None:
        """Closes when all is sent."""

    def abort(self) -> None:
        """Cuts."""


class Session:
    """One client.

    Attributes:
        account: Who it is; None: not logged in.
        caps: What it asked for and got.
        channels: Where it listens.
        pongs: How many PONGs it sent.
        frozen: Nothing passes any more.
    """

    def __init__(self, irc: Irc, wire: Wire) -> None:
        self._irc = irc
        self.wire: Wire = wire
        self.account: Account | None = None
        self.anonymous: bool = False
        self.caps: set[str] = set()
        self.channels: list[FakeChannel] = []
        self.pongs: int = 0
        self.frozen: bool = False
        self._password = ""
        self._scopes: tuple[str, ...] = ()
        self._commands: dict[str, Callable[[list[str], dict[str, str]], None]] = {
            "CAP": self._cap,
            "PASS": self._pass,
            "NICK": self._nick,
            "PING": self._ping,
            "PONG": self._pong,
            "JOIN": self._join,
            "PART": self._part,
            "PRIVMSG": self._privmsg,
            "QUIT": self._quit,
        }

    def __repr__(self) -> str:
        return f"<session of {self.account.login if self.account else 'nobody'}>"

    def send(self, line: str) -> None:
        """Sends one line."""
        if not self.frozen:
            self.wire.send(line)

    def received(self, line: str) -> None:
        """Obeys one line of the client."""
        if self.frozen:
            return
        self._irc.lines.append(line)
        values, rest = untagged(line)
        head, colon, trailing = rest.partition(" :")
        command, *params = head.split()
        params += [trailing] if colon else []
        obey = self._commands.get(command.upper())
        if obey is None:
            nick = self.account.login if self.account else "you"
            self.send(f":{SERVER} 421 {nick} {command} :Unknown command")
        elif self.account is None and command.upper() not in (
            "CAP",
            "PASS",
            "NICK",
            "PING",
            "QUIT",
        ):
            self._irc.world.violated(f"{command} before the log-in")
        else:
            obey(params, values)
        self._irc.world.changed()

    def notice(self, channel: str, code: str, text: str) -> None:
        """Tells of something that went wrong."""
        tag = tags({"msg-id": code}) if CAPS[0] in self.caps and code else ""
        self.send(f"{tag}:{SERVER} NOTICE {channel} :{text}")

    # -- logging in ---------------------------------------------------------------------------

    def _cap(self, params: list[str], _tags: dict[str, str]) -> None:
        what = params[0].upper() if params else ""
        if what == "LS":
            self.send(f":{SERVER} CAP * LS :{' '.join(CAPS)}")
        elif what == "REQ":
            asked = " ".join(params[1:]).split()
            known = set(CAPS) - self._irc.refused_caps
            accepted = all(name in known for name in asked)
            if accepted:
                self.caps.update(asked)
            self.send(f":{SERVER} CAP * {'ACK' if accepted else 'NAK'} :{' '.join(asked)}")
        elif what != "END":
            self.send(f":{SERVER} 410 * {what} :Invalid CAP command")

    def _pass(self, params: list[str], _tags: dict[str, str]) -> None:
        self._password = params[0] if params else ""

    def _nick(self, params: list[str], _tags: dict[str, str]) -> None:
        nick = params[0].lower() if params else ""
        if self.account is not None:
            return
        if self._irc.logins.hit(self._irc.world.now()):
            self._irc.world.violated("more than 20 log-ins in 10 s")
        if nick.startswith(ANONYMOUS):
            self.anonymous = True
            self._welcome(Account("0", nick, nick))
            return
        prefix, colon, access = self._password.partition(":")
        if not colon or prefix != "oauth":
            self._fail("Improperly formatted auth")
            return
        token = self._irc.auth.valid(access)
        if token is None or token.user is None or token.user.login != nick:
            self._fail("Login authentication failed")
        elif not {"chat:read", "chat:edit"} & set(token.scopes):
            self._fail("Login unsuccessful")
        else:
            self._scopes = token.scopes
            self._welcome(token.user)

    def _fail(self, why: str) -> None:
        self.notice("*", "", why)
        self.wire.close()

    def _welcome(self, account: Account) -> None:
        self.account = account
        texts = {
            "001": "Welcome, GLHF!",
            "002": f"Your host is {SERVER}",
            "003": "This server is rather new",
            "004": "-",
            "375": "-",
            "372": "You are in a maze of twisty passages, all alike.",
            "376": ">",
        }
        for code, text in texts.items():
            self.send(f":{SERVER} {code} {account.login} :{text}")
        if CAPS[1] in self.caps and not self.anonymous:
            found = badge_tags({}) | self._own() | {"user-id": account.id}
            self._state("GLOBALUSERSTATE", dict(sorted(found.items())))

    def _own(self) -> dict[str, str]:
        assert self.account is not None
        return {
            "color": self.account.colour,
            "display-name": self.account.name,
            "emote-sets": "0,300374282",
        }

    def _state(self, what: str, values: dict[str, str]) -> None:
        self.send(f"{tags(values) if CAPS[0] in self.caps else ''}:{SERVER} {what}")

    # -- staying ------------------------------------------------------------------------------

    def _ping(self, params: list[str], _tags: dict[str, str]) -> None:
        if self._irc.answers_pings:
            self.send(f":{SERVER} PONG {SERVER} :{params[-1] if params else SERVER}")

    def _pong(self, _params: list[str], _tags: dict[str, str]) -> None:
        self.pongs += 1

    def _quit(self, _params: list[str], _tags: dict[str, str]) -> None:
        self.wire.close()

    # -- channels -----------------------------------------------------------------------------

    def _join(self, params: list[str], _tags: dict[str, str]) -> None:
        assert self.account is not None
        for name in params[0].split(",") if params else ():
            world = self._irc.world
            if self._irc.joins(self.account).hit(world.now()):
                world.violated("more than 20 JOINs in 10 s")
                continue
            channel = self._irc.channel(name)
            if channel is None:
                text = "This channel does not exist or has been suspended."
                self.notice(name, "msg_channel_suspended", text)
            elif world.now() < channel.banned.get(self.account.id, 0):
                text = f"You are permanently banned from talking in {channel.login}."
                self.notice(name, "msg_banned", text)
            elif channel not in self.channels:
                self._enter(channel)

    def _enter(self, channel: FakeChannel) -> None:
        assert self.account is not None
        self.channels.append(channel)
        self._irc.members(channel).append(self)
        nick, room = self.account.login, f"#{channel.login}"
        self.send(f"{source(self.account)} JOIN {room}")
        self.send(f":{nick}.{SERVER} 353 {nick} = {room} :{nick}")
        self.send(f":{nick}.{SERVER} 366 {nick} {room} :End of /NAMES list")
        if CAPS[1] in self.caps:
            if not self.anonymous:
                self._userstate(channel, {})
            modes = {"emote-only": "0", "followers-only": "-1", "r9k": "0", "room-id": channel.id}
            self._state(f"ROOMSTATE {room}", modes | {"slow": "0", "subs-only": "0"})
        self._irc.moved(channel, self.account, "JOIN")

    def _userstate(self, channel: FakeChannel, more: dict[str, str]) -> None:
        assert self.account is not None
        found = badge_tags(channel.badges(self.account)) | self._own() | more
        self._state(f"USERSTATE #{channel.login}", dict(sorted(found.items())))

    def _part(self, params: list[str], _tags: dict[str, str]) -> None:
        assert self.account is not None
        for name in params[0].split(",") if params else ():
            channel = self._irc.channel(name)
            if channel in self.channels and channel is not None:
                self.part(channel)
                self.send(f"{source(self.account)} PART #{channel.login}")

    def part(self, channel: FakeChannel) -> None:
        """Listens there no longer."""
        assert self.account is not None
        self.channels.remove(channel)
        self._irc.members(channel).remove(self)
        self._irc.moved(channel, self.account, "PART")

    # -- speaking -----------------------------------------------------------------------------

    def _privmsg(self, params: list[str], values: dict[str, str]) -> None:
        assert self.account is not None
        channel = self._irc.channel(params[0]) if len(params) > 1 else None
        if channel is None or self.anonymous:
            return
        room, text, action = f"#{channel.login}", params[1], False
        if "chat:edit" not in self._scopes:
            text = "You don't have permission to perform that action."
            self.notice(room, "no_permission", text)
            return
        if text.startswith(("\x01ACTION ", "/me ", ".me ")):
            action, text = True, text.removesuffix("\x01").partition(" ")[2]
        elif text[:1] in ("/", ".") and text[1:2].isalpha():
            said = f"Unrecognized command: {text.split()[0]}"
            self.notice(room, "unrecognized_cmd", said)
            return
        if len(text) > LONGEST:
            self._irc.world.violated(f"a message of {len(text)} characters over IRC")
        parent = self._irc.world.messages.get(values.get("reply-parent-msg-id", ""))
        uuid = self._irc.world.uuid()
        message = FakeMessage(uuid, channel, self.account, text[:LONGEST], parent)
        message.action, message.via = action, "irc"
        self._post(message, values.get("client-nonce", ""))

    def _post(self, message: FakeMessage, nonce: str) -> None:
        cut = self._irc.cut() if message.user is self._irc.world.bot else None
        if cut is False:
            self.wire.abort()
            return
        try:
            self._irc.world.post(message, self)
        except Refused as refused:
            self.notice(f"#{message.channel.login}", refused.code, refused.message)
            return
        if cut:
            self.wire.abort()
        elif CAPS[1] in self.caps:
            more = {"client-nonce": nonce} if nonce else {}
            self._userstate(message.channel, more | {"id": message.id})
