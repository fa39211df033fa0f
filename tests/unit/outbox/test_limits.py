from legato.abc import Limits
from legato.outbox.limits import FREE, BotLimits, Chats, Gate, Pace


def test_a_chat_has_its_burst_at_once_and_then_one_token_an_interval() -> None:
    pace = Pace((20, 60.0, 3))
    chats = Chats()
    for _ in range(3):
        assert chats.ready_at("c", pace) <= 100.0
        chats.take("c", pace, 100.0)
    assert chats.ready_at("c", pace) == 103.0
    chats.take("c", pace, 103.0)
    assert chats.ready_at("c", pace) == 106.0


def test_tokens_never_gather_beyond_the_burst() -> None:
    pace = Pace((1, 1.0, 2))
    chats = Chats()
    chats.take("c", pace, 0.0)
    for _ in range(2):
        assert chats.ready_at("c", pace) <= 1000.0
        chats.take("c", pace, 1000.0)
    assert chats.ready_at("c", pace) == 1001.0


def test_idle_chats_are_forgotten_and_busy_ones_are_not() -> None:
    pace = Pace((1, 1.0, 1))
    chats = Chats()
    for n in range(50_000):
        chats.take(f"{n}", pace, n * 0.01)
    assert len(chats) < 2048
    assert chats.ready_at("49999", pace) == 499.99 + 1.0


def test_a_blocked_chat_without_a_limit_waits_all_the_same() -> None:
    chats = Chats()
    chats.block("c", 50.0, FREE, 20.0)
    assert chats.ready_at("c", FREE) == 50.0
    assert chats.ready_at("other", FREE) == 0.0


def test_a_block_never_shortens_a_longer_one() -> None:
    chats = Chats()
    chats.block("c", 50.0, FREE, 0.0)
    chats.block("c", 30.0, FREE, 0.0)
    assert chats.ready_at("c", FREE) == 50.0


def test_a_gate_serves_those_first_who_waited_longest() -> None:
    gate: Gate[str] = Gate((10, 1.0, 2), mark=1)
    assert gate.take(0.0)
    assert gate.take(0.0)
    assert not gate.take(0.0)
    gate.waiting.extend("abc")
    assert gate.release(0.1) == ["a"]
    assert gate.release(0.1) == []
    assert gate.release(5.0) == ["b", "c"]


def test_a_blocked_gate_gives_nothing_and_then_no_more_than_its_burst() -> None:
    limits: BotLimits[str] = BotLimits(Limits(bot=(10, 1.0, 3)))
    limits.block(60.0)
    limits.every.waiting.extend("abcdef")
    assert limits.every.release(59.0) == []
    assert limits.every.ready_at() == 60.0
    assert limits.every.release(60.0) == ["a", "b", "c"]


def test_a_bot_without_limits_takes_the_short_way_until_it_is_blocked() -> None:
    limits: BotLimits[str] = BotLimits(Limits())
    assert limits.none
    limits.block_chat("c", 5.0, FREE, 0.0)
    assert not limits.none
