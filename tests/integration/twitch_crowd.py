"""Many viewers in many channels, who all talk with the bot at the same time."""

from __future__ import annotations

import asyncio

from legato.platforms.twitch.events import INVISIBLE
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.people import FakeChannel, FakeViewer
from legato.testing.fake_twitch.world import Account, FakeMessage

SAYS = ("!start", "2", "3")
HEARS = ("First number?", "Second number?", "Sum: 5")


class Crowd:
    """The viewers. Each says the next thing as soon as it was answered.

    Args:
        twitch: Where.
        channels: How many.
        viewers: How many in each.

    Attributes:
        stages: By login: how many answers somebody has heard.
        repeated: Answers that came again, by login.
        wrong: Answers that nobody expects.
        hurry: Whether answers are answered.
    """

    def __init__(self, twitch: FakeTwitch, channels: int, viewers: int) -> None:
        self.twitch = twitch
        self.channels = [twitch.channel(f"room{n}") for n in range(channels)]
        self.viewers: dict[str, FakeViewer] = {}
        self.stages: dict[str, int] = {}
        self.repeated: list[str] = []
        self.wrong: list[str] = []
        self.hurry = True
        for number, channel in enumerate(self.channels):
            for one in range(viewers):
                viewer = twitch.viewer(f"v{number}x{one}", home=channel)
                self.viewers[viewer.login] = viewer
        twitch.world.listeners.append(self)
        self.begin()

    def begin(self) -> None:
        """Nobody has said anything yet."""
        self.stages = dict.fromkeys(self.viewers, 0)

    @property
    def answers(self) -> int:
        """How many were heard."""
        return sum(self.stages.values())

    @property
    def done(self) -> bool:
        """Whether everybody has the sum."""
        return self.answers == len(HEARS) * len(self.viewers)

    def speak(self) -> None:
        """Everybody who has no sum says (again) what comes next."""
        for login, stage in self.stages.items():
            if stage < len(SAYS):
                self.viewers[login].says(SAYS[stage])

    def forget(self) -> None:
        """What was said is not kept any longer: the memory is to be the bot's."""
        for channel in self.channels:
            channel.messages.clear()
        self.twitch.world.messages.clear()

    # -- what happens in the channels -------------------------------------------------------------

    def said(self, message: FakeMessage, origin: object) -> None:
        del origin
        if message.user is not self.twitch.bot:
            return
        name, _, text = message.said.partition(" ")
        login, text = name.removeprefix("@"), text.rstrip(f" {INVISIBLE}")
        stage = self.stages.get(login, -1)
        if 0 <= stage < len(HEARS) and text == HEARS[stage]:
            self.stages[login] = stage + 1
            if self.hurry and stage + 1 < len(SAYS):
                loop = asyncio.get_running_loop()
                loop.call_soon(self.viewers[login].says, SAYS[stage + 1])
        elif text in HEARS[: max(stage, 0)]:
            self.repeated.append(login)
        else:
            self.wrong.append(f"{message.said} at {stage}")

    def deleted(self, message: FakeMessage) -> None:
        self.wrong.append(f"{message} was deleted")

    def cleared(self, channel: FakeChannel, user: Account | None, seconds: int) -> None:
        self.wrong.append(f"{channel} was cleared of {user} for {seconds} s")
