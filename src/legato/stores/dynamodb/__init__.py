"""Amazon DynamoDB: the store of cloud functions. Needs nothing but the standard library and msgspec.

What it rests on (the developer guide's pages on transactions, read consistency, quotas and TTL, read
2026-11): TransactWriteItems is all or nothing, over 100 items and 4 MB at most; a request repeated with its
ClientRequestToken within ten minutes is applied once; a condition that fails gives the item that stood
there; a consistent read sees every write that was answered. Indexes follow the table after a moment, so
nothing that must be seen at once is read from one.

    store.py    the Store's methods;  reading.py  one item, one conversation;  lists.py  the rest
    plan.py     what one Commit writes, as the items of one transaction
    writer.py   sends it, and knows whether it took place when the answer was lost
    fates.py    what became of outbox items
    items.py    between records and items; large values go on in further items
    table.py    keys, indexes, and how the table is made
    client.py   signed requests (legato.aws), tried again
    clock.py    numbers that grow;  address.py  the URL;  failures.py  errors in our words

Layout and why: docs/decisions/0018-dynamodb-layout.md.
"""

from legato.stores.dynamodb.store import DynamoDBStore as DynamoDBStore

__all__ = ["DynamoDBStore"]
