"""A public address by a program of somebody else's."""

import logging
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from legato.cli.run import _without_tunnel
from legato.deploy.tunnel import address_in, command_of, tunnel
from legato.errors import ConfigError

SAID = {
    # What the programs print, as their documentation and users' reports show it.
    "2026-11-28T10:00:00Z INF |  https://quick-words-here.trycloudflare.com            |": (
        "https://quick-words-here.trycloudflare.com"
    ),
    't=2026 lvl=info msg="started tunnel" name=command_line addr=http://localhost:8080 url=https://ab12.ngrok-free.app': (
        "https://ab12.ngrok-free.app"
    ),
    "abc123.lhr.life tunneled with tls termination, https://abc123.lhr.life": (
        "https://abc123.lhr.life"
    ),
    "Forwarding HTTP traffic from https://words.serveo.net": "https://words.serveo.net",
    "INF Thank you for trying Cloudflare Tunnel. (https://developers.cloudflare.com/cloudflare-one/)": "",
    "follow https://admin.localhost.run/ for documentation": "",
    "(https://www.cloudflare.com/website-terms/)": "",
    "nothing": "",
}  # fmt: skip


@pytest.mark.parametrize("line", SAID)
def test_the_address_is_found_in_what_each_program_says(line: str) -> None:
    assert address_in(line) == SAID[line]


def program(folder: Path, text: str) -> str:
    """A command that runs this Python text as a tunnel's program."""
    file = folder / "tunnel.py"
    file.write_text(text)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(file))} {{port}}"


def test_the_address_is_there_for_the_length_of_the_block_and_the_program_ends_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        "import sys, time\n"
        "print('terms: https://www.cloudflare.com/terms', flush=True)\n"
        "print(f'https://p{sys.argv[1]}.example.org', flush=True)\n"
        "print('chatter ' * 20_000, flush=True)\n"
        "time.sleep(600)\n"
    )
    with tunnel(program(tmp_path, text), 8123) as url:
        assert url == "https://p8123.example.org"
    assert "is closed" not in caplog.text


def test_what_stands_behind_a_shell_ends_with_it_and_braces_are_its_own(tmp_path: Path) -> None:
    text = "import time\nprint('https://a.example.org', flush=True)\ntime.sleep(600)\n"
    script = f"export A=${{A:-b}}; {program(tmp_path, text)} & echo $! > {tmp_path}/pid; wait"
    with tunnel(f"sh -c {shlex.quote(script)}", 1):
        pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
    _until(lambda: not _lives(pid))
    with pytest.raises(ConfigError, match="No closing quotation"), tunnel("x {port} '", 1):
        pass


def test_a_program_that_gives_no_address_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"(?s)gave no address:.*no such account"),
        tunnel(program(tmp_path, "print('no such account')"), 1),
    ):
        pass
    silent = program(tmp_path, "import time; time.sleep(600)")
    with (
        pytest.raises(ConfigError, match="it said nothing"),
        tunnel(silent, 1, start_s=0.2),
    ):
        pass
    with pytest.raises(ConfigError, match="cannot be started"), tunnel("/no/program {port}", 1):
        pass


def test_a_program_that_has_ended_may_not_be_killed_on_a_mac(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def killpg(number: int, _signal: int) -> None:
        raise PermissionError(number)

    monkeypatch.setattr("os.killpg", killpg)
    program = tmp_path / "program.py"
    program.write_text("print('no account')")
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(program))} {{port}}"

    with pytest.raises(ConfigError, match="no account"), tunnel(command, 8080):
        pass


def test_a_tunnel_that_ends_by_itself_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    text = "import sys\nprint('https://a.example.org', flush=True)\nsys.stdin.read()\n"
    with tunnel(program(tmp_path, text), 1):
        _until(lambda: bool(caplog.records))
    assert "https://a.example.org is closed" in caplog.text


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_each_way_is_named_or_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for how, cure in (
        ("auto", "install cloudflared"),
        ("ngrok", "not installed"),
        ("ssh:me@host", "not installed"),
        ("magic", "with {port} in it"),
    ):
        with pytest.raises(ConfigError, match=cure):
            command_of(how)
    for name in ("cloudflared", "ssh"):
        (tmp_path / name).touch(mode=0o700)
    assert command_of("auto").startswith("cloudflared tunnel")
    assert command_of("ssh:me@host").endswith(" me@host")
    assert command_of("mine {port}") == "mine {port}"


def test_a_child_is_not_told_to_make_another() -> None:
    words = ["run", "--tunnel", "bot.py", "--tunnel-by", "ngrok", "--tunnel-by=ngrok", "--verbose"]
    assert _without_tunnel(words) == ["run", "bot.py", "--verbose"]
