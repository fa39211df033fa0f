from pathlib import Path

import pytest

from legato.errors import ConfigError
from legato.functions.config import BOT_HANDLER, load_functions

HANDLER = "import json, asyncio\nimport helper\ndef handler(event, context): pass\n"
APP = "from legato import App\napp = App('adder')\n"


def put(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_files_and_folders_are_functions_by_their_names(tmp_path: Path) -> None:
    put(tmp_path, adder__py=APP, echo__py=HANDLER, helper__py="x = 1", notes__txt="")
    put(tmp_path / "shop", bot__py=HANDLER)
    put(tmp_path / "js", index__mjs="export const handler = 1")
    put(tmp_path / "data", file__txt="")
    put(tmp_path / ".hidden", bot__py=HANDLER)

    found = load_functions(tmp_path)

    assert {name: (f.handler, f.runtime, f.folder.name) for name, f in found.items()} == {
        "adder": (BOT_HANDLER, "python", tmp_path.name),
        "echo": ("echo.handler", "python", tmp_path.name),
        "js": ("index.handler", "nodejs", "js"),
        "shop": ("bot.handler", "python", "shop"),
    }
    assert found["adder"].env == {"LEGATO_FUNCTION_TARGET": str(tmp_path / "adder.py")}


def test_what_files_import_is_shared_but_nothing_of_the_functions_own(tmp_path: Path) -> None:
    put(tmp_path, adder__py=APP, echo__py=HANDLER, helper__py="x = 1")

    found = load_functions(tmp_path)

    assert found["echo"].preload == ("asyncio", "json")
    assert {"legato", "legato.stores.sqlite"} <= set(found["adder"].preload)


def test_function_toml_says_otherwise(tmp_path: Path) -> None:
    put(
        tmp_path / "one",
        main__py="def go(e, c): pass",
        secrets__env="# mine\nTOKEN = a=b \n\n",
        function__toml=(
            'name = "shop"\nhandler = "main.go"\nmemory_mb = 256\ntimeout_s = 1.5\nidle_s = 9\n'
            'schedule = "rate(1 minute)"\nwatch = "incoming"\nsecrets = "secrets.env"\npreload = []\n'
            'python = ".venv/bin/python"\n[env]\nA = "1"\n'
        ),
    )
    (tmp_path / "one" / "secrets.env").chmod(0o600)

    for folder in (tmp_path, tmp_path / "one"):
        (one,) = load_functions(folder).values()
        assert (one.name, one.handler, one.memory_mb, one.timeout_s) == (
            "shop",
            "main.go",
            256,
            1.5,
        )
        assert (one.schedule, one.watch) == (("rate(1 minute)",), tmp_path / "one" / "incoming")
        assert (one.env, one.secrets, one.preload) == ({"A": "1"}, {"TOKEN": "a=b"}, ())
        assert one.python == str(tmp_path / "one" / ".venv/bin/python")
        assert "a=b" not in repr(one)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('nam = "x"', "nam"),
        ('env = { A = "' + "\\u0001" * 12_000 + '" }', "more than 65536 bytes"),
        ("memory_mb = 1", "memory_mb is at least 32"),
        ("timeout_s = nan", "timeout_s is at least"),
        ("timeout_s = inf", "no infinity"),
        ('name = "-"', "is an address of the runtime itself"),
        ('name = "healthz"', "is an address of the runtime itself"),
        ('timeout_s = "soon"', "Expected `float`"),
        ('name = "a b"', "is no name"),
        ('handler = "bot"', "write it as bot.handler"),
        ('runtime = "ruby"', "there are python and nodejs"),
        ('secrets = "secrets.env"', "chmod 600"),
        ('secrets = "other.env"', "No such file"),
        ('env = { "A B" = "1" }', "is no name of a variable"),
        ("[", "function.toml"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, toml: str, says: str) -> None:
    put(tmp_path / "one", bot__py=HANDLER, function__toml=toml, secrets__env="A=b")
    (tmp_path / "one" / "secrets.env").chmod(0o644)

    with pytest.raises(ConfigError) as error:
        load_functions(tmp_path)

    assert says in str(error.value)


def test_a_folder_without_functions_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="put a folder with a bot"):
        load_functions(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        load_functions(tmp_path / "no")
    put(tmp_path / "one", function__toml="")
    with pytest.raises(ConfigError, match="where is its code"):
        load_functions(tmp_path)
    put(tmp_path / "one", bot__py="x = 1")
    with pytest.raises(ConfigError, match="neither a `handler` nor an"):
        load_functions(tmp_path)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path, one__py=HANDLER)
    put(tmp_path / "one", bot__py=HANDLER)

    with pytest.raises(ConfigError, match="two functions"):
        load_functions(tmp_path)


