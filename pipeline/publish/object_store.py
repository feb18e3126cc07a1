"""Options with which deltalake reaches the object store that Earmark's own client reaches."""

from typing import Any
from urllib.parse import urlsplit

from fsspec.asyn import sync

from pipeline.storage import storage
from schemas.errors import MisuseError


def delta_options(location: str) -> dict[str, str]:
    """Return the storage options of deltalake for a location; none for a local one.

    Endpoint, region and credentials are those that botocore finds for Earmark's own client: variables,
    profiles, roles of machines and of pods. Credentials that expire last for a publication.

    Raises
    ------
    MisuseError
        If Earmark cannot publish to this kind of store.
    """
    protocol, _ = storage.split(location)
    if protocol == "file":
        return {}
    if protocol != "s3":
        raise MisuseError(
            f"cannot publish a Delta table to {location}: only local disks and S3 are supported; publish "
            "there with --format parquet"
        )
    with storage.explain_errors(location, "find the credentials for"):
        return _s3_options()


def _s3_options() -> dict[str, str]:
    fs = storage.filesystem("s3")
    client = fs.s3
    # A commit is an object that may not exist yet: the store decides between two writers.
    options = {"aws_conditional_put": "etag", "aws_region": client.meta.region_name or "us-east-1"}
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


async def _credentials(fs: Any) -> Any:
    """Return the present credentials of s3fs's client; None if it has none."""
    credentials = await fs.session.get_credentials()
    return None if credentials is None else await credentials.get_frozen_credentials()
