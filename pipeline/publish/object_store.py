"""Options with which deltalake reaches the object store that Earmark's own client reaches."""

import contextlib
from typing import Any
from urllib.parse import urlsplit

from fsspec.asyn import sync

from pipeline.storage import storage
from pipeline.storage.retry import with_retries
from schemas.errors import MisuseError


def delta_options(location: str) -> dict[str, str]:
    """Return the storage options of deltalake for a location; none for a local one.

    Endpoint and credentials are those that botocore finds for Earmark's own client: variables, profiles,
    roles of machines and of pods. Credentials that expire last for a publication. The region is that of the
    bucket: deltalake, unlike botocore, does not follow a bucket into another one, and a role names none.

    Raises
    ------
    MisuseError
        If Earmark cannot publish to this kind of store.
    """
    protocol, path = storage.split(location)
    if protocol == "file":
        return {}
    if protocol != "s3":
        raise MisuseError(
            f"cannot publish a Delta table to {location}: only local disks and S3 are supported; publish "
            "there with --format parquet"
        )
    with storage.explain_errors(location, "find the credentials for"):
        return _s3_options(path)


def _s3_options(path: str) -> dict[str, str]:
    fs = storage.filesystem("s3")
    client = fs.s3
    # A commit is an object that may not exist yet: the store decides between two writers.
    options = {"aws_conditional_put": "etag", "aws_region": _region_of(fs, path)}
    endpoint = str(client.meta.endpoint_url)
    address = urlsplit(endpoint)
    if not (address.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        options["aws_endpoint"] = endpoint
        options["aws_allow_http"] = str(address.scheme == "http").lower()
    found = sync(fs.loop, _credentials, fs)
    if found is not None:
        options["aws_access_key_id"], options["aws_secret_access_key"] = found.access_key, found.secret_key
        if found.token:
            options["aws_session_token"] = found.token
    return options


def _region_of(fs: Any, path: str) -> str:
    """Return the region of a bucket, or of the client, if the store does not tell."""
    bucket, _, _ = fs.split_path(path)
    answer: dict[str, Any] = {}
    with contextlib.suppress(PermissionError, FileNotFoundError):  # objects may be reachable, or will say so
        answer = with_retries(lambda: fs.call_s3("head_bucket", Bucket=bucket))
    return str(answer.get("BucketRegion") or fs.s3.meta.region_name or "us-east-1")


async def _credentials(fs: Any) -> Any:
    """Return the present credentials of s3fs's client; None if it has none."""
    credentials = await fs.session.get_credentials()
    return None if credentials is None else await credentials.get_frozen_credentials()
