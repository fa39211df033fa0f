"""A package is without what no function imports, and runs without it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import legato
from legato.deploy.package.build import UNUSED, build
from legato.deploy.package.entry import entry_of
from tests.unit.deploy.function_kit import SECRET, TOKEN, UPDATE, request
from tests.unit.deploy.package_kit import bot_in, here

HOME = Path(legato.__file__).parent
ADDER = HOME.parents[1] / "examples" / "adder.py"
STARTS = ("legato", "legato.deploy.http", "legato.deploy.function.")
"""What a function's module and App.aws_lambda() and its like import by name."""
TALK = """
import json, sys
from legato_handler import handler

for line in sys.stdin:
    answer = handler(json.loads(line), None)
    print(answer["statusCode"], json.loads(answer.get("body") or "{}").get("text"))
import legato.deploy.function.azure, legato.deploy.function.google, legato.deploy.function.yandex
import legato.deploy.function.frozen, legato.deploy.function.openwhisk
print(sum(name.startswith(("legato.cli", "legato.testing")) for name in sys.modules), legato.__file__)
"""


def modules() -> dict[str, Path]:
    """All of Legato, by name."""
    found = {}
    for path in HOME.rglob("*.py"):
        parts = path.relative_to(HOME.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it, unless for types only; and names of what is in them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def reached() -> set[Path]:
    """Files that a function may import."""
    known = modules()
    todo = [name for name in known if name in STARTS or name.startswith(STARTS[-1])]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        todo += [name.rpartition(".")[0], *imports(known[name])]
    return {known[name] for name in seen}


def test_no_function_imports_what_is_left_out() -> None:
    needed = {path.relative_to(HOME).as_posix() for path in reached()}
    assert "deploy/transport.py" in needed
    wrong = sorted(name for name in needed if name.startswith(UNUSED))
    assert wrong == [], (
        "functions import it: take it out of UNUSED in legato/deploy/package/build.py"
    )
    assert [name for name in UNUSED if not (HOME / name).exists()] == []


def test_the_packaged_adder_talks_without_it(tmp_path: Path) -> None:
    made = build(entry_of(str(bot_in(tmp_path / "bot", ADDER.read_text(), "adder.py"))), here())
    with zipfile.ZipFile(BytesIO(made.archive)) as archive:
        names = [name.removeprefix("legato/") for name in archive.namelist()]
        archive.extractall(tmp_path / "task")
    assert [name for name in names if name.startswith(UNUSED)] == []
    assert "deploy/function/aws.py" in names
    events = []
    for number, text in enumerate(("/start", "2", "3"), 1):
        said = {"update_id": number, "message": UPDATE["message"] | {"text": text}}
        secret = {"x-telegram-bot-api-secret-token": SECRET}
        events.append(json.dumps(request("POST", "/telegram", json.dumps(said), secret)))

    run = subprocess.run(
        [sys.executable, "-S", "-c", TALK],
        input="\n".join(events),
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(tmp_path / "task"), "LEGATO_STORE": f"sqlite:///{tmp_path}/bot.db",
            "TELEGRAM_TOKEN": TOKEN, "TELEGRAM_SECRET": SECRET, "TELEGRAM_API": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    init = tmp_path / "task" / "legato" / "__init__.py"
    heard = ["200 First number?", "200 Second number?", "200 Sum: 5", f"0 {init}"]
    assert run.stdout.splitlines() == heard
