"""Whether a package holds what the bot imports.

The bot has been imported on this machine, where everything may be: a library that requirements.txt forgets, a folder
that is left out as one of tests. The function would find that out, at its first request. Looked at are the imports at
the top of the bot's modules; what stands in `try`, or is imported when it is used, may be missing. Where the bot
says itself where modules are found, by sys.path, they may stand anywhere in the package.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from legato.deploy.package.entry import Entry
from legato.deploy.package.paths import changes_path, is_installed
from legato.deploy.package.target import Service
from legato.errors import ConfigError

GIVEN: dict[str, tuple[str, ...]] = {
    "aws": ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "awslambdaric"),
    "yandex": ("boto3", "botocore", "grpc", "requests", "yandexcloud"),
    "google": ("functions_framework", "cloudevents", "flask", "werkzeug", "jinja2"),
}
"""What a service has by itself, as far as that is known."""
GONE: dict[int, tuple[str, ...]] = {
    12: ("asynchat", "asyncore", "distutils", "imp", "smtpd"),
    13: (
        "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis",
        "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
    ),
}  # fmt: skip
"""What Python's own library had before 3.12 and 3.13."""


class _Module(Struct):
    """A module of the bot: its file, what that says, and what it imports that is not the bot's."""

    file: Path
    tree: ast.Module
    others: list[str] = []


def check_imports(entry: Entry, tree: Path, service: Service, python: str = "") -> None:
    """Follows the imports of a bot through its own modules.

    Args:
        entry: The bot.
        tree: What goes into the package.
        service: Which one runs it.
        python: Its Python; "" = as this one.

    Raises:
        ConfigError: Something would not be found.
    """
    found: dict[str, _Module] = {}
    left = [(entry.module, _loaded(entry.module, entry.folder))]
    while left:
        name, file = left.pop()
        if name in found or file is None:
            continue
        found[name] = module = _Module(file, ast.parse(file.read_bytes()))
        for wanted in _with_packages(_imports(name, module)):
            own = _loaded(wanted, entry.folder)
            if own is not None:
                left.append((wanted, own))
            else:
                module.others.append(wanted)
    anywhere = any(changes_path(module.tree) for module in found.values())
    for name, module in found.items():
        _check_own(name, module.file, entry, tree, anywhere=anywhere)
    version = int(python.partition(".")[2] or sys.version_info.minor)
    gone = frozenset(name for since, names in GONE.items() if since <= version for name in names)
    there = frozenset(name for since, names in GONE.items() if since > version for name in names)
    here = GIVEN[service.name], (sys.stdlib_module_names | there) - gone
    for module in found.values():
        for wanted in module.others:
            if wanted.startswith("legato.") and not _is_ours(tree / wanted.replace(".", "/")):
                raise ConfigError(
                    f"{_shown(module.file, entry)} imports {wanted}, which no function has: import it where it is used"
                )
            first = wanted.partition(".")[0]
            if any(first in names for names in here) or _is_there(first, tree, anywhere=anywhere):
                continue
            why = f"Python {python} has no more" if first in gone else "the function would not find"
            raise ConfigError(
                f"{_shown(module.file, entry)} imports {wanted}, which {why}: name its library in requirements.txt"
            )


def _loaded(name: str, folder: Path) -> Path | None:
    """The file of a module of the bot's own, None if it is none."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None and (folder / f"{name.replace('.', '/')}.py").is_file():
        file = folder / f"{name.replace('.', '/')}.py"  # it was loaded under another name
    if file is None or name.partition(".")[0] == "legato":
        return None
    path = Path(file)
    if path.suffix != ".py" or not path.is_relative_to(folder):
        return None
    return None if is_installed(path, folder) else path


def _check_own(name: str, file: Path, entry: Entry, tree: Path, *, anywhere: bool) -> None:
    place = tree / name.replace(".", "/")
    if place.with_name(f"{place.name}.py").is_file() or (place / "__init__.py").is_file():
        return
    path = _shown(file, entry)
    if (tree / path).is_file():
        if anywhere:
            return
        top = file.parents[name.count(".") + (file.name == "__init__.py")]
        raise ConfigError(
            f"{path} was imported as {name}, so the function would not find it in the package of {entry.folder}: run "
            f"this in {top}"
        )
    raise ConfigError(
        f"the bot imports {name}, but {path} is left out: take it in by a line in .legatoignore, as in !tests/"
    )


def _imports(name: str, module: _Module) -> Iterator[str]:
    """What a module imports at its top, as whole names."""
    package = name if module.file.name == "__init__.py" else name.rpartition(".")[0]
    for node in module.tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = ".".join(parts[: len(parts) - node.level + 1])
                base = ".".join(filter(None, (above, base)))
            yield base
            yield from (
                one
                for one in (f"{base}.{alias.name}" for alias in node.names)
                if one in sys.modules
            )


def _with_packages(names: Iterable[str]) -> Iterator[str]:
    """Names with those of the packages around them, which are imported first."""
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _is_there(first: str, tree: Path, *, anywhere: bool) -> bool:
    if not first or (first == "distutils" and (tree / "setuptools").is_dir()):  # which brings it
        return True
    look = tree.rglob if anywhere else tree.glob
    return any(one.is_dir() for one in look(first)) or any(look(f"{first}.*"))


def _is_ours(place: Path) -> bool:
    return place.is_dir() or place.with_name(f"{place.name}.py").is_file()


def _shown(file: Path, entry: Entry) -> str:
    return file.relative_to(entry.folder).as_posix()


__all__ = ["check_imports"]
