"""What every shell that runs for long does alike: its event loop, its logs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from legato.deploy.logs import set_up_logs


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes uvloop's event loops; None where there is no uvloop, for asyncio's own."""
    try:
        import uvloop
    except ImportError:  # Windows, or installed without the extra: asyncio's own does it too
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return,unused-ignore]


@contextmanager
def logging_to(
    secrets: Callable[[], list[str]], level: int, form: logging.Formatter | None = None
) -> Iterator[None]:
    """Logs as `set_up_logs` says, until the end."""
    undo = set_up_logs(secrets, level=level, form=form)
    try:
        yield
    finally:
        undo()


__all__ = ["logging_to", "loop_factory"]
