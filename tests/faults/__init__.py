"""Networks that go wrong."""

from tests.faults.proxy import Proxy as Proxy
