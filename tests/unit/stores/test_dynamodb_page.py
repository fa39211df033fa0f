"""What the page about DynamoDB tells people to write is what the store makes and uses."""

import re
from pathlib import Path

import yaml

from legato.stores.dynamodb.address import where_is
from legato.stores.dynamodb.failures import ACTIONS
from legato.stores.dynamodb.table import definition
from tests.repo.files import ROOT

PAGE = Path(ROOT, "docs", "dynamodb.md").read_text(encoding="utf-8")


def test_the_template_makes_the_table_that_create_makes() -> None:
    text = re.search(r"```yaml\n(Table:.*?)```", PAGE, re.DOTALL)
    assert text is not None
    properties = yaml.safe_load(text[1])["Table"]["Properties"]
    del properties["PointInTimeRecoverySpecification"]
    assert properties.pop("TimeToLiveSpecification") == {"AttributeName": "ttl", "Enabled": True}
    assert properties == definition("my-bot")


def test_the_rights_are_those_that_an_error_names() -> None:
    listed = set(re.findall(r"^    - dynamodb:(\w+)$", PAGE, re.MULTILINE))
    assert {word for word in listed if word in ACTIONS} == listed
    assert len(listed) == 8


def test_the_addresses_of_the_page_are_addresses() -> None:
    found = re.findall(r"dynamodb://[^\s'`]+", PAGE)
    assert len(found) >= 2
    for url in found:
        where_is(url, {})
