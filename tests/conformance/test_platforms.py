"""Every platform that Legato ships passes the suite that it ships."""

from pathlib import Path

from legato.abc import HttpRequest, HttpResponse
from legato.model.events import Address
from legato.model.records import Call
from legato.platforms.telegram import Telegram
from legato.testing.conformance.platform import PlatformConformance

FIXTURES = Path(__file__).parents[1] / "fixtures"


def fixtures(platform: str) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((FIXTURES / platform).glob("*.json"))}


class TestTelegram(PlatformConformance):
    place = Address("telegram", "4200", "5001", "5001")
    room = Address("telegram", "4200", "-1001222", "5001", "55")
    proofs = ("x-telegram-bot-api-secret-token",)

    def platform(self) -> Telegram:
        return Telegram("4200:canary-of-the-token", secret="canary-of-the-secret")

    def payloads(self) -> dict[str, bytes]:
        return fixtures("telegram")

    def genuine(self) -> HttpRequest:
        return HttpRequest("POST", "/telegram", {self.proofs[0]: "canary-of-the-secret"}, b"{}")

    def text_of(self, call: Call) -> str:
        return str(call.params.get("text", call.params.get("caption", "")))

    def answers(self) -> dict[str, HttpResponse]:
        return {
            "sent": HttpResponse(200, body=b'{"ok":true,"result":{"message_id":17,"date":1}}'),
            "limited": refusal(429, "Too Many Requests: retry after 7", b'{"retry_after":7}'),
            "broken": refusal(500, "Internal Server Error"),
            "gone": refusal(403, "Forbidden: bot was blocked by the user"),
            "refused": refusal(400, "Bad Request: can't parse entities"),
        }


def refusal(code: int, description: str, parameters: bytes = b"{}") -> HttpResponse:
    body = b'{"ok":false,"error_code":%d,"description":"%b","parameters":%b}'
    return HttpResponse(code, body=body % (code, description.encode(), parameters))
