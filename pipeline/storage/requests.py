"""Counts the requests that this process sends to object stores, and bytes: stores charge for both."""

import threading
from collections import Counter
from typing import Any

_KINDS = {
    "List": "LIST",
    "Head": "HEAD",
    "Get": "GET",
    "Put": "PUT",
    "Create": "PUT",
    "Upload": "PUT",
    "Complete": "PUT",
    "Delete": "DELETE",
}
"""Kinds of requests, by how the names of S3's operations begin."""
KINDS = tuple(dict.fromkeys(_KINDS.values()))
"""Kinds of requests."""
RECEIVED, SENT = "received", "sent"
"""Directions of bytes."""

_sent: Counter[str] = Counter()
_bytes: Counter[str] = Counter()
_lock = threading.Lock()


def count_request(operation: str) -> None:
    """Count a request, even if it is a retry.

    Parameters
    ----------
    operation : str
        S3's name of the operation, such as ``ListObjectsV2``.
    """
    kind = next((kind for start, kind in _KINDS.items() if operation.startswith(start)), operation)
    with _lock:
        _sent[kind] += 1


def take_requests() -> dict[str, int]:
    """Return the numbers of requests by kind since the last call, and begin again with none."""
    return _take(_sent)


def take_bytes() -> dict[str, int]:
    """Return the bytes of bodies `RECEIVED` and `SENT` since the last call, and begin again with none."""
    return _take(_bytes)


def _take(counts: Counter[str]) -> dict[str, int]:
    with _lock:
        taken = dict(counts)
        counts.clear()
    return taken


def count_requests_of(client: Any) -> None:
    """Count every request that a client of botocore sends, and the bytes of it and of its answer."""
    # One handler a client, however often this is called.
    client.meta.events.register("before-send.s3", _on_send, unique_id="earmark-requests")
    client.meta.events.register("response-received.s3", _on_answer, unique_id="earmark-answers")


def _on_send(event_name: str, request: Any, **_: object) -> None:
    count_request(event_name.rpartition(".")[2])
    _count_bytes(SENT, request.headers)


def _on_answer(event_name: str, response_dict: Any, **_: object) -> None:
    # What a HEAD tells is the size of the object, which is not sent.
    if response_dict is not None and ".Head" not in event_name:
        _count_bytes(RECEIVED, response_dict["headers"])


def _count_bytes(direction: str, headers: Any) -> None:
    with _lock:
        _bytes[direction] += int(headers.get("Content-Length") or 0)
