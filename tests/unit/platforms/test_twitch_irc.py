"""The grammar of IRC, by the vectors of irc-parser-tests, and Twitch's tags."""

import importlib.resources
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # only these tests read YAML

from legato.platforms.twitch import irc
from legato.platforms.twitch.irc import Emote, Line, Lines, NotIrc


def vectors(name: str) -> list[dict[str, Any]]:
    text = importlib.resources.files("parser_tests").joinpath("data", f"{name}.yaml").read_text()
    tests: list[dict[str, Any]] = yaml.safe_load(text)["tests"]
    assert tests
    return tests


def of_atoms(atoms: dict[str, Any]) -> Line:
    tags = {name: value or "" for name, value in atoms.get("tags", {}).items()}
    params = tuple(atoms.get("params", ()))
    return Line(atoms["verb"].upper(), params, tags, atoms.get("source", ""))


@pytest.mark.parametrize("vector", vectors("msg-split"), ids=lambda v: repr(v["input"])[:60])
def test_a_line_is_split_as_the_vectors_say(vector: dict[str, Any]) -> None:
    assert irc.parse(vector["input"]) == of_atoms(vector["atoms"])


@pytest.mark.parametrize("vector", vectors("msg-join"), ids=lambda v: v["desc"][:60])
def test_a_line_is_joined_as_the_vectors_say(vector: dict[str, Any]) -> None:
    line = of_atoms(vector["atoms"])

    joined = irc.serialize(line)

    # IRC's commands are the same in either case; ours are in upper case.
    assert joined in [m.replace(vector["atoms"]["verb"], line.command) for m in vector["matches"]]
    assert irc.parse(joined) == line


@pytest.mark.parametrize("vector", vectors("userhost-split"), ids=lambda v: v["source"])
def test_the_nick_is_found_in_every_source(vector: dict[str, Any]) -> None:
    assert Line("X", source=vector["source"]).nick == vector["atoms"].get("nick", "")


@pytest.mark.parametrize("text", ["", " ", "@a=b", "@a=b ", ":source", ":source ", " :x"])
def test_what_has_no_command_is_refused(text: str) -> None:
    with pytest.raises(NotIrc):
        irc.parse(text)


@pytest.mark.parametrize("sign", ["\r", "\n", "\0", "\r\n"])
def test_no_text_can_become_a_second_command(sign: str) -> None:
    line = Line("PRIVMSG", ("#room", f"a{sign}QUIT"), {"reply-parent-msg-id": f"x{sign}y"})

    assert irc.serialize(line).splitlines() == [irc.serialize(line)]
    assert "\0" not in irc.serialize(line)


def test_a_channel_is_named_in_lower_case_without_its_sign() -> None:
    assert irc.parse(":a!a@a PRIVMSG #RooM :Hi").channel == "room"
    assert Line("PING").channel == ""
    assert Line("PING").text == ""


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_is_cut_into_lines_however_it_arrives(size: int) -> None:
    lines = Lines()
    data = "PING :1\r\n\r\nPRIVMSG #a :ö 👋\nPING :2\r\nPI".encode()

    found = [line for piece in pieces(data, size) for line in lines.feed(piece)]

    assert found == ["PING :1", "PRIVMSG #a :ö 👋", "PING :2"]
    assert lines.feed(b"NG :3\r\n") == ["PING :3"]


def test_a_line_without_an_end_is_refused() -> None:
    lines = Lines()
    for _ in range(16):
        assert lines.feed(b"x" * 1000) == []
    with pytest.raises(NotIrc):
        lines.feed(b"x" * 1000)


def test_bytes_that_are_no_text_are_marked() -> None:
    assert Lines().feed(b"PRIVMSG #a :\xff\r\n") == ["PRIVMSG #a :\ufffd"]


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("", []),
        ("25:0-4,12-16/1902:6-10", [Emote("25", 0, 5), Emote("1902", 6, 11), Emote("25", 12, 17)]),
        ("emotesv2_abc:0-2", [Emote("emotesv2_abc", 0, 3)]),
        ("25", []),
        ("25:a-b,3", []),
        (":1-2", []),
        ("25:²-3", []),
        ("25:1-" + "9" * 5000, []),
    ],
)
def test_emotes_are_found(tag: str, found: list[Emote]) -> None:
    assert irc.emotes(tag) == found


def test_badges_are_found() -> None:
    assert irc.badges("moderator/1,subscriber/12") == {"moderator": "1", "subscriber": "12"}
    assert irc.badges("") == {}
    assert irc.badges("vip") == {"vip": ""}
