"""Serving HTTP: uvicorn on a socket of ours, with limits of ours.

The socket is bound first of all: a second process on its port must not touch the store, nor a platform's
webhook.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from legato.deploy.http import Asgi
from legato.deploy.lifecycle import Stopping
from legato.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from legato.deploy.careful import Limits

BACKLOG = 1024
DRAIN_S = 5.0
LOOK_S = 1.0


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket.

    Args:
        host, port: Where; port 0 takes a free one.
        shared: Several processes may listen there at once, and the kernel gives each new connection to
            one of them (SO_REUSEPORT). All of them must say so. It listens only once it is served, so
            that none of the connections waits for a process that is starting.

    Raises:
        ConfigError: The address is taken, or not ours, or ports cannot be shared here.
    """
    if shared and not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("ports cannot be shared on this system: let each process have its own")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"LEGATO_LISTEN={host}:{port}: {error.strerror or error}") from error
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        if not shared:
            listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"LEGATO_LISTEN={host}:{port} cannot be used ({error.strerror}): stop what listens there, or "
            "choose another port, as in --listen 127.0.0.1:8081"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address of what is served on a socket, without a "/" at its end."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Serving:
    """uvicorn on a socket of ours, without its way with signals: more than requests must be drained.

    Args:
        app: What is served.
        listener: Where; closed at the end.
        limits: What clients may ask of us.
        drain_s: So long requests under way have, once no more are taken.

    Raises:
        MissingExtra: The server is not installed.
    """

    def __init__(
        self,
        app: Asgi,
        listener: socket.socket,
        limits: Limits | None = None,
        *,
        drain_s: float = DRAIN_S,
    ) -> None:
        try:
            import uvicorn

            from legato.deploy.careful import Careful, Limits
        except ImportError as error:
            raise MissingExtra("the web server", "run") from error

        class Server(uvicorn.Server):
            """Leaves the signals to us."""

            def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
                return nullcontext()

        limits = limits or Limits()
        config = uvicorn.Config(
            app,
            http=partial(Careful, limits),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_keep_alive=limits.keep_alive_s,
            timeout_graceful_shutdown=max(1, round(drain_s)),
            proxy_headers=False,
        )
        self._server: Any = Server(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self, stopping: Stopping) -> None:
        """Serves from now on; a failure of the server ends the process."""

        def done(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                stopping.fail(error)

        self._task = asyncio.create_task(self._server.serve([self._listener]))
        self._task.add_done_callback(done)
        self._looking = asyncio.create_task(self._look())

    async def up(self) -> None:
        """Returns once connections are taken."""
        while not self._server.started and self._task is not None and not self._task.done():  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.005)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            now = loop.time()
            for connection in list(self._server.server_state.connections):
                connection.look(now)

    def refuse(self) -> None:
        """Takes no more connections; requests under way are answered."""
        self._server.should_exit = True

    async def ended(self) -> None:
        """Returns once the last request is answered."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)


__all__ = ["Serving", "bound", "url_of"]
