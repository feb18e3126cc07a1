"""The extrapolation of `earmark estimate`: somebody pays for what it says."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.engine.lease import RENEW_S
from jobs.engine.lease_acquisition import FRESH_S
from jobs.estimate import find_sampled
from pipeline.estimate import overheads
from pipeline.estimate.estimate import START, Estimate, Option, Sampled, Todo, make_estimate
from pipeline.estimate.part_sizes import measure_part
from pipeline.estimate.sample import FAILED, SampledStratum
from pipeline.estimate.schedule import Machines, schedule
from pipeline.estimate.strata import OTHER_FORMATS, Stratum, draw_strata
from pipeline.estimate.totals import Total, estimate_total
from pipeline.tables.tables import encode_part
from schemas.tables import LISTING

ROOT = Path(__file__).resolve().parent.parent.parent


@given(
    st.lists(
        st.tuples(st.sampled_from(["mp3", "flac", "ogg", ""]), st.integers(0, 10**10)),
        min_size=1,
        max_size=80,
    ),
    st.integers(2, 60),
    st.integers(0, 5),
)
def test_every_track_is_in_one_stratum_and_every_stratum_has_a_sample(
    tracks: list[tuple[str, int]], n_sample: int, seed: int
) -> None:
    """Tracks would be missing from the total, or counted twice."""
    formats, sizes = [name for name, _ in tracks], np.array([size for _, size in tracks], np.int64)
    strata = draw_strata(formats, sizes, n_sample, seed)
    rows = np.concatenate([stratum.rows for stratum in strata])
    assert sorted(rows) == list(range(len(tracks)))
    for stratum in strata:
        assert len(stratum.sampled) >= min(2, stratum.n_tracks)
        assert set(stratum.sampled) <= set(stratum.rows)
        assert len(set(stratum.sampled)) == len(stratum.sampled)
        assert stratum.format == OTHER_FORMATS or {formats[row] for row in stratum.rows} == {stratum.format}
    again = draw_strata(formats, sizes, n_sample, seed)
    assert [list(one.sampled) for one in strata] == [list(one.sampled) for one in again]
    if n_sample >= len(tracks):
        assert sum(len(stratum.sampled) for stratum in strata) == len(tracks)


def test_a_few_huge_files_and_many_small_ones_are_both_sampled() -> None:
    """A thousand jingles would hide the ten audiobooks that take all the time."""
    sizes = np.array([10**5] * 1000 + [10**9] * 10, np.int64)
    strata = draw_strata(["mp3"] * 1010, sizes, 40, seed=0)
    drawn = sizes[np.concatenate([stratum.sampled for stratum in strata])]
    assert 36 <= len(drawn) <= 44
    assert (drawn == 10**9).sum() >= 8
    assert (drawn == 10**5).sum() >= 16


def test_another_seed_draws_another_sample() -> None:
    """Whoever doubts an estimate could not try again."""
    drawn = [
        [list(stratum.sampled) for stratum in draw_strata(["mp3"] * 500, np.arange(500), 20, seed)]
        for seed in (0, 1)
    ]
    assert drawn[0] != drawn[1]


def _population(kind: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Formats, sizes and costs of a synthetic catalog."""
    rng = np.random.default_rng(7)
    n = 2000
    sizes = rng.lognormal(15, 0.3 if kind == "uniform" else 1.2, n).astype(np.int64)
    formats = list(rng.choice(["mp3", "flac", "ogg", "wma", "tta"], n, p=[0.7, 0.2, 0.09, 0.005, 0.005]))
    factor = np.array(
        [{"mp3": 1.0, "flac": 0.5, "ogg": 1.5, "wma": 2.0, "tta": 3.0}[name] for name in formats]
    )
    costs = factor * np.minimum(sizes / 3e6, 1.0) * rng.lognormal(0, 0.2, n)
    if kind == "broken":
        costs[rng.random(n) < 0.05] = 0.0
    return formats, sizes, costs


def test_the_sample_is_found_in_a_catalog_of_more_text_than_arrow_joins() -> None:
    """A catalog of twenty million tracks could not be estimated: its paths are more than 2 GiB of text."""

    def listed(uri: str, etag: str) -> pa.RecordBatch:
        row = {"track_id": uri, "uri": uri, "size": 1, "etag": etag}
        return pa.RecordBatch.from_pylist([row], LISTING)

    large = listed("/music/large.mp3", "x" * (64 << 20))
    last = listed("/music/last.mp3", "v1")
    listing = pa.Table.from_batches([*[large] * 32, last])
    with pytest.raises(pa.ArrowInvalid, match="offset overflow"):
        listing.take([32])
    strata = [Stratum("mp3", np.arange(33), np.array([32])), Stratum("mp3", np.arange(33), np.array([0]))]
    found = find_sampled(listing, strata)
    assert [track.uri for track in found] == ["/music/last.mp3", "/music/large.mp3"]
    assert find_sampled(listing.slice(0, 0), []) == []


