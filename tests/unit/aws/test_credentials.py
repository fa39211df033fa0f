"""Who asks AWS: credentials of the environment."""

import pytest

from legato.aws.address import who_asks
from legato.errors import ConfigError


def test_credentials_stand_in_the_environment() -> None:
    """As Lambda sets them; a token only where they are temporary."""
    pair = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "canary"}
    who = who_asks(pair)
    assert (who.key, who.secret, who.token) == ("id", "canary", "")
    assert who_asks(pair | {"AWS_SESSION_TOKEN": "t"}).token == "t"
    for name in pair:
        with pytest.raises(ConfigError, match="export-credentials") as raised:
            who_asks({**pair, name: ""})
        assert "canary" not in str(raised.value)
