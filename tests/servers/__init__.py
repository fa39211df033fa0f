"""Private servers for tests: each in a temporary folder, on ports of its own, gone at the end.

    with Postgres() as server: ...                  # server.url, kill9(), start(), stop(), restart()
    with Rabbit() as broker: ...                    # broker.url, block(), unblock(), api(...), ctl(...)
    with Redis() as server: ...                     # server.url, ask("GET", "x")
    with Ministack() as server: ...                 # server.url("table"): DynamoDB
    with Nginx("server { listen 127.0.0.1:{port}; ... }") as front: ...

A test that kills its server takes one of its own. The others share one of each per worker of xdist, by
the fixtures of fixtures.py: `postgres_url` (an empty database), `rabbit_url` (an empty vhost) and
`dynamodb_url` (a new table). RabbitMQ takes seconds to start, so that who kills it does that with the shared
one, too, by `own_rabbit`. Tests in tests/integration stay together by file, so that one file starts
each server at most once.

`sh .ci/servers` installs the programs on Debian; `make test` calls it. Whatever ends the tests, SIGKILL
included, ends the servers: a process beside them sees to it (_reaper.py).
"""

from tests.servers._process import free_port as free_port
from tests.servers._process import started as started
from tests.servers.ministack import Ministack as Ministack
from tests.servers.nginx import Nginx as Nginx
from tests.servers.postgres import Postgres as Postgres
from tests.servers.rabbit import Rabbit as Rabbit
from tests.servers.redis import Redis as Redis
