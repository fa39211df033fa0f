"""How `chat.ask(..., kind)` reads an answer. Pure: an event in, a value or a reason out.

    kind                    reads                                               gives
    str                     any text that is not blank                          the stripped text
    int                     12, -3, +4, digits of any script; at most 100       int
                            digits, no thousands ("1,000" is refused)
    float, Decimal          1.5, 1,5 (so "1,234" is 1.234); float also 1e3;     float, Decimal
                            never an infinity
    bool                    yes and no in en, ru, de, es, fr, it, pt, lv; y,    bool
                            n, true, false, 1, 0
    date                    2026-12-31, 31.12.2026                              date
    time                    18:00, 18:00:30                                     time
    datetime                a date and a time, perhaps with Z or +02:00         datetime; without
                            offset it has the zone of `min` or `max`, or none
    timedelta               90 (seconds), 1h 30m, 2 days, 01:30 (hours and      timedelta
                            minutes), 01:30:15
    an Enum, Literal[...],  a button; the text, in any case; its number, if     the member, literal
    a list of answers       no answer is itself a number                        or item
    list[T]                 "a, b, c"; where it has ";" or new lines, those     list of T
                            part and a comma may stand inside an item
    a compiled regex        a text that matches as a whole                      the text, or the
                                                                                tuple of groups
    Email                   an address of plausible form                        str
    Photo, File, Location,  a message that carries one                          it
    Contact
    None, MessageReceived   any message (or press of an offered button)         the event
    a function of a text    ValueError (its text is the reason), TypeError and  its result
                            decimal.InvalidOperation are bad answers

`min` and `max` bound numbers and times, the length of a text, the count of a list. Space and
invisible marks around an answer do not count, and a pressed button counts as what it carries.
"""

from __future__ import annotations

from legato.engine.parsers._kinds import parser_for as parser_for
from legato.engine.parsers._parser import Parser as Parser
from legato.engine.parsers._texts import Email as Email

__all__ = ["Email", "Parser", "parser_for"]
