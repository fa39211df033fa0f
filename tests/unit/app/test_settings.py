"""Settings come from flags, then the environment, then legato.toml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from legato.app.settings import VARIABLES, Settings, load_settings
from legato.errors import ConfigError

CANARY = "4200:canary-of-the-token"


def refusal(
    environ: Mapping[str, str], flags: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags, environ=environ, folders=[folder] if folder else [])
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_without_any_setting_the_defaults_hold() -> None:
    assert load_settings(environ={}) == Settings()


def test_every_variable_has_its_field() -> None:
    assert {v.field for v in VARIABLES.values()} == set(Settings.__struct_fields__)


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "legato.toml").write_text(
        'store = "memory://"\nlisten = "127.0.0.1:1"\ncache = 1\nwebhook_reply = false\n'
    )

    found = load_settings(
        {"listen": "127.0.0.1:3", "store": None},
        environ={"LEGATO_LISTEN": "127.0.0.1:2", "LEGATO_CACHE": "2", "LEGATO_STORE": ""},
        folders=[tmp_path],
    )

    assert found == Settings(
        store="memory://", listen=("127.0.0.1", 3), cache=2, webhook_reply=False
    )


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("2.5", 2.5), ("", None)])
def test_the_deadline_of_steps_is_in_seconds(text: str, seconds: float | None) -> None:
    assert load_settings(environ={"LEGATO_STEP_TIMEOUT": text}).step_timeout == seconds


def test_what_is_usual_holds_where_nothing_else_is_set(tmp_path: Path) -> None:
    (tmp_path / "legato.toml").write_text("cache = 2000\n")
    usual = {"LEGATO_CACHE": "5", "LEGATO_LOG": "json", "TWITCH_CLIENT_ID": "abc", "OTHER": "x"}

    found = load_settings(environ={"LEGATO_LOG": "text"}, folders=[tmp_path], usual=usual)

    assert (found.cache, found.log, found.twitch_client_id) == (2000, "text", "abc")
    with pytest.raises(ConfigError, match="LEGATO_LOG='xml': write text or json"):
        load_settings(environ={}, usual={"LEGATO_LOG": "xml"})


def test_the_first_folder_with_a_file_counts(tmp_path: Path) -> None:
    for folder, cache in (("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "legato.toml").write_text(f"cache = {cache}")

    folders = [tmp_path / name for name in "abc"]

    assert load_settings(environ={}, folders=folders).cache == 1


def test_a_platform_has_a_table_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\n")
    (tmp_path / "legato.toml").write_text(
        '[telegram]\ntoken_file = "token"\napi = "http://localhost:81/"\nsecret = "s"\n'
    )

    found = load_settings(environ={}, folders=[tmp_path])

    assert found.telegram_token == CANARY
    assert found.telegram_api == "http://localhost:81"
    assert found.secrets == (CANARY, "s")


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    def file(name: str) -> dict[str, str]:
        return {"TELEGRAM_TOKEN_FILE": str(tmp_path / name)}

    assert load_settings(environ=file("token")).telegram_token == CANARY
    assert "No such file" in refusal(file("none"))
    assert "is empty" in refusal(file("empty"))
    assert "no text" in refusal(file("binary"))
    assert "both set" in refusal(file("token") | {"TELEGRAM_TOKEN": "4200:other"})
    assert load_settings(environ={"TELEGRAM_API_FILE": "x"}) == Settings()


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_the_server_listens_at_host_and_port(text: str, listen: tuple[str, int]) -> None:
    assert load_settings(environ={"LEGATO_LISTEN": text}).listen == listen


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("LEGATO_LISTEN", "8080", "write host:port"),
        ("LEGATO_LISTEN", ":8080", "write host:port"),
        ("LEGATO_LISTEN", "http://x:1", "write host:port"),
        ("LEGATO_LISTEN", "localhost:http", "a number from 0 to 65535"),
        ("LEGATO_LISTEN", "localhost:65536", "a number from 0 to 65535"),
        ("LEGATO_PUBLIC_URL", "bot.example.org", "https://bot.example.org"),
        ("LEGATO_PUBLIC_URL", "https://", "https://bot.example.org"),
        ("LEGATO_PUBLIC_URL", "https://x/?a=b", "https://bot.example.org"),
        ("LEGATO_WEBHOOK_REPLY", "maybe", "write on or off"),
        ("LEGATO_LOG", "xml", "write text or json"),
        ("LEGATO_TRACING", "otlp", "write on or off"),
        ("LEGATO_CACHE", "-1", "a whole number"),
        ("LEGATO_CACHE", "1e3", "a whole number"),
        ("LEGATO_STEP_TIMEOUT", "-1", "a number of seconds"),
        ("LEGATO_STEP_TIMEOUT", "1.5.0", "a number of seconds"),
        ("LEGATO_STEP_TIMEOUT", "inf", "a number of seconds"),
        ("LEGATO_STORE", " memory://", "white space"),
        ("LEGATO_WEB_SOCKET", "https://x/prod", "as in wss://abc123.execute-api."),
        ("LEGATO_WEB_SOCKET", "wss://", "as in wss://abc123.execute-api."),
        ("LEGATO_WEB_SOCKET", "wss://x/prod; script-src *", "as in wss://abc123.execute-api."),
        ("TWITCH_EVENTSUB", "https://x", "wss://eventsub.example.org"),
        ("TELEGRAM_API", "ftp://x", "https://bot.example.org"),
    ],
)
def test_a_bad_value_is_refused_by_name_value_and_cure(name: str, value: str, cure: str) -> None:
    text = refusal({name: value})

    assert text.startswith(f"{name}={value!r}: ")
    assert cure in text


def test_a_bad_flag_is_named_as_it_was_written() -> None:
    assert refusal({}, {"public_url": "x"}).startswith("--public-url='x': ")


def test_a_setting_that_is_written_wrong_in_code_is_no_setting() -> None:
    assert refusal({}, {"sore": "memory://"}).startswith("sore is no setting")
    assert "store" in refusal({}, {"sore": "memory://"})


def test_a_number_in_code_is_as_its_text() -> None:
    flags: dict[str, Any] = {"cache": 0}
    assert load_settings(flags, environ={}).cache == 0


def test_a_bad_secret_is_refused_without_being_shown() -> None:
    assert refusal({"TELEGRAM_TOKEN": f"{CANARY}\x00"}).startswith("TELEGRAM_TOKEN: ")
    assert "canary" not in refusal({"TELEGRAM_TOKEN": f" {CANARY}"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stor = 'x'", "stor is no setting: did you mean store?"),
        ("[telegram]\nxyz = 1", "telegram.xyz is no setting"),
        ("[telegram]\napi_file = 'x'", "telegram.api_file is no setting"),
        ("cache = [1]", "cache: write a text in quotes"),
        ("cache = 1.5", "cache: write a text in quotes"),
        ("cache = 'many'", "cache='many': write a whole number"),
        ("cache = ", "legato.toml: "),
        ("[telegram]\ntoken_file = 'none'", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_by_its_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "legato.toml").write_text(text)

    assert said in refusal({}, folder=tmp_path)
