"""Create a RayJob from a suspended one and wait for it to end; the pod of the nightly CronJob runs this.

The template is read from the cluster, so that kustomize can put values into it. The new RayJob is named after
the Kubernetes Job that owns it. A pod that takes over from an evicted one therefore finds the existing RayJob
instead of creating a second, and deleting the Job deletes its RayJob.

Exit codes: 0 the run succeeded, 1 it failed, 2 the Kubernetes API refused a request, 5 another run holds the
tables, 75 the API did not answer for 15 minutes.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import requests

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POLL_S = 15.0
GIVE_UP_AFTER_S = 900.0
HELD = 5
"""Exit code of `earmark run` if another run holds the tables."""


class RefusedError(Exception):
    """The Kubernetes API refused a request."""


class RayJobs:
    """The RayJobs in the namespace of the pod, read and created with its service account."""

    def __init__(self, api_url: str, account: Path) -> None:
        self.account = account
        self.url = f"{api_url}/apis/ray.io/v1/namespaces/{(account / 'namespace').read_text()}/rayjobs"

    def create(self, rayjob: dict[str, Any]) -> None:
        """Create the RayJob, unless one of that name exists."""
        self._send("POST", self.url, rayjob, also=requests.codes.conflict)

    def read(self, name: str) -> dict[str, Any]:
        """Read a RayJob; its status is empty until the operator has set it."""
        return dict(self._send("GET", f"{self.url}/{name}").json())

    def _send(
        self, method: str, url: str, body: dict[str, Any] | None = None, also: int | None = None
    ) -> requests.Response:
        # Read the token each time: Kubernetes rotates it while the pod runs.
        headers = {"Authorization": f"Bearer {(self.account / 'token').read_text()}"}
        answer = requests.request(
            method, url, json=body, headers=headers, timeout=30, verify=str(self.account / "ca.crt")
        )
        if 400 <= answer.status_code < 500 and answer.status_code not in (also, 429):
            raise RefusedError(f"{answer.status_code} {answer.text}")
        if answer.status_code != also:
            answer.raise_for_status()
        return answer


def from_template(template: dict[str, Any], name: str, job_name: str, job_uid: str) -> dict[str, Any]:
    """Make a RayJob that is owned by a Job, so that both are deleted together."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job_uid}
    labels = template["metadata"].get("labels") or {}
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {key: value for key, value in template["spec"].items() if key != "suspend"},
    }


def run(rayjobs: RayJobs, template: str, job_name: str, job_uid: str) -> int:
    """Create the RayJob and wait for it to end; retry transient errors for `GIVE_UP_AFTER_S`.

    Parameters
    ----------
    rayjobs : RayJobs
        The RayJobs of the namespace.
    template : str
        Name of the suspended RayJob.
    job_name, job_uid : str
        The Job that is to own the new one.

    Returns
    -------
    int
        The exit code.
    """
    # Not the name of the Job: KubeRay makes another Job with the name of the RayJob, which submits the run.
    name = f"{job_name}-ray"
    created, said = False, ""
    last_answer = time.monotonic()
    while True:
        try:
            if not created:
                rayjobs.create(from_template(rayjobs.read(template), name, job_name, job_uid))
                created = True
            status = rayjobs.read(name).get("status") or {}
        except RefusedError as error:
            print(f"The Kubernetes API refused RayJob {name}: {error}", flush=True)
            return 2
        except requests.RequestException as error:
            if time.monotonic() - last_answer > GIVE_UP_AFTER_S:
                print(f"The Kubernetes API does not answer about RayJob {name}: {error}", flush=True)
                return 75
        else:
            last_answer = time.monotonic()
            deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
            line = f"RayJob {name}: {deployment or 'New'} {job} {status.get('message', '')}".rstrip()
            if line != said:
                print(line, flush=True)
                said = line
            if deployment in ("Complete", "Failed", "ValidationFailed"):
                return _exit_code(job, str(status.get("message", "")))
        time.sleep(POLL_S)


def _exit_code(job: str, message: str) -> int:
    if job == "SUCCEEDED":
        return 0
    # KubeRay passes on the message of Ray's job server, the only place that has the exit code of the run.
    found = re.search(r"failed with exit code (\d+)", message)
    return HELD if found and int(found[1]) == HELD else 1


def main() -> int:
    """Run the template named on the command line for the Job named in the environment."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    rayjobs = RayJobs(f"https://{host}:{port}", ACCOUNT)
    return run(rayjobs, sys.argv[1], os.environ["JOB_NAME"], os.environ["JOB_UID"])


if __name__ == "__main__":
    sys.exit(main())
