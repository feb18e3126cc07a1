"""The lease objects of a root: ``_lease/00000007.json``, numbered, each with who holds it in JSON."""

import json
from datetime import datetime
from typing import Any

from pipeline.storage import storage
from pipeline.storage.retry import with_retries


def newest(root: str) -> int | None:
    """Number of the newest lease of a root; None where there never was one.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    folder = storage.join(root, "_lease")
    with storage.explain_errors(folder, "look at"):
        names = storage.list_names(folder)
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdecimal()), default=None)


def location_of(root: str, number: int) -> str:
    """Where a lease is."""
    return storage.join(root, "_lease", f"{number:08}.json")


def read(root: str, number: int) -> bytes | None:
    """What a lease says; None where it is gone.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    location = location_of(root, number)
    with storage.explain_errors(location, "read"):
        try:
            return storage.read_bytes(location)
        except FileNotFoundError:
            return None


def modified_at(root: str, number: int) -> float:
    """When a lease was last written, in seconds by the store's clock.

    Raises
    ------
    EarmarkError
        If the store refuses.
    """
    location = location_of(root, number)
    protocol, path = storage.split(location)
    with storage.explain_errors(location, "look at"):
        modified: datetime = with_retries(lambda: storage.filesystem(protocol).modified(path))
        return modified.timestamp()


def write(root: str, number: int, holder: dict[str, Any]) -> None:
    """Write a lease anew.

    Raises
    ------
    OSError
        If the store refuses.
    """
    storage.write_bytes(location_of(root, number), encode(holder))


def encode(holder: dict[str, Any]) -> bytes:
    """A lease's bytes."""
    return json.dumps(holder).encode()


def decode(data: bytes) -> dict[str, Any]:
    """Who holds a lease; nothing of a damaged one, which its run, while it lives, writes anew in seconds."""
    try:
        holder = json.loads(data)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def is_released(data: bytes | None) -> bool:
    """Whether a lease is gone, or its run has ended in order."""
    return data is None or bool(decode(data).get("released"))
