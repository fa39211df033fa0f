"""The stack of a bot: what is in it, what the function may do, and what cfn-lint says of it."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from legato.deploy.aws.ejecting import with_versions
from legato.deploy.aws.place import Place, place_of
from legato.deploy.aws.role import ON_TABLE
from legato.deploy.aws.template import Wanted, rate, template, text_of
from legato.deploy.package.target import target_of
from legato.errors import ConfigError
from legato.stores.dynamodb import failures
from legato.stores.dynamodb.table import definition

WANTED = Wanted(
    place=Place("adder"),
    target=target_of("aws", "arm64", "3.13"),
    sha256="ab" * 32,
    entry="adder.py:app",
    variables={"TELEGRAM_API": "https://x.example"},
    secrets={"TELEGRAM_TOKEN": 3, "TELEGRAM_SECRET": 1},
)
VARIANTS: dict[str, dict[str, Any]] = {
    "url": {},
    "http-api": {"front": "http-api"},
    "queue": {"queue": True, "timers": True, "timeout": 900},
    "bare": {"schedule": "", "secrets": {}, "variables": {}, "retention": 1},
    "web": {"web_socket": True},
    "web by http-api": {
        "web_socket": True,
        "front": "http-api",
        "public_socket": "wss://a.example",
    },
    "x86": {"target": target_of("aws", "x86_64", "3.11"), "schedule": "5m"},
}


def changed(**changes: Any) -> dict[str, Any]:
    """The template with something else wanted."""
    return template(msgspec.structs.replace(WANTED, **changes))


def statements_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What the function may do."""
    (policy,) = found["Resources"]["Role"]["Properties"]["Policies"]
    return list(policy["PolicyDocument"]["Statement"])


def variables_of(found: dict[str, Any]) -> dict[str, Any]:
    """The function's environment."""
    return dict(found["Resources"]["Function"]["Properties"]["Environment"]["Variables"])


def linted(folder: Path, templates: dict[str, dict[str, Any]]) -> list[str]:
    """What cfn-lint says, one line for each finding."""
    files = []
    for name, found in templates.items():
        files.append(folder / f"{name}.json")
        files[-1].write_text(text_of(found), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--regions", "eu-central-1"]
    options = ["--format", "parseable", "--include-checks", "I", "--", *map(str, files)]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert not run.stderr, run.stderr
    return run.stdout.splitlines()


def test_cfn_lint_finds_nothing_and_would_find_what_is_wrong(tmp_path: Path) -> None:
    templates = {name: changed(**changes) for name, changes in VARIANTS.items()}
    templates["ejected"] = with_versions(changed(), sorted(WANTED.secrets))
    broken = changed()
    broken["Resources"]["UrlInvokePermission"]["Properties"]["InvokedByUrl"] = True

    found = linted(tmp_path, templates | {"broken": broken})

    assert [line for line in found if "broken.json" not in line] == []
    assert [line for line in found if "InvokedByUrl" in line]


def test_a_function_url_has_both_permissions() -> None:
    resources = template(WANTED)["Resources"]

    permissions = [
        one["Properties"] for one in resources.values() if one["Type"] == "AWS::Lambda::Permission"
    ]
    assert permissions == [
        {
            "FunctionName": {"Ref": "Live"},
            "Principal": "*",
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionUrlAuthType": "NONE",
        },
        {
            "FunctionName": {"Ref": "Live"},
            "Principal": "*",
            "Action": "lambda:InvokeFunction",
            "InvokedViaFunctionUrl": True,
        },
    ]
    assert resources["Url"]["Properties"]["Qualifier"] == "live"


def test_the_function_may_do_what_it_does_and_nothing_else() -> None:
    role = changed(queue=True, timers=True)["Resources"]["Role"]["Properties"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]

    allowed = {one["Sid"]: (one["Action"], json.dumps(one["Resource"])) for one in statements}

    assert list(allowed) == ["Table", "Indexes", "Log", "Versions", "Secrets", "Queue", "Timers"]
    assert not [where for what, where in allowed.values() if where == '"*"' or "*" in str(what)]
    assert allowed["Indexes"] == (["dynamodb:Query"], '{"Fn::Sub": "${Table.Arn}/index/*"}')
    assert allowed["Versions"][0] == ["lambda:InvokeFunction"]
    assert allowed["Versions"][1].endswith(':function:${AWS::StackName}:*"}')
    assert allowed["Secrets"][0] == ["ssm:GetParameters"]
    assert allowed["Secrets"][1].endswith(':parameter/legato/adder/*"}')
    assert allowed["Log"][0] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert "ManagedPolicyArns" not in role


def test_the_web_chat_has_a_socket_that_only_its_function_writes_to() -> None:
    found = changed(web_socket=True)
    resources = found["Resources"]
    of_stage = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Socket}/live"

    routes = {
        one["Properties"]["RouteKey"]: one["Properties"]["Target"]
        for one in resources.values()
        if one["Type"] == "AWS::ApiGatewayV2::Route"
    }
    assert set(routes) == {"$connect", "$disconnect", "$default"}
    for target in routes.values():
        assert target == {"Fn::Sub": "integrations/${SocketIntegration}"}
    uri = resources["SocketIntegration"]["Properties"]["IntegrationUri"]["Fn::Sub"]
    assert uri.endswith(":lambda:path/2015-03-31/functions/${Live}/invocations")
    assert resources["Socket"]["Properties"]["ProtocolType"] == "WEBSOCKET"
    assert "DependsOn" not in resources["Socket"]
    assert set(resources["SocketStage"]["DependsOn"]) < set(resources)
    permission = resources["SocketPermission"]["Properties"]
    assert permission["FunctionName"] == {"Ref": "Live"}
    assert permission["SourceArn"] == {"Fn::Sub": f"{of_stage}/*"}
    (pages,) = [one for one in statements_of(found) if one["Sid"] == "Pages"]
    assert pages["Action"] == ["execute-api:ManageConnections"]
    assert pages["Resource"] == {"Fn::Sub": f"{of_stage}/POST/@connections/*"}
    address = {"Fn::Sub": "wss://${Socket}.execute-api.${AWS::Region}.${AWS::URLSuffix}/live"}
    assert variables_of(found)["LEGATO_WEB_SOCKET"] == address
    assert found["Outputs"]["WebSocket"] == {"Value": address}


