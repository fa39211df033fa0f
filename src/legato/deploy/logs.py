"""Log lines that a person can read, or a machine, and in which no secret ever stands.

A Telegram token is a part of every URL that is called, so any library's message may hold one: a filter
on our handler takes it out of messages, arguments and tracebacks. What ends the process is printed by
the command line, which redacts it too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from legato.abc.observer import SCOPE, Scope
from legato.abc.redaction import redacted
from legato.model.shards import slot_of_key

if TYPE_CHECKING:
    from legato.app.settings import Settings

QUIET = ("uvicorn", "asyncio", "opentelemetry", "urllib3")
"""Libraries that only warn, whatever the level."""

Secrets = Callable[[], Iterable[str]]


class Redacting(logging.Filter):
    """Takes secrets out of records, tracebacks included, before any handler formats them.

    Args:
        secrets: Asked for each record: a platform may make a secret only when it is set up.
    """

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        secrets = tuple(self._secrets())
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 # a wrong number of arguments is no reason to lose the line
            text = f"{record.msg} {record.args}"
        record.msg, record.args = redacted(text, secrets), None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redacted(record.exc_text, secrets)
        if record.stack_info:
            record.stack_info = redacted(record.stack_info, secrets)
        return True


class Lines(logging.Formatter):
    """Time, level, logger, message. What follows in further lines is set in, so that no text of a
    user can pass for a line of its own.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not text.isprintable():  # looking at each character takes longer than all the rest
            text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
        return text.rstrip("\n").replace("\n", "\n    ")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; "error" with a traceback; and, where the
    line is about them, conversation, dialog, update, shard and trace. All but ASCII is escaped: no text
    can end the line, nor do anything to a terminal.

    Args:
        about: Fields of every line, as in {"role": "worker"}.
        shards: See below.

    Attributes:
        shards: How many the cluster has, which may change; 0 leaves the shard out.
    """

    def __init__(self, about: Mapping[str, str] | None = None, shards: int = 0) -> None:
        super().__init__()
        self._about = dict(about or {})
        self.shards: int = shards

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._about,
        }
        scope = SCOPE.get() or _NOTHING
        # A record may say by itself what it is about, as those of a dialog's own `chat.log` do.
        conversation = str(getattr(record, "conversation", "") or scope.conversation)
        if conversation:
            fields["conversation"] = conversation
            if self.shards:
                fields["shard"] = slot_of_key(conversation) % self.shards
        if scope.dialog:
            fields["dialog"] = scope.dialog
        if scope.update:
            fields["update"] = scope.update
        if scope.trace:
            fields["trace"] = scope.trace.split("-")[1]
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        error = "\n".join(filter(None, (record.exc_text, record.stack_info)))
        if error:
            fields["error"] = error
        return json.dumps(fields)


_NOTHING = Scope()


def log_form(settings: Settings, role: str, shards: int = 0) -> logging.Formatter:
    """Makes lines as the settings say.

    Args:
        settings: Of the process.
        role: Stands in each line of JSON.
        shards: See `JsonLines`.
    """
    return JsonLines({"role": role}, shards) if settings.log == "json" else Lines()


def set_up_logs(
    secrets: Secrets,
    *,
    level: int = logging.INFO,
    stream: TextIO | None = None,
    form: logging.Formatter | None = None,
) -> Callable[[], None]:
    """Sends all logs through one redacting handler; returns a function that undoes it.

    Args:
        secrets: What must never show.
        level: Of Legato and of the bot's own loggers; other libraries only warn.
        stream: Where to, stderr by default.
        form: Makes the lines, `Lines` by default.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form or Lines())
    handler.addFilter(Redacting(secrets))
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    root.setLevel(level)
    quiet = {name: logging.getLogger(name).level for name in QUIET}
    for name in quiet:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))

    def undo() -> None:
        root.handlers[:] = before[1]
        root.setLevel(before[0])
        for name, old in quiet.items():
            logging.getLogger(name).setLevel(old)
        handler.close()

    return undo


__all__ = ["JsonLines", "Lines", "Redacting", "log_form", "set_up_logs"]
