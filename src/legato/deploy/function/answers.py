"""Answers of a function that are not a platform's."""

from __future__ import annotations

import logging

from legato.abc import HttpResponse

log: logging.Logger = logging.getLogger("legato.function")


def answer(status: int, text: str, **headers: str) -> HttpResponse:
    """A plain answer."""
    return HttpResponse(status, {"content-type": "text/plain"} | headers, text.encode())


def later(why: str, retry_after_s: int) -> HttpResponse:
    """Nothing was lost, and nothing is promised: the update comes again."""
    log.warning("an update was not finished, the platform repeats it: %s", why)
    return answer(503, "try again", **{"retry-after": str(max(1, retry_after_s))})


__all__ = ["answer", "later"]
