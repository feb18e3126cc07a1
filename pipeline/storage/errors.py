"""Storage errors: what they mean, and whether they are transient."""

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
"""Errors of a network mount whose server is away."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_STATUSES = frozenset({429, 500, 502, 503, 504})
_CODES = frozenset(
    {
        *("SlowDown", "ConditionalRequestConflict", "Throttling", "ThrottlingException", "TooManyRequests"),
        *("RequestLimitExceeded", "RequestTimeout", "IncompleteBody", "BadDigest", "OperationAborted"),
        "XAmzContentSHA256Mismatch",
    }
)
"""Codes of object stores that are transient although their status is 4xx."""
_KINDS = frozenset(
    {
        *("botocore.HTTPClientError", "botocore.ConnectionError", "botocore.IncompleteReadError"),
        *("botocore.ResponseParserError", "aiohttp.ClientError"),
    }
)
"""Errors of connections and of truncated responses, by package and class."""


class StoreFailingError(OSError):
    """Every retry of a transient error failed."""


class VersionChangedError(OSError):
    """The file or object is no longer the version that was requested."""


class BucketMissingError(OSError):
    """The bucket does not exist, at least for now; that says nothing about its objects."""


class DamagedAnswerError(OSError):
    """A response is incomplete, or does not match its checksum."""


def is_transient(error: BaseException | None) -> bool:
    """Whether the same request may succeed soon: overload, network faults, truncated responses."""
    if isinstance(error, StoreFailingError | VersionChangedError | DamagedAnswerError):
        return True
    if isinstance(error, StoreError):
        return error.transient
    if response := _response(error):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _STATUSES or response.get("Error", {}).get("Code") in _CODES
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    # Compared by name, so that a run on local disk does not import object store clients.
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return bool(kinds & _KINDS)


def is_store_error(error: BaseException | None) -> bool:
    """Whether the store failed, or its client (no credentials, no connection)."""
    client = type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp"))
    return client or isinstance(error, OSError | StoreError)


def is_full(error: StoreError) -> bool:
    """Whether the disk was full, or the user's share of it."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


@contextlib.contextmanager
def explain_errors(location: str, doing: str) -> Iterator[None]:
    """Turn storage errors into a `StoreError` with one sentence about `location`.

    Parameters
    ----------
    location : str
        What is accessed.
    doing : str
        What is done to it, as it follows "cannot" in the message: "read", "write the report to".

    Raises
    ------
    StoreError
        In place of OSError and botocore's errors.
    """
    try:
        yield
    except Exception as error:
        if not is_store_error(error) or isinstance(error, StoreError):
            raise
        explained = StoreError(f"cannot {doing} {location}: {reason(error)}")
        explained.transient = is_transient(error)
        raise explained from error


def reason(error: Exception) -> str:
    """Return what a storage error means, in words."""
    if isinstance(error, StoreError):
        return str(error)
    # s3fs turns a response without a message into the text "None".
    said = error.strerror if isinstance(error, OSError) and error.strerror != "None" else None
    said = said or store_code(error) or (str(error) if str(error) != "None" else "")
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"the disk is full ({said}); free some space"
    if store_code(error) == "InvalidObjectState":
        return "its bucket has archived it (S3 Glacier or the like); restore it there first"
    if isinstance(error, PermissionError):
        detail = f" ({said})" if said else ""
        return f"access is denied{detail}; check the permissions or the AWS credentials"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where a folder should be"
    if type(error).__name__ == "NoCredentialsError":
        return "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a role"
    return said or type(error).__name__


def store_code(error: BaseException) -> str:
    """Return the error code of an object store (``NoSuchBucket``, …), or ""."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def _response(error: BaseException | None) -> dict[str, Any]:
    """Return the store's response; s3fs attaches it only to the cause of its error."""
    for holder in (error, getattr(error, "__cause__", None)):
        response = getattr(holder, "response", None)
        if isinstance(response, dict):
            return response
    return {}
