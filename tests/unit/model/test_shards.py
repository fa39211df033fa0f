"""Slots and shards: one number a room, the same everywhere and for ever."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.model.events import Address
from legato.model.ids import ASIDE, OVERLAY, SCOPES, aside_key, conversation_key
from legato.model.shards import SLOTS, check_shards, slot_of, slot_of_key, slots_of

TEXT = st.text(max_size=8) | st.sampled_from(["a:b", "100%", "x^", "y!1", "-100"])


@given(TEXT, TEXT, TEXT, TEXT, st.sampled_from(SCOPES))
def test_a_key_has_the_slot_of_its_room_whatever_its_scope_and_suffix(
    platform, bot, chat, user, scope
):
    place = Address(platform, bot, chat, user)
    room = Address(platform, bot, "", user) if scope == "user" else Address(platform, bot, chat)
    if not (room.chat or room.user):
        return
    key = conversation_key(place, scope)
    for name in (key, key + OVERLAY, aside_key(key, 7)):
        assert slot_of_key(name) == slot_of(room)
    assert ASIDE in aside_key(key, 7)


def test_a_slot_is_crc32_of_the_room():
    place = Address("telegram", "42", "-1001", "7")
    assert slot_of(place) == crc32(b"telegram:42:-1001") % SLOTS


def test_more_shards_split_old_ones_and_never_mix_them():
    for shard in range(16):
        assert {slot % 4 for slot in slots_of(shard, 16)} == {shard % 4}
    assert sorted(slot for shard in range(64) for slot in slots_of(shard, 64)) == list(range(SLOTS))


@pytest.mark.parametrize("shards", [0, 3, 48, 2048, -1])
def test_a_number_that_cannot_be_is_refused_with_the_cure(shards):
    with pytest.raises(ValueError, match="power of two"):
        check_shards(shards)
