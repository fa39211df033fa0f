"""The channels, and the viewers who write in them."""

from __future__ import annotations

from math import inf

from legato.testing._stage import inside
from legato.testing.fake_twitch.world import SAME_S, Account, FakeMessage, Refused, World


class FakeChannel:
    """A channel and its chat room.

    Attributes:
        id, login, name: The broadcaster's.
        owner: The broadcaster's account.
        messages: What was said here, in order; deleted ones are marked.
        roles: Roles by user id: "moderator", "vip", "subscriber".
        banned: Until when (by `World.now`), by user id.
        bot_allowed: Whether the broadcaster granted channel:bot to the bot's application.
        live: Whether a stream is on.
    """

    def __init__(self, world: World, owner: Account) -> None:
        self.world = world
        self.owner = owner
        self.id: str = owner.id
        self.login: str = owner.login
        self.name: str = owner.name
        self.messages: list[FakeMessage] = []
        self.roles: dict[str, set[str]] = {}
        self.banned: dict[str, float] = {}
        self.bot_allowed = True
        self.live = False
        self._refusals: list[Refused] = []
        self._last: dict[str, tuple[str, float]] = {}
        self._read = 0

    def __repr__(self) -> str:
        return f"<channel {self.login}>"

    # -- looking ------------------------------------------------------------------------------

    @property
    def texts(self) -> list[str]:
        """What the bot said here and nobody deleted, as it is shown."""
        bot = self.world.bot
        return [m.text for m in self.messages if m.user is bot and not m.deleted]

    @property
    def transcript(self) -> list[str]:
        """Everything that was said here, as "Name: text"."""
        return [f"{m.user.name}: {m.text}" for m in self.messages if not m.deleted]

    async def gets(self, text: str | None = None, *, timeout_s: float = 10.0) -> FakeMessage:
        """Waits for the bot's next message here, whomever it addresses.

        Raises:
            AssertionError: None came, or it says something else.
        """
        read = self._read

        def unread() -> FakeMessage | None:
            nonlocal read
            for message in self.messages[read:]:  # each is looked at once
                read += 1
                if message.user is self.world.bot:
                    return message
            return None

        message = await self.world.until(unread, timeout_s)
        assert message is not None
        self._read = read
        assert text is None or text in (message.text, message.plain), f"{text!r}: got {message}"
        return message

    # -- people and their rights --------------------------------------------------------------

    def roles_of(self, user: Account) -> set[str]:
        """The roles somebody has here."""
        own = {"broadcaster"} if user is self.owner else set()
        return own | self.roles.get(user.id, set())

    def badges(self, user: Account) -> dict[str, str]:
        """The badges somebody shows here, with their versions."""
        order = ("broadcaster", "moderator", "vip", "subscriber")
        roles = self.roles_of(user)
        return {r: "12" if r == "subscriber" else "1" for r in order if r in roles}

    @inside
    def gives(self, role: str, *users: FakeViewer | Account) -> None:
        """Somebody becomes "moderator", "vip" or "subscriber"."""
        for user in users:
            self.roles.setdefault(user.id, set()).add(role)

    @inside
    def takes(self, role: str, *users: FakeViewer | Account) -> None:
        """Somebody is that no longer."""
        for user in users:
            self.roles.get(user.id, set()).discard(role)

    @inside
    def bans(self, user: FakeViewer | Account, seconds: int = 0) -> None:
        """Somebody may not write here any more, or not for so many seconds."""
        account = self.world.accounts[user.id]
        self.banned[user.id] = self.world.now() + seconds if seconds else inf
        for message in self.messages:
            message.deleted = message.deleted or message.user is account
        for listener in self.world.listeners:
            listener.cleared(self, account, seconds)
        self.world.changed()

    @inside
    def unbans(self, user: FakeViewer | Account) -> None:
        """Somebody may write here again."""
        self.banned.pop(user.id, None)

    @inside
    def clears(self) -> None:
        """A moderator clears the chat."""
        for message in self.messages:
            message.deleted = True
        for listener in self.world.listeners:
            listener.cleared(self, None, 0)
        self.world.changed()

    @inside
    def deletes(self, message: FakeMessage) -> None:
        """A moderator takes a message away."""
        message.deleted = True
        for listener in self.world.listeners:
            listener.deleted(message)
        self.world.changed()

    # -- what does not get through ------------------------------------------------------------

    @inside
    def drops(
        self,
        code: str = "msg_rejected",
        message: str = "Your message is being checked by mods and has not been sent.",
        *,
        times: int = 1,
    ) -> None:
        """The bot's next messages are not shown: a NOTICE over IRC, `is_sent: false` by Helix.

        Args:
            code: "msg_slowmode", "msg_emoteonly", "msg_followersonly" ...
            message: What Twitch says about it.
            times: How many of them.
        """
        self._refusals += [Refused(code, message)] * times

    def refuse(self, message: FakeMessage) -> None:
        """Raises the next refusal of `drops`."""
        if self._refusals and message.user is self.world.bot:
            raise self._refusals.pop(0)

    def repeats(self, message: FakeMessage, now: float) -> bool:
        """Whether somebody says the same thing again too soon."""
        before, when = self._last.get(message.user.id, ("", -inf))
        if message.said.strip() == before and now - when < SAME_S:
            return True
        self._last[message.user.id] = (message.said.strip(), now)
        return False


