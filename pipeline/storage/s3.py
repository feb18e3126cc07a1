"""S3 whose answers are believed only when they are whole, and of the version that was asked for."""

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

from pipeline.storage.errors import (
    BucketMissingError,
    DamagedAnswerError,
    VersionChangedError,
    store_code,
)
from pipeline.storage.retry import patiently

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
"""Seconds without a byte after which a request is given up."""
REQUEST_TIMEOUT_S = CONNECT_TIMEOUT_S + READ_TIMEOUT_S
"""Seconds for which a request that gets no answer goes on."""
ANSWER_TIMEOUT_S = 300
"""Seconds that one answer of up to 32 MB may take: a store that trickles shall not hold a worker for ever."""
CONFIG: dict[str, object] = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
_TRIES = 3
"""Of a request, with exponential backoff and jitter, and a budget: a store that is down is not kept busy."""
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _Answer:
    """A GET's answer: the bytes, the object's entity tag, and whether that may be the MD5 of the object."""

    data: bytes
    etag: str
    maybe_md5: bool


class CheckedS3(S3FileSystem):  # type: ignore[misc]
    """s3fs with timeouts, bounded retries and checked reads."""

    retries = 2

    def __init__(self, *, tries: int = _TRIES, **options: Any) -> None:
        attempts = {"mode": "standard", "total_max_attempts": tries}
        super().__init__(use_listings_cache=False, config_kwargs=CONFIG | {"retries": attempts}, **options)

    @cached_property
    def _once(self) -> "CheckedS3":
        """The same store by a client that tries nothing again by itself, neither s3fs nor botocore."""
        client = CheckedS3(tries=1, skip_instance_cache=True)
        client.retries = 1
        return client

    def fetch(self, path: str, *, size: int | None = None, etag: str | None = None) -> bytes:
        """The whole object.

        Parameters
        ----------
        path : str
            Bucket and key.
        size : int, optional
            Bytes that the version named by `etag` has.
        etag : str, optional
            The version to read; any if not given.

        Raises
        ------
        FileNotFoundError
            If there is no such object.
        VersionChangedError
            If the object is another version.
        StoreFailingError
            If the store does not hand it out, or hands out something else.
        """
        doubted: set[str] = set()

        def once() -> bytes:
            answer = self._get(path, etag)
            if size is not None and len(answer.data) != size:
                raise DamagedAnswerError(f"{len(answer.data)} of {size} bytes came")
            if answer.maybe_md5:
                digest = hashlib.md5(answer.data, usedforsecurity=False).hexdigest()
                if digest != answer.etag and not (digest in doubted and self._has_size(path, answer)):
                    doubted.add(digest)
                    raise DamagedAnswerError("what came does not have the object's MD5")
            return answer.data

        return patiently(once)

    def fetch_range(self, path: str, start: int, end: int, *, etag: str | None = None) -> bytes:
        """Bytes `start` up to `end` of an object, both within its size. Raises as `fetch` does."""

        def once() -> bytes:
            data = self._get(path, etag, Range=f"bytes={start}-{end - 1}").data
            if len(data) != end - start:
                raise DamagedAnswerError(f"{len(data)} of {end - start} bytes came")
            return data

        return patiently(once) if end > start else b""

    def open_version(self, path: str, *, size: int, etag: str, **options: object) -> "CheckedS3File":
        """A file object that reads one version of an object by ranges; opening it asks the store nothing."""
        return CheckedS3File(self, path, size=size, etag=etag, **options)

    def put_once(self, path: str, data: bytes) -> None:
        """Write the object with a request that is made once: who asks again looks first if it still may."""
        self._once.pipe_file(path, data)

    def remove_once(self, path: str) -> None:
        """Remove the object with a request that is made once."""
        self._once.rm_file(path)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """One PUT with ``If-None-Match: *``: False if the store says that there is an object.

        A PUT whose answer was lost says so too, being tried again.
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

    async def _call_s3(self, method: str, *arguments: Any, **options: Any) -> Any:
        with _bucket_found():
            return await super()._call_s3(method, *arguments, **options)

    async def _iterdir(self, bucket: str, *arguments: Any, **options: Any) -> Any:
        with _bucket_found():
            async for entry in super()._iterdir(bucket, *arguments, **options):
                yield entry

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        block_size = options.pop("block_size", None) or self.default_block_size
        cache_type = options.pop("cache_type", None) or self.default_cache_type
        wanted = {name: options[name] for name in ("cache_options", "size") if name in options}
        return CheckedS3File(self, path, block_size=block_size, cache_type=cache_type, **wanted)

    def _has_size(self, path: str, answer: _Answer) -> bool:
        """Whether the object is as long as what came; if that came twice, its tag is no MD5."""
        return bool(self.info(path)["size"] == len(answer.data))

    def _get(self, path: str, etag: str | None, **request: str) -> _Answer:
        bucket, key, _ = self.split_path(path)
        if etag is not None:
            request["IfMatch"] = f'"{etag}"'
        try:
            answer: _Answer = sync(
                self.loop, self._answered, {"Bucket": bucket, "Key": key, **request}, timeout=ANSWER_TIMEOUT_S
            )
        except OSError as error:
            if store_code(error) in {"PreconditionFailed", "412", "InvalidRange", "416"}:
                raise VersionChangedError(f"{path} has changed") from error
            raise
        if etag is not None and answer.etag != etag:
            raise VersionChangedError(f"{path} has changed")
        return answer

    async def _answered(self, request: dict[str, str]) -> _Answer:
        response = await self._call_s3("get_object", **request)
        body = response["Body"]
        try:
            data = await body.read()
        finally:
            body.close()
        etag = str(response.get("ETag", "")).strip('"')
        keyed = "SSECustomerAlgorithm" in response or "kms" in str(response.get("ServerSideEncryption", ""))
        return _Answer(data, etag, bool(_MD5.fullmatch(etag)) and not keyed and "Range" not in request)


@contextlib.contextmanager
def _bucket_found() -> Iterator[None]:
    """Tell a bucket that is gone from an object that is: s3fs makes the same error of both.

    Raises
    ------
    BucketMissingError
        In place of FileNotFoundError, which callers take for an object that was never written.
    """
    try:
        yield
    except FileNotFoundError as error:
        if store_code(error) != "NoSuchBucket":
            raise
        raise BucketMissingError("the bucket does not exist") from error


class CheckedS3File(S3File):  # type: ignore[misc]
    """An object that is read by ranges, all of one version.

    Parameters
    ----------
    fs : CheckedS3
        The store.
    path : str
        Bucket and key.
    etag : str, optional
        The version to read; the one that is there now if not given.
    """

    def __init__(self, fs: CheckedS3, path: str, *, etag: str | None = None, **options: Any) -> None:
        self._etag = etag
        super().__init__(fs, path, "rb", **options)

    def _fetch_range(self, start: int, end: int) -> bytes:
        if self._etag is None:
            self._etag = str(self.details["ETag"]).strip('"')
        checked: CheckedS3 = self.fs
        return checked.fetch_range(self.path, start, min(end, self.size), etag=self._etag)
