"""What functions used, and what it would cost elsewhere.

A millisecond counts from the moment an event is given to a process until that asks for the next one or is
dead. The start of a process is billed with its first invocation, as AWS does since August 2025, and so is one that failed.
Prices read on 2026-11-29: https://aws.amazon.com/lambda/pricing/ (no free tier is taken off)
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

from msgspec import Struct

from legato.functions.runtime_api import Work


class Price(Struct, frozen=True, kw_only=True):
    """What an operator of functions takes.

    Attributes:
        name: Of the tariff.
        million: For a million invocations.
        gb_s: For 1024 MB during a second.
        currency: Of both.
        least_mb: Who has less memory pays for so much.
    """

    name: str
    million: float
    gb_s: float
    currency: str = "USD"
    least_mb: int = 0


PRICES = {
    price.name: price
    for price in (
        Price(name="aws-x86", million=0.20, gb_s=0.0000166667, least_mb=128),
        Price(name="aws-arm", million=0.20, gb_s=0.0000133334, least_mb=128),
        Price(name="own", million=0.0, gb_s=0.0),
    )
}


class Usage(Struct, frozen=True, kw_only=True):
    """One invocation, after it.

    Attributes:
        took_s: See the top of this file.
        kind: "ok", "error" (the handler raised), "timeout", "crash" or "init".
        init_s: Of the cold start that it waited for, 0 if there was none.
        peak_bytes: The most memory that the process had so far.
        work: What was done.
    """

    took_s: float
    kind: str
    init_s: float = 0.0
    peak_bytes: int = 0
    work: Work | None = None

    @property
    def billed_ms(self) -> int:
        """Rounded up to a millisecond."""
        return ceil((self.took_s + self.init_s) * 1000)


class Sum(Struct):
    """All invocations of one function.

    Attributes:
        ms: Of all invocations, without the starts before them.
        billed_ms: With these, each rounded up to a millisecond.
        gb_s: billed time times memory, in GB of 1024 MB.
    """

    memory_mb: int
    invocations: int = 0
    errors: int = 0
    timeouts: int = 0
    crashes: int = 0
    throttled: int = 0
    cold_starts: int = 0
    init_ms: float = 0.0
    ms: float = 0.0
    billed_ms: int = 0
    peak_mb: float = 0.0

    @property
    def gb_s(self) -> float:
        return self.billed_ms / 1000 * self.memory_mb / 1024

    def add(self, usage: Usage) -> None:
        """Counts one."""
        self.invocations += 1
        self.errors += usage.kind == "error"
        self.timeouts += usage.kind == "timeout"
        self.crashes += usage.kind in {"crash", "init"}
        self.ms += usage.took_s * 1000
        self.billed_ms += usage.billed_ms
        self.peak_mb = max(self.peak_mb, usage.peak_bytes / 1024 / 1024)

    def started(self, init_s: float) -> None:
        """Counts a cold start."""
        self.cold_starts += 1
        self.init_ms += init_s * 1000

    def costs(self, price: Price) -> float:
        """In the price's currency."""
        more = max(1.0, price.least_mb / self.memory_mb)
        return self.invocations / 1e6 * price.million + self.gb_s * more * price.gb_s


class Meter:
    """The sums of all functions.

    Args:
        memory_mb: Of each function, by name.
    """

    def __init__(self, memory_mb: dict[str, int]) -> None:
        self.sums: dict[str, Sum] = {name: Sum(mb) for name, mb in memory_mb.items()}

    def report(self, price: Price) -> dict[str, Any]:
        """All of it, for JSON."""
        rows = [
            {
                "name": name,
                **{field: getattr(one, field) for field in one.__struct_fields__},
                "gb_s": one.gb_s,
                "cost": one.costs(price),
            }
            for name, one in self.sums.items()
        ]
        total = sum(one.costs(price) for one in self.sums.values())
        return {
            "price": price.name,
            "currency": price.currency,
            "functions": rows,
            "gb_s": sum(one.gb_s for one in self.sums.values()),
            "cost": total,
        }


COLUMNS = (
    ("name", "function"),
    ("invocations", "calls"),
    ("errors", "errors"),
    ("timeouts", "timeouts"),
    ("crashes", "crashes"),
    ("throttled", "refused"),
    ("cold_starts", "cold"),
    ("billed_ms", "billed ms"),
    ("gb_s", "GB-s"),
    ("peak_mb", "peak MB"),
    ("cost", "cost"),
)


def table(report: dict[str, Any]) -> str:
    """A report as a person reads it."""
    rows = [[title for _, title in COLUMNS]]
    rows += [[_text(name, row[name]) for name, _ in COLUMNS] for row in report["functions"]]
    sums = {"name": "sum", "gb_s": report["gb_s"], "cost": report["cost"]}
    rows.append([_text(name, sums.get(name, "")) for name, _ in COLUMNS])
    text = "\n".join(_aligned(rows))
    return f"{text}\n{report['price']}, {report['currency']}\n"


def _text(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}" if name == "cost" else f"{value:.3f}"
    return str(value)


def _aligned(rows: list[list[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def report_line(usage: Usage, memory_mb: int) -> str:
    """The line that AWS writes after each invocation."""
    work = usage.work
    init = f"\tInit Duration: {usage.init_s * 1000:.2f} ms" if usage.init_s else ""
    return (
        f"REPORT RequestId: {work.id if work else '-'}\tDuration: {usage.took_s * 1000:.2f} ms\t"
        f"Billed Duration: {usage.billed_ms} ms\tMemory Size: {memory_mb} MB\t"
        f"Max Memory Used: {ceil(usage.peak_bytes / 1024 / 1024)} MB{init}"
    )


__all__ = ["PRICES", "Meter", "Price", "Sum", "Usage", "report_line", "table"]
