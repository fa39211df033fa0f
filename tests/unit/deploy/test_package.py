"""A package holds what a bot needs and nothing else, and is the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from legato.app.settings import Settings
from legato.cli.main import main
from legato.deploy.package.archive import Size, check_size, packed
from legato.deploy.package.build import Package, build, manifest_of, unpack_own
from legato.deploy.package.carried import carried, named
from legato.deploy.package.elf import check_elf
from legato.deploy.package.entry import Entry, entry_of, handler_of
from legato.deploy.package.own import own_files
from legato.deploy.package.target import MB, SERVICES, target_of
from legato.deploy.package.wheels import told
from legato.errors import ConfigError
from tests.unit.deploy.package_kit import bot_in, by_uv, elf, here, uv_finds


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """A bot."""
    file = bot_in(tmp_path_factory.mktemp("parcel"))
    (file.parent / ".env").write_text("TELEGRAM_TOKEN=1:secret")
    (file.parent / "data.csv").write_text("1,2\n")
    (file.parent / "convert").write_text("#!/bin/sh\n")
    (file.parent / "convert").chmod(0o700)
    return entry_of(str(file))


@pytest.fixture(scope="module")
def made(entry: Entry) -> Package:
    """Its package."""
    return build(entry, here())


def test_the_same_bot_gives_the_same_bytes(entry: Entry, made: Package) -> None:
    os.utime(entry.folder / "parcel_bot.py", (1, 1))

    assert build(entry, here()).sha256 == made.sha256


def test_what_is_in_a_package_runs_without_anything_else(tmp_path: Path, made: Package) -> None:
    (tmp_path / "bot.zip").write_bytes(made.archive)
    with zipfile.ZipFile(tmp_path / "bot.zip") as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "task")
    assert names == sorted(names)
    assert b"1:secret" not in b"".join(path.read_bytes() for path in _files(tmp_path / "task"))
    assert {"legato_handler.py", "parcel_bot.py", "data.csv", "legato/py.typed"} <= set(names)
    assert not [name for name in names if name.endswith(("RECORD", ".env", ".pyi"))]
    assert not [name for name in names if name.startswith(("legato/testing/", "legato/cli/"))]
    assert [name for name in names if "legato_handler." in name and name.endswith(".pyc")]
    assert made.manifest.dialogs["greet"] == "3"
    code = "import legato_handler, legato; print(legato.__file__, callable(legato_handler.handler))"
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path / "task",
        env={"PYTHONPATH": str(tmp_path / "task")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f"{tmp_path / 'task' / 'legato' / '__init__.py'} True\n"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_bots_own_files_come_out_again(tmp_path: Path, made: Package) -> None:
    manifest = unpack_own(made.archive, tmp_path / "out")

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "convert",
        "data.csv",
        "parcel_bot.py",
    ]
    assert manifest == manifest_of(made.archive) == made.manifest
    assert manifest.entry == "parcel_bot.py:app"
    with pytest.raises(ConfigError, match="no package made by"):
        manifest_of(b"no zip")


def test_what_holds_secrets_stays_out_and_patterns_leave_out_more(tmp_path: Path) -> None:
    folder = bot_in(tmp_path).parent
    for name in (
        ".env", "bot.env", "legato.db", "legato.db-wal", "key.pem", "legato.toml", ".git/config", "tests/test_a.py",
        "KEY.PEM", "id_ed25519", "a.sqlite3-wal",
        "venv/pyvenv.cfg", "other/pyvenv.cfg", "other/lib.py", "notes.md", "img/a.png", "img/b.png", "a/img/c.png",
        "pkg/__init__.py", "pkg/__pycache__/x.pyc",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".legatoignore").write_text("# comment\n*.md\n/img/*.png\n!/img/b.png\n!.env\n")

    found = own_files(folder)

    assert list(found) == ["a/img/c.png", "img/b.png", "parcel_bot.py", "pkg/__init__.py"]
    (folder / "settings.txt").symlink_to(".env")
    (folder / "words.txt").symlink_to("pkg/__init__.py")
    assert [*own_files(folder)] == [*found, "words.txt"]


def test_a_library_without_a_wheel_for_the_machine_is_named_with_what_there_is() -> None:
    """As pip says it, shortened."""
    target = target_of("aws", "arm64", "3.13")
    pip = (
        "ERROR: Could not find a version that satisfies the requirement numpy==1.20.0 (from versions: 1.26.0, 2.0.0, "
        "2.1.0, 2.2.0, 2.3.0, 2.4.0)\nERROR: No matching distribution found for numpy==1.20.0\n"
    )
    none = pip.replace("1.26.0, 2.0.0, 2.1.0, 2.2.0, 2.3.0, 2.4.0", "none")

    shown = told(pip, target)

    assert shown.startswith("numpy==1.20.0: the package index has no wheel of it for aws, arm64")
    assert "it has 2.0.0, 2.1.0, 2.2.0, 2.3.0, 2.4.0. Nothing is built" in shown
    assert "or does not know it at all" in told(none, target)
    assert "could not be reached" in told(f"WARNING: Retrying (Retry(total=0\n{none}", target)
    assert told("ERROR: Disk full\nmore\n", target).endswith("Python 3.13: Disk full")
    newer = "ERROR: Invalid requirement: 'a b'\n    a b\n      ^ (from line 3 of requirements.txt)\nmore\n"
    assert told(newer, target).endswith("'a b' a b ^ (from line 3 of requirements.txt)")


def test_a_line_that_no_installer_understands_is_told_with_its_number(tmp_path: Path) -> None:
    file = bot_in(tmp_path / "bot")
    (file.parent / "requirements.txt").write_text("legato\n\nwhat is this\n")

    with pytest.raises(ConfigError, match=r"what is this.*line 3 of requirements\.txt"):
        build(entry_of(str(file)), here())


def test_wheels_are_asked_for_by_what_the_service_runs_on() -> None:
    old, new = target_of("aws", "x86_64", "3.11"), target_of("aws", "arm64", "3.13")

    assert old.platforms[0] == "manylinux_2_26_x86_64"
    assert "manylinux2014_x86_64" in old.platforms
    assert "manylinux_2_28_x86_64" not in old.platforms, "Amazon Linux 2 has glibc 2.26"
    assert new.platforms[0] == "manylinux_2_34_aarch64"
    assert new.platforms[-1] == "manylinux2014_aarch64"
    for wrong in (("aws", "riscv", ""), ("aws", "", "3.8"), ("azure", "", "")):
        with pytest.raises(ConfigError):
            target_of(*wrong)


def test_a_shared_object_for_another_machine_or_c_library_is_refused() -> None:
    check_elf("a.so", elf(62, b"GLIBC_2.17\0GLIBC_2.26"), "x86_64", 26)
    check_elf("a.py", b"print()", "aarch64", 26)

    with pytest.raises(ConfigError, match=r"a\.so was made for x86_64, but .* aarch64"):
        check_elf("a.so", elf(62), "aarch64", 34)
    with pytest.raises(ConfigError, match=r"needs glibc 2\.28, but the function has 2\.26"):
        check_elf("a.so", elf(62, b"GLIBC_2.4\0GLIBC_2.28"), "x86_64", 26)


def test_a_bot_that_brings_a_library_of_another_machine_is_not_packed(tmp_path: Path) -> None:
    file = bot_in(tmp_path / "bot")
    other = 183 if here().machine == "x86_64" else 62
    (file.parent / "fast.so").write_bytes(elf(other))

    with pytest.raises(ConfigError, match=r"fast\.so was made for"):
        build(entry_of(str(file)), here())


def test_what_is_too_large_is_refused_before_it_is_sent() -> None:
    aws = SERVICES["aws"]
    check_size(Size(MB, 250 * MB, ()), aws)

    with pytest.raises(ConfigError, match=r"250\.0 MB at most. Largest: numpy 240\.0 MB"):
        check_size(Size(MB, 250 * MB + MB, (("numpy", 240 * MB),)), aws)


def test_a_program_that_the_bot_brings_can_be_run_in_the_function(made: Package) -> None:
    with zipfile.ZipFile(BytesIO(made.archive)) as found:
        modes = {info.filename: info.external_attr >> 16 for info in found.infolist()}

    assert modes["convert"] == 0o100755
    assert modes["parcel_bot.py"] == 0o100644


def test_a_link_that_leads_back_is_not_followed_for_ever(tmp_path: Path) -> None:
    folder = bot_in(tmp_path / "bot").parent
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "shared.py").touch()
    (folder / "common").symlink_to("../common")
    (folder / "self").symlink_to(".")
    (tmp_path / "common" / "back").symlink_to("../bot")

    assert list(own_files(folder)) == ["common/shared.py", "parcel_bot.py"]


def test_a_script_for_aws_is_written_by_another_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["package", str(bot_in(tmp_path)), "--config", str(tmp_path / "deploy.sh")]

    assert main(words) == 2

    assert "`legato deploy aws bot.py --eject DIR` writes it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["-o", "."], ["--target", "yandex", "-o", "a.zip", "--config", "."]]
)
def test_a_file_that_cannot_be_written_is_told_in_a_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    by_uv(monkeypatch)
    monkeypatch.chdir(tmp_path)
    bot_in(tmp_path, name="bot.py")

    assert main(["package", "bot.py", *words]) == 2

    assert capsys.readouterr().err == "legato: . cannot be written: Is a directory\n"


def test_a_zip_tells_no_times_and_no_order() -> None:
    assert packed({"a": b"1", "b": b"2"}) == packed({"b": b"2", "a": b"1"})


def test_the_handler_reads_secrets_before_the_bot(tmp_path: Path) -> None:
    entry = entry_of(str(bot_in(tmp_path)))

    lines = handler_of(entry, SERVICES["google"]).splitlines()

    assert lines.index("load()") < lines.index("from parcel_bot import app")
    assert lines[-1] == "handler = app.google()"


@pytest.mark.parametrize(
    ("name", "like"), [("my bot.py", "my_bot.py"), ("my-bot.py", "my_bot.py"), ("2.py", "bot.py")]
)
def test_a_file_that_no_function_could_import_is_told_what_it_may_be_called(
    name: str, like: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"needs the name of a module, as in {like}$"):
        entry_of(str(bot_in(tmp_path, name=name)))


def test_settings_go_with_the_bot_and_secrets_apart() -> None:
    settings = Settings(
        store="sqlite:///x.db", telegram_token="1:a", telegram_api="http://x", webhook_reply=False
    )

    plain, secret = carried(settings)

    assert plain == {"TELEGRAM_API": "http://x", "LEGATO_WEBHOOK_REPLY": "off"}
    assert secret == {"TELEGRAM_TOKEN": "1:a"}
    assert named(["A=1=2", "B"], {"B": "b"}) == {"A": "1=2", "B": "b"}
    for wrong in ("a b=1", "MISSING"):
        with pytest.raises(ConfigError):
            named([wrong], {})


def test_pip_and_uv_make_the_same_package(
    entry: Entry, made: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not uv_finds():
        pytest.skip("uv does not find libraries here, since it does not read pip's settings")
    monkeypatch.setitem(sys.modules, "pip", None)

    assert build(entry, here()).sha256 == made.sha256
