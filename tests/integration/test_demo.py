"""`make demo` does what it says."""

import asyncio
import sys

from tests.repo.files import ROOT


async def test_the_demo_kills_the_bot_and_shows_the_sum():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / "demo.py"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    assert text.index("kill -9") < text.index("Sum: 5")
