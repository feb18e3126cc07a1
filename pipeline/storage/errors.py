"""What the errors of stores mean: in words, and whether they pass."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

from schemas.errors import StoreError

_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EBUSY", "EIO", "ESTALE", "EREMOTEIO", "ETIMEDOUT", "ENETDOWN", "ENETUNREACH"),
        *("EHOSTDOWN", "EHOSTUNREACH"),
    )
    if hasattr(errno, name)
)
"""What a disk that is mounted over a network says while it is away."""
_STATUSES = frozenset({429, 500, 502, 503, 504})
_CODES = frozenset(
    {
        *("SlowDown", "ConditionalRequestConflict", "Throttling", "ThrottlingException", "TooManyRequests"),
        *("RequestLimitExceeded", "RequestTimeout", "IncompleteBody", "BadDigest", "OperationAborted"),
        "XAmzContentSHA256Mismatch",
    }
)
"""Codes of object stores that come with a status of 4xx and yet pass."""
_KINDS = frozenset(
    {
        *("botocore.HTTPClientError", "botocore.ConnectionError", "botocore.IncompleteReadError"),
        *("botocore.ResponseParserError", "aiohttp.ClientError"),
    }
)
"""Errors of connections and of answers that broke off, by package and class."""


class StoreFailingError(OSError):
    """The store failed in a way that is_transient, as often as it was tried."""


class VersionChangedError(OSError):
    """The file or the object is not, or no more, the version that was to be read."""


class BucketMissingError(OSError):
    """The bucket is not there, at the moment at least: that says nothing of the objects in it."""


class DamagedAnswerError(OSError):
    """The store's answer is not the whole of what it says it is."""


def is_transient(error: BaseException | None) -> bool:
    """Whether the same request may succeed in a moment: overload, network faults, answers that broke off."""
    if isinstance(error, StoreFailingError | VersionChangedError | DamagedAnswerError):
        return True
    if response := _response(error):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _STATUSES or response.get("Error", {}).get("Code") in _CODES
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    # By name: a run on local disk shall not load the clients of object stores.
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return bool(kinds & _KINDS)


def is_store_error(error: BaseException | None) -> bool:
    """Whether it is the store, or its client for want of credentials or of a connection, that failed."""
    client = type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp"))
    return client or isinstance(error, OSError)


@contextlib.contextmanager
def explained(location: str, doing: str) -> Iterator[None]:
    """Turn a store's errors into one sentence about `location`.

    Raises
    ------
    StoreError
        In place of OSError and botocore's errors.
    """
    try:
        yield
    except Exception as error:
        if not is_store_error(error):
            raise
        raise StoreError(f"cannot {doing} {location}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """What a store's error means, in words."""
    # Some answers of object stores carry no text: s3fs then says "None".
    said = error.strerror if isinstance(error, OSError) and error.strerror != "None" else None
    said = said or store_code(error) or (str(error) if str(error) != "None" else "")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full ({said}); make room there and run again"
    if isinstance(error, PermissionError):
        detail = f" ({said})" if said else ""
        return f"access is refused{detail}; check the permissions or the AWS credentials"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way of a folder"
    if type(error).__name__ == "NoCredentialsError":
        return "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a role"
    return said or type(error).__name__


def store_code(error: BaseException) -> str:
    """The code that an object store answered with (``NoSuchBucket``, …), else nothing."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def _response(error: BaseException | None) -> dict[str, Any]:
    """A store's answer; s3fs keeps it only in the cause."""
    for holder in (error, getattr(error, "__cause__", None)):
        response = getattr(holder, "response", None)
        if isinstance(response, dict):
            return response
    return {}
