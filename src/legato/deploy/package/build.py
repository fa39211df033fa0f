"""Puts a package together: the bot, Legato, libraries, bytecode, and the module that the service calls."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Collection, Iterable
from io import BytesIO
from pathlib import Path

import msgspec

import legato
from legato.deploy.package.archive import Size, check_size, digest, packed, sized
from legato.deploy.package.bytecode import compile_all
from legato.deploy.package.elf import check_elf
from legato.deploy.package.entry import Entry, handler_of
from legato.deploy.package.imports import check_imports
from legato.deploy.package.own import own_files
from legato.deploy.package.requirements import requirements_of
from legato.deploy.package.target import Target
from legato.deploy.package.wheels import install, installed
from legato.errors import ConfigError

MANIFEST = "legato-package.json"
UNUSED = (
    "cli/", "functions/", "testing/", "deploy/aws/", "deploy/package/", "platforms/console/",
    *(f"app/{name}.py" for name in ("actors", "membership", "seats", "work")),
    *(
        f"deploy/{name}.py"
        for name in (
            "balancer", "careful", "carrying", "catalogue", "census", "collector", "duties", "election", "gate",
            "gateway", "hang", "health", "ingress", "lifecycle", "listen", "listener", "loader", "logs", "measures",
            "metrics", "monitoring", "reload", "run", "serving", "shell", "sources", "topology", "tracing", "tunnel",
            "watched", "webchat", "worker",
        )
    ),
)  # fmt: skip
"""Of Legato: what no function imports, though it may be only when it is used. A test looks."""
_NOISE = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL", "top_level.txt"}
)
_NO_USE = (".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".pth")


class Manifest(msgspec.Struct, frozen=True):
    """What a package says of itself; it stands in it as legato-package.json.

    Attributes:
        app: Name of the App.
        entry: Where it is, as `legato check` takes it.
        service, arch, python: What it is for.
        dialogs: Declared version of each dialog.
        libraries: Names and versions.
        own: The bot's own files.
        compiled: Whether bytecode is in it.
    """

    app: str
    entry: str
    service: str
    arch: str
    python: str
    dialogs: dict[str, str]
    libraries: dict[str, str]
    own: tuple[str, ...]
    compiled: bool


class Package(msgspec.Struct, frozen=True):
    """A package.

    Attributes:
        archive: The zip.
        sha256: Of the zip, in hex.
        manifest: What is in it.
        size: How large it is.
    """

    archive: bytes
    sha256: str
    manifest: Manifest
    size: Size


def build(entry: Entry, target: Target) -> Package:
    """Makes the package of a bot.

    Raises:
        ConfigError: A library has no wheel for the target, a file would not load there, or it is too
            large.
    """
    own = own_files(entry.folder)
    for path, file in own.items():  # before anything is fetched
        check_elf(path, file.read_bytes(), target.machine, target.glibc)
    with tempfile.TemporaryDirectory(prefix="legato-package-") as name:
        work = Path(name)
        tree, wheels = work / "tree", work / "wheels"
        tree.mkdir()
        wheels.mkdir()
        install(requirements_of(entry.folder), target, wheels, work, entry.folder)
        libraries = installed(wheels)
        _copy(_library_files(wheels), wheels, tree)
        _copy(_our_files(), _home().parent, tree)
        for path, file in own.items():
            if _is_another(tree / path, file):
                raise ConfigError(f"{path} of the bot has the name of a library's file: rename it")
            _copy_one(file, tree / path)
        check_imports(entry, tree, target.service, target.python)
        handler = tree / f"{target.service.module}.py"
        if handler.exists():
            raise ConfigError(
                f"{handler.name} is the module that {target.service.name} calls: rename yours"
            )
        handler.write_text(handler_of(entry, target.service), encoding="utf-8")
        compiled = compile_all(tree, target.python)
        paths = {path.relative_to(tree).as_posix(): path for path in _files(tree)}
        files = {name: path.read_bytes() for name, path in paths.items()}
        programs = {name for name, path in paths.items() if path.stat().st_mode & stat.S_IXUSR}
    about = (libraries, tuple(own), compiled)
    return _finished(entry, target, files, programs, about)


def _finished(
    entry: Entry,
    target: Target,
    files: dict[str, bytes],
    programs: Collection[str],
    about: tuple[dict[str, str], tuple[str, ...], bool],
) -> Package:
    libraries, own, compiled = about
    for name, data in files.items():
        check_elf(name, data, target.machine, target.glibc)
    app = entry.app
    app.finish()
    manifest = Manifest(
        app=app.name,
        entry=entry.target,
        service=target.service.name,
        arch=target.arch,
        python=target.python,
        dialogs={dialog.name: dialog.version for dialog in app.dialogs},
        libraries=libraries,
        own=own,
        compiled=compiled,
    )
    files[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    archive = packed(files, programs)
    size = sized(archive, files)
    check_size(size, target.service)
    return Package(archive, digest(archive), manifest, size)


def manifest_of(archive: bytes) -> Manifest:
    """What a package says of itself.

    Raises:
        ConfigError: It is none of ours.
    """
    try:
        with zipfile.ZipFile(BytesIO(archive)) as found:
            return msgspec.json.decode(found.read(MANIFEST), type=Manifest)
    except (zipfile.BadZipFile, KeyError, msgspec.DecodeError) as error:
        raise ConfigError(f"that is no package made by `legato package`: {error}") from error


def unpack_own(archive: bytes, folder: Path) -> Manifest:
    """Writes the bot's own files of a package into `folder`, so that this machine can import them."""
    manifest = manifest_of(archive)
    with zipfile.ZipFile(BytesIO(archive)) as found:
        for name in manifest.own:
            found.extract(name, folder)
    return manifest


# -- which files -----------------------------------------------------------------------------------


def _home() -> Path:
    return Path(legato.__file__).absolute().parent


def _our_files() -> Iterable[Path]:
    home = _home()
    for path in _files(home):
        relative = path.relative_to(home).as_posix()
        if not relative.startswith(UNUSED) and path.suffix != ".pyc":
            yield path


def _library_files(wheels: Path) -> Iterable[Path]:
    for path in _files(wheels):
        parts = path.relative_to(wheels).parts
        info = parts[0].endswith(".dist-info")
        if info and (path.name in _NOISE or len(parts) > 2):
            continue
        if parts[0] in ("bin", "share", ".lock") or {"tests", "test"} & set(parts[1:-1]):
            continue
        if path.suffix not in _NO_USE:
            yield path


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_another(there: Path, file: Path) -> bool:
    """Whether a library's file stands where the bot's would. With "-e ." among the requirements the bot is one itself."""
    return there.exists() and not (there.is_file() and there.read_bytes() == file.read_bytes())


def _copy(files: Iterable[Path], top: Path, into: Path) -> None:
    for path in files:
        _copy_one(path, into / path.relative_to(top))


def _copy_one(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if source.stat().st_mode & stat.S_IXUSR:  # a program that the bot calls
        target.chmod(0o755)


__all__ = ["MANIFEST", "Manifest", "Package", "build", "manifest_of", "unpack_own"]
