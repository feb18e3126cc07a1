"""Counts the requests that this process sends to object stores, by kind: stores charge by the request."""

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

_sent: Counter[str] = Counter()
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
    with _lock:
        taken = dict(_sent)
        _sent.clear()
    return taken


def count_requests_of(client: Any) -> None:
    """Count every request that a client of botocore sends."""
    # One handler a client, however often this is called.
    client.meta.events.register("before-send.s3", _on_send, unique_id="earmark-requests")


def _on_send(event_name: str, **_: object) -> None:
    count_request(event_name.rpartition(".")[2])