@pytest.mark.parametrize("kind", ["uniform", "mixed", "broken"])
def test_the_interval_contains_the_truth_about_nine_times_in_ten(kind: str) -> None:
    """The range would promise more than it holds, or be too wide to plan with."""
    formats, sizes, costs = _population(kind)
    totals = []
    for seed in range(200):
        strata = draw_strata(formats, sizes, 40, seed)
        totals.append(estimate_total([(one.n_tracks, costs[one.sampled]) for one in strata]))
    covered = np.mean([total.low <= costs.sum() <= total.high for total in totals])
    assert 0.84 <= covered <= 0.97
    assert abs(np.mean([total.value for total in totals]) / costs.sum() - 1) < 0.02
    assert np.mean([total.high - total.low for total in totals]) < 0.3 * costs.sum()


def test_what_was_seen_completely_is_known() -> None:
    """A small catalog, of which every track was measured, would be given a range."""
    assert estimate_total([(3, np.array([1.0, 2.0, 4.0]))]) == Total(7.0, 7.0, 7.0)
    partly = estimate_total([(30, np.array([1.0, 2.0, 40.0]))])
    assert partly.value == pytest.approx(430.0)
    assert partly.low >= 43.0, "what was seen is there"


def test_shards_are_scheduled_as_they_come() -> None:
    """The wall time of a small catalog on a large cluster would be far too short."""
    shards, no_parts = np.array([3.0, 1.0, 1.0, 2.0]), np.zeros(4)
    assert schedule(shards, no_parts, np.zeros(0), Machines(2, 2, 0)) == 4.0
    assert schedule(shards, no_parts, np.zeros(0), Machines(99, 99, 0)) == 3.0
    # An actor that is ready after 5 s labels the four parts one after another.
    assert schedule(shards, np.ones(4), np.zeros(0), Machines(9, 8, 1), actors_ready_s=5.0) == 9.0
    # Two parts of earlier runs keep it busy until 4 s; the others are ready by then.
    assert schedule(shards, np.ones(4), np.full(2, 2.0), Machines(9, 8, 1)) == 8.0
    # Without a CPU of its own, an actor takes those of the workers.
    assert schedule(shards, np.ones(4), np.zeros(0), Machines(2, 2, 1)) == 5.5


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=60), st.integers(1, 12))
def test_no_schedule_beats_the_work_or_is_worse_than_greedy(seconds: list[float], workers: int) -> None:
    """Graham's bounds: else more CPUs than there are would work, or some would be idle for nothing."""
    shards = np.array(seconds)
    wall_s = schedule(shards, np.zeros(len(shards)), np.zeros(0), Machines(workers, workers, 0))
    assert wall_s >= max(shards.sum() / workers, shards.max()) * (1 - 1e-9)
    assert wall_s <= (shards.sum() / workers + shards.max()) * (1 + 1e-9)


def test_the_tracks_of_a_part_and_its_own_bytes_add_up(tmp_path: Path) -> None:
    """Storage would be off by the footers of thousands of parts."""
    rng = np.random.default_rng(0)

    def encoded(tracks: range) -> bytes:
        rows = {
            "track_id": [str(track) for track in tracks for _ in range(3)],
            "log_mel": [rng.bytes(5000 * (track + 1)) for track in tracks for _ in range(3)],
        }
        return encode_part(pa.table(rows))

    part = tmp_path / "part.parquet"
    part.write_bytes(encoded(range(8)))
    size = measure_part(str(part), 8)
    assert size.per_part + sum(size.by_track.values()) == pytest.approx(part.stat().st_size)
    assert size.by_track["7"] == pytest.approx(120_000, rel=0.05)
    assert size.by_track["0"] == pytest.approx(15_000, rel=0.05)
    pairs = measure_part(str(part), 2)
    assert 4 * pairs.per_part + sum(pairs.by_track[str(track)] for track in range(8)) == pytest.approx(
        sum(len(encoded(range(at, at + 2))) for at in (0, 2, 4, 6)), rel=0.02
    )
    part.write_bytes(encoded(range(1)))
    assert measure_part(str(part), 8).by_track["0"] == pytest.approx(15_000, rel=0.05)


def _unit(seconds: float, size: float, failed: float = 0.0) -> dict[str, float]:
    return {
        "cpu.decode": seconds,
        "cpu.label": seconds / 10,
        "worker_s": seconds,
        "actor_s": seconds / 10,
        "bytes.features": size,
        "bytes.labels": 100.0,
        "requests.GET": 1.0,
        "received": 5e6,
        "failed": failed,
    }


