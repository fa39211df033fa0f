"""The relay's knobs and counters."""

from __future__ import annotations

from msgspec import Struct


class RelaySettings(Struct, frozen=True, kw_only=True):
    """Knobs of the relay.

    Attributes:
        concurrency: Lanes being sent to at once.
        give_up_after_s: No try of a stored item later than this after it was committed (the first
            try in a process is always made).
        call_give_up_s: The same for `Relay.call`, whose caller waits.
        backoff_base_s, backoff_cap_s: First and longest wait of the relay's own between tries.
        persist_over_s: Waits longer than this are written to the store, so that a restart does
            not knock early.
        acks: Acknowledgements being sent at once.
        recent: Message ids of sent items kept in memory for edits that follow.
        bulk_lanes: Chats for which a bot has broadcasts in memory; those of others wait in the
            store. 0 = no limit.
    """

    concurrency: int = 256
    give_up_after_s: float = 86_400.0
    call_give_up_s: float = 300.0
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 60.0
    persist_over_s: float = 5.0
    acks: int = 32
    recent: int = 4096
    bulk_lanes: int = 2000


class RelayStats(Struct):
    """Counters since the start.

    Attributes:
        sent: Calls the platform took.
        retried: Tries that failed and were (or will be) followed by another.
        dead: Items given up or refused, those of gone users included.
        unknown: at_most_once items of which nobody knows whether they arrived.
        gone: Conversations whose user cannot be reached.
        limited_429: Answers that named a time to wait.
        expired: Items and acknowledgements whose time had passed.
    """

    sent: int = 0
    retried: int = 0
    dead: int = 0
    unknown: int = 0
    gone: int = 0
    limited_429: int = 0
    expired: int = 0
