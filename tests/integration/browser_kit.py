"""The web chat's own script, in a browser's place: a process of Node.js."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import legato
from tests.integration.functions_kit import NODE

SCRIPT = Path(legato.__file__).parent / "platforms" / "web" / "socket.js"
BROWSER = """
const [script, address, session] = process.argv.slice(2);
globalThis.localStorage = { getItem: () => session, setItem() {} };
const source = require("fs").readFileSync(script, "utf8");
const ChatSocket = (0, eval)("(() => {" + source + "; return ChatSocket; })()");
const out = (name, data) => console.log(JSON.stringify([name, data]));
const heard = {};
for (const name of ["history", "show", "delete", "typing", "name"]) heard[name] = (data) => out(name, data);
const page = new ChatSocket(address, heard, (told) => out("told", told));
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "drop") page.socket.close();
  else page.say(JSON.parse(line));
}).on("close", () => process.exit(0));
"""


class Browser:
    """The page's script in a process of Node.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.shown: dict[str, str] = {}
        self.told: list[str] = []

    def writes(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def says(self, text: str) -> None:
        self.writes(json.dumps({"text": text}))

    async def sees(self, *texts: str) -> None:
        """Waits until the page shows just this."""
        async with asyncio.timeout(60):
            while list(self.shown.values()) != list(texts):
                await self._hears()

    async def is_told(self, text: str) -> None:
        async with asyncio.timeout(60):
            while text not in self.told:
                await self._hears()

    async def _hears(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the browser is gone"
        name, data = json.loads(line)
        if name == "history":
            self.shown = {entry["id"]: text_of(entry) for entry in data}
        elif name == "show":
            self.shown[data["id"]] = text_of(data)
        elif name == "told":
            self.told.append(data)


def text_of(entry: dict[str, Any]) -> str:
    return "".join(run[0] for run in entry.get("runs", []))


@asynccontextmanager
async def a_browser(folder: Path, socket: str, session: str) -> AsyncIterator[Browser]:
    script = folder / "browser.js"
    script.write_text(BROWSER, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        "--experimental-websocket",
        str(script),
        str(SCRIPT),
        socket,
        session,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Browser(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.stdin.wait_closed()
        assert process.stdout is not None
        await process.stdout.read()
        await process.wait()
