"""Which store and platforms are run."""

from pathlib import Path

import pytest

from legato.app.settings import Settings, load_settings
from legato.deploy.parts import make_platforms, make_queue, make_store
from legato.errors import ConfigError
from legato.queues.memory import MemoryQueue
from legato.queues.rabbitmq import RabbitQueue
from legato.stores.memory import MemoryStore
from legato.stores.sqlite import SQLiteStore
from legato.testing.clock import FakeClock


async def test_a_store_stands_where_its_address_says(tmp_path: Path) -> None:
    near, far = make_store("sqlite:///near.db"), make_store(f"sqlite:///{tmp_path}/far.db")
    assert isinstance(near, SQLiteStore)
    assert isinstance(far, SQLiteStore)

    assert (near.path, far.path) == ("near.db", str(tmp_path / "far.db"))
    assert isinstance(make_store("memory://"), MemoryStore)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:canary@h/db?pool=no", "pool=.* must be a whole number"),
        ("postgres://u:canary@h/db?schema=A-B", "cannot be a schema"),
        ("dynamodb://table?region=eu-1&spread=3", "power of two"),
        ("sqlite://bot.db", "sqlite:///bot.db"),
        ("sqlite:///", "sqlite:///bot.db"),
        ("bot.db", "is no store"),
        ("memory://x", "is no store"),
    ],
)
def test_an_address_of_no_store_is_refused_with_the_cure(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        make_store(url)
    assert "canary" not in str(caught.value)


def test_a_queue_is_its_apps_own() -> None:
    queue = make_queue("memory://", "quiz")
    assert isinstance(queue, MemoryQueue)
    assert queue.app == "quiz"
    assert isinstance(make_queue("amqps://u:p@h:5671/v", "quiz"), RabbitQueue)


@pytest.mark.parametrize("url", ["rabbit://u:canary@h", "memory://canary", "canary", "https://h"])
def test_an_address_of_no_queue_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="LEGATO_QUEUE") as caught:
        make_queue(url, "quiz")
    assert "canary" not in str(caught.value)


TWITCH = {
    "TWITCH_CLIENT_ID": "app",
    "TWITCH_CLIENT_SECRET": "canary-of-the-secret",
    "TWITCH_CHANNELS": " #Ann, @bob,ann ,",
    "LEGATO_KEY": "canary-of-the-key",
}


def ways(**environ: str) -> list[str]:
    settings = load_settings(environ=TWITCH | environ)
    platforms = make_platforms(settings, ("!",), FakeClock())
    return [f"{p.name} {p.way(settings.public_url)} {p.listens('x')}" for p in platforms]


def test_a_bot_on_twitch_runs_by_the_way_that_is_set() -> None:
    assert ways() == ["twitch irc True"]
    assert ways(TWITCH_TRANSPORT="irc-websocket") == ["twitch irc-websocket True"]
    assert ways(TWITCH_TRANSPORT="eventsub-websocket") == ["twitch eventsub-websocket True"]
    public = {"TWITCH_TRANSPORT": "eventsub", "LEGATO_PUBLIC_URL": "https://x.org"}
    assert ways(**public) == ["twitch webhook https://x.org/twitch True"]
    assert ways(TELEGRAM_TOKEN="42:x") == ["telegram polling False", "twitch irc True"]


def test_channels_are_names() -> None:
    assert load_settings(environ=TWITCH).twitch_channels == ("ann", "bob")
    assert make_platforms(Settings(), ("!",), FakeClock()) == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TWITCH_CHANNELS": ""}, "TWITCH_CHANNELS is not set"),
        ({"TWITCH_CLIENT_SECRET": ""}, "TWITCH_CLIENT_SECRET is not set"),
        ({"TWITCH_CLIENT_ID": ""}, "TWITCH_CLIENT_ID is not set"),
        ({"TWITCH_CHANNELS": "a b"}, "TWITCH_CHANNELS='a b': write names"),
        ({"TWITCH_TRANSPORT": "smoke"}, "TWITCH_TRANSPORT=smoke: choose one of irc"),
        ({"TWITCH_SECRET": "short"}, "TWITCH_SECRET must be 10 to 100"),
        ({"TWITCH_IRC": "http://x"}, "TWITCH_IRC: 'http://x' is no address"),
        ({"TWITCH_IRC": "irc://x.org"}, "TWITCH_IRC: 'irc://x.org' is not encrypted"),
        ({"TWITCH_IRC": "wss://x.org"}, "TWITCH_IRC=wss://x.org: for TWITCH_TRANSPORT=irc write"),
        ({"TWITCH_EVENTSUB": "https://x"}, "TWITCH_EVENTSUB='https://x': write an address"),
        ({"TWITCH_EVENTSUB": "ws://x.org"}, "TWITCH_EVENTSUB: 'ws://x.org' is not encrypted"),
        (
            {"TWITCH_IRC": "x.org:1", "TWITCH_TRANSPORT": "irc-websocket"},
            "TWITCH_IRC=x.org:1: for TWITCH_TRANSPORT=irc-websocket write",
        ),
    ],
)
def test_what_cannot_be_names_variable_and_cure(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ways(**environ)
    assert str(caught.value).startswith(said)
    assert "canary" not in str(caught.value)
