"""Unmodified Node.js handlers, through the small client that is shipped."""

import json
from pathlib import Path

import pytest

from legato.functions.events import url_answer
from legato.functions.outcome import Outcome
from tests.integration.functions_kit import NODE, call, called, hosted, stands_still, until, write

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node on this machine")

PROMISES = """
let ticks = 0;
setInterval(() => ticks++, 1);
export const handler = async (event, context) => {
  if (event === "throw") throw new TypeError("no such luck");
  if (event === "exit") process.exit(4);
  if (event === "leak") { const kept = []; for (;;) kept.push(Buffer.alloc(4e6, 1)); }
  const left = context.getRemainingTimeInMillis();
  return { event, left, ticks, pid: process.pid, name: context.functionName };
};
"""
CALLBACKS = """
exports.handler = (event, context, callback) => setTimeout(() => callback(null, event.n + 1), 1);
"""


async def test_promises_and_callbacks_answer(tmp_path: Path) -> None:
    write(tmp_path, "new", PROMISES, "index.mjs", timeout_s=20)
    write(tmp_path, "old", CALLBACKS, "index.js")
    async with hosted(tmp_path) as host:
        first = await call(host, "new", {"text": "naïve"})
        await until(lambda: stands_still(first["pid"]))
        second = await call(host, "new", 2)

        assert first["event"] == {"text": "naïve"}
        assert (first["name"], first["pid"]) == ("new", second["pid"])
        assert 0 < second["left"] <= 20_000
        assert await call(host, "old", {"n": 41}) == 42


async def test_failures_are_told_and_deaths_survived(tmp_path: Path) -> None:
    write(tmp_path, "bot", PROMISES, "index.mjs", memory_mb=128)
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot", "throw")
        error = json.loads(outcome.body)
        assert (outcome.kind, error["errorType"]) == ("error", "TypeError")
        assert error["errorMessage"] == "no such luck"
        assert (await called(host, "bot", "exit")).kind == "crash"
        leaked = await called(host, "bot", "leak")
        assert leaked.kind == "crash"
        assert b"OutOfMemory" in leaked.body
        assert (await call(host, "bot", 1))["event"] == 1


async def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    write(tmp_path, "bot", "export const other = 1;", "index.mjs")
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot")

        assert outcome.kind == "init"
        assert b"Runtime.HandlerNotFound" in outcome.body


async def test_the_client_that_a_function_brings_is_used(tmp_path: Path) -> None:
    place = write(tmp_path, "bot", PROMISES, "index.mjs")
    client = place / "node_modules" / "aws-lambda-ric" / "bin" / "index.mjs"
    client.parent.mkdir(parents=True)
    client.write_text("console.log('brought for', process.argv[2]); process.exit(9);")
    async with hosted(tmp_path) as host:
        outcome = await called(host, "bot")

        assert b"exit status 9" in outcome.body
        assert "brought for index.handler" in host.pools["bot"].output.lines


COMMON = """
let late = 0;
exports.api = { v1: { nested: async (event, context) => [context.clientContext, process.env._X_AMZN_TRACE_ID] } };
exports.sync = () => "not heard";
exports.after = (event, context, callback) => { setTimeout(() => late++, 20); callback(null, late); };
exports.now = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 60e3); callback(null, "now");
};
exports.throws = (event) => { setTimeout(() => { throw event ? new TypeError("later") : "text"; }, 1); };
exports.rejects = (event, context, callback) => { Promise.reject(new TypeError("missed")); };
"""
STREAMS = """
import { Readable } from "node:stream";
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  if (event === "early") throw new RangeError("early");
  if (event === "piped") return void Readable.from(["pi", "ped"]).pipe(stream);
  if (event === "open") return;
  if (event === "gone") return stream.destroy();
  if (event === "cut") { stream.write("x"); return stream.destroy(); }
  if (event === "object") { stream.write({ a: 1 }); return stream.end(); }
  if (event === "kind") { stream.write("x"); stream.setContentType("text/y"); }
  if (event.rawPath !== "/plain") {
    const about = { statusCode: 201, headers: { "x-a": "b" }, cookies: ["c=1"] };
    stream = awslambda.HttpResponseStream.from(stream, about);
  } else stream.setContentType("text/x");
  stream.write("Hello ");
  if (event === "late") throw new RangeError("late" + "r".repeat(50e3));
  stream.end(Buffer.from("stream"));
});
"""


UNFINISHED = {
    "kind": "Cannot set content-type, too late.",
    **dict.fromkeys(("open", "gone", "cut"), "Response stream is not finished."),
}


async def test_handlers_are_found_and_heard_as_by_awss_own_client(tmp_path: Path) -> None:
    for name in ("api.v1.nested", "sync", "after", "now", "throws", "rejects"):
        place = write(
            tmp_path, name.rpartition(".")[2], COMMON, "index.js", handler=f"index.{name}"
        )
        (place / "index").mkdir()  # a folder is no module
    async with hosted(tmp_path) as host:
        outcome = await host.invoke("nested", b"1", '{"client": 1}')
        context, trace = json.loads(outcome.body)
        assert context == {"client": 1}
        assert trace.startswith("Root=1-")
        assert await call(host, "sync") is None
        assert [await call(host, "after") for _ in range(2)] == [0, 1]
        assert await call(host, "now") == "now"
        for event, error in ((1, ("TypeError", "later")), (0, ("string", "text"))):
            told = json.loads((await called(host, "throws", event)).body)
            assert (told["errorType"], told["errorMessage"]) == error
        outcome = await called(host, "rejects")
        assert outcome.kind == "error"
        assert b"Runtime.UnhandledPromiseRejection" in outcome.body
        assert b"missed" in outcome.body


async def test_a_handler_may_stream_its_response(tmp_path: Path) -> None:
    write(tmp_path, "bot", STREAMS, "index.mjs")
    async with hosted(tmp_path) as host:
        answer = url_answer(*_streamed(await called(host, "bot", {"rawPath": "/"})))
        assert (answer.status, answer.body) == (201, b"Hello stream")
        assert answer.headers[:2] == ((b"x-a", b"b"), (b"set-cookie", b"c=1"))
        answer = url_answer(*_streamed(await called(host, "bot", {"rawPath": "/plain"})))
        assert answer.headers == ((b"content-type", b"text/x"),)
        for when in ("early", "late"):
            outcome = await called(host, "bot", when)
            assert outcome.kind == "error"
            assert json.loads(outcome.body)["errorMessage"].removesuffix("r" * 50_000) == when
        assert (await called(host, "bot", "piped")).body == b"piped"
        assert (await called(host, "bot", "object")).body == b'{"a":1}'
        for event, message in UNFINISHED.items():
            assert json.loads((await called(host, "bot", event)).body)["errorMessage"] == message
        assert host.meter.sums["bot"].cold_starts == 1  # the process is good for more


def _streamed(outcome: Outcome) -> tuple[bytes, str]:
    assert outcome.kind == "ok", outcome
    return outcome.body, outcome.streamed
