"""Tables on a store that fails while they are read: unreachable does not mean damaged or lost."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import retry as patience
from pipeline.storage import storage
from pipeline.storage.errors import BucketMissingError
from pipeline.storage.s3 import CheckedS3
from pipeline.tables.maintenance.verify.findings import Unchecked, Verification
from pipeline.tables.maintenance.verify.verification import verify
from pipeline.tables.runs import read_reports
from pipeline.tables.tables import Tables
from schemas.errors import EarmarkError, StoreError
from tests.e2e.earmark import call, earmark
from tests.matrix import each_value_once
from tests.s3_proxy import FaultyProxy, faulty_proxy
from tests.table_history import TableHistory, tracks

pytestmark = pytest.mark.s3

AWAY = ("slow_down", "internal_error", "no_answer", "access_denied", "no_such_bucket", "cut_body")
ADVICE = re.compile(r"remove|move it away|move them away|damaged|lost\b", re.IGNORECASE)
"""Words that must not be said about tables that are only unreachable."""


@pytest.fixture
def proxy(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy in front of the S3 server, with shorter waits for a failing store."""
    with faulty_proxy(s3_environment["AWS_ENDPOINT_URL"], seed=1) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.01)
        defaults = CheckedS3.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "tries", 1)
        monkeypatch.setattr(CheckedS3, "retries", 1)
        storage.filesystem.cache_clear()
        yield running
    storage.filesystem.cache_clear()


@pytest.fixture
def tables(bucket: str, proxy: FaultyProxy) -> Tables:
    """Intact tables of two days on S3."""
    made = TableHistory(f"{bucket}/tables")
    made.model()
    made.run(tracks(8), failing=tracks(2, start=20))
    made.run(tracks(4, etag="2"), unchanged=6)
    return made.tables


def check(tables: Tables) -> Verification:
    return verify(tables, read_reports(tables))


def checked(tables: Tables) -> Verification:
    """The verification; of a store that does not even list what there is, one that says so."""
    try:
        return check(tables)
    except StoreError as error:
        return Verification(0, 0, (), (), (Unchecked("", str(error)),))


def assert_out_of_reach(tables: Tables) -> None:
    """Unreadable parts must be named as such, without claims of loss or advice to remove them."""
    verification = checked(tables)
    assert not verification.faulty
    assert verification.unchecked
    assert not verification.sound
    assert verification.accounts == ()
    assert not any(ADVICE.search(each.reason) for each in verification.unchecked)


@pytest.mark.parametrize(
    ("kind", "below"), each_value_once(AWAY, ["labels", "tracks", "model.json", "plan.parquet"])
)
def test_what_is_out_of_reach_is_neither_lost_nor_damaged(
    tables: Tables, proxy: FaultyProxy, kind: str, below: str
) -> None:
    """Users told to remove parts that a throttling store did not return would lose labels."""
    assert check(tables).sound
    proxy.rate, proxy.kinds, proxy.below = 1.0, (kind,), f"/tables/{below}"
    if below in {"model.json", "plan.parquet"}:
        proxy.below = below
    assert_out_of_reach(tables)
    proxy.rate = 0.0
    assert check(tables).sound


@pytest.mark.parametrize("kind", ["cut_body", "short_body", "truncated_body"])
def test_a_body_that_the_store_cuts_now_and_then_is_read_again(
    tables: Tables, proxy: FaultyProxy, kind: str
) -> None:
    """A truncated response must not count as a truncated part unless a second read confirms it."""
    proxy.rate, proxy.kinds = 0.1, (kind,)
    for _ in range(100):
        verification = checked(tables)
        assert not verification.faulty
        if verification.sound and proxy.injected[kind]:
            return
    pytest.fail("it was never read whole")


