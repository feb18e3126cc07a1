"""The script of the nightly CronJob, against an HTTP server that answers as the Kubernetes API does."""

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

BASE = Path(__file__).resolve().parent.parent.parent / "infra" / "kuberay" / "base"
TEMPLATE: dict[str, Any] = yaml.safe_load((BASE / "rayjob.yaml").read_text("utf-8"))


class _KubernetesApi(BaseHTTPRequestHandler):
    """Answers for RayJobs as the Kubernetes API does; successive reads get the entries of `script`."""

    rayjobs: dict[str, dict[str, Any]]
    script: list[dict[str, str] | int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["metadata"]["name"]
        if self.headers["Authorization"] != "Bearer token-1":
            self._answer(403, {"message": "forbidden"})
        elif name in self.rayjobs:
            self._answer(409, {"reason": "AlreadyExists"})
        else:
            self.rayjobs[name] = body
            self._answer(201, body)

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if name == TEMPLATE["metadata"]["name"]:
            self._answer(200, TEMPLATE | {"status": {"jobDeploymentStatus": "Suspended"}})
            return
        if name not in self.rayjobs:
            self._answer(404, {"reason": "NotFound"})
            return
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, int):
            self._answer(step, {})
        else:
            self._answer(200, self.rayjobs[name] | {"status": step})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


Night = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    """Return a function that runs the nightly script and returns its exit code and the RayJobs."""
    module = _script()
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "GIVE_UP_AFTER_S", 0.2)
    for name, text in {"namespace": "music", "token": "token-1", "ca.crt": ""}.items():
        (tmp_path / name).write_text(text)
    servers: list[ThreadingHTTPServer] = []

    def run(
        script: list[dict[str, str] | int], *, present: tuple[str, ...] = (), bearer: str = "token-1"
    ) -> Any:
        (tmp_path / "token").write_text(bearer)
        rayjobs: dict[str, dict[str, Any]] = {name: {"metadata": {"name": name}} for name in present}
        handler = type("Handler", (_KubernetesApi,), {"rayjobs": rayjobs, "script": script})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        api = module.RayJobs(f"http://127.0.0.1:{servers[-1].server_port}", tmp_path)
        assert api.url.endswith("/apis/ray.io/v1/namespaces/music/rayjobs")
        return module.run(api, TEMPLATE["metadata"]["name"], "earmark-nightly-1", "uid-1"), rayjobs

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_rayjob", BASE / "run_rayjob.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNING: dict[str, str] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "exit code 1"}


def test_a_night_that_succeeds(night: Night) -> None:
    """The CronJob does not learn how the run ended, or leaves RayJobs behind forever."""
    code, rayjobs = night([{}, RUNNING, 503, 429, RUNNING, SUCCEEDED])
    assert code == 0
    (rayjob,) = rayjobs.values()
    assert rayjob["spec"] | {"suspend": True} == TEMPLATE["spec"]
    assert "suspend" not in rayjob["spec"], "it would never start"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "earmark-nightly-1", "uid": "uid-1"}
    # KubeRay makes a Job with the name of the RayJob, which must not be that of the CronJob.
    assert rayjob["metadata"] == {
        "name": "earmark-nightly-1-ray",
        "labels": TEMPLATE["metadata"]["labels"],
        "ownerReferences": [owner],
    }


def test_a_night_that_fails(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody notices that the run failed."""
    assert night([RUNNING, FAILED])[0] == 1
    assert "exit code 1" in capsys.readouterr().out


def test_a_rayjob_that_kuberay_refuses(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is no DNS label: the pod waits 22 hours for a run that never starts."""
    refused = {"jobDeploymentStatus": "ValidationFailed", "message": "RayJob name is invalid"}
    assert night([{}, refused, 503])[0] == 1
    assert "RayJob name is invalid" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "expected"), [(5, 5), (3, 1), (55, 1)])
def test_a_night_that_meets_another_run(night: Night, code: int, expected: int) -> None:
    """A night that only came too early looks like one whose store or cluster failed."""
    # As Ray's job server words it.
    message = f"Job entrypoint command failed with exit code {code}, last available logs (truncated …):"
    assert night([RUNNING, FAILED | {"message": f"{message}\nexit code 5"}])[0] == expected


def test_a_pod_that_takes_over_makes_no_second_rayjob(night: Night) -> None:
    """The successor of an evicted pod starts a second run beside the first."""
    code, rayjobs = night([SUCCEEDED], present=("earmark-nightly-1-ray",))
    assert code == 0
    assert rayjobs == {"earmark-nightly-1-ray": {"metadata": {"name": "earmark-nightly-1-ray"}}}


def test_a_refusal_and_an_outage_are_told_apart(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing permission is retried all night, or a short outage ends the wait."""
    assert night([RUNNING], bearer="expired")[0] == 2
    assert "forbidden" in capsys.readouterr().out
    assert night([503])[0] == 75
