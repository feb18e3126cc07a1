"""The command estimate."""

from typing import Annotated, Literal

import typer

from jobs.cli.commands import options as opt
from jobs.cli.commands.settings import with_settings
from jobs.console.messages import INTERRUPTED, say
from pipeline.training.training_settings import LARGEST_SEED
from schemas.config import MOST_CPUS, RunConfig

Cpus = Annotated[
    list[int] | None,
    typer.Option(
        "--cpus",
        min=1,
        max=MOST_CPUS,
        help="CPUs of the cluster; may be repeated. Default: this machine's, 16, 64 and 256.",
        show_default=False,
    ),
]


@with_settings(
    "model", "limit", "retry_failed", "descriptors", "segment_labels", "embeddings", "actors", "batch_size",
    "track_timeout_s", "track_memory_mb", "keep_features",
    file=True,
)  # fmt: skip
def estimate(
    catalog: opt.Catalog,
    settings: RunConfig,
    tables: Annotated[
        str | None,
        typer.Option("--tables", help="Existing tables: estimate only what the next run adds to them."),
    ] = None,
    catalog_moved: opt.Moved = False,
    sample: Annotated[
        int, typer.Option("--sample", min=2, max=1000, help="Tracks to read, decode and label.")
    ] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Chooses the sample.")] = 0,
    cpus: Cpus = None,
    price_core_hour: Annotated[
        float | None, typer.Option("--price-core-hour", min=0, help="Price of one CPU for an hour.")
    ] = None,
    price_gb_month: Annotated[
        float | None, typer.Option("--price-gb-month", min=0, help="Price of a GB (10⁹ bytes) for a month.")
    ] = None,
    output_format: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Output format.")
    ] = "table",
) -> None:
    """Estimate time, storage and requests of a run from a random sample of the catalog.

    The sample is read, decoded and labeled as in a run, on one CPU of this machine. Nothing is written to the
    catalog or the tables.
    """
    from jobs.cli.summaries.estimate import Prices, print_estimate, render_json
    from jobs.estimate import estimate_run

    try:
        found = estimate_run(
            catalog,
            settings,
            n_sample=sample,
            tables=tables,
            moved=catalog_moved,
            seed=seed,
            cpus=sorted(set(cpus or ())),
        )
    except KeyboardInterrupt:
        say("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from None
    prices = Prices(price_core_hour, price_gb_month)
    if output_format == "json":
        typer.echo(render_json(found, prices))
    else:
        print_estimate(found, prices)
