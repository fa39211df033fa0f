import pytest

from legato.functions.meter import PRICES, Meter, Usage, report_line, table
from legato.functions.runtime_api import Work

MB = 1024 * 1024
WORK = Work(id="1-2", body=b"", deadline_ms=0, arn="")


def test_each_invocation_is_rounded_up_and_a_start_is_billed_with_it() -> None:
    meter = Meter({"bot": 512, "idle": 128})
    used = meter.sums["bot"]
    used.started(0.0202)
    used.add(Usage(took_s=0.0101, kind="ok", init_s=0.0202, peak_bytes=3 * MB))
    used.add(Usage(took_s=0.1, kind="error", peak_bytes=2 * MB))
    used.add(Usage(took_s=1.0, kind="timeout"))
    used.add(Usage(took_s=0.0, kind="init"))

    assert used.billed_ms == 31 + 100 + 1000
    assert (used.invocations, used.errors, used.timeouts, used.crashes) == (4, 1, 1, 1)
    assert (used.cold_starts, used.peak_mb) == (1, 3.0)
    assert used.gb_s == pytest.approx(1.131 / 2)
    assert used.costs(PRICES["aws-x86"]) == pytest.approx(4 * 0.2e-6 + 0.5655 * 0.0000166667)
    assert used.costs(PRICES["own"]) == 0


def test_nobody_pays_for_less_memory_than_there_is_to_have() -> None:
    small, least = (Meter({"bot": mb}).sums["bot"] for mb in (32, 128))
    for one in (small, least):
        one.add(Usage(took_s=1.0, kind="ok"))

    assert small.gb_s == pytest.approx(least.gb_s / 4)
    assert small.costs(PRICES["aws-arm"]) == pytest.approx(least.costs(PRICES["aws-arm"]))


def test_a_report_has_every_function_and_the_sum() -> None:
    meter = Meter({"bot": 1024, "idle": 128})
    meter.sums["bot"].add(Usage(took_s=2.0, kind="ok"))

    report = meter.report(PRICES["aws-arm"])
    lines = table(report).splitlines()

    assert report["gb_s"] == pytest.approx(2.0)
    assert report["cost"] == pytest.approx(0.2e-6 + 2 * 0.0000133334)
    assert [line.split()[0] for line in lines] == ["function", "bot", "idle", "sum", "aws-arm,"]
    assert lines[1].split()[-3:] == ["2.000", "0.000", "0.000027"]


def test_the_line_of_an_invocation_is_that_of_aws() -> None:
    usage = Usage(took_s=0.0101, kind="ok", init_s=0.0202, peak_bytes=3 * MB - 1, work=WORK)

    assert report_line(usage, 128) == (
        "REPORT RequestId: 1-2\tDuration: 10.10 ms\tBilled Duration: 31 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 3 MB\tInit Duration: 20.20 ms"
    )
