"""Unmodified Node.js handlers, through the small client that is shipped."""

import json
from pathlib import Path

import pytest

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
