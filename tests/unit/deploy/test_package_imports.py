"""What a bot imports must be in its package, where the function would look for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from legato.deploy.package.entry import entry_of
from legato.deploy.package.imports import check_imports
from legato.deploy.package.own import own_files
from legato.deploy.package.target import SERVICES
from legato.errors import ConfigError

BOT_OF_PARTS = """
from legato import App
import json
import six
from importing.texts import HELLO
try:
    import no_such_library_either
except ImportError:
    pass
app = App(HELLO)
"""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Path]:
    """A bot of several modules, and what it imports."""
    for path, text in {
        "importing_bot.py": BOT_OF_PARTS,
        "importing/__init__.py": "from . import more",
        "importing/more.py": "from .texts import HELLO",
        "importing/texts.py": "import sys\nHELLO = 'importing'",
        "scripts.py": "import nothing_that_the_bot_needs",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    before = set(sys.modules)
    sys.modules["six"] = ModuleType("six")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("importing", "six")):
            del sys.modules[name]
    sys.path[:] = [one for one in sys.path if not one.startswith(str(tmp_path))]


def tree_of(folder: Path, *libraries: str) -> Path:
    tree = folder.with_name(f"{folder.name}-tree")
    shutil.rmtree(tree, ignore_errors=True)
    for path, file in own_files(folder).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, tree / path)
    for name in ("legato/__init__.py", *libraries):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    return tree


def test_a_bot_whose_imports_are_all_there_is_packed(parts: Path) -> None:
    entry = entry_of(str(parts / "importing_bot.py"))

    check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])
    check_imports(entry, tree_of(parts, "six/__init__.py"), SERVICES["aws"])
    check_imports(entry, tree_of(parts, "six.cpython-313-aarch64-linux-gnu.so"), SERVICES["google"])
    (parts / "importing" / "texts.py").write_text("import boto3\nHELLO = 'importing'")
    check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])


def test_a_library_that_requirements_forget_is_missed_before_the_function_does(parts: Path) -> None:
    entry = entry_of(str(parts / "importing_bot.py"))

    with pytest.raises(ConfigError, match=r"importing_bot\.py imports six, .*requirements\.txt"):
        check_imports(entry, tree_of(parts), SERVICES["aws"])
    (parts / "importing" / "more.py").write_text("import aiohttp.web")
    with pytest.raises(ConfigError, match=r"importing/more\.py imports aiohttp"):
        check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])


def test_what_a_later_python_has_no_more_is_missed(parts: Path) -> None:
    sys.modules["audioop"] = ModuleType("audioop")
    try:
        (parts / "importing" / "texts.py").write_text("import audioop\nHELLO = 'importing'")
        entry = entry_of(str(parts / "importing_bot.py"))
    finally:
        del sys.modules["audioop"]

    with pytest.raises(ConfigError, match=r"imports audioop, which Python 3\.13 has no more"):
        check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"], "3.13")
    check_imports(entry, tree_of(parts, "six.py", "audioop/__init__.py"), SERVICES["aws"], "3.13")
    check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"], "3.12")
    (parts / "importing" / "texts.py").write_text("import distutils")
    check_imports(entry, tree_of(parts, "six.py", "setuptools/a.py"), SERVICES["aws"], "3.12")
    with pytest.raises(ConfigError, match=r"imports distutils, which Python 3\.12 has no more"):
        check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"], "3.12")


def test_what_is_left_out_of_legato_itself_is_missed(parts: Path) -> None:
    text = "from legato.model.events import User\nfrom legato.testing.fake_telegram import FakeTelegram\nHELLO = 'importing'"
    (parts / "importing" / "texts.py").write_text(text)
    entry = entry_of(str(parts / "importing_bot.py"))

    with pytest.raises(ConfigError, match=r"texts\.py imports legato\.testing, which no function"):
        check_imports(entry, tree_of(parts, "six.py", "legato/model/events.py"), SERVICES["aws"])


def test_a_module_of_the_bot_that_is_left_out_is_missed(parts: Path) -> None:
    entry = entry_of(str(parts / "importing_bot.py"))
    (parts / ".legatoignore").write_text("texts.py\n")

    with pytest.raises(ConfigError, match=r"imports importing\.texts, but importing/texts\.py is"):
        check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])


def test_a_module_that_the_function_would_look_for_elsewhere_is_missed(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (parts / "src").mkdir()
    (parts / "importing_bot.py").rename(parts / "src" / "importing_bot.py")
    (parts / "importing").rename(parts / "src" / "importing")
    monkeypatch.chdir(parts)
    monkeypatch.syspath_prepend(parts / "src")
    entry = entry_of("importing_bot:app")

    with pytest.raises(ConfigError, match=r"src/importing_bot\.py was imported as importing_bot"):
        check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])


def test_a_bot_that_says_where_its_modules_are_may_have_them_anywhere(parts: Path) -> None:
    text = (parts / "importing_bot.py").read_text()
    path = "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent / 'lib'))\n"
    (parts / "importing_bot.py").write_text(path + text)
    (parts / "lib").mkdir()
    (parts / "importing").rename(parts / "lib" / "importing")
    entry = entry_of(str(parts / "importing_bot.py"))
    sys.path.remove(str(parts / "lib"))

    check_imports(entry, tree_of(parts, "lib/six/__init__.py"), SERVICES["aws"])
    with pytest.raises(ConfigError, match=r"imports six"):
        check_imports(entry, tree_of(parts), SERVICES["aws"])
    (parts / ".legatoignore").write_text("texts.py\n")
    with pytest.raises(ConfigError, match=r"lib/importing/texts\.py is left out"):
        check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])


@pytest.mark.parametrize("python", [".local/lib/python3/site-packages", "conda/lib/python3"])
def test_what_an_environment_or_a_home_around_the_bot_holds_is_not_the_bots(
    parts: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    folder = parts / python
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(parts / "conda/lib/python3"))
    monkeypatch.setattr(sys.modules["six"], "__file__", str(folder / "six.py"), raising=False)
    monkeypatch.setattr(sys.modules["json"], "__file__", str(folder / "json" / "__init__.py"))
    (folder / "json").mkdir(parents=True)
    (folder / "six.py").write_text("import what_six_needs")
    (folder / "json" / "__init__.py").touch()
    (parts / ".legatoignore").write_text("conda/\n")
    entry = entry_of(str(parts / "importing_bot.py"))

    check_imports(entry, tree_of(parts, "six.py"), SERVICES["aws"])
    with pytest.raises(ConfigError, match=r"imports six.*requirements\.txt"):
        check_imports(entry, tree_of(parts), SERVICES["aws"])
