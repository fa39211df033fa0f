import asyncio
import os

from legato.functions.output import AT_ONCE, LINE_BYTES, LINES, Output, Pipe


async def lines_of(printed: bytes) -> list[str]:
    output = Output("shop", ["s3cret"])
    pipe = Pipe(output)
    writing = await pipe.open()
    os.write(writing, printed)
    os.close(writing)
    await pipe.close(patience_s=60)
    return list(output.lines)


def test_a_traceback_as_awss_client_prints_it_is_lines_that_one_can_read() -> None:
    printed = (
        "[ERROR] ValueError: no s3cret\rTraceback:\r\xa0\xa0File, line 1\r\xa0\xa0\xa0\xa0a\xa0b\n"
    )

    assert asyncio.run(lines_of(printed.encode())) == [
        "[ERROR] ValueError: no ***",
        "Traceback:",
        "  File, line 1",
        "    a b",
    ]


def test_windows_ends_of_lines_make_no_empty_ones() -> None:
    assert asyncio.run(lines_of(b"one\r\n\r\ntwo\r\n")) == ["one", "two"]


def test_no_part_of_a_secret_shows_where_a_line_is_cut() -> None:
    for before in range(LINE_BYTES - 20, LINE_BYTES + 1):
        for more in (b"", b"y" * 30_000, b"s3cret" * 5000):
            (line,) = asyncio.run(lines_of(b"x" * before + b"s3cret" + more))
            assert len(line) <= LINE_BYTES
            assert "s3" not in line


def test_who_prints_much_has_its_turn_and_nobody_waits_for_it() -> None:
    async def turns() -> list[int]:
        """How many lines were told each time that the loop came around."""
        told: list[str] = []

        class Kept(Output):
            def add(self, line: str) -> None:
                told.append(line)

        pipe = Pipe(Kept("shop"))
        writing = await pipe.open()
        os.set_blocking(writing, False)
        written = os.write(writing, b"x\n" * 30_000) // 2
        os.close(writing)
        found, before = [], 0
        async with asyncio.timeout(60):
            while len(told) < written:
                await asyncio.sleep(0)
                found.append(len(told) - before)
                before = len(told)
        await pipe.close()
        return found

    found = asyncio.run(turns())
    assert sum(found) > LINES
    assert max(found) <= AT_ONCE
    assert Pipe._busy == 0
