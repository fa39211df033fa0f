"""A plain chat in the browser: what a bot without any token can be talked with.

The adapter holds what each visitor sees and passes changes on to the pages that show it; the pages
and their requests are served by `legato.deploy.webchat`. A visitor is a browser session. What was said is
shown again after a reload as long as the process runs; the conversation itself lives in the store.
"""

from legato.platforms.web.platform import Web as Web
from legato.platforms.web.rooms import Room as Room

__all__ = ["Room", "Web"]
