"""The bucket that zips come from: one for all bots of an account and region, made when it is missing."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place

ABSENT = ("404", "NoSuchBucket", "NoSuchKey", "NotFound")
PAGE = 1000


def bucket_of(cloud: Cloud) -> str:
    """Its name."""
    return f"legato-{cloud.account}-{cloud.region}"


def ensure_bucket(cloud: Cloud, bucket: str) -> None:
    """Makes the bucket if it is missing. A new bucket is closed to the public, and encrypted."""
    s3 = cloud("s3")
    if cloud.maybe(lambda: s3.head_bucket(Bucket=bucket), *ABSENT) is not None:
        return
    where: dict[str, Any] = {}
    if cloud.region != "us-east-1":
        where = {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    s3.create_bucket(Bucket=bucket, **where)
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )


def upload(cloud: Cloud, bucket: str, key: str, archive: bytes) -> bool:
    """Puts a zip there; False if it was there."""
    s3 = cloud("s3")
    if cloud.maybe(lambda: s3.head_object(Bucket=bucket, Key=key), *ABSENT) is not None:
        return False
    s3.put_object(Bucket=bucket, Key=key, Body=archive, ContentType="application/zip")
    return True


def download(cloud: Cloud, bucket: str, key: str) -> bytes | None:
    """A zip, None if there is none."""
    s3 = cloud("s3")
    answer = cloud.maybe(lambda: s3.get_object(Bucket=bucket, Key=key), *ABSENT)
    return None if answer is None else bytes(answer["Body"].read())


def keep(cloud: Cloud, bucket: str, place: Place, kept: Collection[str]) -> int:
    """Deletes a bot's zips but these; how many there were.

    Args:
        cloud, bucket, place: Where.
        kept: SHA-256 of each zip that stays.
    """
    s3 = cloud("s3")
    names = {place.key(sha256) for sha256 in kept}
    gone = 0
    after = ""
    while True:
        ask = {"Bucket": bucket, "Prefix": place.prefix, "MaxKeys": PAGE, "StartAfter": after}
        listed = cloud.maybe(partial(s3.list_objects_v2, **ask), *ABSENT)
        found = [one["Key"] for one in (listed or {}).get("Contents", ())]
        if not found:
            return gone
        old = [{"Key": key} for key in found if key not in names]
        if old:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": old, "Quiet": True})
        gone, after = gone + len(old), found[-1]


def forget(cloud: Cloud, bucket: str, place: Place) -> None:
    """Deletes a bot's zips, and the bucket if nothing else is in it and it is ours."""
    keep(cloud, bucket, place, ())
    if bucket == bucket_of(cloud):
        s3 = cloud("s3")
        cloud.maybe(lambda: s3.delete_bucket(Bucket=bucket), "BucketNotEmpty", *ABSENT)


__all__ = ["bucket_of", "download", "ensure_bucket", "forget", "keep", "upload"]
