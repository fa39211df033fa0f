"""Private servers for tests: each in a temporary folder, on free ports, gone at the end.

    with Postgres() as server: ...                  # server.url, kill9(), start(), stop(), restart()
    with Rabbit() as broker: ...                    # broker.url, block(), unblock(), api(...), ctl(...)
    with Nginx("server { listen 127.0.0.1:{port}; ... }") as front: ...

A test that kills its server takes one of its own. The others share one of each per worker of xdist, by
the fixtures of conftest.py: `postgres_url` (an empty database) and `rabbit_url` (an empty vhost).
`sh .ci/servers` installs the programs on Debian; `make test` calls it.
"""

from tests.servers.nginx import Nginx as Nginx
from tests.servers.postgres import Postgres as Postgres
from tests.servers.rabbit import Rabbit as Rabbit
