"""Publishing to a real S3 server, with the credentials that the rest of Earmark uses."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import earmark
from jobs.publish import publish_job
from pipeline.publish import parquet
from pipeline.publish.destination import Format
from pipeline.publish.object_store import delta_options
from pipeline.storage import storage
from schemas.errors import EarmarkError, MisuseError
from schemas.report import Publication
from tests.table_history import TableHistory, tracks
from tests.unit.test_publish import interfere_once

pytestmark = pytest.mark.s3


@pytest.fixture
def history(bucket: str) -> TableHistory:
    history = TableHistory(f"{bucket}/tables")
    history.run(tracks(9))
    return history


def publish(history: TableHistory, form: Format, name: str = "published ü") -> Publication:
    destination = f"{history.tables.root.rpartition('/')[0]}/{name}"
    return publish_job(history.tables.root, destination, form, None, embeddings=None)


def read(location: str, form: Format) -> list[tuple[str, str, str]]:
    if form == "delta":
        rows = pa.table(DeltaTable(location, storage_options=delta_options(location)).scan())
    else:
        path = f"{location.removeprefix('s3://')}/{parquet.FILE}"
        rows = pq.read_table(path, filesystem=storage.filesystem("s3"))
    return sorted((row["track_id"], row["etag"], row["genre"]) for row in rows.to_pylist())


def expected(history: TableHistory) -> list[tuple[str, str, str]]:
    rows = earmark.open_tables(history.tables.root).labels().to_pylist()
    return sorted((row["track_id"], row["etag"], row["genre"]) for row in rows)


@pytest.mark.parametrize("form", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_labels_in_a_bucket_follow_the_tables(history: TableHistory, form: Format) -> None:
    """A team that reads the bucket would see other labels than the tables in the same bucket have."""
    location = publish(history, form).location
    assert read(location, form) == expected(history)
    assert not publish(history, form).written
    history.run({"t0001": "2", "new": "1"}, gone={"t0002": "1"}, unchanged=7)
    done = publish(history, form)
    assert (done.changed, done.removed) == (2, 1)
    assert read(location, form) == expected(history)
    with pytest.raises(MisuseError, match="it holds"):
        publish_job(history.tables.root, location, "delta" if form == "parquet" else "parquet", None,
                    embeddings=None)  # fmt: skip


def test_the_region_is_that_of_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose role names no region, a Delta table goes to us-east-1, which refuses it."""

    class Store(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("x-amz-bucket-region", "eu-central-1")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Store) as store:
        Thread(target=store.serve_forever, daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{store.server_port}")
        storage.filesystem.cache_clear()
        assert delta_options("s3://bucket/labels")["aws_region"] == "eu-central-1"
        store.shutdown()
    storage.filesystem.cache_clear()


@pytest.mark.parametrize("form", ["parquet", pytest.param("delta", marks=pytest.mark.thorough)])
def test_two_at_once_do_not_double(
    history: TableHistory, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that lets both commit would leave each new track twice, in a version that nobody can undo."""
    location = publish(history, form).location
    history.run({"new": "1"}, unchanged=9)
    interfere_once(monkeypatch, lambda: publish(history, form))
    with pytest.raises(EarmarkError, match="another program changed"):
        publish(history, form)
    assert read(location, form) == expected(history)


@pytest.mark.parametrize("form", ["delta", pytest.param("parquet", marks=pytest.mark.thorough)])
def test_credentials_come_from_a_profile(
    history: TableHistory,
    form: Format,
    s3_environment: dict[str, str],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has keys in ~/.aws and not in variables could run every command but this one."""
    lines = [
        "[profile lake]",
        f"aws_access_key_id = {s3_environment['AWS_ACCESS_KEY_ID']}",
        f"aws_secret_access_key = {s3_environment['AWS_SECRET_ACCESS_KEY']}",
        f"endpoint_url = {s3_environment['AWS_ENDPOINT_URL']}",
        f"region = {s3_environment['AWS_DEFAULT_REGION']}",
        "request_checksum_calculation = when_required",
    ]
    (tmp_path / "config").write_text("\n".join(lines))
    for name in s3_environment:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lake")
    code = (
        "import sys; from jobs.publish import publish_job; "
        "print(publish_job(*sys.argv[1:4], None, embeddings=None).rows)"
    )
    destination = f"{history.tables.root.rpartition('/')[0]}/by-profile"
    command = [sys.executable, "-c", code, history.tables.root, destination, form]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "9\n"), done.stderr
