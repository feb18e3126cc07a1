"""The right to be forgotten in a bucket, where folders cannot be swapped."""

from typing import Any

import pytest

from pipeline.storage import storage
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from tests.traces import find_in_tables
from tests.unit.test_purge import TEXTS, make_history, others, purge

pytestmark = pytest.mark.s3


class _KilledError(Exception):
    pass


@pytest.mark.thorough
def test_nothing_is_left_in_a_bucket_whenever_the_purge_is_killed(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge that dies half-way leaves old parts beside the new ones, and nobody looks for them again."""
    tables = make_history(f"{bucket}/tables").tables
    kept = others(tables)
    assert find_in_tables(tables, *TEXTS)
    put, delete = storage.write_bytes, storage.delete
    for step in (2, 9, 15, 27):
        left = step

        def fail(location: str) -> None:
            nonlocal left
            left -= "_lease" not in location
            if left <= 0 and "_lease" not in location:
                raise _KilledError

        def failing_put(location: str, *arguments: Any, **options: Any) -> None:
            fail(location)
            put(location, *arguments, **options)

        def failing_delete(location: str, **options: Any) -> None:
            fail(location)
            delete(location, **options)

        with monkeypatch.context() as patched:
            patched.setattr(storage, "write_bytes", failing_put)
            patched.setattr(storage, "delete", failing_delete)
            with pytest.raises(_KilledError):
                purge(tables)
    purge(tables)
    assert find_in_tables(tables, *TEXTS) == []
    assert others(tables) == kept
    assert verify(tables, read_reports(tables), deep=True).findings == ()
    assert storage.list_names(f"{tables.root}/_purge") == []
