"""The version of a file's content: the store's entity tag, or its size and modification time."""

import os
from datetime import datetime
from typing import Any

FileStat = tuple[int, str, float]
"""Size, etag and modification time of a file, as its store reports them."""


def file_stat(info: dict[str, Any]) -> FileStat:
    """Return size, etag and modification time from an fsspec info."""
    modified = info.get("LastModified") or info.get("mtime") or info.get("created") or 0.0
    modified_at = modified.timestamp() if isinstance(modified, datetime) else float(modified)
    size = int(info.get("size") or 0)
    etag = str(info.get("ETag") or info.get("etag") or f"{size}-{modified_at}").strip('"')
    return size, etag, modified_at


def etag_of(status: os.stat_result) -> str:
    """Return the version of a local file: its size and modification time."""
    return f"{status.st_size}-{status.st_mtime_ns}"
