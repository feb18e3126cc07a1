"""How runs scale to large clusters: ``python tests/benchmarks/simulate_scaling.py [--cores 16 256 4096]``.

The real engine, with its pool of actors, its retries and the real cutting of shards, runs on a simulated Ray
with a virtual clock. The clock passes with the CPU time of the engine's own code, with what Ray's calls were
measured to cost, and with the tasks and actors, whose times are resampled from measured tracks. The seconds
of the store are constants (`tests.benchmarks.simulation.inputs`). ``--measure`` measures the inputs first.

Printed are two series: the same catalog on larger and larger clusters, and a catalog that grows with them,
each with and without the loss of spot nodes. The columns between core-hours and driver are shares of the
cluster's CPU time. ``--plot OUT.png BEFORE.json AFTER.json`` draws results that ``--save`` kept.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jobs.engine.cluster import SMALL_CLUSTER_CPUS
from tests.benchmarks.simulation.inputs import MEASURED_FILE, Measured, load_measured
from tests.benchmarks.simulation.results import Result, header, load, row, save
from tests.benchmarks.simulation.simulate import SHARES, Scenario, simulate


def measure() -> None:
    """Measure the inputs on this machine, and keep them."""
    from tests.benchmarks.simulation.measure_ray import measure_ray
    from tests.benchmarks.simulation.measure_work import measure_work

    MEASURED_FILE.write_text(measure_work(measure_ray()).model_dump_json(indent=1) + "\n", "utf-8")


def compare(scenario: Scenario, measured: Measured) -> None:
    """Print the seconds of a simulated run, and of one on a real Ray with tasks that sleep as long."""
    from tests.benchmarks.simulation.sleeping import run_sleeping

    print(f"simulated: {simulate(scenario, measured).wall_s:.1f} s", flush=True)
    wall_s, totals = run_sleeping(scenario, measured)
    print(f"real Ray, sleeping tasks: {wall_s:.1f} s ({totals.labeled:,} tracks, {totals.actors} actors)")


def scenarios(options: argparse.Namespace) -> Iterator[Scenario]:
    """Yield what is to be simulated."""
    for losses in dict.fromkeys((0.0, *options.spot)):
        for tracks, per_core in ((options.tracks, 0), (0, options.tracks_per_core)):
            for cores in options.cores if tracks or per_core else ():
                n_tracks = tracks or per_core * cores
                yield Scenario(cores, n_tracks, losses, seed=options.seed, prefixes=options.prefixes)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", type=int, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--tracks", type=int, default=200_000, help="catalog of the first series; 0: none")
    parser.add_argument("--tracks-per-core", type=int, default=100, help="of the second series; 0: none")
    parser.add_argument(
        "--spot",
        type=float,
        nargs="*",
        default=[0.05],
        help="losses of each node per hour, besides 0",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefixes", type=int, default=8, help="prefixes of the store that hold the catalog")
    parser.add_argument("--measure", action="store_true", help="measure the inputs first")
    parser.add_argument("--save", type=Path, metavar="FILE.json")
    parser.add_argument("--plot", type=Path, nargs="+", metavar="FILE", help="OUT.png and files of --save")
    parser.add_argument("--real", action="store_true", help="compare with a real Ray on which tasks sleep")
    options = parser.parse_args()
    if min(options.cores) <= SMALL_CLUSTER_CPUS:
        parser.error(f"--cores must be more than {SMALL_CLUSTER_CPUS}: below, actors share CPUs with tasks")
    if options.plot:
        from tests.benchmarks.simulation.plot import plot

        plot(options.plot[0], [load(path) for path in options.plot[1:]])
        return
    if options.measure:
        measure()
    measured = load_measured()
    print(f"measured on {measured.machine}; what the columns say:")
    for name, meaning in SHARES.items():
        print(f"  {name:<8} {meaning}")
    if options.real:
        compare(Scenario(options.cores[0], options.tracks, seed=options.seed), measured)
        return
    print(header(), flush=True)
    results = []
    for scenario in scenarios(options):
        results.append(Result.of(simulate(scenario, measured)))
        print(row(results[-1]), flush=True)
        if options.save:
            save(results, options.save)
    print("\nseconds of the driver in the last run, by what it did:")
    for doing, seconds in results[-1].driver_s.items():
        print(f"  {doing:<18} {seconds:>8.1f}")


if __name__ == "__main__":
    main()
