"""From a target on the command line to its App."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from legato.app.app import App
from legato.errors import AppNotFound, ConfigError


def load_app(target: str) -> App:
    """Imports a bot and returns its App.

    A file is imported under its own name (bot.py as `bot`), as a cloud function imports it too: the
    classes of journaled values are found again by it. Loading the same target again gives the same
    App, as any import does.

    Args:
        target: "bot.py", "folder/bot.py:app", "package.module" or "package.module:app". Without a
            name there must be just one App.

    Raises:
        AppNotFound: No such file or module; no App in it, or more than one.
        ConfigError: The import failed; the message names the line in the bot's own code.
    """
    place, name = _parted(target)
    if _is_file(place):
        module = _imported(place, lambda: _import_file(place))
    else:
        module = _imported(place, lambda: _import_module(place))
    return _named(module, place, name) if name else _only(module, place)


def folder_of(target: str) -> Path:
    """The folder in which the bot of a target lives: its store and legato.toml stand there."""
    place, _ = _parted(target)
    return Path(place).absolute().parent if _is_file(place) else Path.cwd()


def _parted(target: str) -> tuple[str, str]:
    """(file or module, name of the App or "")."""
    place, sep, name = target.rpartition(":")
    return (place, name) if sep and _is_path_of_names(name) else (target, "")


# -- importing -------------------------------------------------------------------------------------


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place


def _is_path_of_names(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _imported(place: str, work: Callable[[], ModuleType]) -> ModuleType:
    """What `work` imports; a failure is told in one line that names the bot's own line."""
    try:
        return work()
    except ConfigError:
        raise
    except SyntaxError as error:
        where = f"{_short(error.filename)}:{error.lineno}" if error.filename else place
        raise ConfigError(f"{where}: {type(error).__name__}: {error.msg}") from error
    except SystemExit as error:
        where = _line_of(error.__traceback__) or place
        raise ConfigError(
            f"{where}: the program ends itself while it is imported: put that below "
            "`if __name__ == '__main__':`"
        ) from error
    except Exception as error:
        where = _line_of(error.__traceback__) or place
        text = " ".join(str(error).split())
        raise ConfigError(f"{where}: {type(error).__name__}: {text}") from error


def _import_file(place: str) -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    path = Path(place).absolute()
    if not path.is_file():
        raise AppNotFound(
            f"there is no file {place}: give the path of the bot, as in `legato run bot.py`"
        )
    name = path.name.removesuffix(".py")
    known = sys.modules.get(name)
    if known is not None and not _is_from(known, path):
        from zlib import crc32  # another module has the name: one of the standard library, say

        name = f"{name}_{crc32(bytes(path)):08x}"
        known = sys.modules.get(name)
    if known is not None:
        return known
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AppNotFound(f"{place} is no Python file: its name must end in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _is_from(module: ModuleType, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).exists() and path.samefile(file)


def _import_module(name: str) -> ModuleType:
    from importlib import import_module

    if not name or not _is_path_of_names(name):
        raise AppNotFound(f"{name!r} is neither a file (bot.py) nor a module (package.module:app)")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            hint = f" (did you mean {name}.py?)" if Path(f"{name}.py").is_file() else ""
            raise AppNotFound(
                f"there is no module {missing!r} here or in the environment{hint}"
            ) from error
        raise


# -- whose line it was -----------------------------------------------------------------------------


def _line_of(traceback: TracebackType | None) -> str:
    """file:line of the innermost frame of the bot's own code, "" if there is none."""
    found = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not _is_foreign(file):
            found = f"{_short(file)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def _is_foreign(file: str) -> bool:
    """Whether a file belongs to Legato, to Python or to an installed package."""
    return file.startswith(("<", *_FOREIGN)) or "site-packages" in file or "dist-packages" in file


_FOREIGN = (
    f"{Path(__file__).absolute().parent.parent}{os.sep}",
    f"{Path(os.__file__).absolute().parent}{os.sep}",
)


def _short(file: str) -> str:
    """The path as a person in this folder would write it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


# -- finding the App -------------------------------------------------------------------------------


def _named(module: ModuleType, place: str, name: str) -> App:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, App):
        return found
    what = "has nothing of this name" if found is None else f"has a {type(found).__name__} there"
    others = _apps(module)
    cure = f"; there is {place}:{next(iter(others))}" if others else ""
    raise AppNotFound(f"{place}:{name}: the module {what} and no App{cure}")


def _only(module: ModuleType, place: str) -> App:
    apps = _apps(module)
    if not apps:
        raise AppNotFound(f"{place} has no App: write `app = App('name')` at its top level")
    if len(apps) > 1:
        names = ", ".join(apps)
        raise AppNotFound(
            f"{place} has {len(apps)} Apps ({names}): say which one, as in {place}:{next(iter(apps))}"
        )
    return next(iter(apps.values()))


def _apps(module: ModuleType) -> dict[str, App]:
    """The different Apps at the top level of a module, each by its first name."""
    found: dict[str, App] = {}
    for name, value in vars(module).items():
        if isinstance(value, App) and not any(value is app for app in found.values()):
            found[name] = value
    return found


__all__ = ["folder_of", "load_app"]
