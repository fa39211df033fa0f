"""Twitch for tests: chat over IRC, OAuth, Helix and EventSub, close enough for real clients."""

from legato.testing.fake_twitch.eventsub import Subscription as Subscription
from legato.testing.fake_twitch.faults import Fault as Fault
from legato.testing.fake_twitch.people import FakeChannel as FakeChannel
from legato.testing.fake_twitch.people import FakeViewer as FakeViewer
from legato.testing.fake_twitch.server import FakeTwitch as FakeTwitch
from legato.testing.fake_twitch.server import LoggedCall as LoggedCall
from legato.testing.fake_twitch.world import Account as Account
from legato.testing.fake_twitch.world import FakeMessage as FakeMessage
from legato.testing.fake_twitch.world import Refused as Refused

__all__ = [
    "Account",
    "FakeChannel",
    "FakeMessage",
    "FakeTwitch",
    "FakeViewer",
    "Fault",
    "LoggedCall",
    "Refused",
    "Subscription",
]
