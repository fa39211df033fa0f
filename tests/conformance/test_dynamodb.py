"""The DynamoDB store passes the shipped suite over HTTP."""

import pytest

from legato.abc.store import Store
from legato.deploy.transport import Transport
from legato.stores.dynamodb import DynamoDBStore
from legato.testing.conformance.store import StoreConformance


class TestDynamoDBStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def _table(self, dynamodb_url: str) -> None:
        self.url = dynamodb_url

    async def make_store(self) -> Store:
        return DynamoDBStore(self.url, http=Transport)

    async def reopen(self, store: Store) -> Store:
        await store.close()
        return await self.make_store()
