"""Where a bot's App is found, and the module that a function service calls."""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec import Struct

from legato.app.app import App
from legato.deploy.loader import folder_of, load_app
from legato.deploy.package.target import Service
from legato.errors import ConfigError


class Entry(Struct, frozen=True):
    """A bot, as a function imports it.

    Attributes:
        app: The bot.
        folder: What is packed: it stands at the top of the package.
        module: To import there, "bot" or "package.module".
        name: The App's name in the module.
    """

    app: App
    folder: Path
    module: str
    name: str

    @property
    def target(self) -> str:
        """For `legato check` in an unpacked package, relative to its top."""
        return f"{self.module.replace('.', '/')}.py:{self.name}"


def entry_of(target: str) -> Entry:
    """Imports a bot and finds out how a function is to import it.

    Args:
        target: As for `legato run`: "bot.py", "folder/bot.py:app", "package.module:app".

    Raises:
        ConfigError: There is no such App, or it has no name at the top of its module.
    """
    app = load_app(target)
    place, sep, name = target.rpartition(":")
    if not sep or not name.isidentifier():
        place, name = target, ""
    path = Path(place)
    is_file = path.suffix == ".py"
    module = path.stem if is_file else place
    if not all(part.isidentifier() for part in module.split(".")):
        like = "".join(c if c.isalnum() else "_" for c in path.stem)
        raise ConfigError(
            f"{place}: a function imports it, so it needs the name of a module, as in "
            f"{like if like.isidentifier() else 'bot'}.py"
        )
    return Entry(app, folder_of(target), module, name or _name_of(app, module, path))


def _name_of(app: App, module: str, path: Path) -> str:
    loaded = sys.modules.get(module)
    candidates = [loaded] if loaded is not None else list(sys.modules.values())
    for each in candidates:
        for name, value in list(vars(each).items()):
            if value is app:
                return name
    for each in list(sys.modules.values()):  # it was loaded under another name
        file = getattr(each, "__file__", None)
        if file is not None and path.suffix == ".py" and Path(file) == path.absolute():
            return next(name for name, value in vars(each).items() if value is app)
    raise ConfigError(f"{path}: say which App, as in {path}:app")


def handler_of(entry: Entry, service: Service) -> str:
    """The module that the service calls: secrets first, since the bot's code may want them."""
    return (
        f'"""Made by `legato package`: what {service.name} calls."""\n\n'
        "from legato.deploy.function.parameters import load\n\n"
        "load()\n\n"
        f"from {entry.module} import {entry.name.partition('.')[0]}\n\n"
        f"handler = {entry.name}.{service.method}()\n"
    )


__all__ = ["Entry", "entry_of", "handler_of"]