@pytest.mark.parametrize(
    ("text", "handler"), [(APP, BOT_HANDLER), ("def handler(event, context): pass\n", None)]
)
def test_a_file_with_a_syntax_error_is_the_function_that_it_will_be_once_mended(
    tmp_path: Path, text: str, handler: str | None
) -> None:
    broken = text + "def helper(:\n"
    put(tmp_path, one__py=broken, helper__py="def helper(:\n")
    put(tmp_path / "two", bot__py=broken)

    found = load_functions(tmp_path)

    assert {name: one.handler for name, one in found.items()} == {
        "one": handler or "one.handler",
        "two": handler or "bot.handler",
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("memory = 256", "'memory' is no setting: did you mean memory_mb?"),
        ("wach = 'in'", "'wach' is no setting: did you mean watch?"),
        ("zzz = 1", "'zzz' is no setting: there are name, handler, runtime"),
        ("[env]\nPORT = 80", 'env: PORT is no text: write PORT = "80"'),
    ],
)
def test_a_slip_in_a_function_toml_is_told_with_what_was_meant(
    tmp_path: Path, line: str, says: str
) -> None:
    put(tmp_path / "one", main__py=HANDLER, function__toml=line)

    with pytest.raises(ConfigError) as refused:
        load_functions(tmp_path)

    assert says in str(refused.value)
    assert str(tmp_path / "one" / "function.toml") in str(refused.value)


def test_a_handler_may_be_in_a_package_or_a_folder(tmp_path: Path) -> None:
    for name, handler, file in (
        ("package", "shop.orders.handler", "shop/orders.py"),
        ("init", "shop.handler", "shop/__init__.py"),
        ("folder", "src/app.handler", "src/app.py"),
        ("nested", "src/index.api.v1.handler", "src/index.mjs"),
    ):
        place = tmp_path / name / file
        place.parent.mkdir(parents=True)
        place.write_text("import wsgiref.util\n" if place.suffix == ".py" else "")
        (tmp_path / name / "function.toml").write_text(f'handler = "{handler}"')

    found = load_functions(tmp_path)
    assert [found[name].runtime for name in ("package", "init", "folder", "nested")] == [
        "python",
        "python",
        "python",
        "nodejs",
    ]
    assert found["package"].preload == found["folder"].preload == ("wsgiref.util",)


def test_what_may_be_the_functions_own_is_not_shared(tmp_path: Path) -> None:
    put(
        tmp_path / "env",
        bot__py=f"import httpx, msgspec, wsgiref.util\n{HANDLER}",
        function__toml='env = { PYTHONPATH = "vendor:/opt/more" }',
    )
    (tmp_path / "env" / "vendor" / "httpx").mkdir(parents=True)
    path = "import sys\nsys.path.insert(0, 'lib')\nimport httpx\nimport legato\n"
    put(tmp_path / "path", bot__py=path + HANDLER)

    found = load_functions(tmp_path)
    assert {"msgspec", "wsgiref.util"} <= {*found["env"].preload}
    assert "httpx" not in found["env"].preload
    assert "httpx" not in found["path"].preload
    assert "legato" in found["path"].preload
