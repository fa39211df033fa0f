"""What a folder of functions holds: function.toml beside each, or defaults by the names of files."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from legato.errors import ConfigError
from legato.functions import discover

FILE = "function.toml"
BOT_HANDLER = "legato.functions.bot.handler"
ENV_BYTES = 65_536
"""As JSON, in which it goes to the process that forks: one that is too large must not end that one."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OURS = frozenset({"-", "2015-03-31", "healthz"})
"""Addresses that are not a function's; see legato.functions.server."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Written(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand in a function.toml; each has a default.

    Attributes:
        name: In its URL; default: the folder's.
        handler: "module.function"; default: what the folder's bot.py (main.py, index.mjs ...) has.
        runtime: "python" or "nodejs"; default: by the file.
        python: The interpreter, relative to the folder; it needs awslambdaric. Default: ours.
        memory_mb: A process may have so much.
        timeout_s: An invocation may take so long.
        concurrency: So many processes at once; more requests wait.
        queue: So many of them; further ones are refused (429).
        idle_s: So long a process is kept when nobody calls.
        pids: So many processes and threads may one instance have.
        cpus: Cores' worth of time; only where control groups are.
        env: Environment variables.
        secrets: A file of NAME=value lines that only its owner may read (mode 600).
        schedule: "rate(1 minute)" or "cron(0 9 * * ? *)", in UTC; one or a list.
        watch: A folder, relative to this one: each new file in it is an event.
        preload: Modules that are imported once and shared by fork; default: what its file imports.
        user: The system's user it runs as; needs root. "" = ours.
    """

    name: str = ""
    handler: str = ""
    runtime: str = ""
    python: str = ""
    memory_mb: int = 128
    timeout_s: float = 30.0
    concurrency: int = 10
    queue: int = 100
    idle_s: float = 300.0
    pids: int = 64
    cpus: float = 1.0
    env: dict[str, str] = {}
    secrets: str = ""
    schedule: str | list[str] = []
    watch: str = ""
    preload: list[str] | None = None
    user: str = ""


class Function(Struct, frozen=True, kw_only=True):
    """One function; see Written for what is not told here.

    Attributes:
        folder: Where it runs.
        secrets: Variables as `env`, of values that no log may show.
        watch: None = no folder is watched.
    """

    name: str
    folder: Path
    handler: str
    runtime: str = "python"
    python: str = sys.executable
    memory_mb: int = 128
    timeout_s: float = 30.0
    concurrency: int = 10
    queue: int = 100
    idle_s: float = 300.0
    pids: int = 64
    cpus: float = 1.0
    env: dict[str, str] = {}
    secrets: dict[str, str] = field(default_factory=dict)
    schedule: tuple[str, ...] = ()
    watch: Path | None = None
    preload: tuple[str, ...] = ()
    user: str = ""

    def __repr__(self) -> str:
        return f"<function {self.name} in {self.folder}>"


def load_functions(folder: Path) -> dict[str, Function]:
    """The functions in a folder, by name: each subfolder that has a function.toml or a file of a known
    name, and each Python file with a handler or an App. A folder with a function.toml is one function.

    Raises:
        ConfigError: There is none, or one cannot be run like this.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: give the one that your functions are in")
    folder = folder.absolute()
    if (folder / FILE).exists():
        found = [_from_folder(folder)]
    else:
        found = [_from_entry(entry) for entry in sorted(folder.iterdir()) if _is_seen(entry)]
    functions: dict[str, Function] = {}
    for function in found:
        if function is None:
            continue
        if function.name in functions:
            raise ConfigError(f"two functions in {folder} have the name {function.name!r}")
        functions[function.name] = function
    if not functions:
        raise ConfigError(
            f"{folder} has no function: put a folder with a bot.py in it, or a file with a handler"
        )
    return functions


def _is_seen(path: Path) -> bool:
    return not path.name.startswith((".", "_"))


def _from_entry(path: Path) -> Function | None:
    if path.is_dir():
        return _from_folder(path)
    if path.suffix != ".py":
        return None
    tree = discover.parsed(path)
    if tree is None:
        called = bool(discover.seems_to_have(path))
    else:
        called = bool(discover.handler_in(tree)) or discover.has_app(tree)
    if not called:
        return None  # a module that others import
    return _made(path.stem, path.parent, Written(), path)


def _from_folder(folder: Path) -> Function | None:
    entry = discover.entry_of(folder)
    file = folder / FILE
    if file.exists():
        return _made(folder.name, folder, _written(file), entry)
    return _made(folder.name, folder, Written(), entry) if entry is not None else None


def _written(file: Path) -> Written:
    try:
        found = tomllib.loads(file.read_text("utf-8"))
        _check_written(found, file)
        return msgspec.convert(found, Written)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from error


def _check_written(found: dict[str, Any], file: Path) -> None:
    """Finds the slips that one makes, for which msgspec's words are too few."""
    known = Written.__struct_fields__
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"{file}: {name!r} is no setting: {hint}")
    env = found.get("env")
    for name, value in env.items() if isinstance(env, dict) else ():
        if not isinstance(value, str):
            raise ConfigError(f'{file}: env: {name} is no text: write {name} = "{value}"')


