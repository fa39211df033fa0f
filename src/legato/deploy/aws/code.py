"""The bucket that zips come from: one for all bots of an account and region, made when it is missing."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from legato.deploy.aws.cloud import Cloud
from legato.deploy.aws.place import Place
from legato.errors import ConfigError

ABSENT = ("404", "NoSuchBucket", "NoSuchKey", "NotFound")
FOREIGN = ("403", "AccessDenied")
PAGE = 1000


def bucket_of(cloud: Cloud) -> str:
    """Its name."""
    return f"legato-{cloud.account}-{cloud.region}"


def _named(cloud: Cloud, bucket: str) -> dict[str, Any]:
    """The bucket as S3 is to take it. Anybody can guess the name of ours, make it first, and open it to us: then
    the functions would run what its owner puts there. One that somebody names may be of another account.
    """
    named: dict[str, Any] = {"Bucket": bucket}
    if bucket.startswith("legato-") and bucket == bucket_of(cloud):
        named["ExpectedBucketOwner"] = cloud.account
    return named


def ensure_bucket(cloud: Cloud, bucket: str) -> None:
    """Makes the bucket if it is missing. A new bucket is closed to the public, and encrypted.

    Raises:
        ConfigError: It is somebody else's.
    """
    s3 = cloud("s3")
    named = _named(cloud, bucket)
    refused = cloud.refused(lambda: s3.head_bucket(**named), *ABSENT, *FOREIGN)
    if refused in FOREIGN:
        raise ConfigError(
            f"the bucket {bucket} belongs to another account, or you may not use it: name one of yours with --bucket"
        )
    if not refused:
        return
    where: dict[str, Any] = {}
    if cloud.region != "us-east-1":
        where = {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
    made = partial(s3.create_bucket, Bucket=bucket, **where)
    cloud.refused(made, "BucketAlreadyOwnedByYou")  # another deployment of ours was faster
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
    named = _named(cloud, bucket)
    if cloud.maybe(lambda: s3.head_object(**named, Key=key), *ABSENT) is not None:
        return False
    s3.put_object(**named, Key=key, Body=archive, ContentType="application/zip")
    return True


def download(cloud: Cloud, bucket: str, key: str) -> bytes | None:
    """A zip, None if there is none."""
    s3 = cloud("s3")
    named = _named(cloud, bucket)
    answer = cloud.maybe(lambda: s3.get_object(**named, Key=key), *ABSENT)
    return None if answer is None else bytes(answer["Body"].read())


def keep(cloud: Cloud, bucket: str, place: Place, kept: Collection[str]) -> int:
    """Deletes a bot's zips but these; how many there were.

    Args:
        cloud, bucket, place: Where.
        kept: SHA-256 of each zip that stays.
    """
    s3 = cloud("s3")
    names = {place.key(sha256) for sha256 in kept}
    named = _named(cloud, bucket)
    gone = 0
    after = ""
    while True:
        ask = named | {"Prefix": place.prefix, "MaxKeys": PAGE, "StartAfter": after}
        listed = cloud.maybe(partial(s3.list_objects_v2, **ask), *ABSENT)
        found = [one["Key"] for one in (listed or {}).get("Contents", ())]
        if not found:
            return gone
        old = [{"Key": key} for key in found if key not in names]
        if old:
            s3.delete_objects(**named, Delete={"Objects": old, "Quiet": True})
        gone, after = gone + len(old), found[-1]


def forget(cloud: Cloud, bucket: str, place: Place) -> int:
    """Deletes a bot's zips, and the bucket if nothing else is in it and it is ours; how many zips there were."""
    gone = keep(cloud, bucket, place, ())
    if bucket == bucket_of(cloud):
        s3 = cloud("s3")
        cloud.maybe(lambda: s3.delete_bucket(Bucket=bucket), "BucketNotEmpty", *ABSENT)
    return gone


__all__ = ["bucket_of", "download", "ensure_bucket", "forget", "keep", "upload"]
