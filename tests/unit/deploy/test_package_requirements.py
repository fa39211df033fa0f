"""Lines of requirements.txt, as pip is given them, and what it makes of them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from legato.deploy.package import wheels
from legato.deploy.package.build import build
from legato.deploy.package.entry import entry_of
from legato.deploy.package.requirements import Requirements, requirements_of
from legato.deploy.package.target import target_of
from legato.errors import ConfigError
from tests.unit.deploy.package_kit import BOT, bot_in, here


def test_requirements_take_legatos_extras_from_the_one_that_is_here(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "legato[twitch]==0.1.0  # ours\nhttpx==0.28.1\n-r more.txt\nlegato-like\n"
    )

    found = requirements_of(tmp_path)

    assert found.own == ["", "httpx==0.28.1", f"-r {tmp_path / 'more.txt'}", "legato-like"]
    assert not found.hashed
    assert [line.partition(">")[0] for line in found.ours] == [
        "cryptography",
        "msgspec",
        "websockets",
    ]


def test_legato_is_fetched_from_nowhere_wherever_it_is_named(tmp_path: Path) -> None:
    """Nor is what somebody may have put into an index under its name."""
    for path, text in {
        "legato/pyproject.toml": '[project]\nname = "legato"\n',
        "lib/pyproject.toml": '[project]\nname = "lib"\n',
        "bot/req/plain.txt": "six\n",
        "bot/req/base.txt": "idna\nlegato[postgres]\n-r deeper.txt\n-e ../lib\n",
        "bot/req/deeper.txt": "legato == 1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nsix \\\n  --hash=sha256:22",
        "bot/requirements.txt": "-r req/plain.txt\n--requirement=req/base.txt  # more\n-c limits.txt\n"
        "-r https://example.com/r.txt\n-e ../legato[twitch]\n../legato\n--editable=../lib\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    found = requirements_of(tmp_path / "bot")

    req = tmp_path / "bot" / "req"
    assert found.own == [
        f"-r {req / 'plain.txt'}",
        *("idna", "", "", "", "", "six \\", "  --hash=sha256:22", "../lib"),
        f"-c {tmp_path / 'bot' / 'limits.txt'}",
        *("-r https://example.com/r.txt", "", "", "../lib"),
    ]
    assert found.hashed
    assert {"asyncpg", "websockets"} <= {line.partition(">")[0] for line in found.ours}
    (req / "deeper.txt").write_text("-r base.txt")
    with pytest.raises(ConfigError, match="name each other"):
        requirements_of(tmp_path / "bot")


def test_hashes_are_found_in_files_that_a_line_names(tmp_path: Path) -> None:
    for option in ("-r", "-c"):
        (tmp_path / "requirements.txt").write_text(f"{option} locked.txt\n")
        (tmp_path / "locked.txt").write_text("six==1 --hash=sha256:22\n")
        assert requirements_of(tmp_path).hashed
        (tmp_path / "locked.txt").write_text("six==1\n")
        assert not requirements_of(tmp_path).hashed


def test_a_remark_ends_with_its_line_as_for_pip(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# as in C:\\\nlegato\nsix\n")

    assert requirements_of(tmp_path).own == ["# as in C:\\", "", "six"]


def test_requirements_may_come_from_windows(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text("idna\r\nlegato\r\n", encoding=encoding)
        assert requirements_of(tmp_path).own == ["idna", ""]
    file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        requirements_of(tmp_path)


WHEELS = {
    "there": (
        '; python_version >= "3.13" and platform_machine == "aarch64" and sys_platform == "linux"',
        "1",
    ),
    "here": ('; python_version < "3.13" or platform_machine != "aarch64"', "1"),
    "hashed": ("==1", "1"),
    "loose": ("", "1"),
}


def test_a_condition_of_a_line_is_asked_of_the_functions_machine(tmp_path: Path) -> None:
    """`audioop-lts; python_version >= "3.13"` is wanted there, whatever packs it."""
    target = target_of("aws", "arm64", "3.13")
    index = _index(tmp_path / "index")
    lines = [index, *(f"{name}{condition}" for name, (condition, _) in WHEELS.items())]

    wheels.install(Requirements(lines, []), target, tmp_path / "out", tmp_path, tmp_path)

    assert wheels.installed(tmp_path / "out") == {"there": "1", "hashed": "1", "loose": "1"}


def test_what_has_hashes_and_what_legato_needs_are_both_taken(tmp_path: Path) -> None:
    index = _index(tmp_path / "index")
    (file,) = (tmp_path / "index").glob("hashed-1-*")
    line = f"hashed==1 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    own = Requirements([index, line], [index, "loose", "hashed>=1"], hashed=True)

    wheels.install(own, here(), tmp_path / "out", tmp_path, tmp_path)

    assert wheels.installed(tmp_path / "out") == {"hashed": "1", "loose": "1"}
    wrong = Requirements([index, line.replace("sha256:", "sha256:00")[:-2]], [], hashed=True)
    with pytest.raises(ConfigError, match="hash"):
        wheels.install(wrong, here(), tmp_path / "other", tmp_path, tmp_path)


def _index(folder: Path) -> str:
    """Wheels of nothing, and the line for them; of one there is a newer version."""
    folder.mkdir()
    for name, version in [*((name, one) for name, (_, one) in WHEELS.items()), ("hashed", "2")]:
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            wheel.writestr(
                f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{about}/RECORD", "")
    return f"--no-index\n--find-links {folder}"


def test_a_bot_that_requires_its_own_folder_is_packed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "-e ." installs its modules as a library; another one's of the same name would hide them."""
    entry = entry_of(str(bot_in(tmp_path / "own", name="own_bot.py")))
    said = [BOT, "something = 'else'"]

    def install(_wanted: object, _target: object, folder: Path, *_: Path) -> None:
        (folder / "own_bot.py").write_text(said.pop(0))

    monkeypatch.setattr("legato.deploy.package.build.install", install)

    assert build(entry, here()).manifest.own == ("own_bot.py",)
    with pytest.raises(ConfigError, match=r"own_bot\.py of the bot has the name of a library's"):
        build(entry, here())
