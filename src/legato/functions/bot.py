"""The handler of a file that has an App and no handler of its own."""

from __future__ import annotations

import os

from legato.deploy.loader import load_app

handler = load_app(os.environ["LEGATO_FUNCTION_TARGET"]).aws_lambda()