def test_a_bot_without_a_web_chat_has_nothing_of_it() -> None:
    text = text_of(changed(front="http-api"))

    for word in ("Socket", "WEBSOCKET", "ManageConnections", "LEGATO_WEB_SOCKET", "GET "):
        assert word in text_of(changed(front="http-api", web_socket=True))
        assert word not in text


def test_the_page_has_its_routes_where_an_http_api_stands_before_the_function() -> None:
    def routes(**changes: Any) -> set[str]:
        found = changed(front="http-api", **changes)["Resources"].values()
        return {
            one["Properties"]["RouteKey"]
            for one in found
            if one.get("Properties", {}).get("ApiId") == {"Ref": "Api"}
            and one["Type"] == "AWS::ApiGatewayV2::Route"
        }

    assert routes() == {"POST /{platform}"}
    assert routes(web_socket=True) == {"POST /{platform}", "GET /", "GET /web/{file}"}


def test_an_address_of_ones_own_is_told_to_pages_with_the_apis_id_in_it() -> None:
    def told(address: str) -> Any:
        found = variables_of(changed(web_socket=True, public_socket=address))
        return found["LEGATO_WEB_SOCKET"]

    assert told("wss://chat.example.org") == "wss://chat.example.org"
    assert told("ws://a/{id}/live?a=${b}") == {"Fn::Sub": "ws://a/${Socket}/live?a=${!b}"}


def test_what_the_store_asks_of_its_table_is_what_it_may_ask() -> None:
    folder = Path(inspect.getfile(failures)).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    calls = re.findall(r'\.(?:ask|do|do_call|call)\(\s*"(\w+)"', text)
    by_creation = {"CreateTable", "UpdateTimeToLive", "TransactWriteItems"}

    assert set(calls) - by_creation <= set(ON_TABLE)
    assert set(re.findall(r"\w+", failures.ACTIONS)) >= set(ON_TABLE)


def test_the_table_is_the_stores_and_outlives_the_stack() -> None:
    table = template(WANTED)["Resources"]["Table"]
    wanted = definition("any")

    assert table["DeletionPolicy"] == "RetainExceptOnCreate"
    assert table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["KeySchema"] == wanted["KeySchema"]
    assert table["Properties"]["GlobalSecondaryIndexes"] == wanted["GlobalSecondaryIndexes"]
    assert table["Properties"]["TimeToLiveSpecification"] == {
        "AttributeName": "ttl",
        "Enabled": True,
    }


def test_a_version_is_published_when_code_or_settings_change_and_only_then() -> None:
    def version(**changes: Any) -> str:
        (found,) = [name for name in changed(**changes)["Resources"] if name.startswith("Version")]
        return found

    same = version()
    changes: list[dict[str, Any]] = [
        {"sha256": "cd" * 32}, {"memory": 256}, {"secrets": {"TELEGRAM_TOKEN": 4}}, {"variables": {}},
    ]  # fmt: skip
    others = {version(**one) for one in changes}

    assert version(retention=7, schedule="5m") == same
    assert len(others | {same}) == 5
    made = template(WANTED)["Resources"][same]
    assert made["UpdateReplacePolicy"] == "Retain"
    # One that is published by an update that fails goes again: Lambda publishes nothing twice in a row, so the next
    # try of the same would fail for ever.
    assert made["DeletionPolicy"] == "RetainExceptOnCreate"


def test_secrets_are_named_and_never_shown() -> None:
    variables = template(WANTED)["Resources"]["Function"]["Properties"]["Environment"]["Variables"]

    assert variables == {
        "TELEGRAM_API": "https://x.example",
        "LEGATO_HANDOVER": "on",
        "LEGATO_STORE": {"Fn::Sub": "dynamodb://${Table}?region=${AWS::Region}"},
        "LEGATO_PARAMETERS": "/legato/adder/",
        "LEGATO_SECRETS": "TELEGRAM_SECRET:1,TELEGRAM_TOKEN:3",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": 64}, {"timeout": 901}, {"schedule": "30s"}, {"schedule": "m"}, {"retention": 31},
        {"front": "http-api", "timeout": 31}, {"variables": {"X": "x" * 4000}},
        {"public_socket": "wss://a.example"}, {"web_socket": True, "public_socket": "a.example"},
    ],
)  # fmt: skip
def test_what_aws_does_not_have_is_refused_before_it_is_asked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        changed(**wrong)


def test_names_and_intervals() -> None:
    assert rate("1m") == "rate(1 minute)"
    assert rate("5m") == "rate(5 minutes)"
    assert rate("2h") == "rate(2 hours)"
    assert place_of("My Adder!").stack == "legato-my-adder"
    for wrong in ("", "---", "1bot", "x" * 41):
        with pytest.raises(ConfigError):
            place_of(wrong)
