"""What is set from outside: flags, then the environment, then legato.toml.

A cloud function reads its settings at a cold start: what only files need (TOML's parser, pathlib)
is imported where there is such a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from legato.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "legato.toml"
DEFAULT_LISTEN = ("127.0.0.1", 8080)


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that can be set.

    Attributes:
        store: Address of the store, "" = the shell's default.
        queue: Address of the broker that a cluster's processes share, "" = there is none.
            A cloud function puts updates into it first.
        timers: Address of the queue through which a cloud function's short timers go, "" = there is none.
        shards: How many queues a new cluster is given.
        listen: Where the web server listens: (host, port); port 0 takes a free one. None = not
            set: DEFAULT_LISTEN, and only if something needs a server.
        public_url: If set, platforms are put in webhook mode at "{public_url}/{platform}".
        webhook_reply: Whether the only call of a Turn (in a cloud function the last) may ride in the
            webhook's answer.
        cache: Live conversations kept in memory; 0 replays every Turn.
        step_timeout: Limit in seconds of one try of a step that has none of its own, 0 = none; None =
            not set: the App's.
        hang_timeout: How long in seconds a worker's event loop may stand still before the process ends
            itself, 0 = as long as it likes.
        log: "text" or "json": the form of log lines.
        metrics: Whether /metrics is served, if its extra is installed.
        tracing: Whether traces are sent to where the OTEL_... variables say.
        key: What accounts are encrypted with in the store, "" = no account is kept.
        web_socket: Address of the WebSocket through which a cloud function's web chat talks with its pages,
            "" = there is no such chat.
        telegram_token: "" = there is no Telegram bot.
        telegram_api: Base address of the Bot API, "" = the official one.
        telegram_secret: What webhook requests must carry, "" = made and kept in the store.
        twitch_client_id, twitch_client_secret: Of the application registered with Twitch, "" = there is no
            Twitch bot.
        twitch_channels: Names of the channels to be in.
        twitch_transport: "irc", "irc-websocket", "eventsub" or "eventsub-websocket".
        twitch_irc: Where chat is: host:port, or an ircs:// or wss:// address; "" = the official server.
        twitch_api, twitch_auth, twitch_eventsub: Addresses of Twitch's services, "" = the official ones.
        twitch_secret: What webhooks are signed with, "" = made and kept in the store.
    """

    store: str = ""
    queue: str = ""
    timers: str = ""
    shards: int = 64
    listen: tuple[str, int] | None = None
    public_url: str = ""
    webhook_reply: bool = True
    cache: int = 2000
    step_timeout: float | None = None
    hang_timeout: float = 30.0
    log: str = "text"
    metrics: bool = True
    tracing: bool = False
    key: str = ""
    web_socket: str = ""
    telegram_token: str = ""
    telegram_api: str = ""
    telegram_secret: str = ""
    twitch_client_id: str = ""
    twitch_client_secret: str = ""
    twitch_channels: tuple[str, ...] = ()
    twitch_transport: str = "irc"
    twitch_irc: str = ""
    twitch_api: str = ""
    twitch_auth: str = ""
    twitch_eventsub: str = ""
    twitch_secret: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never show in a log or an error."""
        values = (getattr(self, v.field) for v in VARIABLES.values() if v.secret)
        return tuple(value for value in values if value)


class Variable(Struct, frozen=True):
    """One variable of the environment.

    Attributes:
        field: Of Settings. In legato.toml `store` is `store`, and a platform's `telegram_token` is
            `token` in the table [telegram].
        read: Makes the field's value of a text, or raises ValueError with the cure.
        secret: Its value is never shown; it may also come from the file that `<NAME>_FILE` names.
    """

    field: str
    read: Callable[[str], object]
    secret: bool = False


# -- reading one value -----------------------------------------------------------------------------


def _text(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("it has white space around it or characters that cannot be printed in it")
    return text


def _switch(text: str) -> bool:
    lower = text.lower()
    if lower in ("on", "true", "yes", "1"):
        return True
    if lower in ("off", "false", "no", "0"):
        return False
    raise ValueError("write on or off")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError("write a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    if not (text.isascii() and text.replace(".", "", 1).isdecimal() and len(text) < 12):
        raise ValueError("write a number of seconds, 0 or more")
    return float(text)


def _form(text: str) -> str:
    if text not in ("text", "json"):
        raise ValueError("write text or json")
    return text


def _shards(text: str) -> int:
    from legato.model.shards import check_shards

    return check_shards(_count(text))


def _listen(text: str) -> tuple[str, int]:
    host, sep, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not sep or not host or ("[" in host or "/" in host or " " in host):
        raise ValueError("write host:port, as in 127.0.0.1:8080 or [::1]:8080")
    if not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError("the port is a number from 0 to 65535")
    return host, int(port)


def _address(text: str) -> str:
    scheme, sep, rest = text.partition("://")
    host = rest.partition("/")[0]
    if scheme not in ("https", "http") or not sep or not host or set(text) & set(" ?#@"):
        raise ValueError("write an address, as in https://bot.example.org")
    return text.rstrip("/")


def _socket(text: str) -> str:
    scheme, sep, rest = text.partition("://")
    if scheme not in ("wss", "ws") or not sep or not rest.partition("/")[0]:
        raise ValueError("write an address, as in wss://eventsub.example.org/ws")
    return _text(text)


def _pages(text: str) -> str:
    """An address that stands in a page and in its headers."""
    scheme, sep, rest = text.partition("://")
    host = rest.partition("/")[0]
    if scheme not in ("wss", "ws") or not sep or not host or set(text) & set(" ?#@\"'<>;,"):
        raise ValueError(
            "write the address of a stage of a WebSocket API, as in "
            "wss://abc123.execute-api.eu-central-1.amazonaws.com/prod"
        )
    return _text(text).rstrip("/")


def _channels(text: str) -> tuple[str, ...]:
    names = [name.strip().lstrip("#@").lower() for name in text.split(",") if name.strip()]
    for name in names:
        if not (name.isascii() and name.replace("_", "a").isalnum()):
            raise ValueError("write names of channels with commas between, as in ann,bob")
    return tuple(dict.fromkeys(names))


VARIABLES: dict[str, Variable] = {
    "LEGATO_STORE": Variable("store", _text),
    "LEGATO_QUEUE": Variable("queue", _text, secret=True),
    "LEGATO_TIMERS": Variable("timers", _text),
    "LEGATO_SHARDS": Variable("shards", _shards),
    "LEGATO_LISTEN": Variable("listen", _listen),
    "LEGATO_PUBLIC_URL": Variable("public_url", _address),
    "LEGATO_WEBHOOK_REPLY": Variable("webhook_reply", _switch),
    "LEGATO_CACHE": Variable("cache", _count),
    "LEGATO_STEP_TIMEOUT": Variable("step_timeout", _seconds),
    "LEGATO_HANG_TIMEOUT": Variable("hang_timeout", _seconds),
    "LEGATO_LOG": Variable("log", _form),
    "LEGATO_METRICS": Variable("metrics", _switch),
    "LEGATO_TRACING": Variable("tracing", _switch),
    "LEGATO_KEY": Variable("key", _text, secret=True),
    "LEGATO_WEB_SOCKET": Variable("web_socket", _pages),
    "TELEGRAM_TOKEN": Variable("telegram_token", _text, secret=True),
    "TELEGRAM_API": Variable("telegram_api", _address),
    "TELEGRAM_SECRET": Variable("telegram_secret", _text, secret=True),
    "TWITCH_CLIENT_ID": Variable("twitch_client_id", _text),
    "TWITCH_CLIENT_SECRET": Variable("twitch_client_secret", _text, secret=True),
    "TWITCH_CHANNELS": Variable("twitch_channels", _channels),
    "TWITCH_TRANSPORT": Variable("twitch_transport", _text),
    "TWITCH_IRC": Variable("twitch_irc", _text),
    "TWITCH_API": Variable("twitch_api", _address),
    "TWITCH_AUTH": Variable("twitch_auth", _address),
    "TWITCH_EVENTSUB": Variable("twitch_eventsub", _socket),
    "TWITCH_SECRET": Variable("twitch_secret", _text, secret=True),
}
"""Every variable by its name. A platform adds its own here and to Settings."""


# -- reading all of them ---------------------------------------------------------------------------


def load_settings(
    flags: Mapping[str, str | None] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    folders: Iterable[str | os.PathLike[str]] = (),
    usual: Mapping[str, str] | None = None,
) -> Settings:
    """The settings: each by the first of flag, environment and legato.toml that has it.

    Args:
        flags: Texts by the name of the field; None = not given.
        environ: The environment; the process's own by default. An empty variable is as none.
        folders: Where legato.toml is looked for; the first one found is read.
        usual: Variables that hold where nothing else says anything.

    Raises:
        ConfigError: A value cannot be used; the message names variable, value and cure.
    """
    environ = os.environ if environ is None else environ
    given = {field: str(text) for field, text in (flags or {}).items() if text is not None}
    by_field = {variable.field: variable for variable in VARIABLES.values()}
    for field in given:
        if field not in by_field:
            raise ConfigError(f"{field} is no setting{_similar(field, by_field)}")
    file = _toml(folders)
    found: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        field = variable.field
        if field in given:
            source, text = f"--{field.replace('_', '-')}", given[field]
        else:
            source, text = _from_environment(name, variable, environ)
            if not text:
                source, text = file.get(field) or (name, (usual or {}).get(name, ""))
        if text:
            found[field] = _read(variable, source, text)
    return Settings(**found)


def _read(variable: Variable, source: str, text: str) -> object:
    try:
        return variable.read(text)
    except ValueError as error:
        shown = "" if variable.secret else f"={text!r:.80}"
        raise ConfigError(f"{source}{shown}: {error}") from None


def _from_environment(name: str, variable: Variable, environ: Mapping[str, str]) -> tuple[str, str]:
    text = environ.get(name, "")
    path = environ.get(f"{name}_FILE", "") if variable.secret else ""
    if not path:
        return name, text
    if text:
        raise ConfigError(f"{name} and {name}_FILE are both set: keep one of them")
    from pathlib import Path

    return f"{name}_FILE", _content(f"{name}_FILE", Path(path))


def _content(source: str, path: Path) -> str:
    """What a secret's file holds, without the line's end."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{source}={str(path)!r}: cannot be read ({why})") from error
    if not text:
        raise ConfigError(f"{source}={str(path)!r}: the file is empty")
    return text


