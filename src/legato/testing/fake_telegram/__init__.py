"""A Bot API server for tests, close enough that real clients cannot tell."""

from legato.testing.fake_telegram.faults import Fault as Fault
from legato.testing.fake_telegram.people import FakeGroup as FakeGroup
from legato.testing.fake_telegram.people import FakeUser as FakeUser
from legato.testing.fake_telegram.server import FakeTelegram as FakeTelegram
from legato.testing.fake_telegram.server import LoggedCall as LoggedCall
from legato.testing.fake_telegram.world import FakeChat as FakeChat
from legato.testing.fake_telegram.world import FakeMessage as FakeMessage
from legato.testing.fake_telegram.world import Press as Press

__all__ = [
    "FakeChat",
    "FakeGroup",
    "FakeMessage",
    "FakeTelegram",
    "FakeUser",
    "Fault",
    "LoggedCall",
    "Press",
]