def _made(name: str, folder: Path, written: Written, entry: Path | None) -> Function:
    where = folder / FILE if (folder / FILE).exists() else entry or folder
    name = written.name or name
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r} is no name: letters, digits, - and _ only, 64 at most"
        )
    if name in _OURS:
        raise ConfigError(
            f"{where}: {name!r} is an address of the runtime itself: give another name"
        )
    _check_numbers(written, where)
    handler, file = _handler(written, folder, entry, where)
    runtime = written.runtime or _runtime(file)
    if runtime not in {"python", "nodejs"}:
        raise ConfigError(f"{where}: runtime={runtime!r}: there are python and nodejs")
    env = dict(written.env)
    if handler == BOT_HANDLER and file is not None:
        env["LEGATO_FUNCTION_TARGET"] = str(file)
    secrets = _secrets(folder / written.secrets) if written.secrets else {}
    _check_env(env | secrets, where)
    schedule = [written.schedule] if isinstance(written.schedule, str) else written.schedule
    return Function(
        name=name,
        folder=folder,
        handler=handler,
        runtime=runtime,
        python=str(folder / written.python) if written.python else sys.executable,
        **{name: getattr(written, name) for name in _SAME},
        env=env,
        secrets=secrets,
        schedule=tuple(schedule),
        watch=folder / written.watch if written.watch else None,
        preload=_preload(written, file, folder) if runtime == "python" else (),
    )


_SAME = ("memory_mb", "timeout_s", "concurrency", "queue", "idle_s", "pids", "cpus", "user")
_LEAST = {
    "memory_mb": 32,
    "timeout_s": 0.1,
    "concurrency": 1,
    "queue": 0,
    "idle_s": 0,
    "pids": 1,
    "cpus": 0.01,
}


def _check_numbers(written: Written, where: Path) -> None:
    for name, least in _LEAST.items():
        value = getattr(written, name)
        if not value >= least or not math.isfinite(value):
            raise ConfigError(f"{where}: {name} is at least {least}, and no infinity")


def _handler(
    written: Written, folder: Path, entry: Path | None, where: Path
) -> tuple[str, Path | None]:
    """The handler as runtime clients take it, and the file it is in, if that is known."""
    if written.handler:
        if "." not in written.handler:
            raise ConfigError(f"{where}: handler={written.handler!r}: write it as bot.handler")
        files = _files_of(written.handler, folder)
        return written.handler, next((file for file in files if file.is_file()), None)
    if entry is None:
        raise ConfigError(f'{where}: where is its code? Add handler = "bot.handler"')
    if entry.suffix != ".py":
        return f"{entry.stem}.handler", entry
    tree = discover.parsed(entry)
    if tree is None:  # whoever calls it is told why, and once it is mended it is what it should be
        name = discover.seems_to_have(entry) or "handler"
    else:
        name = discover.handler_in(tree) or ("App" if discover.has_app(tree) else "")
    if name == "App":
        return BOT_HANDLER, entry
    if not name:
        raise ConfigError(f"{entry} has neither a `handler` nor an `app = App(...)`")
    return f"{entry.stem}.{name}", entry


def _files_of(handler: str, folder: Path) -> list[Path]:
    """Where a handler may be: "package.module.name" in Python, "folder/module.object.name" in Node.js."""
    module = folder / handler.rpartition(".")[0].replace(".", "/")
    place, _, names = handler.rpartition("/")
    base = folder / place / names.partition(".")[0]
    return [
        *(module.with_name(f"{module.name}.py"), module / "__init__.py"),
        *(base.with_name(f"{base.name}{suffix}") for suffix in (".mjs", ".cjs", ".js")),
    ]


def _runtime(file: Path | None) -> str:
    return "python" if file is None or file.suffix == ".py" else "nodejs"


def _preload(written: Written, file: Path | None, folder: Path) -> tuple[str, ...]:
    if written.preload is not None:
        return tuple(sorted(written.preload))
    tree = discover.parsed(file) if file is not None else None
    vendored = written.env.get("PYTHONPATH", "").split(os.pathsep)
    folders = [folder, *(folder / one for one in vendored if one)]
    return discover.imports_of(tree, folders) if tree is not None else ()


def _secrets(file: Path) -> dict[str, str]:
    try:
        mode = file.stat().st_mode
        text = file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"{file} can be read by others: chmod 600 {file}")
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not sign:
            raise ConfigError(f"{file}:{number}: write NAME=value")
        found[name.strip()] = value.strip()
    return found


def _check_env(env: dict[str, str], where: Path) -> None:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ConfigError(f"{where}: {name!r} is no name of a variable, or its value none")
    if len(json.dumps(env)) > ENV_BYTES:
        raise ConfigError(
            f"{where}: environment and secrets have more than {ENV_BYTES} bytes as JSON"
        )


def as_table(function: Function) -> dict[str, Any]:
    """What may be told of a function: nothing of its environment."""
    return {
        "name": function.name,
        "runtime": function.runtime,
        "handler": function.handler,
        "memory_mb": function.memory_mb,
        "timeout_s": function.timeout_s,
        "concurrency": function.concurrency,
        "schedule": list(function.schedule),
    }


__all__ = ["BOT_HANDLER", "Function", "Written", "as_table", "load_functions"]
