"""Which App a target means."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from legato.deploy.loader import folder_of, load_app
from legato.errors import AppNotFound, ConfigError

BOT = "from legato import App\napp = App('one')\n"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test imports for itself, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def failure(target: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_app(target)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_file_is_loaded_with_its_neighbours() -> None:
    write("near/texts.py", "NAME = 'with a neighbour'")
    write("near/mybot.py", "import texts\nfrom legato import App\nbot = App(texts.NAME)\n")

    assert load_app("near/mybot.py").name == "with a neighbour"


def test_a_file_is_known_by_its_own_name_so_that_stored_classes_are_found() -> None:
    load_app(write("shop_bot.py", BOT))

    assert sys.modules["shop_bot"].app.name == "one"


def test_the_same_target_gives_the_same_app() -> None:
    write("again.py", BOT)

    assert load_app("again.py") is load_app(str(Path("again.py").absolute()))


def test_two_files_of_one_name_are_two_bots() -> None:
    write("a/twin.py", BOT)
    write("b/twin.py", BOT.replace("one", "two"))

    assert (load_app("a/twin.py").name, load_app("b/twin.py").name) == ("one", "two")
    assert load_app("b/twin.py").name == "two"


def test_a_module_is_loaded_by_its_dotted_name() -> None:
    write("pack/__init__.py", "")
    write("pack/inner.py", BOT + "class Holder:\n    other = App('held')\n")

    assert load_app("pack.inner").name == "one"
    assert load_app("pack.inner:app").name == "one"
    assert load_app("pack.inner:Holder.other").name == "held"


def test_one_app_under_two_names_is_one_app() -> None:
    assert load_app(write("alias.py", BOT + "bot = app\n")).name == "one"


def test_two_apps_must_be_chosen_from() -> None:
    write("two.py", BOT + "other = App('other')\n")

    assert failure("two.py") == "two.py has 2 Apps (app, other): say which one, as in two.py:app"
    assert load_app("two.py:other").name == "other"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere.py", "there is no file nowhere.py"),
        ("folder/nowhere.py", "there is no file folder/nowhere.py"),
        ("nowhere.inside:app", "there is no module 'nowhere'"),
        ("empty.py", "empty.py has no App: write `app = App('name')`"),
        ("empty.py:app", "empty.py:app: the module has nothing of this name and no App"),
        ("empty.py:number", "has a int there and no App"),
        ("app.py:bot", "there is app.py:app"),
        ("app", "loads as a module"),
        ("not a name", "neither a file"),
        ("", "neither a file"),
        ("a/b.txt", "is no Python file"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(target: str, said: str) -> None:
    write("empty.py", "number = 1\n")
    write("app.py", BOT)
    write("a/b.txt", BOT)
    if target == "app":
        assert load_app(target).name == "one"
        return

    with pytest.raises(AppNotFound):
        load_app(target)
    assert said in failure(target)


def test_a_file_named_without_its_ending_is_suggested() -> None:
    write("odd-name.py", BOT)
    write("bots/__init__.py", "")

    assert "neither a file" in failure("odd-name")
    assert load_app("odd-name.py").name == "one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import legato\n\ndef broken(:\n", "broken.py:3: SyntaxError"),
        ("x = 1\n1 / 0\n", "broken.py:2: ZeroDivisionError: division by zero"),
        ("\nimport nonexistent_package\n", "broken.py:2: ModuleNotFoundError: No module named"),
        ("import json\njson.loads('{')\n", "broken.py:2: JSONDecodeError"),
        ("from legato import App\napp = App(scope='planet')\n", "broken.py:2: Misuse: scope="),
        ("raise ValueError('two\\nlines')\n", "broken.py:1: ValueError: two lines"),
        ("import sys\nsys.exit(1)\n", "broken.py:2: the program ends itself"),
        ("import helper_of_it\n", "helper_of_it.py:1: NameError"),
    ],
)
def test_a_failing_import_names_the_line_of_the_bot(text: str, said: str) -> None:
    write("broken.py", text)
    write("helper_of_it.py", "undefined\n")

    assert said in failure("broken.py")
    assert "broken" not in sys.modules


def test_a_broken_dependency_of_a_module_names_its_line() -> None:
    write("pkg/__init__.py", "")
    write("pkg/bot.py", "\n\nimport nonexistent_package\n")

    assert "pkg/bot.py:3: ModuleNotFoundError" in failure("pkg.bot:app")


def test_the_folder_of_a_bot_is_where_its_file_stands(tmp_path: Path) -> None:
    assert folder_of("near/bot.py:app") == tmp_path / "near"
    assert folder_of("package.module:app") == tmp_path
