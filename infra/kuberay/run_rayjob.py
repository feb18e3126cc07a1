"""Make the RayJob of a manifest and wait until it has ended: what the nightly CronJob's pod runs.

The RayJob takes the name of the Kubernetes Job around it. So a pod that takes over from an evicted one finds
the RayJob that is there instead of making a second, and deleting the Job deletes its RayJob.

Exit: 0 the run succeeded, 1 it failed, 2 the Kubernetes API refused, 75 it could not be reached for long.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import requests
import yaml

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POLL_S = 15.0
PATIENCE_S = 900.0


class RefusedError(Exception):
    """The Kubernetes API understood the request and said no."""


class RayJobs:
    """The RayJobs of the pod's namespace, through the Kubernetes API, as the pod's service account."""

    def __init__(self, api_url: str, account: Path) -> None:
        self.account = account
        self.url = f"{api_url}/apis/ray.io/v1/namespaces/{(account / 'namespace').read_text()}/rayjobs"

    def create(self, rayjob: dict[str, Any]) -> None:
        """Make the RayJob, unless one of its name is there."""
        self._send("POST", self.url, rayjob, also=requests.codes.conflict)

    def status(self, name: str) -> dict[str, Any]:
        """Read a RayJob's status; empty until the operator has seen it."""
        return dict(self._send("GET", f"{self.url}/{name}").json().get("status") or {})

    def _send(
        self, method: str, url: str, body: dict[str, Any] | None = None, also: int | None = None
    ) -> requests.Response:
        # The token is read each time: Kubernetes replaces it while the pod runs.
        headers = {"Authorization": f"Bearer {(self.account / 'token').read_text()}"}
        answer = requests.request(
            method, url, json=body, headers=headers, timeout=30, verify=str(self.account / "ca.crt")
        )
        if 400 <= answer.status_code < 500 and answer.status_code not in (also, 429):
            raise RefusedError(f"{answer.status_code} {answer.text}")
        if answer.status_code != also:
            answer.raise_for_status()
        return answer


def owned(rayjob: dict[str, Any], job_name: str, job_uid: str) -> dict[str, Any]:
    """Name the RayJob after its Job and let it be deleted with it."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job_uid}
    kept = {key: value for key, value in rayjob["metadata"].items() if key != "generateName"}
    return rayjob | {"metadata": kept | {"name": job_name, "ownerReferences": [owner]}}


def run(rayjobs: RayJobs, rayjob: dict[str, Any]) -> int:
    """Make the RayJob and wait for its end; faults that pass are tried again for `PATIENCE_S`."""
    name, created, said = rayjob["metadata"]["name"], False, ""
    last_answer = time.monotonic()
    while True:
        try:
            if not created:
                rayjobs.create(rayjob)
                created = True
            status = rayjobs.status(name)
        except RefusedError as error:
            print(f"The Kubernetes API refused RayJob {name}: {error}", flush=True)
            return 2
        except requests.RequestException as error:
            if time.monotonic() - last_answer > PATIENCE_S:
                print(f"The Kubernetes API gives no answer about RayJob {name}: {error}", flush=True)
                return 75
        else:
            last_answer = time.monotonic()
            deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
            line = f"RayJob {name}: {deployment or 'New'} {job} {status.get('message', '')}".rstrip()
            if line != said:
                print(line, flush=True)
                said = line
            if deployment in ("Complete", "Failed"):
                return 0 if job == "SUCCEEDED" else 1
        time.sleep(POLL_S)


def main() -> int:
    """Take the manifest from the command line and the Job's name and uid from the environment."""
    rayjob = yaml.safe_load(Path(sys.argv[1]).read_text("utf-8"))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    rayjobs = RayJobs(f"https://{host}:{port}", ACCOUNT)
    return run(rayjobs, owned(rayjob, os.environ["JOB_NAME"], os.environ["JOB_UID"]))


if __name__ == "__main__":
    sys.exit(main())
