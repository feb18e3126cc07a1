"""Rows of the table ``failures``: one for each track that cannot be labeled."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from pipeline.log import get_logger
from schemas.errors import TrackError
from schemas.tables import FAILURES

log = get_logger(__name__)

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """A track version that failed, and why.

    Attributes
    ----------
    track_id, uri, etag : str
        The track as listed.
    attempts : int
        Runs that have attempted it, including this one.
    error : TrackError
        What went wrong.
    model : str or None
        The model, where labeling failed.
    feature_set : str or None
        The feature set, if the failure depends on it: the track may pass with another one.
    """

    track_id: str
    uri: str
    etag: str
    attempts: int
    error: TrackError
    model: str | None = None
    feature_set: str | None = None

    def logged(self) -> dict[str, object]:
        """Return the fields of a log record about it."""
        return {
            "track": self.uri,
            "stage": self.error.stage,
            "error_type": type(self.error).__name__,
            "error": str(self.error),
        }


def count_by_error(failures: Iterable[Failure]) -> dict[str, int]:
    """Return the number of failures by type of error."""
    return dict(Counter(type(failure.error).__name__ for failure in failures))


def failure_rows(failures: Iterable[Failure]) -> pa.Table:
    """Return failures, which happened now, as rows of the table ``failures``; each is logged."""
    failures = list(failures)
    for failure in failures:
        log.info("track failed", **failure.logged())
    failed_at = datetime.now(UTC)
    rows = [
        {
            "track_id": failure.track_id,
            "uri": failure.uri,
            "etag": failure.etag,
            "stage": failure.error.stage,
            "error_type": type(failure.error).__name__,
            "message": message_of(failure.error),
            "attempts": failure.attempts,
            "retryable": failure.error.retryable,
            "model": failure.model,
            "feature_set": failure.feature_set,
            "failed_at": failed_at,
        }
        for failure in failures
    ]
    return pa.Table.from_pylist(rows, FAILURES)


def message_of(error: TrackError) -> str:
    """Return the error as text that a table can hold: its start and end, if a very long name is in it."""
    text = str(error).encode("utf-8", "backslashreplace").decode()
    half = _MESSAGE_CHARACTERS // 2
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"
