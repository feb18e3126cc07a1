"""Known-good sounds distinguish a machine that cannot decode from a track that cannot be decoded."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from unittest.mock import Mock, patch

import pyarrow as pa
import pytest

from pipeline.catalogs.catalog import list_catalog
from pipeline.shards.featurize_shard import Shard, ShardResult, featurize_shard
from pipeline.shards.isolation import Isolated, ProcessDiedError
from pipeline.shards.known_good import check_process, featurize_known_good
from pipeline.shards.limits import TIMED_OUT, TrackLimits
from pipeline.tables.tables import Tables
from schemas.errors import EnvironmentFaultError
from schemas.features import FeatureSpec
from tests.broken import BROKEN_LIBRARY, TRUNCATED_LIBRARY, WITHOUT_MODULE, WRONG_BUILD, with_soxr
from tests.e2e.earmark import read_table
from tests.encoders import encode, sweep
from tests.hostile import absurd_wav, write_sparse

pytestmark = pytest.mark.slow

SPEC = FeatureSpec()
LIMITS = TrackLimits(600.0, 320 << 20)


@pytest.fixture
def process() -> Iterator[Isolated]:
    with closing(Isolated()) as opened:
        yield opened


@pytest.mark.parametrize("min_s", [1.0, 30.0])
@pytest.mark.parametrize("kind", [{}, {"log_mel": False, "descriptors": True}])
def test_known_good_sounds_pass(min_s: float, kind: dict[str, bool]) -> None:
    """Fails: for some feature sets, every node is called broken."""
    featurize_known_good(FeatureSpec(min_s=min_s, **kind))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (WRONG_BUILD, "crashes its decoder (SIGILL)"),
        (TRUNCATED_LIBRARY, "crashes its decoder (SIGBUS)"),
        (BROKEN_LIBRARY, "no room left in the cache"),
    ],
)
def test_a_machine_that_cannot_decode_is_detected(
    process: Isolated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    """A library built for another processor must not turn a whole catalog into failures."""
    monkeypatch.setattr(sys, "path", [str(with_soxr(tmp_path / "wrong", source)), *sys.path])
    with pytest.raises(EnvironmentFaultError) as caught:
        check_process(process, SPEC, LIMITS, None)
    assert words in str(caught.value)


def test_an_impossible_limit_is_not_a_tracks_fault(process: Isolated) -> None:
    """A typo in --track-timeout must end the run, not fail the whole catalog permanently."""
    with pytest.raises(EnvironmentFaultError, match="--track-timeout"):
        check_process(process, SPEC, TrackLimits(1e-4, 1 << 40), TIMED_OUT)


def spoil(how: str) -> None:
    """Corrupt this process as some decoders do after a bad file."""
    fault = RuntimeError("no file can be opened") if how == "it fails" else partial(ctypes.string_at, 0)
    patch("soxr.resample", Mock(side_effect=fault)).start()


@pytest.mark.parametrize("how", ["it fails", "it crashes"])
def test_a_corrupted_process_is_not_the_machines_fault(process: Isolated, how: str) -> None:
    """A file that corrupts the decoder's heap or uses up its file descriptors must not end every run."""
    process.call(spoil, how)
    with pytest.raises((EnvironmentFaultError, ProcessDiedError)):
        process.call(featurize_known_good, SPEC)
    process.call(spoil, how)
    check_process(process, SPEC, LIMITS, None)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A good track, one that is not audio, and one that exceeds its memory limit."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "good.wav").write_bytes(encode(sweep(44100, 2), 44100, "wav"))
    (folder / "notes.mp3").write_bytes(b"These are no sounds.\n" * 99)
    write_sparse(folder / "absurd.wav", *absurd_wav(20_000_000))
    return folder


def featurize(catalog: Path, tables: Tables, *, isolated: bool, confirming: bool) -> ShardResult:
    listing = list_catalog(str(catalog))
    listing = listing.append_column("attempts", pa.array([0] * listing.num_rows, pa.int32()))
    shard = Shard("000000", "20260101-000000-test", SPEC.feature_set, listing, datetime.now(UTC))
    return featurize_shard(
        shard, tables, SPEC, lambda: None, limits=LIMITS, isolated=isolated, confirming=confirming
    )


def test_a_track_that_kills_its_process_is_a_suspect_and_then_a_failure(
    catalog: Path, tmp_path: Path
) -> None:
    """One dead process must not condemn a track; a second one must, or it is retried every night."""
    tables = Tables(str(tmp_path / "tables"))
    first = featurize(catalog, tables, isolated=True, confirming=False)
    assert (first.n_featurized, first.n_failed, len(first.suspects)) == (1, 1, 1)
    assert len(read_table(tables.root, "tracks")) == 2, "what is not decided is left out"
    assert set(read_table(tables.root, "failures")["error_type"]) == {"DecodeError"}
    second = featurize(catalog, tables, isolated=True, confirming=True)
    assert (second.n_featurized, second.n_failed, second.suspects) == (1, 2, ())
    assert set(read_table(tables.root, "failures")["error_type"]) == {"DecodeError", "TooMuchMemoryError"}


def test_a_shard_of_suspects_writes_nothing(catalog: Path, tmp_path: Path) -> None:
    """Fails: an album that crashes its decoder breaks the writing of its shard."""
    for name in ("good.wav", "notes.mp3"):
        (catalog / name).unlink()
    result = featurize(catalog, Tables(str(tmp_path / "tables")), isolated=True, confirming=False)
    assert (result.n_featurized, result.n_failed, len(result.suspects)) == (0, 0, 1)
    assert not list((tmp_path / "tables").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("source", "error"), [(BROKEN_LIBRARY, EnvironmentFaultError), (WITHOUT_MODULE, ImportError)]
)
def test_a_broken_library_is_not_a_tracks_fault(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[Exception]
) -> None:
    """A broken or missing library on one machine must not be recorded as failures of its tracks."""
    (catalog / "absurd.wav").unlink()
    fault = ModuleNotFoundError("No module named 'soxr'") if error is ImportError else RuntimeError("broken")
    with monkeypatch.context() as patched:
        patched.setattr("soxr.resample", Mock(side_effect=fault))
        with pytest.raises(error):
            featurize(catalog, Tables(str(tmp_path / "tables")), isolated=False, confirming=False)
    monkeypatch.setattr(sys, "path", [str(with_soxr(tmp_path / "wrong", source)), *sys.path])
    with pytest.raises(EnvironmentFaultError):
        featurize(catalog, Tables(str(tmp_path / "tables")), isolated=True, confirming=False)
    assert not list((tmp_path / "tables").rglob("*.parquet"))
