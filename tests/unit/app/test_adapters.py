"""A bot's adapter is found, also one that learns only later which bot it is for."""

from legato.app.adapters import Adapters
from legato.model.events import Address
from legato.testing.platform import ScriptedPlatform


def test_an_adapter_is_found_once_it_knows_its_bot() -> None:
    early, late = ScriptedPlatform("1"), ScriptedPlatform("")
    adapters = Adapters([early, late])
    assert adapters(Address("test", "1", "c")) is early
    assert adapters(Address("test", "2", "c")) is None

    late.bot = "2"

    assert adapters(Address("test", "2", "c")) is late
    assert adapters(Address("other", "2", "c")) is None
    assert adapters.by_bot == {("test", "1"): early, ("test", "2"): late}
