"""A bot on Twitch as a cloud function: every webhook meets a process that knows nothing yet."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from legato import App
from legato.deploy.function.aws import Lambda
from legato.deploy.function.core import Function
from legato.deploy.loader import load_app
from legato.stores.sqlite import SQLiteStore
from legato.testing.fake_twitch import FakeTwitch
from legato.testing.fake_twitch.people import FakeChannel
from tests.integration.twitch_bot import KEY, running

EXAMPLES = Path(__file__).parents[2] / "examples"


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 8000


@contextmanager
def function_url(app: App) -> Iterator[str]:
    """The address of a function. Each request is an invocation in a process of its own, as it were."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            event = {
                "version": "2.0",
                "rawPath": self.path,
                "rawQueryString": "",
                "headers": dict(self.headers.items()),
                "requestContext": {"http": {"method": "POST", "path": self.path}},
                "body": body,
                "isBase64Encoded": False,
            }
            with one_at_a_time:
                function = Function(app, {})
                handler = Lambda(function)
                try:
                    answer = handler(event, Context())
                finally:
                    function.close()
            self.send_response(answer["statusCode"])
            content = answer.get("body", "").encode()
            for name, value in (
                answer.get("headers", {}) | {"content-length": len(content)}
            ).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_dialog_goes_on_from_function_to_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adder = load_app(str(EXAMPLES / "adder.py"))
    path = tmp_path / "bot.db"
    with FakeTwitch(second=0.01).threaded() as twitch, function_url(adder) as url:
        room = twitch.channel("Ronni")
        ann = twitch.viewer("Ann")
        environment = twitch.environment("eventsub") | {
            "LEGATO_KEY": KEY,
            "LEGATO_STORE": f"sqlite:///{path}",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        asyncio.run(set_up(adder, twitch, str(path), url))
        twitch.wait_until(lambda: twitch.eventsub.enabled)  # the function answered the challenge

        for text, answer in (
            ("!start", "First number?"),
            ("one", "That is not a number."),
            ("1", "Second number?"),
            ("2", "Sum: 3"),
        ):
            said = len(room.texts)
            ann.says(text)
            twitch.wait_until(partial(is_longer, room, said))
            assert room.texts[said:] == [f"@ann {answer}"]

        deliveries = twitch.eventsub.webhooks.deliveries
        twitch.wait_until(lambda: {delivery.status for delivery in deliveries} == {200})
        assert twitch.violations == []


def is_longer(room: FakeChannel, said: int) -> bool:
    return len(room.texts) > said


async def set_up(app: App, twitch: FakeTwitch, path: str, url: str) -> None:
    """What `legato run` does once."""
    async with running(
        app, twitch, "eventsub", store=SQLiteStore(path, shared=True), LEGATO_PUBLIC_URL=url
    ):
        return
