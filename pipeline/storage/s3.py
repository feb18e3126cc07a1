"""S3 with verified reads: a response counts only if it is complete and of the requested version."""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3File

from pipeline.log import get_logger
from pipeline.storage.errors import (
    BucketMissingError,
    DamagedAnswerError,
    VersionChangedError,
    store_code,
)
from pipeline.storage.requests import count_requests_of
from pipeline.storage.retry import transfer, with_retries
from schemas.errors import MisuseError

log = get_logger(__name__)

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
"""Seconds without a byte after which a request is abandoned."""
REQUEST_TIMEOUT_S = CONNECT_TIMEOUT_S + READ_TIMEOUT_S
"""Seconds until a request without a response is abandoned."""
ANSWER_TIMEOUT_S = 300
"""Seconds that a response of up to 32 MB may take: a store that trickles bytes must not block a worker."""
CONFIG: dict[str, object] = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
_TRIES = 3
"""Attempts at a request by botocore, with exponential backoff, jitter and a retry quota."""
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _Response:
    """The response to a GET: the bytes, the object's ETag, and whether that may be the object's MD5."""

    data: bytes
    etag: str
    maybe_md5: bool


class CheckedS3(S3FileSystem):  # type: ignore[misc]
    """s3fs with timeouts, bounded retries and verified reads."""

    retries = 2

    def __init__(self, *, tries: int = _TRIES, **options: Any) -> None:
        attempts = {"mode": "standard", "total_max_attempts": tries}
        super().__init__(use_listings_cache=False, config_kwargs=CONFIG | {"retries": attempts}, **options)

    def split_path(self, path: str) -> tuple[str, str, None]:
        """Return bucket and key; s3fs takes ``?versionId=`` in a key for the name of a version."""
        trail = path[len(path.rstrip("/")) :]  # which `_strip_protocol` removes
        bucket, key = self._find_bucket_key(self._strip_protocol(path).lstrip("/"))
        return bucket, key and key + trail, None

    @cached_property
    def _single_try(self) -> "CheckedS3":
        """A client of the same store in which neither s3fs nor botocore retries."""
        client = CheckedS3(tries=1, skip_instance_cache=True)
        client.retries = 1
        return client

    def fetch(self, path: str, *, size: int | None = None, etag: str | None = None) -> bytes:
        """Return the whole object.

        Parameters
        ----------
        path : str
            Bucket and key.
        size : int, optional
            Size of the version named by `etag`, bytes.
        etag : str, optional
            The version to read; by default the current one.

        Raises
        ------
        FileNotFoundError
            If there is no such object.
        VersionChangedError
            If the object is another version.
        StoreFailingError
            If retries do not produce the object, complete and undamaged.
        """
        doubted: set[str] = set()

        def once() -> bytes:
            answer = self._get(path, etag)
            if size is not None and len(answer.data) != size:
                raise DamagedAnswerError(f"received {len(answer.data)} of {size} bytes")
            # Some ETags look like an MD5 but are not. If the same bytes arrive twice, in the object's full
            # size, this is taken for one of them.
            if answer.maybe_md5:
                digest = hashlib.md5(answer.data, usedforsecurity=False).hexdigest()
                if digest != answer.etag and not (digest in doubted and self._has_size(path, answer)):
                    doubted.add(digest)
                    raise DamagedAnswerError("the bytes received do not match the object's MD5")
            return answer.data

        with transfer("read", f"s3://{path}"):
            return with_retries(once)

    def fetch_range(self, path: str, start: int, end: int, *, etag: str) -> bytes:
        """Return bytes `start` to `end` of a version, both within its size. Raises as `fetch` does."""

        def once() -> bytes:
            data = self._get(path, etag, Range=f"bytes={start}-{end - 1}").data
            if len(data) != end - start:
                raise DamagedAnswerError(f"received {len(data)} of {end - start} bytes")
            return data

        with transfer("read", f"s3://{path}"):
            return with_retries(once) if end > start else b""

    def open_version(self, path: str, *, size: int, etag: str, **options: object) -> "CheckedS3File":
        """A file object that reads one version of an object by ranges; opening it asks the store nothing."""
        return CheckedS3File(self, path, size=size, etag=etag, **options)

    def put_once(self, path: str, data: bytes) -> None:
        """Write the object in a single attempt: the caller checks its lease before it retries."""
        self._single_try.pipe_file(path, data)

    def put_new_once(self, path: str, data: bytes) -> bool:
        """Write the object in a single attempt, as `put_once`; return False if the store says one exists."""
        return self._single_try.put_if_absent(path, data)

    def remove_once(self, path: str) -> None:
        """Remove the object in a single attempt, as `put_once`."""
        self._single_try.rm_file(path)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write the object with ``If-None-Match: *``; return False if the store says that one exists.

        That may be this call's own object: a PUT whose response was lost is retried, and then refused.
        """
        try:
            self.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if store_code(error) in {"PreconditionFailed", "412"}:
                return False
            raise
        return True

    async def set_session(self, refresh: bool = False, kwargs: Any = None) -> Any:
        """Connect as s3fs does, and count the requests of the connection.

        Raises
        ------
        MisuseError
            If the address of the store is not a URL.
        """
        try:
            client = await super().set_session(refresh=refresh, kwargs=kwargs or {})
        except ValueError as error:
            said, _, endpoint = str(error).partition(": ")
            if said != "Invalid endpoint":
                raise
            url = "a URL such as http://minio:9000" if "://" in endpoint else f"http://{endpoint}"
            raise MisuseError(
                f"the address {endpoint} in AWS_ENDPOINT_URL is not a URL; write it as {url}"
            ) from error
        count_requests_of(client)
        return client

    async def _call_s3(self, method: str, *arguments: Any, **options: Any) -> Any:
        bucket = next((given["Bucket"] for given in (options, *arguments) if "Bucket" in given), "")
        with _distinguish_missing_bucket(bucket):
            answer = await super()._call_s3(method, *arguments, **options)
        # Retries by the client itself, which succeeded.
        if isinstance(answer, dict) and (
            retries := answer.get("ResponseMetadata", {}).get("RetryAttempts", 0)
        ):
            log.info("store answered after retries", request=method, retries=retries)
        return answer

    async def _iterdir(self, bucket: str, *arguments: Any, **options: Any) -> Any:
        with _distinguish_missing_bucket(bucket):
            async for entry in super()._iterdir(bucket, *arguments, **options):
                yield entry

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        block_size = options.pop("block_size", None) or self.default_block_size
        cache_type = options.pop("cache_type", None) or self.default_cache_type
        wanted = {name: options[name] for name in ("cache_options", "size") if name in options}
        return CheckedS3File(self, path, block_size=block_size, cache_type=cache_type, **wanted)

    def _has_size(self, path: str, answer: _Response) -> bool:
        """Whether the object is as long as the response."""
        return bool(self.info(path)["size"] == len(answer.data))

    def _get(self, path: str, etag: str | None, **request: str) -> _Response:
        bucket, key, _ = self.split_path(path)
        if etag is not None:
            request["IfMatch"] = f'"{etag}"'
        try:
            answer: _Response = sync(
                self.loop,
                self._get_object,
                {"Bucket": bucket, "Key": key, **request},
                timeout=ANSWER_TIMEOUT_S,
            )
        except OSError as error:
            if store_code(error) in {"PreconditionFailed", "412", "InvalidRange", "416"}:
                raise VersionChangedError(f"{path} has changed") from error
            raise
        if etag is not None and answer.etag != etag:
            raise VersionChangedError(f"{path} has changed")
        return answer

    async def _get_object(self, request: dict[str, str]) -> _Response:
        response = await self._call_s3("get_object", **request)
        body = response["Body"]
        try:
            data = await body.read()
        finally:
            body.close()
        etag = str(response.get("ETag", "")).strip('"')
        keyed = "SSECustomerAlgorithm" in response or "kms" in str(response.get("ServerSideEncryption", ""))
        return _Response(data, etag, bool(_MD5.fullmatch(etag)) and not keyed and "Range" not in request)


@contextlib.contextmanager
def _distinguish_missing_bucket(bucket: str) -> Iterator[None]:
    """Distinguish a missing bucket from a missing object: s3fs raises the same error for both.

    Raises
    ------
    BucketMissingError
        Instead of FileNotFoundError, which callers take for an object that was never written.
    """
    try:
        yield
    except FileNotFoundError as error:
        if store_code(error) != "NoSuchBucket":
            raise
        raise BucketMissingError(f"the bucket {bucket} does not exist") from error


class CheckedS3File(S3File):  # type: ignore[misc]
    """An object read by ranges, all of the same version.

    Parameters
    ----------
    fs : CheckedS3
        The store.
    path : str
        Bucket and key.
    etag : str, optional
        The version to read; by default the one that is current at the first read.
    """

    def __init__(self, fs: CheckedS3, path: str, *, etag: str | None = None, **options: Any) -> None:
        self._etag = etag
        super().__init__(fs, path, "rb", **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self._etag is None:
            self._etag = str(self.details["ETag"]).strip('"')
        checked: CheckedS3 = self.fs
        return checked.fetch_range(self.path, start, min(end, self.size), etag=self._etag)