class FakeViewer:
    """A person with a Twitch account.

    Attributes:
        id, login, name: As Twitch gives them.
        account: The account.
        home: The channel in which this person writes if nothing else is said.
    """

    def __init__(self, world: World, account: Account, home: FakeChannel | None) -> None:
        self.world = world
        self.account = account
        self.id: str = account.id
        self.login: str = account.login
        self.name: str = account.name
        self.home = home
        self._read: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<viewer {self.id} {self.login}>"

    def _where(self, to: FakeChannel | None) -> FakeChannel:
        channel = to or self.home or next(iter(self.world.channels.values()), None)
        assert channel is not None, "make a channel first"
        return channel

    @inside
    def says(
        self,
        text: str,
        *,
        to: FakeChannel | None = None,
        reply_to: FakeMessage | None = None,
        shared_from: FakeChannel | None = None,
    ) -> FakeMessage:
        """Writes a message; "/me ..." is an action.

        Args:
            text: What.
            to: Where, by default at home.
            reply_to: Which message it answers.
            shared_from: In a shared chat: the channel it was written in, if not here.

        Raises:
            Refused: This person is banned.
        """
        channel = self._where(to)
        message = FakeMessage(self.world.uuid(), channel, self.account, text, reply_to)
        if text.startswith("/me "):
            message.text = message.said = text.removeprefix("/me ")
            message.action = True
        message.home = shared_from
        return self.world.post(message)

    @property
    def sees(self) -> list[str]:
        """What the bot said to this person at home, without the name in front."""
        bot, said = self.world.bot, self._where(None).messages
        to_me = (m for m in said if m.user is bot and m.addresses(self.account))
        return [m.plain for m in to_me if not m.deleted]

    async def gets(
        self, text: str | None = None, *, to: FakeChannel | None = None, timeout_s: float = 10.0
    ) -> FakeMessage:
        """Waits for the bot's next message that addresses this person: a reply, or one that begins
        with "@name".

        Args:
            text: What it must say, without the name; None: anything.
            to: Where, by default at home.
            timeout_s: How long to wait at most.

        Raises:
            AssertionError: None came, or it says something else.
        """
        channel = self._where(to)
        read = self._read.get(channel.id, 0)
        bot = self.world.bot

        def unread() -> FakeMessage | None:
            nonlocal read
            for message in channel.messages[read:]:  # each is looked at once
                read += 1
                if message.user is bot and message.addresses(self.account):
                    return message
            return None

        message = await self.world.until(unread, timeout_s)
        assert message is not None
        self._read[channel.id] = read
        assert text is None or message.plain == text, f"expected {text!r}, got {message}"
        return message
