"""What the tests of packages share."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from legato.deploy.package.target import Target, target_of

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
ARCH = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"

BOT = """
from legato import App, Chat

app = App("parcel")


@app.command("start", version="3")
async def greet(chat: Chat) -> None:
    name = await chat.ask("Name?")
    await chat.say(f"Hello {name}")
"""


def bot_in(folder: Path, code: str = BOT, name: str = "parcel_bot.py") -> Path:
    """A bot in a folder of its own, with what must not be packed beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(code, encoding="utf-8")
    return folder / name


def here() -> Target:
    """What this machine is."""
    return target_of("aws", ARCH, HERE)


def elf(machine: int, text: bytes = b"") -> bytes:
    """The beginning of a shared object."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + text


@cache
def uv_finds() -> bool:
    """Whether uv finds the libraries here: it does not read pip's settings."""
    uv = Path(sys.executable).with_name("uv")
    words = (str(uv), "pip", "install", "-q", "--dry-run", "--target", "/nonexistent", "msgspec")
    return uv.exists() and not subprocess.run(words, capture_output=True, check=False).returncode


def by_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes packages by uv, which takes a tenth of pip's time and gives the same bytes, where it finds libraries."""
    if uv_finds():
        monkeypatch.setitem(sys.modules, "pip", None)
