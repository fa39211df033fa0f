"""A bot's module that changes from deploy to deploy."""

import sys
import types
import typing

import pytest

from legato.model.values import _classes
from tests.unit.model.codec_values import Shop

HEAD = """
import dataclasses, enum, msgspec
from dataclasses import dataclass, field
from legato.model.values import register
"""


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Deploys a module "shop" with this source in place of the one before."""
    monkeypatch.setattr(_classes, "_registered", dict(_classes._registered))

    def deploy(source: str) -> typing.Any:
        module = types.ModuleType("shop")
        monkeypatch.setitem(sys.modules, "shop", module)
        exec(HEAD + source, vars(module))  # stands for a file of a bot
        return module

    return deploy