def _estimate(
    n_tracks: int, *, cpus: tuple[int, ...] = (64,), remote: bool = True, stored: int = 0
) -> Estimate:
    strata = (
        SampledStratum(n_tracks // 2, (_unit(1.0, 1e5), _unit(1.2, 1e5))),
        SampledStratum(n_tracks // 2, (_unit(2.0, 2e5), _unit(2.2, 2e5))),
    )
    label_only = SampledStratum(stored, ({"cpu.label": 0.1, "actor_s": 0.1, "bytes.labels": 300.0},))
    sampled = Sampled(strata, label_only if stored else None, {"features": 5e3, "labels": 4e3}, 6.0, 10**6)
    bounds = [(start, min(start + 100, n_tracks)) for start in range(0, n_tracks, 100)]
    todo = Todo(
        n_tracks + stored, np.arange(n_tracks) % 2, stored, (stored,) if stored else (), {"LIST": 7}, remote
    )
    return make_estimate(todo, sampled, [Option(Machines(n + n // 8, n, n // 8), bounds) for n in cpus])


def test_a_catalog_is_the_sum_of_its_strata_and_of_what_is_done_once() -> None:
    """The bill would be another."""
    found = _estimate(100_000, cpus=(64, 256))
    assert found.cpu_s["decode"].value == pytest.approx(50_000 * 1.1 + 50_000 * 2.1)
    assert found.total_cpu_s.value == pytest.approx(sum(total.value for total in found.cpu_s.values()))
    assert found.cpu_s[START].low == found.cpu_s[START].high
    assert found.storage_bytes["features"].value == pytest.approx(50_000 * 3e5 + 1000 * 5e3)
    assert found.total_bytes.value == pytest.approx(sum(each.value for each in found.storage_bytes.values()))
    assert found.received_bytes.value == pytest.approx(100_000 * 5e6 + 50_000 * 3e5)
    assert found.requests["GET"].value > 100_000
    small, large = found.run_times
    assert small.wall_s.value == pytest.approx(160_000 / 64, rel=0.1)
    assert small.wall_s.value / 5 < large.wall_s.value < small.wall_s.value / 3
    assert small.wall_s.low < small.wall_s.value < small.wall_s.high
    assert small.core_hours.value == pytest.approx(72 * small.wall_s.value / 3600)


def test_no_more_tracks_fail_than_there_are() -> None:
    """Of 10 tracks, up to 12 were said to fail."""
    units = ({FAILED: 1.0}, {FAILED: 1.0}, {FAILED: 1.0}, {FAILED: 0.0})
    stratum = SampledStratum(10, units)
    todo = Todo(10, np.zeros(10, np.int64), 0, (), {}, False)
    option = Option(Machines(2, 2, 1), [(0, 10)])
    found = make_estimate(todo, Sampled((stratum,), None, {}, 1.0, 0), [option]).n_failed
    assert (found.low, found.value, found.high) == (3.0, 7.5, 9.0)


def test_more_cpus_than_shards_do_not_help() -> None:
    """Somebody would rent a thousand CPUs for a catalog of ten shards."""
    hundred, thousand = _estimate(1000, cpus=(104, 1000)).run_times
    assert thousand.wall_s == hundred.wall_s
    assert thousand.n_shards == 10


def test_stored_features_are_only_labeled_and_disks_count_no_requests() -> None:
    """A new model over old features would be priced as if everything were decoded again."""
    without, with_stored = _estimate(1000, remote=False), _estimate(1000, remote=False, stored=500)
    assert with_stored.cpu_s["decode"] == without.cpu_s["decode"]
    assert with_stored.cpu_s["label"].value - without.cpu_s["label"].value == pytest.approx(50.0)
    grown = with_stored.storage_bytes["labels"].value - without.storage_bytes["labels"].value
    assert grown == pytest.approx(500 * 300.0)
    assert with_stored.requests["LIST"].value == 7, "only those of the plan"
    assert set(with_stored.requests) == {"LIST", "GET"}


def test_the_memory_of_the_head_is_the_documented_one() -> None:
    """The page and the command would disagree."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    (stated,) = re.findall(
        r"(\d+)Gi of memory up to a million tracks, (\d+)Gi for three, (\d+)Gi for ten", page
    )
    found = [overheads.head_memory_bytes(n) >> 30 for n in (10**6, 3 * 10**6, 10**7)]
    assert found == [int(each) for each in stated]
    assert overheads.head_memory_bytes(10**7 + 1) >> 30 == 32


def test_the_lease_is_renewed_and_looked_at_as_often_as_the_estimate_says() -> None:
    """Half of the listings of a long run are these: the engine would send another number."""
    assert overheads.LOOK_HOLDS_S == FRESH_S
    assert overheads.RENEWAL_S == RENEW_S
