"""Failure rows: one for each track that cannot be labeled."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from schemas.errors import TrackError
from schemas.tables import FAILURES

_MESSAGE_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """A track version that failed, and why.

    Attributes
    ----------
    track_id, uri, etag : str
        The track as listed.
    attempts : int
        Runs that have tried it, this one included.
    error : TrackError
        What went wrong.
    model : str or None
        The model, where labeling failed.
    feature_set : str or None
        The feature set, where the failure is one of its making: another one may not fail.
    """

    track_id: str
    uri: str
    etag: str
    attempts: int
    error: TrackError
    model: str | None = None
    feature_set: str | None = None


def failure_rows(failures: Iterable[Failure], failed_at: datetime | None = None) -> pa.Table:
    """Failures as rows of the table ``failures``; those of now, where no other time is given."""
    failed_at = failed_at or datetime.now(UTC)
    rows = [
        {
            "track_id": failure.track_id,
            "uri": failure.uri,
            "etag": failure.etag,
            "stage": failure.error.stage,
            "error_type": type(failure.error).__name__,
            "message": _message(failure.error),
            "attempts": failure.attempts,
            "retryable": failure.error.retryable,
            "model": failure.model,
            "feature_set": failure.feature_set,
            "failed_at": failed_at,
        }
        for failure in failures
    ]
    return pa.Table.from_pylist(rows, FAILURES)


def _message(error: TrackError) -> str:
    """What was wrong, as text that a table can hold; of a message with a very long name, both ends."""
    text = str(error).encode("utf-8", "backslashreplace").decode()
    half = _MESSAGE_CHARACTERS // 2
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:half]}…{text[1 - half :]}"
