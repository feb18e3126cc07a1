"""Post to a URL how a run ended, without ever failing or delaying the run for long."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests

from jobs.run.closing import Closing
from jobs.run.request import Job
from pipeline.background import run_in_background
from pipeline.log import get_logger
from pipeline.redaction import redact
from pipeline.tables.runs import report_location
from schemas.errors import EarmarkError, LeaseHeldError
from schemas.report import RunReport

log = get_logger(__name__)

VARIABLE = "EARMARK_NOTIFY"
_PAUSES_S = (1.0, 4.0)
"""Pauses between attempts."""
_TIMEOUT_S = 8.0
_INTERRUPTED_TIMEOUT_S = 2.0
"""For a run that is asked to stop, which is soon killed."""


@contextlib.contextmanager
def notifying(job: Job, closing: Closing) -> Iterator[None]:
    """Post the outcome of a run when the ``with`` block ends, if a URL is given.

    Parameters
    ----------
    job : Job
        The request; its setting ``notify``, or the variable ``EARMARK_NOTIFY``, is the URL.
    closing : Closing
        Holds the report, once the run has one.
    """
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        if url := _url(job.config.notify):
            message = describe_end(job, closing.report, error)
            once = message["outcome"] == "interrupted"
            send(url, message, () if once else _PAUSES_S, _INTERRUPTED_TIMEOUT_S if once else _TIMEOUT_S)


def notify_misuse(
    command: str, catalog: str | None, tables: str, url: str | None, error: EarmarkError
) -> None:
    """Post that a run was refused before there was a job: for its settings, its model or its tables.

    Parameters
    ----------
    command, catalog, tables : str
        What was asked for, as given.
    url : str or None
        Where to post to; by default, the value of ``EARMARK_NOTIFY``.
    error : EarmarkError
        The reason.
    """
    if url := _url(url):
        send(url, _describe_unbegun(command, catalog, tables, error), _PAUSES_S, _TIMEOUT_S)


def _url(given: str | None) -> str:
    """Return the URL that was given, or else that of the environment; "" if there is none."""
    # A secret that was made from a file or by echo ends in a line end, which would become part of the path.
    return (given or os.environ.get(VARIABLE, "")).strip()


def describe_end(job: Job, report: RunReport | None, error: BaseException | None) -> dict[str, Any]:
    """Return the message about the end of a run.

    Parameters
    ----------
    job : Job
        The request.
    report : RunReport or None
        The report; None if the run ended before it began to work.
    error : BaseException or None
        What ended it.
    """
    if report is None:
        return _describe_unbegun(job.command, job.catalog, job.tables.root, error)
    outcome, reason = report.outcome, report.error
    if outcome == "done" and error is not None:
        outcome, reason = "failed", _reason(error)  # all work is done, but its report could not be written
    shown = _facts(
        outcome,
        reason,
        command=job.command,
        catalog=report.catalog,
        tables=job.tables.root,
    )
    location = redact(report_location(job.tables, report.run))
    return (
        {"text": _text(shown, report)}
        | shown
        | {
            "run": report.run,
            "report": location,
            "counts": report.counts.model_dump(),
            "failures": report.failures,
            "started_at": report.started_at.isoformat(),
            "finished_at": report.finished_at.isoformat() if report.finished_at else None,
            "wall_s": report.wall_s,
        }
    )


def _describe_unbegun(
    command: str, catalog: str | None, tables: str, error: BaseException | None
) -> dict[str, Any]:
    """Return the message about a run that ended before it began to work."""
    outcome = "failed" if isinstance(error, Exception) else "interrupted"
    if isinstance(error, LeaseHeldError):
        outcome = "refused"
    shown = _facts(
        outcome,
        None if outcome == "interrupted" else _reason(error),
        command=command,
        catalog=catalog,
        tables=tables,
    )
    return {"text": _text(shown, None)} | shown


def _reason(error: BaseException | None) -> str:
    """Return why a run ended; the text of an error that is not ours may hold anything."""
    return str(error) if isinstance(error, EarmarkError) else type(error).__name__


def _facts(outcome: str, error: str | None, **asked: str | None) -> dict[str, str | None]:
    """Return the fields that every message has, without secrets."""
    facts = {"outcome": outcome, "error": error} | asked
    return {key: redact(value) if value else None for key, value in facts.items()}


def _text(message: dict[str, str | None], report: RunReport | None) -> str:
    """Return one line for a chat: what ended how, with counts or the error."""
    parts = [
        f"earmark {message['command']} of {message['catalog'] or message['tables']}: {message['outcome']}"
    ]
    if report is not None:
        counts = report.counts
        verb = "featurized" if report.command == "featurize" else "labeled"
        parts.append(f"{counts.labeled:,} {verb}, {counts.failed:,} failed")
        if counts.embedded:
            parts.append(f"{counts.embedded:,} embedded")
        if counts.left:
            parts.append(f"{counts.left:,} left")
        parts.append(f"{counts.listed:,} listed, {report.wall_s:,.0f} s")
        if report.publication_error is not None:
            parts.append("the labels could not be published")
    if message["error"]:
        parts.append(message["error"])
    # Slack takes <…> for links and mentions.
    text = "; ".join(parts)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def send(url: str, message: dict[str, Any], pauses_s: tuple[float, ...], timeout_s: float) -> None:
    """Post a message as JSON, and retry if the server may accept it later; log a failure.

    The path of a URL is often a secret, so only its host is logged, and no error that may quote it.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    for attempt, pause_s in enumerate((*pauses_s, None), start=1):
        reason, is_final = _post(url, message, timeout_s)
        if reason is None:
            log.info("notification sent", host=host, attempt=attempt)
            return
        if pause_s is None or is_final:
            log.warning("notification not delivered", host=host, attempt=attempt, error=reason)
            return
        time.sleep(pause_s)


def _post(url: str, message: dict[str, Any], timeout_s: float) -> tuple[str | None, bool]:
    """Return why a message was not accepted, None if it was, and whether another attempt would be in vain."""
    try:
        # The time limit of requests is one for each packet: a name server or a server that sends byte by byte
        # could keep the run for hours.
        sending = run_in_background(lambda: _send_once(url, message, timeout_s), "notification")
        return sending.result(timeout_s)
    except TimeoutError as error:
        return type(error).__name__, False
    except RuntimeError as error:  # the system allows no more threads
        return str(error), False


def _send_once(url: str, message: dict[str, Any], timeout_s: float) -> tuple[str | None, bool]:
    """Post a message once, and return what `_post` does."""
    try:
        # The body of the answer is not read: a server could send it slowly.
        with requests.post(
            url, json=message, timeout=timeout_s, allow_redirects=False, stream=True
        ) as answer:
            status = answer.status_code
    except (requests.ConnectionError, requests.Timeout) as error:
        return type(error).__name__, False
    except (OSError, ValueError) as error:  # those of requests are OSErrors, and so is a missing CA bundle
        return type(error).__name__, True
    if 200 <= status < 300:
        return None, True
    return f"HTTP {status}", status < 500 and status != 429
