"""``earmark demo``: train, run and read labels on synthesized music, as users do with their own."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from jobs.console.messages import Say
from jobs.engine.cluster import connected
from jobs.run.request import make_job
from jobs.run.run import run_job
from jobs.training.train import TrainRequest, train_job
from pipeline.demo.demo_catalog import MARKER as CATALOG_MARKER
from pipeline.demo.demo_catalog import write_demo_catalog, write_demo_shelves
from pipeline.formatting import command_text
from pipeline.models.bundle import ModelBundle
from pipeline.storage.local_kind import local_kind
from pipeline.storage.output_checks import check_writable
from pipeline.tables.current import current_failures, current_labels, current_tracks
from pipeline.training.training_settings import TrainingSettings
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.model import Measurement
from schemas.report import RunReport

MARKER = ".earmark-demo"
"""Hidden file that marks a folder as one that the demo created."""

MODEL_NAME = "demo-dense"
N_SHELVED, N_TRACKS, DURATION_S = 60, 40, 20.0
_CONFIG = RunConfig(address="local")
# A quarter of the usual epochs is enough for sixty tracks.
_SETTINGS = replace(TrainingSettings.for_arch("dense"), epochs=150, threads=1)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo wrote, and its results.

    Attributes
    ----------
    catalog, tables, shelves, model : Path
        The music to label, its tables, the training music, and the model.
    report : RunReport
        Report of the run that labeled the catalog.
    labels : pyarrow.Table
        The current labels, with a column ``genre_tag``: the true style of each piece.
    failures : pyarrow.Table
        The current failures.
    shipped : Measurement
        The measured accuracy of the default model.
    """

    catalog: Path
    tables: Path
    shelves: Path
    model: Path
    report: RunReport
    labels: pa.Table
    failures: pa.Table
    shipped: Measurement

    @property
    def n_right(self) -> int:
        """Number of tracks whose label is their true style."""
        pairs = zip(self.labels["genre"].to_pylist(), self.labels["genre_tag"].to_pylist(), strict=True)
        return sum(genre == tag for genre, tag in pairs)


def run_demo(out: Path, say: Say) -> DemoResult:
    """Write synthesized music, train a model on half of the artists, and label the others with it.

    Parameters
    ----------
    out : Path
        New or empty folder, or that of an earlier demo, whose files are reused.
    say : callable
        Prints a message for the user.

    Raises
    ------
    MisuseError
        If `out` holds something else.
    """
    _claim(out)
    shelves, catalog, model, tables = (out / name for name in ("shelves", "catalog", "model", "tables"))
    say(f"writing {N_SHELVED} synthesized pieces to {shelves}, a folder for each of ten styles")
    write_demo_shelves(shelves, seed=1, n_tracks=N_SHELVED, duration_s=DURATION_S, artists=(1,))
    say(f"writing {N_TRACKS} pieces by other artists to {catalog}, and three broken files")
    n_files = write_demo_catalog(catalog, n_tracks=N_TRACKS, duration_s=DURATION_S, artists=(0,))
    trained = local_kind(model) is not None
    # The training and the run share a local Ray; a repeated demo may need none.
    with nullcontext() if trained else connected(_CONFIG):
        if trained:
            say(f"using the existing model {model}")
        else:
            command = command_text("train", str(shelves), "--arch", "dense", "--out", str(model))
            say(f"training a small model on {shelves}: {command}")
            train_job(TrainRequest(str(shelves), model, _SETTINGS, name=MODEL_NAME, config=_CONFIG), say=say)
        settings = _CONFIG.model_copy(update={"model": str(model)})
        job = make_job("run", str(catalog), str(tables), settings, moved=True)
        command = command_text("run", str(catalog), str(tables), "--model", str(model))
        say(f"labeling {n_files} files: {command}")
        report = run_job(job, say)
    labels = current_labels(job.tables, job.bundle.model)
    tracks = current_tracks(job.tables, ("genre_tag",))
    tags = dict(zip(tracks["track_id"].to_pylist(), tracks["genre_tag"].to_pylist(), strict=True))
    styles = pa.array([tags[track_id] for track_id in labels["track_id"].to_pylist()], pa.string())
    return DemoResult(
        catalog=catalog,
        tables=tables,
        shelves=shelves,
        model=model,
        report=report,
        labels=labels.append_column("genre_tag", styles),
        failures=current_failures(job.tables, job.bundle.model),
        shipped=ModelBundle.load("default").info.figures[0],
    )


def _claim(out: Path) -> None:
    """Mark `out` as a folder of the demo; raise if it holds anything else."""
    check_writable(out, "the demo to")
    marks = (out / MARKER, out / "catalog" / CATALOG_MARKER)
    kind = local_kind(out)
    ours = kind == "folder" and (any(local_kind(mark) for mark in marks) or _is_empty(out))
    if kind is not None and not ours:
        raise MisuseError(
            f"{out} is not empty and not the folder of a demo; choose a new or empty folder with --out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
    except OSError as error:
        raise MisuseError(
            f"the demo cannot be written to {out} ({error.strerror}); choose another folder with --out"
        ) from error


def _is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())
