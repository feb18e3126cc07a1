"""Mutants of real files, a few of those that ``make fuzz`` makes by the thousand."""

import random
from pathlib import Path

import pytest

from schemas import errors
from tests.e2e.earmark import earmark, outcomes, read_table
from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutants import KINDS, mutant

pytestmark = pytest.mark.usefixtures("on_running_ray")


@pytest.fixture(scope="module")
def seed() -> int:
    chosen = random.SystemRandom().randrange(10**6)
    print(f"seed {chosen}")
    return chosen


def test_mutants_end_no_process(seed: int) -> None:
    """A crash, a hang or an unknown error here is a file that costs a run a worker, found by chance."""
    counts, findings = fuzz(seed, range(6 * len(KINDS)))
    assert not findings, f"seed {seed}: mutant {findings}"
    assert counts.total() == 6 * len(KINDS)
    assert counts["ok"]
    assert counts["DecodeError"]


@pytest.mark.parametrize(("seed", "number"), [(978735, 7482), (909036, 2694), (412491, 10576)])
def test_what_fuzzing_found_stays_mended(seed: int, number: int) -> None:
    """No track may cause an unknown error or take minutes: an MPEG-TS in which a stream appears midway did, a
    WavPack file whose time base changes, and 180 kB of MPEG-TS with timestamps 20 hours apart."""
    counts, findings = fuzz(seed, range(number, number + 1))
    assert not findings
    assert counts.total() == 1


@pytest.mark.thorough
def test_a_catalog_of_mutants_is_counted_right(seed: int, tmp_path: Path) -> None:
    """Whatever uploads look like, each must end once, with a reason that is one of ours."""
    (tmp_path / "music").mkdir()
    n_mutants = 4 * len(KINDS)
    for number in range(n_mutants):
        kind, data = mutant(seed, number)
        (tmp_path / "music" / f"{number:04}.{EXTENSIONS.get(kind, kind)}").write_bytes(data)
    done = earmark("run", tmp_path / "music", tmp_path / "tables", "--max-failure-rate", 1)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    ended = outcomes(tmp_path / "tables")
    assert len(ended) == n_mutants, f"seed {seed}"
    assert set(ended.values()) == {1}, f"seed {seed}"
    kinds = set(read_table(tmp_path / "tables", "failures")["error_type"])
    assert kinds <= {"DecodeError", "TooShortError", "EmptyFileError"}, f"seed {seed}: {kinds}"
    assert all(issubclass(getattr(errors, kind), errors.TrackError) for kind in kinds)


EXTENSIONS = {
    "vorbis": "ogg", "adts": "aac", "alac": "m4a", "wavfloat": "wav", "wavulaw": "wav", "wavpack": "wav",
    "ac3": "wav", "oggflac": "oga", "mpegts": "m2ts", "spdif wav": "wav", "chained vorbis": "ogg",
    "glued mp3": "mp3", "glued adts": "aac",
}  # fmt: skip
"""What such files are called: not all formats have an extension that catalogs list."""
