"""A whole cluster on one machine: servers of its own, and a link that can fail between each two parts.

Telegram <-> nginx -> 2 gateways -> RabbitMQ -> 3 workers -> Postgres, and -> Telegram
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from legato.testing.fake_telegram import FakeTelegram
from tests.chaos.parts import Part, until
from tests.chaos.people import BOT
from tests.faults import Proxy
from tests.integration.run_kit import SECRET, environment
from tests.servers import Nginx, Postgres, Rabbit
from tests.servers._process import free_port

HEARTBEAT_S = 0.5
SCRIPT = Path(__file__).with_name("program.py")
FRONT = """
    upstream gateways {{ {servers} keepalive 64; }}
    server {{
        listen 127.0.0.1:{{port}};
        client_max_body_size 1m;
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream error timeout;
            proxy_connect_timeout 1s;
            proxy_read_timeout 10s;
        }}
    }}
"""


class Cluster:
    """Everything that a chaos test can disturb.

    Attributes:
        telegram: The platform.
        postgres, rabbit: The servers.
        links: Proxies, by what is behind them: "postgres", "rabbit", "telegram".
        gateways, workers: The processes.
    """

    def __init__(
        self,
        telegram: FakeTelegram,
        postgres: Postgres,
        rabbit: Rabbit,
        links: dict[str, Proxy],
        *,
        folder: Path,
        vhost: str,
        sabotage: tuple[str, ...],
    ) -> None:
        self.telegram = telegram
        self.postgres = postgres
        self.rabbit = rabbit
        self.links = links
        self.folder = folder
        self._vhost = vhost
        self._sabotage = sabotage
        self._bot = folder / "counter.py"
        self._bot.write_text(BOT)
        self._ports = [free_port() for _ in range(2)]
        servers = "".join(f"server 127.0.0.1:{port} max_fails=0; " for port in self._ports)
        self.front = Nginx(FRONT.format(servers=servers))
        self.gateways = [
            self._part(f"gateway{n}", "gateway", "--listen", f"127.0.0.1:{port}")
            for n, port in enumerate(self._ports)
        ]
        self.workers = [
            self._part(
                f"worker{n}", "worker", "--name", f"worker{n}", "--heartbeat", str(HEARTBEAT_S)
            )
            for n in range(3)
        ]

    @property
    def parts(self) -> list[Part]:
        """All processes of ours."""
        return self.gateways + self.workers

    def _part(self, name: str, command: str, *flags: str) -> Part:
        env = environment(
            LEGATO_STORE=f"postgresql://test@127.0.0.1:{self.links['postgres'].port}/postgres",
            LEGATO_QUEUE=f"amqp://guest:guest@127.0.0.1:{self.links['rabbit'].port}/{self._vhost}",
            LEGATO_SHARDS="16",
            LEGATO_PUBLIC_URL=f"http://127.0.0.1:{self.front.port}",
            TELEGRAM_TOKEN=self.telegram.token,
            TELEGRAM_API=f"http://127.0.0.1:{self.links['telegram'].port}",
            TELEGRAM_SECRET=SECRET,
        )
        arguments = [str(SCRIPT), ",".join(self._sabotage), command, str(self._bot), *flags]
        return Part(name, arguments, env, self.folder)

    async def start(self) -> None:
        """Starts all processes and waits until the webhook is set."""
        await asyncio.gather(*(part.start() for part in self.parts))
        await until(
            lambda: self.telegram.updates.webhook is not None or not self.all_alive(),
            "the webhook is set",
        )
        self.check()

    def all_alive(self) -> bool:
        """Whether nobody ended by itself."""
        return all(part.alive for part in self.parts)

    def check(self) -> None:
        """Fails with its log if a process ended by itself."""
        for part in self.parts:
            assert part.alive, f"{part.name} ended by itself:\n{part.tail()}"

    async def end(self) -> None:
        """Kills what is left."""
        await asyncio.gather(*(part.kill() for part in self.parts if part.alive))


@asynccontextmanager
async def cluster(
    folder: Path, rabbit: Rabbit, rabbit_url: str, *sabotage: str
) -> AsyncIterator[Cluster]:
    """A running cluster, as long as the block lasts.

    Args:
        folder: For its bot and its logs.
        rabbit: Nobody else has it meanwhile.
        rabbit_url: Of an empty vhost of its.
        sabotage: What is broken in it (see sabotage.py).
    """
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(Postgres())
        telegram = await stack.enter_async_context(FakeTelegram(second=0.05))
        behind = {
            "postgres": postgres.port,
            "rabbit": rabbit.port,
            "telegram": urlsplit(telegram.api).port or 0,
        }
        links = {
            name: await stack.enter_async_context(Proxy("127.0.0.1", port))
            for name, port in behind.items()
        }
        vhost = urlsplit(rabbit_url).path.removeprefix("/")
        made = Cluster(
            telegram, postgres, rabbit, links, folder=folder, vhost=vhost, sabotage=sabotage
        )
        stack.enter_context(made.front)
        stack.push_async_callback(made.end)
        await made.start()
        yield made
