"""The handler of a file that has an App and no handler of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from legato.deploy.loader import load_app

handler: Callable[[Any, Any], Any] = load_app(os.environ["LEGATO_FUNCTION_TARGET"]).aws_lambda()
