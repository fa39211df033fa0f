"""What a dialog knows without asking: who, where and when; and chance that replays alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from legato.engine import guard, outgoing
from legato.engine.replay import Driver
from legato.errors import Evict, Misuse
from legato.model.events import Event, MessageReceived, User
from legato.model.records import Birth


class Surroundings:
    """Base of the chat handle."""

    __slots__ = ("_birth", "_driver", "_epoch", "_services", "id")

    def __init__(
        self, driver: Driver, key: str, epoch: int, birth: Birth, services: outgoing.Services
    ) -> None:
        self.id: str = key
        self._driver = driver
        self._epoch = epoch
        self._birth = birth
        self._services = services

    # -- who and where --------------------------------------------------------------------------

    @property
    def user(self) -> User:
        """Who started this conversation."""
        return self._birth.event.user or User(self._birth.place.user or "?")

    @property
    def platform(self) -> str:
        """Name of the platform: "telegram", "twitch", "console" ..."""
        return self._birth.place.platform

    @property
    def locale(self) -> str:
        """The user's language as the platform tells it, "" if unknown."""
        return self.user.locale

    @property
    def event(self) -> Event:
        """The event that started this conversation."""
        return self._birth.event

    @property
    def message(self) -> MessageReceived:
        """The message that started it.

        Raises:
            Misuse: It was started by something else (a button, a member who joined).
        """
        if not isinstance(self._birth.event, MessageReceived):
            raise Misuse(f"this dialog was started by a {type(self._birth.event).__name__}")
        return self._birth.event

    @property
    def args(self) -> str:
        """Text after the command that started it (the payload of a deep link), "" if none."""
        return getattr(self._birth.event, "args", "")

    # -- deterministic services -----------------------------------------------------------------

    def now(self) -> datetime:
        """The time of the last thing that happened here: the same in every replay (UTC)."""
        return datetime.fromtimestamp(self._driver.now_ms / 1000, UTC)

    @property
    def random(self) -> Any:
        """A `random.Random` of this place in the dialog: the same in every replay."""
        return self._services.random(self._seed("random"))

    def uuid(self) -> Any:
        """A UUID of this place in the dialog: the same in every replay, unique elsewhere."""
        return self._services.uuid(self._seed("uuid"))

    @property
    def log(self) -> Any:
        """A logger that is silent while the dialog is replayed."""
        driver = self._driver
        return self._services.logger(self.id, hidden=driver.evicting or driver.skip > 0)

    def _seed(self, what: str) -> str:
        """Grows with every use at one place, and starts afresh at the next operation, so that a
        new call shifts no later one.
        """
        branch = self._driving().current
        branch.draws += 1
        return f"{self.id}|{self._epoch}|{self._driver.position}|{what}|{branch.draws}"

    @property
    def _mention(self) -> str:
        """How to address the user in a loud room; "" where nobody else reads, or all are meant."""
        if not self._services.capabilities.public or not self._birth.place.user:
            return ""
        return self.user.mention

    def _driving(self) -> Driver:
        """The driver, if this dialog is what runs right now."""
        driver: Driver = self._driver
        if driver.evicting:
            if driver.refuses():
                raise Evict
            return driver
        active: object = guard.ACTIVE.driver
        if active is not driver:
            raise Misuse(
                "chat.* was called outside its dialog (in a step, a task or another dialog): "
                "return the value to the dialog and call chat.* there"
            )
        return driver
