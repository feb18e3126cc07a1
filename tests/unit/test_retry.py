"""Transient errors are retried within bounds; final ones are raised at once."""

import errno
import math
import time
from itertools import pairwise

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from s3fs.errors import translate_boto_error

from pipeline.storage import retry
from pipeline.storage.errors import StoreFailingError, VersionChangedError, is_transient, reason
from pipeline.storage.retry import RetryBudget, patient, with_retries
from schemas.errors import EarmarkError


def answer(status: int, code: str) -> Exception:
    """An S3 error response as s3fs raises it."""
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error: Exception = translate_boto_error(ClientError(response, "GetObject"))
    return error


@pytest.mark.parametrize(
    "error",
    [
        answer(500, "InternalError"),
        answer(503, "ServiceUnavailable"),
        answer(503, "SlowDown"),
        answer(500, "500"),
        answer(409, "ConditionalRequestConflict"),
        answer(400, "RequestTimeout"),
        EndpointConnectionError(endpoint_url="http://x"),
        ReadTimeoutError(endpoint_url="http://x"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError(),
        OSError(errno.ESTALE, "stale file handle"),
    ],
)
def test_overload_and_network_faults_are_transient(error: Exception) -> None:
    """If a transient error counted as final, labels would be lost every night."""
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        answer(404, "NoSuchKey"),
        answer(403, "AccessDenied"),
        answer(403, "SignatureDoesNotMatch"),
        answer(400, "InvalidArgument"),
        answer(501, "NotImplemented"),
        NoCredentialsError(),
        FileNotFoundError(errno.ENOENT, "x"),
        PermissionError(errno.EACCES, "x"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("x"),
    ],
)
def test_refusals_are_final(error: Exception) -> None:
    """Retrying a refusal wastes the night and hides its reason all that time."""
    assert not is_transient(error)
    calls = []

    def refuse() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        with_retries(refuse)
    assert len(calls) == 1


def test_a_transient_error_is_retried_with_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call is repeated after growing pauses, and its result is returned."""
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.01)
    moments = []

    def hiccup() -> int:
        moments.append(time.monotonic())
        if len(moments) < 4:
            raise ConnectionResetError
        return 7

    assert with_retries(hiccup) == 7
    gaps = [later - before for before, later in pairwise(moments)]
    assert gaps[0] >= 0.005
    assert gaps[2] >= 0.02


def test_retries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and seconds are limited, and the error names the store's reason."""
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.001)
    calls = []

    def away() -> None:
        calls.append(1)
        raise answer(503, "SlowDown")

    with pytest.raises(StoreFailingError, match="SlowDown") as caught:
        with_retries(away)
    assert 2 < len(calls) < 10
    assert is_transient(caught.value)
    monkeypatch.setattr(retry, "_GIVE_UP_S", 0.0)
    calls.clear()
    with pytest.raises(StoreFailingError):
        with_retries(away)
    assert len(calls) == 1


def test_a_patient_job_waits_for_a_store_that_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute of 503 while a run plans, or writes its last report, must not end the night."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def away_until(end_s: float) -> str:
        if now[0] < end_s:
            raise answer(503, "SlowDown")
        return "there"

    with pytest.raises(StoreFailingError):
        with_retries(lambda: away_until(30))
    now[0] = 0.0
    with patient(60):
        assert with_retries(lambda: away_until(50)) == "there"
        with patient(0), pytest.raises(StoreFailingError):  # what must end soon is not patient
            with_retries(lambda: away_until(math.inf))
        begun = now[0]
        with pytest.raises(StoreFailingError):
            with_retries(lambda: away_until(math.inf))
        assert 60 <= now[0] - begun < 90
        # A store that did not recover is waited for once, not before every further request.
        begun = now[0]
        with pytest.raises(StoreFailingError):
            with_retries(lambda: away_until(math.inf))
        assert now[0] - begun < 10


def test_each_attempt_is_checked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is tried for a minute goes on when another run has taken the tables over meanwhile, and
    labels stand there twice."""
    monkeypatch.setattr(retry, "_FIRST_PAUSE_S", 0.001)
    order: list[str] = []

    def away() -> None:
        order.append("try")
        raise ConnectionResetError

    def check() -> None:
        order.append("check")
        if len(order) == 5:
            raise EarmarkError("another run has taken over")

    with pytest.raises(EarmarkError, match="taken over"):
        with_retries(away, check)
    assert order == ["check", "try", "check", "try", "check"]


def test_a_changed_version_is_not_retried() -> None:
    """Requesting a version that is gone never succeeds; the caller must handle it."""
    calls = []

    def changed() -> None:
        calls.append(1)
        raise VersionChangedError("x")

    with pytest.raises(VersionChangedError):
        with_retries(changed)
    assert len(calls) == 1


def test_a_retry_budget_is_exhausted_only_without_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is down must not cost minutes per track; one that still answers deserves retries."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    budget = RetryBudget(100)
    budget.record(failed=True)
    now[0] = 99
    assert not budget.is_exhausted
    budget.record(failed=False)
    budget.record(failed=True)
    now[0] = 150
    budget.record(failed=True)
    assert not budget.is_exhausted
    now[0] = 200
    assert budget.is_exhausted


def test_a_full_disk_is_named() -> None:
    """The operator on call reads what to do."""
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == (
        "the disk is full (No space left on device); free some space"
    )


def test_an_archived_object_is_named() -> None:
    """S3 answers as if access were denied, and no permission helps."""
    answer = {"Error": {"Code": "InvalidObjectState", "Message": "not valid for the object's storage class"}}
    refused = translate_boto_error(ClientError(answer, "GetObject"))
    assert isinstance(refused, PermissionError)
    assert reason(refused) == "its bucket has archived it (S3 Glacier or the like); restore it there first"
