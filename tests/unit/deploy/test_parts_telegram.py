"""Telegram runs where its token is set."""

import pytest

from legato.abc import Platform
from legato.app.settings import load_settings
from legato.deploy.parts import make_platforms
from legato.errors import ConfigError
from legato.testing.clock import FakeClock


def platforms(**environ: str) -> list[Platform]:
    return make_platforms(load_settings(environ=environ), ("/",), FakeClock())


def test_a_token_makes_a_bot() -> None:
    assert platforms() == []
    (telegram,) = platforms(TELEGRAM_TOKEN="4200:token", TELEGRAM_API="http://localhost:1")
    assert (telegram.name, telegram.bot) == ("telegram", "4200")


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TELEGRAM_TOKEN": "canary"}, "TELEGRAM_TOKEN: that is no Telegram token"),
        ({"TELEGRAM_TOKEN": "4200:token", "TELEGRAM_SECRET": "c ä"}, "TELEGRAM_SECRET: "),
        ({"TELEGRAM_SECRET": "canary"}, "TELEGRAM_SECRET is set, but TELEGRAM_TOKEN is not"),
    ],
)
def test_what_cannot_be_is_refused_by_its_variable(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        platforms(**environ)
    assert str(caught.value).startswith(said)
    assert "canary" not in str(caught.value)
