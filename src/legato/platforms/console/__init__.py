"""The terminal as a chat platform: one person, who reads on stdout and writes on stdin.

It promises nothing and needs nothing: a line is an update, what is printed is sent. What a terminal
lacks is written: buttons as numbers, photos as [photo: path]. The person presses a button by its number or
label while its message is the newest, later by [label]; and sends [photo: path], [file: path],
[location: 56.95, 24.11] or [contact: +371...].
"""

from legato.platforms.console.platform import Console as Console

__all__ = ["Console"]
