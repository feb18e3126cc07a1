"""``earmark submit``: run on a cluster through its job server, from a machine that is not part of it.

The command starts on the cluster's head, where Earmark must be installed, as on all nodes.
"""

import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import requests

from jobs.console.messages import INTERRUPTED
from pipeline.background import run_in_background
from pipeline.catalogs.catalog import canonical
from pipeline.log import get_logger
from pipeline.package_versions import package_version
from pipeline.redaction import redact
from pipeline.tables.runs import new_run_name
from schemas.errors import EarmarkError, MisuseError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

log = get_logger(__name__)

T = TypeVar("T")

ADDRESS = "RAY_API_SERVER_ADDRESS"
"""Variable with the address of the job server."""
_POLL_S = (0.5, 5.0)
"""Seconds between two looks at a job: at its start, and at most."""
_OUTAGE_S = 120.0
"""Time for which the job server may not answer while a job is followed."""
_ANSWER_S = 60.0
"""Time for one answer. Ray's client waits for ever, also for a head that was lost without a word."""
_NOT_FOUND = 127
"""What a shell exits with if there is no such command."""
_NOTIFY = re.compile(r"(--notify[= ])(?:'[^']*'|[^\s'])+")
"""A URL that is a secret; Ray begins the log of a job with its command."""


class JobServer:
    """The job server of a Ray cluster.

    Parameters
    ----------
    address : str
        Its URL, such as ``http://head:8265``.

    Raises
    ------
    MisuseError
        If the address is not a URL.
    EarmarkError
        If it cannot be reached, or refuses this user.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise MisuseError(
                f"{redact(address)} is not the URL of a job server, such as http://head:8265; on a node of "
                "the cluster, use 'earmark run' with --address"
            )
        from ray.job_submission import JobSubmissionClient

        self.address = redact(address)
        before = os.environ.get(ADDRESS)
        # Otherwise, RAY_ADDRESS would win over the address that was given.
        os.environ[ADDRESS] = address
        try:
            self._client = _answer(lambda: JobSubmissionClient(address))
        except requests.JSONDecodeError as error:
            raise EarmarkError(
                f"what answers at {self.address} is no job server; name the one of Ray's dashboard, which is "
                "at port 8265 of the head unless it was changed"
            ) from error
        except Exception as error:  # Ray raises ConnectionError, RuntimeError and errors of requests
            raise EarmarkError(
                f"cannot use the job server at {self.address}: {_first_line(error)}"
            ) from error
        finally:
            if before is None:
                del os.environ[ADDRESS]
            else:
                os.environ[ADDRESS] = before

    def submit(self, job: str, catalog: str, tables: str, options: Sequence[str]) -> None:
        """Submit ``earmark run`` as the job of a name, which `new_job_name` returns.

        Raises
        ------
        EarmarkError
            If the server refuses it, or does not answer.
        """
        command = ["earmark", "run", canonical(catalog), canonical(tables), *options]
        try:
            _answer(
                lambda: self._client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=job,
                    metadata={"earmark": package_version("earmark")},
                )
            )
        except OSError as error:
            raise EarmarkError(
                f"{self.address} has not answered whether it takes the job {job} ({_first_line(error)}); "
                f"look with --follow {job} before you submit it again"
            ) from error
        except RuntimeError as error:
            raise EarmarkError(f"{self.address} does not take the job: {_first_line(error)}") from error

    def follow(self, job: str, write: Callable[[str], None]) -> int:
        """Write the log of a job until it has ended.

        Parameters
        ----------
        job : str
            Name of the job.
        write : callable
            Takes the lines of the log, one at a time, without their ends.

        Returns
        -------
        int
            The exit code of the command, or 130 if the job was stopped.

        Raises
        ------
        EarmarkError
            If there is no such job, the server does not answer for long, or the command did not start or
            was lost with its node.
        """
        n_written, pause_s = 0, _POLL_S[0]
        while True:
            details = self._details(job)
            # The log is read after the state, so that the log of a job that has ended is complete.
            *lines, rest = self._ask(lambda: self._client.get_job_logs(job)).split("\n")
            ended = details.status.is_terminal()
            if ended and rest:
                lines.append(rest)
            for line in lines[n_written:]:
                write(_NOTIFY.sub(r"\1(hidden)", redact(line.rstrip("\r"))))
            n_written = max(n_written, len(lines))
            if ended:
                return _exit_code(job, details)
            time.sleep(pause_s)
            pause_s = min(1.2 * pause_s, _POLL_S[1])

    def stop(self, job: str) -> bool:
        """Stop a job and wait until it has ended; return whether it was still running.

        Raises
        ------
        EarmarkError
            If there is no such job, or the server does not answer.
        """
        if self._details(job).status.is_terminal():
            return False
        self._ask(lambda: self._client.stop_job(job))
        while not self._details(job).status.is_terminal():
            time.sleep(_POLL_S[0])
        return True

    def _details(self, job: str) -> "JobDetails":
        return self._ask(lambda: self._client.get_job_info(job))

    def _ask(self, question: Callable[[], T]) -> T:
        """Return the server's answer, and retry for `_OUTAGE_S` if there is none."""
        start = time.monotonic()
        while True:
            try:
                return _answer(question)
            except (RuntimeError, OSError, requests.RequestException) as error:
                if "status code 404" in str(error):
                    raise EarmarkError(f"{self.address} knows no such job: {_first_line(error)}") from error
                if time.monotonic() - start > _OUTAGE_S:
                    raise EarmarkError(
                        f"the job server at {self.address} has not answered for {_OUTAGE_S:.0f} s: "
                        f"{_first_line(error)}; the job may still be running"
                    ) from error
                log.info("job server does not answer", error=_first_line(error))
                time.sleep(_POLL_S[1])


def new_job_name() -> str:
    """Return a name for a job."""
    return f"earmark-{new_run_name()}"


def _answer(question: Callable[[], T]) -> T:
    """Return the server's answer.

    Raises
    ------
    TimeoutError
        If there is none within `_ANSWER_S`.
    EarmarkError
        If the server does not accept the token, such as one that has changed while a job is followed.
    """
    from ray.exceptions import AuthenticationError

    try:
        return run_in_background(question, "job server").result(_ANSWER_S)
    except AuthenticationError as error:
        raise EarmarkError(
            "the job server does not accept the token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to that of "
            "the cluster. A job that it runs goes on"
        ) from error
    except TimeoutError:
        raise TimeoutError(f"no answer within {_ANSWER_S:.0f} s") from None


def _exit_code(job: str, details: "JobDetails") -> int:
    from ray.job_submission import JobStatus

    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.status == JobStatus.STOPPED:
        return INTERRUPTED
    code = details.driver_exit_code
    if code is None and details.driver_node_id is None:  # known as soon as a node has begun to run it
        raise EarmarkError(f"the job {job} could not be run: {details.message}")
    if code is None:
        raise EarmarkError(
            f"the job {job} ended without an exit code; finished work is kept: run the same command again "
            f"(Ray says: {details.message})"
        )
    if code == _NOT_FOUND:
        raise EarmarkError(
            "the cluster's head has no command 'earmark'; install Earmark on all nodes, or use its image"
        )
    return int(code) if code >= 0 else 128 - int(code)


def _first_line(error: Exception) -> str:
    return redact(str(error).strip().partition("\n")[0]) or type(error).__name__
