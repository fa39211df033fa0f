"""Without one of its guards, poison is caught as wrong: by the very lives that show that it works."""

from typing import Any

import pytest

from legato.app.poison import Count
from legato.app.room import Room, Stay
from tests.unit.app.lives_kit import MOST_LIVES
from tests.unit.app.test_poison import Bot, at, says


async def settled(killer: Bot) -> None:
    """One message kills, those of others are in hand at the same time: only it is put aside, soon."""
    letters = [says(f"echo {n}", n) for n in range(20)]
    await killer.lives.settles(*letters[:7], says("/boom", 777), *letters[7:])
    assert killer.lives.deaths == 3
    assert await killer.lives.failed() == [at(777)]
    assert len(killer.lives.said) == len(letters)


async def test_with_its_guards_only_the_poison_is_put_aside() -> None:
    await settled(Bot())


async def test_to_try_without_end_is_caught_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Count, "guilty", property(lambda self: False))
    killer = Bot()
    with pytest.raises(AssertionError, match=f"1 letters are left after {MOST_LIVES} deaths"):
        await settled(killer)
    assert await killer.lives.failed() == []


async def test_to_try_suspects_side_by_side_is_caught_as_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enter = Room.enter

    async def together(room: Room, *, alone: bool, **how: Any) -> Stay:
        stay = await enter(room, alone=False, **how)
        stay.alone = alone  # whoever is under way at a death is blamed for it
        return stay

    monkeypatch.setattr(Room, "enter", together)
    killer = Bot()
    with pytest.raises(AssertionError):
        await settled(killer)
    assert len(await killer.lives.failed()) > 1
