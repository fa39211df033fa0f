"""Signatures, judged by botocore's signer, which runs in an environment of its own."""

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.aws.signing import Credentials, Signer
from tests.servers.ministack import ministack_python

JUDGE = """
import base64, datetime, json, sys
import botocore.auth as auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
for line in sys.stdin:
    case = json.loads(line)
    now = datetime.datetime.fromtimestamp(case["now_s"], datetime.timezone.utc).replace(tzinfo=None)
    auth.get_current_datetime = lambda remove_tzinfo=True: now
    request = AWSRequest(
        "POST", f"https://{case['headers']['host']}{case['path']}", headers=case["headers"],
        data=base64.b64decode(case["body"]),
    )
    who = Credentials(case["key"], case["secret"], case["token"] or None)
    auth.SigV4Auth(who, case["service"], case["region"]).add_auth(request)
    print(json.dumps({name.lower(): value for name, value in request.headers.items()}), flush=True)
"""
words = st.text("abcXYZ019/+=-", min_size=1, max_size=40)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
names = st.from_regex(r"x-amz-[a-z0-9-]{1,12}", fullmatch=True)


class Judge:
    """botocore, asked line by line."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [ministack_python(), "-c", JUDGE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def headers(self, case: dict[str, Any]) -> dict[str, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        found: dict[str, str] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    judge = Judge()
    yield judge
    judge.close()


@settings(max_examples=150, deadline=None)
@given(
    key=words,
    secret=words,
    token=words | st.just(""),
    region=st.sampled_from(("eu-central-1", "us-east-1", "cn-north-1")),
    service=st.sampled_from(("dynamodb", "sqs", "execute-api", "lambda")),
    path=st.sampled_from(("/", "/prod/%40connections/L0SM9cOFvHcCIhw%3D", "/a_b-c.d~/%2B")),
    query=st.sampled_from(("", "Qualifier=12", "a=b%20c&d=")),
    more=st.dictionaries(names, values, max_size=4),
    body=st.binary(max_size=200),
    now_s=st.integers(1_000_000_000, 4_000_000_000),
)
def test_signatures_are_those_of_botocore(judge: Judge, **case: Any) -> None:
    headers = case.pop("more") | {
        "host": f"dynamodb.{case['region']}.amazonaws.com",
        "content-type": "application/x-amz-json-1.0",
    }
    headers.pop("x-amz-date", None)
    headers.pop("x-amz-security-token", None)
    body = case.pop("body")
    who = Credentials(case["key"], case["secret"], case["token"])
    ours = Signer(who, case["region"], case["service"]).signed(
        headers, body, case["now_s"], case["path"], case["query"]
    )

    case["path"] += f"?{case['query']}" if case["query"] else ""
    case |= {"headers": headers, "body": base64.b64encode(body).decode()}
    theirs = judge.headers(case)
    for name in ("authorization", "x-amz-date", "x-amz-security-token"):
        assert ours.get(name) == theirs.get(name)


def test_the_key_of_a_day_is_used_for_that_day_only() -> None:
    who = Credentials("key", "secret")
    signer = Signer(who, "eu-central-1", "dynamodb")
    for now_s in (1_000_000_000, 1_000_000_100, 1_000_090_000, 1_000_000_000):
        fresh = Signer(who, "eu-central-1", "dynamodb")
        headers = {"host": "a"}
        assert signer.signed(headers, b"", now_s) == fresh.signed(headers, b"", now_s)


def test_credentials_show_no_secret() -> None:
    shown = repr(Credentials("AKIAEXAMPLE", "hidden", "hidden too"))
    assert "hidden" not in shown
    assert "EXAMPLE" not in shown
