"""Settings that go with a bot: secrets apart from what may be seen."""

from __future__ import annotations

from collections.abc import Mapping

from legato.app.settings import VARIABLES, Settings

OF_THE_PLACE = frozenset(
    {
        "store",
        "queue",
        "shards",
        "listen",
        "public_url",
        "metrics",
        "tracing",
        "hang_timeout",
        "timers",
    }
)
"""Settings of where a bot runs: a function service has its own."""


def carried(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """What a function is to be given, by the names of variables: what may be seen, and secrets."""
    usual = Settings()
    plain: dict[str, str] = {}
    secret: dict[str, str] = {}
    for name, variable in VARIABLES.items():
        value = getattr(settings, variable.field)
        if variable.field in OF_THE_PLACE or value == getattr(usual, variable.field):
            continue
        (secret if variable.secret else plain)[name] = _text(value)
    return plain, secret


def kept(deployed: Mapping[str, str]) -> dict[str, str]:
    """Of a function's variables those that come by no settings: only --env brings them."""
    return {
        name: value
        for name, value in deployed.items()
        if name not in VARIABLES or VARIABLES[name].field in OF_THE_PLACE
    }


def named(pairs: list[str], environ: Mapping[str, str]) -> dict[str, str]:
    """{name: value} of "NAME=value", or of "NAME" with the environment's value.

    Raises:
        ConfigError: It is neither.
    """
    from legato.errors import ConfigError

    found = {}
    for pair in pairs:
        name, sep, value = pair.partition("=")
        if not name.isidentifier():
            raise ConfigError(f"{name!r:.40} is no name of a variable: write NAME=value, or NAME")
        if not sep and name not in environ:
            raise ConfigError(f"{name} is not set in the environment")
        found[name] = value if sep else environ[name]
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


__all__ = ["carried", "kept", "named"]
