"""The fake Twitch's people and rules, without any connection."""

import pytest

from legato.testing.fake_twitch import FakeTwitch, Refused
from legato.testing.fake_twitch.payloads import event, message_tags, tags, untagged
from legato.testing.fake_twitch.world import Window


@pytest.mark.parametrize("value", ["a;b c\\d\r\ne", "", "\\s", "ü👋", "a=b"])
def test_tags_come_back_as_they_were_written(value: str) -> None:
    written = tags({"key": value, "other": "1"})
    assert not set("\r\n") & set(written)
    assert untagged(f"{written}PING") == ({"key": value, "other": "1"}, "PING")


def test_a_line_without_tags_is_itself_and_a_lone_backslash_is_dropped() -> None:
    assert tags({}) == ""
    assert untagged("PING :@x") == ({}, "PING :@x")
    assert untagged("@a=b\\;c=\\x PING") == ({"a": "b", "c": "x"}, "PING")


def test_logins_are_unique_lower_case_and_ascii() -> None:
    twitch = FakeTwitch()
    ann, other, foreign = (twitch.viewer(name) for name in ("Ann Lee", "annlee", "Аня"))
    assert (ann.login, ann.name) == ("annlee", "AnnLee")
    assert other.login.startswith("annlee")
    assert other.login != "annlee"
    assert foreign.login.isascii()
    assert foreign.name == "Аня"


def test_a_viewer_needs_a_channel() -> None:
    with pytest.raises(AssertionError, match="make a channel first"):
        FakeTwitch().viewer("Ann").says("hi")


def test_roles_show_as_badges_and_in_tags() -> None:
    twitch = FakeTwitch()
    channel, ann = twitch.channel("Ronni"), twitch.viewer("Ann")
    channel.gives("vip", ann)
    channel.gives("subscriber", ann)
    found = message_tags(ann.says("hi"))
    assert (found["badges"], found["badge-info"]) == ("vip/1,subscriber/12", "subscriber/12")
    assert (found["vip"], found["subscriber"], found["mod"]) == ("1", "1", "0")
    channel.takes("vip", ann)
    assert [badge["set_id"] for badge in event(ann.says("hi"))["badges"]] == ["subscriber"]  # type: ignore[attr-defined]
    owner = twitch.broadcaster(channel).says("mine")
    assert message_tags(owner)["badges"] == "broadcaster/1"


def test_one_who_is_banned_is_not_heard_and_is_forgotten() -> None:
    twitch = FakeTwitch()
    channel, ann = twitch.channel(), twitch.viewer("Ann")
    ann.says("/me waves")
    assert channel.transcript == ["Ann: waves"]
    channel.bans(ann)
    assert channel.transcript == []
    with pytest.raises(Refused, match="banned"):
        ann.says("hi")


def test_a_window_slides() -> None:
    window = Window(2, 10.0)
    assert [window.hit(now) for now in (0.0, 1.0, 2.0, 9.9, 10.0, 10.5, 11.0)] == [
        False,
        False,
        True,
        True,
        False,
        True,
        False,
    ]


async def test_a_viewer_gets_only_what_is_addressed_to_them() -> None:
    twitch = FakeTwitch()
    channel, ann, bob = twitch.channel(), twitch.viewer("Ann"), twitch.viewer("Bob")
    bot = twitch.viewer("other")
    bot.account = twitch.bot
    asked = ann.says("!start")
    bot.says("@bob, hello")
    bot.says("hello all")
    bot.says("First number?", reply_to=asked)
    bot.says("@Ann Second number?")
    await ann.gets("First number?")
    await ann.gets("Second number?")
    await bob.gets("hello")
    assert ann.sees == ["First number?", "Second number?"]
    assert [(await channel.gets()).said for _ in range(2)] == ["@bob, hello", "hello all"]
    with pytest.raises(AssertionError, match="did not happen in 0 s"):
        await ann.gets(timeout_s=0)
    with pytest.raises(AssertionError, match="got"):
        await channel.gets("something else")