# -- legato.toml -----------------------------------------------------------------------------------


def _toml(folders: Iterable[str | os.PathLike[str]]) -> dict[str, tuple[str, str]]:
    """{field: (where it stands, text)} of the first legato.toml in `folders`."""
    for folder in folders:
        if os.path.isfile(f"{os.fspath(folder)}/{FILE}"):  # noqa: PTH113 # pathlib costs 8 ms
            from pathlib import Path

            return _read_toml(Path(folder) / FILE)
    return {}


def _read_toml(path: Path) -> dict[str, tuple[str, str]]:
    import tomllib

    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    found: dict[str, tuple[str, str]] = {}
    by_field = {variable.field: variable for variable in VARIABLES.values()}
    for key, value in _flat(tree):
        source = f"{path}: {key}"
        field = key.replace(".", "_")
        bare = field.removesuffix("_file")
        if field in by_field:
            found[field] = source, _written(source, value)
        elif bare in by_field and by_field[bare].secret:
            beside = path.parent / _written(source, value)
            found[bare] = source, _content(source, beside)
        else:
            raise ConfigError(f"{source} is no setting{_similar(field, by_field)}")
    return found


def _flat(tree: dict[str, Any]) -> Iterable[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", below) for inner, below in value.items())
        else:
            yield key, value


def _written(source: str, value: object) -> str:
    """A value of TOML as the text that the environment would hold."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str | int):
        return str(value)
    raise ConfigError(f"{source}: write a text in quotes, a whole number, true or false")


def _similar(field: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(field, list(known), 1)
    return f": did you mean {close[0]}?" if close else ""


__all__ = ["DEFAULT_LISTEN", "VARIABLES", "Settings", "Variable", "load_settings"]
