"""Which part of a cluster a chat belongs to.

Every room (a chat, or a person where a dialog's scope is "user") has one of SLOTS numbers, for ever:
crc32 of "platform:bot:room", modulo SLOTS. A cluster of N shards gives slot s to shard s % N, and N
divides SLOTS, so that is crc32 % N: more shards split old ones and never mix them.
"""

from __future__ import annotations

from zlib import crc32

from legato.model.events import Address
from legato.model.ids import place_of

SLOTS = 1024
ALL_SLOTS: range = range(SLOTS)
SHARDS = 64
"""How many shards a cluster has if nobody says otherwise."""


def slot_of(place: Address) -> int:
    """The slot of a place: of its chat, or of its user where it has no chat."""
    return _slot(f"{place.platform}:{place.bot}:{place.chat or place.user}")


def slot_of_lane(lane: str) -> int:
    """The slot of a lane of deliveries (`Address.lane`)."""
    return _slot(lane)


def slot_of_key(key: str) -> int:
    """The slot of a conversation, or of a lane of events, by its text key (`conversation_key`)."""
    if "%" in key or key.count(":") != 4:
        return slot_of(place_of(key))
    platform, bot, chat, user, _ = key.split(":")
    return _slot(f"{platform}:{bot}:{chat or user}")


def slots_of(shard: int, shards: int) -> range:
    """The slots of one of so many shards."""
    return range(shard, SLOTS, shards)


def check_shards(shards: int) -> int:
    """`shards` itself, if a cluster can have so many.

    Raises:
        ValueError: It is no power of two from 1 to SLOTS.
    """
    if not 1 <= shards <= SLOTS or shards & (shards - 1):
        raise ValueError(f"a number of shards is a power of two from 1 to {SLOTS}, as 64 or 256")
    return shards


def _slot(room: str) -> int:
    return crc32(room.encode("utf-8", "surrogatepass")) % SLOTS
