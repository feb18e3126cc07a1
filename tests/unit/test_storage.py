"""Writes are atomic, and names are taken literally."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.storage import storage
from schemas.errors import EarmarkError, MisuseError, StoreError


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    """An export that only its owner may read would be open to all after the next one."""
    file = tmp_path / "labels.csv"
    file.write_text("old")
    file.chmod(0o600)
    storage.write_bytes(str(file), b"new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_file_is_renamed_only_if_the_check_passes(tmp_path: Path) -> None:
    """A network mount may hang for minutes during a write; by then another run may hold the lease."""
    target, looks = tmp_path / "part", []

    def check() -> None:
        looks.append(target.exists())
        if len(looks) == 2:
            raise EarmarkError("another run has taken over")

    with pytest.raises(EarmarkError):
        storage.write_bytes(str(target), b"late", check=check)
    assert looks == [False, False]
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_object_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk during a rewrite must not lose the old part, nor leave a file that readers see."""
    target = tmp_path / "table" / "part.parquet"
    storage.write_bytes(str(target), b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.write_bytes(str(target), b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert os.listdir(target.parent) == ["part.parquet"]


def test_an_export_that_fails_halfway_leaves_the_old_file(tmp_path: Path) -> None:
    """A store that fails in the middle of an export of gigabytes would leave a file that looks complete."""
    target = tmp_path / "labels.csv"
    storage.write_chunks(str(target), iter([b"track,", b"genre\n"]))
    assert target.read_bytes() == b"track,genre\n"

    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise StoreError("the store is away")

    with pytest.raises(StoreError):
        storage.write_chunks(str(target), chunks())
    assert target.read_bytes() == b"track,genre\n"
    assert os.listdir(tmp_path) == ["labels.csv"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """``--out /dev/null``, as root in a container, would replace the device by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        storage.write_bytes(str(pipe), b"data")
        assert os.read(reader, 10) == b"data"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_links_target_is_written(tmp_path: Path) -> None:
    """A link to where a team reads the labels would become a file that nobody reads."""
    (tmp_path / "link.csv").symlink_to(tmp_path / "labels.csv")
    storage.write_bytes(str(tmp_path / "link.csv"), b"new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "labels.csv").read_bytes() == b"new"


def test_create_makes_an_object_once(tmp_path: Path) -> None:
    """Two runs that start at once must not both hold the lease."""
    target = str(tmp_path / "lease" / "1.json")
    assert storage.create(target, b"first")
    assert not storage.create(target, b"second")
    assert storage.read_bytes(target) == b"first"
    assert storage.list_names(str(tmp_path / "lease")) == ["1.json"]


def test_a_disk_without_links_keeps_no_part_of_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, each later run would have found the lease of one that never began."""
    target = tmp_path / "lease.json"

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def full(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(target):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            storage.create(str(target), b"first")
    assert os.listdir(tmp_path) == []
    assert storage.create(str(target), b"second")
    assert not storage.create(str(target), b"third")
    assert target.read_bytes() == b"second"


def test_missing_objects_have_no_names_and_can_be_deleted(tmp_path: Path) -> None:
    """On a first run there are no tables, which is not an error."""
    assert storage.list_names(str(tmp_path / "nothing")) == []
    storage.delete(str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", ["plain.mp3", "with space #1 100% ü.mp3", "a::b.mp3", "c?d*[e].mp3"])
def test_odd_names_round_trip(tmp_path: Path, name: str) -> None:
    """A file whose name looks like a URL, a glob or an encoding is opened under exactly that name."""
    path = tmp_path / name
    path.write_bytes(b"music")
    with storage.open_binary(storage.local_uri(str(path)), 5) as file:
        assert file.read() == b"music"


def test_a_name_that_is_not_utf8_round_trips(tmp_path: Path) -> None:
    """Old archives have Latin-1 names; tables hold text, by which the file must still be found."""
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.mp3")
    with open(path, "wb") as file:
        file.write(b"music")
    uri = storage.local_uri(os.fsdecode(path))
    assert uri.encode("utf-8").startswith(b"file://")
    assert storage.read_bytes(uri) == b"music"


@pytest.mark.parametrize("location", ["music", "./a.mp3", "~/music", "file:x"])
def test_what_depends_on_the_current_folder_or_home_is_relative(location: str) -> None:
    """A submitted run would be given a folder of the head, or a purge would miss tracks below a catalog."""
    assert storage.is_relative(location)


@pytest.mark.parametrize("location", ["/music", "file:///music", "FILE:/music", "s3://bucket/music"])
def test_absolute_paths_and_uris_are_not_relative(location: str) -> None:
    """A purge would look for a track below each catalog, or a submitted run be refused."""
    assert not storage.is_relative(location)


def test_an_unknown_protocol_is_named() -> None:
    """The message for a typo such as s4:// names what was not understood."""
    with pytest.raises(MisuseError, match="s4://"):
        storage.filesystem("s4")


def test_store_errors_become_one_sentence(tmp_path: Path) -> None:
    """A user who points the tables at a file gets a reason, not a traceback."""
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file" / "part")
    with (
        pytest.raises(EarmarkError, match=r"cannot write .*: a file is where a folder should be"),
        storage.explain_errors(where, "write"),
    ):
        storage.write_bytes(where, b"")


def test_a_key_may_hold_what_s3fs_takes_for_a_version() -> None:
    """``x?versionId=1.mp3`` was read as ``x``, so the track was missing for ever."""
    store = storage.filesystem("s3")
    assert store.split_path("s3://bucket/d/x?versionId=1.mp3") == ("bucket", "d/x?versionId=1.mp3", None)
    assert [store.split_path(path)[:2] for path in ("bucket", "bucket/", "bucket/d/")] == [
        ("bucket", ""),
        ("bucket", ""),
        ("bucket", "d/"),
    ]


def test_a_working_folder_that_was_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that stands in a folder that a script made anew gets a traceback for every relative path."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(MisuseError, match="the current directory no longer exists; change to another one"):
        storage.split("music")
    assert storage.split("/music") == ("file", "/music")


@pytest.mark.parametrize(
    ("address", "advice"),
    [("minio:9000", "http://minio:9000"), ("http://", "a URL such as http://minio:9000")],
)
def test_the_address_of_a_store_is_a_url(monkeypatch: pytest.MonkeyPatch, address: str, advice: str) -> None:
    """Whoever writes host:port, as MinIO prints it, is told of an internal error."""
    from pipeline.storage.s3 import CheckedS3

    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(
        MisuseError, match=f"the address {address} in AWS_ENDPOINT_URL .* write it as {advice}"
    ):
        CheckedS3(skip_instance_cache=True).exists("bucket/key")


def test_a_relative_name_that_is_not_utf8_becomes_a_uri_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`earmark plot` of such a track ends as an internal error."""
    monkeypatch.chdir(tmp_path)
    uri = storage.local_uri(os.fsdecode(b"caf\xe9.wav"))
    assert uri == f"file://{tmp_path}/caf%E9.wav"
    assert storage.split(uri) == ("file", f"{tmp_path}/" + os.fsdecode(b"caf\xe9.wav"))


@pytest.mark.parametrize("scheme", ["s3", "s3n"])
@pytest.mark.parametrize("user", ["KEY:sec/ret@", "KEY:secret@", "KEY@"])
def test_keys_in_an_address_are_refused_and_not_repeated(scheme: str, user: str) -> None:
    """The secret stands in the log of cron, in the journal and in a chat, in an error about a regex."""
    with pytest.raises(MisuseError, match=r"takes no keys.*AWS_ACCESS_KEY_ID") as caught:
        storage.split(f"{scheme}://{user}bucket/music")
    assert "sec" not in str(caught.value)
    assert storage.split(f"{scheme}://bucket/AC:DC@C") == ("s3", "bucket/AC:DC@C")
    assert storage.split("s3://arn:aws:s3:us-east-1:1:accesspoint/a/b")[0] == "s3"
