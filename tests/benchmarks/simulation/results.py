"""Results of simulations: kept as JSON, and printed as a table."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from tests.benchmarks.simulation.simulate import SHARES, Outcome


class Result(BaseModel):
    """A simulated run.

    Attributes
    ----------
    cores, n_tracks : int
        Size of the cluster and of the catalog.
    losses_per_hour : float
        Rate at which each node was lost.
    wall_s, core_hours, tracks_per_hour : float
        From the cutting of shards to the last label.
    shares : dict of str to float
        Shares of the cluster's CPU time; see `SHARES`. That of ``work`` is the efficiency.
    driver_s : dict of str to float
        Seconds for which the driver was busy, by what it did.
    driver_ms_per_shard, driver_ceiling : float
        Of the driver's time, and the tracks a second at which it would always be busy.
    n_shards, n_lost_nodes, n_repeated_tracks : int
        Shards, nodes lost, and tracks that were begun again.
    requests_per_s : dict of str to float
        Sent to the store, by kind.
    """

    model_config = ConfigDict(frozen=True)
    cores: int
    n_tracks: int
    losses_per_hour: float
    wall_s: float
    core_hours: float
    tracks_per_hour: float
    shares: dict[str, float]
    driver_s: dict[str, float]
    driver_ms_per_shard: float
    driver_ceiling: float
    n_shards: int
    n_lost_nodes: int
    n_repeated_tracks: int
    requests_per_s: dict[str, float]

    @classmethod
    def of(cls, outcome: Outcome) -> "Result":
        """Return the result of an outcome."""
        scenario = outcome.scenario
        return cls(
            cores=scenario.cpus,
            n_tracks=scenario.n_tracks,
            losses_per_hour=scenario.losses_per_hour,
            wall_s=outcome.wall_s,
            core_hours=scenario.cpus * outcome.wall_s / 3600,
            tracks_per_hour=outcome.tracks_per_hour,
            shares={name: outcome.share(name) for name in SHARES},
            driver_s=dict(sorted(outcome.driver_s.items(), key=lambda item: -item[1])),
            driver_ms_per_shard=sum(outcome.driver_s.values()) / outcome.n_shards * 1000,
            driver_ceiling=outcome.driver_ceiling,
            n_shards=outcome.n_shards,
            n_lost_nodes=outcome.n_lost_nodes,
            n_repeated_tracks=outcome.n_lost_tracks,
            requests_per_s={kind: n / outcome.wall_s for kind, n in outcome.requests.items()},
        )

    @property
    def efficiency(self) -> float:
        """Share of the cluster's CPU time that decoded, featurized and labeled."""
        return self.shares["work"]

    @property
    def driver_share(self) -> float:
        """Share of the run for which the driver was busy."""
        return sum(self.driver_s.values()) / self.wall_s


_RESULTS = TypeAdapter(tuple[Result, ...])


def save(results: Sequence[Result], path: Path) -> None:
    """Write results as JSON."""
    path.write_bytes(_RESULTS.dump_json(tuple(results), indent=1))


def load(path: Path) -> tuple[Result, ...]:
    """Read results that `save` wrote."""
    return _RESULTS.validate_json(path.read_bytes())


def header() -> str:
    """Return the first line of a table of results."""
    shares = "".join(f"{name:>8}" for name in SHARES)
    return (
        f"{'cores':>5} {'tracks':>10} {'lost/h':>6} {'wall s':>8} {'tracks/h':>11} {'core-h':>7}{shares}"
        f"{'driver':>8} {'ms/shard':>8} {'ceiling/s':>9} {'nodes lost':>10} {'repeated':>8} {'GET/s':>7}"
    )


def row(result: Result) -> str:
    """Return a result as a line of the table."""
    shares = "".join(f"{result.shares[name]:>8.1%}" for name in SHARES)
    return (
        f"{result.cores:>5} {result.n_tracks:>10,} {result.losses_per_hour:>6.0%} {result.wall_s:>8.1f} "
        f"{result.tracks_per_hour:>11,.0f} {result.core_hours:>7.1f}{shares}{result.driver_share:>8.1%} "
        f"{result.driver_ms_per_shard:>8.1f} {result.driver_ceiling:>9,.0f} {result.n_lost_nodes:>10} "
        f"{result.n_repeated_tracks / result.n_tracks:>8.1%} {result.requests_per_s.get('GET', 0.0):>7,.0f}"
    )