def test_a_part_without_an_md5_that_is_always_cut_is_not_damaged(
    tables: Tables, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an object that was uploaded in pieces, or under a key of KMS, the store names no MD5: only the size
    that it lists tells that half of it came."""
    from pipeline.storage import s3 as checked_s3

    monkeypatch.setattr(checked_s3, "_MD5", re.compile("none has this form"))
    for below in ("labels", "plan.parquet", "model.json", "_runs"):
        proxy.rate, proxy.kinds, proxy.below = 1.0, ("truncated_body",), below
        assert_out_of_reach(tables)


def test_a_damaged_part_is_still_found_beside_one_out_of_reach(tables: Tables, proxy: FaultyProxy) -> None:
    """Caution about the store must not hide real damage."""
    folder = tables.folder("labels")
    label_parts = [name for name in storage.filesystem("s3").find(folder) if name.endswith(".parquet")]
    location = f"s3://{label_parts[0]}"
    data = storage.read_bytes(location)
    storage.write_bytes(location, data[: len(data) // 2])
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("slow_down",), "/tables/failures"
    verification = check(tables)
    assert [finding.kind for finding in verification.findings if finding.fault] == ["unreadable part"]
    assert [each.path.partition("/")[0] for each in verification.unchecked] == ["failures"]


def test_the_command_says_so_and_exits_with_a_code_of_its_own(tables: Tables, proxy: FaultyProxy) -> None:
    """A nightly check must tell its scheduler 'ask again' apart from 'lost' and from 'all is well'."""
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("access_denied",), "/tables/labels"
    said = earmark("verify", tables.root, AWS_ENDPOINT_URL=proxy.url)
    assert said.returncode == 4, said.stderr
    assert "COULD NOT BE CHECKED" in said.stdout
    assert "access is denied" in said.stdout
    assert not ADVICE.search(said.stdout)
    whole = earmark("verify", tables.root, "--format", "json", AWS_ENDPOINT_URL=proxy.url)
    assert whole.returncode == 4
    found = json.loads(whole.stdout)
    assert (found["sound"], found["complete"], found["accounts"]) == (False, False, [])
    proxy.below = ""
    refused = earmark("verify", tables.root, AWS_ENDPOINT_URL=proxy.url)
    assert refused.returncode == 4, refused.stderr
    assert "could not be checked" in refused.stderr
    assert not ADVICE.search(refused.stderr)


@pytest.mark.parametrize(
    "command",
    [("status",), ("labels",), ("failures",), ("trends",), ("vacuum",), ("compact", "--dry-run"), ("ddl",)],
)
def test_commands_that_read_say_that_the_store_failed(
    tables: Tables, proxy: FaultyProxy, command: tuple[str, ...]
) -> None:
    """A sentence about the store, and no advice about the tables."""
    proxy.rate, proxy.kinds, proxy.below = 1.0, ("no_such_bucket",), "/tables"
    for below in ("_runs", "tables/labels", "prefix=tables"):
        proxy.below = below
        done = call(command[0], tables.root, *command[1:])
        assert "internal error" not in done.stderr
        assert not ADVICE.search(done.stderr)
        assert done.returncode in {0, 1}, done.stderr
        if done.returncode:
            assert "does not exist" in done.stderr


@pytest.mark.parametrize("on", ["features", "embeddings"])
def test_training_says_that_the_bucket_of_its_data_does_not_exist(
    tmp_path: Path, s3_environment: dict[str, str], on: str
) -> None:
    """The command ended in an internal error, to be reported to us."""
    done = call("train", "s3://no-such-bucket/shelves", "--on", on, "--out", str(tmp_path / "model"))
    assert done.returncode == 1
    assert "cannot look at s3://no-such-bucket/shelves: the bucket no-such-bucket does not" in done.stderr


def test_a_bucket_that_is_gone_for_a_moment_is_no_bucket_without_tables(
    tables: Tables, proxy: FaultyProxy
) -> None:
    """A run that mistook it for an empty table would label the whole catalog again."""
    proxy.rate, proxy.kinds = 1.0, ("no_such_bucket",)
    bucket = tables.root.split("/")[2]
    for ask in (
        lambda: storage.exists(tables.folder("labels")),
        lambda: storage.list_names(f"{tables.root}/_lease"),
        lambda: storage.read_bytes(f"{tables.root}/_runs/x.json"),
        lambda: tables.read("labels", ["track_id"]),
        lambda: read_reports(tables),
    ):
        with pytest.raises((BucketMissingError, EarmarkError), match=f"the bucket {bucket} does not exist"):
            ask()


def test_a_part_that_may_not_be_read_is_not_damaged(tmp_path: Path) -> None:
    """On a disk too, users who may not read the labels must not be told to remove them."""
    made = TableHistory(tmp_path)
    made.model()
    made.run(tracks(8))
    part = next(Path(made.tables.folder("labels")).rglob("*.parquet"))
    part.chmod(0)
    try:
        part.read_bytes()
    except PermissionError:
        pass
    else:
        pytest.skip("this user may read everything")
    (unchecked,) = check(made.tables).unchecked
    assert "access is denied" in unchecked.reason
