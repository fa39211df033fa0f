import asyncio
import os

from legato.functions.output import Output, Pipe


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
