"""``earmark demo``: a small catalog of its own, labelled from end to end."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from jobs.job import make_job
from jobs.run import Say, run_job
from pipeline.demo.demo_catalog import write_demo_catalog
from pipeline.tables.current import current_failures, current_labels, current_tracks
from schemas.config import RunConfig
from schemas.report import RunReport


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo made: where the catalog and the tables are, the run's report, labels and failures.

    The labels have a column more, ``genre_tag``: the style each piece was made in.
    """

    catalog: Path
    tables: Path
    report: RunReport
    labels: pa.Table
    failures: pa.Table


def run_demo(out: Path, say: Say) -> DemoResult:
    """Write the demo catalog below `out` and label it with the shipped model on a local Ray.

    Raises
    ------
    MisuseError
        If `out` holds something else.
    """
    catalog, tables = out / "catalog", out / "tables"
    say(f"writing a small catalog to {catalog}")
    n_files = write_demo_catalog(catalog)
    say(f"labelling its {n_files} files with the shipped model on a local Ray (starting it takes seconds)")
    job = make_job("run", str(catalog), str(tables), RunConfig(address="local"))
    report = run_job(job, say)
    model = job.bundle.model
    labels = current_labels(job.tables, model)
    tracks = current_tracks(job.tables, ("genre_tag",))
    tags = dict(zip(tracks["track_id"].to_pylist(), tracks["genre_tag"].to_pylist(), strict=True))
    labels = labels.append_column(
        "genre_tag", pa.array([tags[id_] for id_ in labels["track_id"].to_pylist()])
    )
    return DemoResult(catalog, tables, report, labels, current_failures(job.tables, model))
