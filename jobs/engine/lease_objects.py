"""The lease objects of a root, ``_lease/00000007.json``: numbered, with the holder as JSON."""

import json
from datetime import datetime
from typing import Any

from pipeline.storage import storage
from pipeline.storage.retry import with_retries


def newest(root: str) -> int | None:
    """Return the number of the newest lease of a root; None if there never was one.

    Raises
    ------
    EarmarkError
        If the store fails.
    """
    folder = storage.join(root, "_lease")
    with storage.explain_errors(folder, "look at"):
        names = storage.list_names(folder)
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdecimal()), default=None)


def location_of(root: str, number: int) -> str:
    """Return the location of a lease."""
    return storage.join(root, "_lease", f"{number:08}.json")


def read(root: str, number: int) -> bytes | None:
    """Return the content of a lease; None if it is gone.

    Raises
    ------
    EarmarkError
        If the store fails.
    """
    location = location_of(root, number)
    with storage.explain_errors(location, "read"):
        try:
            return storage.read_bytes(location)
        except FileNotFoundError:
            return None


def modified_at(root: str, number: int) -> float | None:
    """Return when a lease was last written, in seconds by the clock of the store; None if it is gone.

    Raises
    ------
    EarmarkError
        If the store fails.
    """
    location = location_of(root, number)
    protocol, path = storage.split(location)
    with storage.explain_errors(location, "look at"):
        try:
            modified: datetime = with_retries(lambda: storage.filesystem(protocol).modified(path))
        except FileNotFoundError:
            return None
        return modified.timestamp()


def write(root: str, number: int, holder: dict[str, Any]) -> None:
    """Overwrite a lease.

    Raises
    ------
    OSError
        If the store fails.
    """
    storage.write_bytes(location_of(root, number), encode(holder))


def encode(holder: dict[str, Any]) -> bytes:
    """Encode the holder of a lease."""
    return json.dumps(holder).encode()


def decode(data: bytes) -> dict[str, Any]:
    """Decode the holder of a lease; {} if it is damaged, which a live run repairs within seconds."""
    try:
        holder = json.loads(data)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def is_released(data: bytes | None) -> bool:
    """Return whether a lease is gone or was released by its run."""
    return data is None or bool(decode(data).get("released"))
