"""The command that evaluates models: evaluate."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.commands import options as opt
from jobs.cli.commands.settings import with_settings, with_training
from jobs.console.messages import say
from schemas.config import RunConfig
from schemas.errors import MisuseError

if TYPE_CHECKING:
    from jobs.evaluation.request import Request
    from pipeline.training.trainer import Epoch
    from schemas.evaluation import Evaluation


@with_training("epochs", "seed", "threads")
@with_settings("address", "cpus")
def evaluate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] DATA",
            help="The name of a shipped model or the folder of a model (omit with --arch), and labeled data: "
            "a folder of audio for each genre, a manifest with a label column, tables, a CSV of the 57 "
            "descriptors, or an .npz of log-mels. Several names joined by + are measured on audio only.",
            show_default=False,
        ),
    ],
    *,
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="Train this architecture and evaluate it: cnn, dense or both."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="How to split the data: segment (random pieces; leaks), track (random tracks), or "
            "file:TRAIN.txt,VALID.txt. Without it, a model is tested on all of the data.",
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", min=1, max=1000, help="Number of cross-validation folds.")
    ] = 1,
    pieces: Annotated[
        int | None,
        typer.Option(
            "--pieces",
            min=1,
            max=1000,
            help="Cut each segment into N pieces (10 with --split segment).",
            metavar="N",
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines", help="Also evaluate SVM, k-NN and k-means on the same split."
        ),
    ] = True,
    outside: Annotated[
        str | None,
        typer.Option(
            "--outside",
            help="A catalog of music of other genres, to measure how much of it the model accepts.",
        ),
    ] = None,
    label_column: opt.LabelColumn = None,
    tables: Annotated[
        str | None,
        typer.Option("--tables", help="Keep the features of audio in these tables for the next evaluation."),
    ] = None,
    json: Annotated[str | None, typer.Option("--json", help="Write all metrics to this file.")] = None,
    html: Annotated[str | None, typer.Option("--html", help="Write a page with plots to this file.")] = None,
    training: Mapping[str, object],
    settings: RunConfig,
) -> None:
    """Evaluate a model or an architecture on labeled data, next to baseline classifiers."""
    from jobs.cli.summaries.evaluation import print_evaluation, write_evaluation
    from jobs.console.output import check_out
    from jobs.evaluation.request import Request
    from pipeline.storage.output_checks import check_writable_file
    from pipeline.training.training_settings import TrainingSettings

    if len(names) > 2 or (len(names) == 2) == (arch is not None):
        raise MisuseError("give a model and data (earmark evaluate MODEL DATA), or --arch ARCH and data")
    if arch is None and "epochs" in training:
        raise MisuseError(f"--epochs has no effect on {names[0]}, which is already trained; omit it")
    # Check now, not after many minutes of training.
    if json is not None and json == html:
        raise MisuseError(f"--json and --html both name {json}; choose two different files")
    for file, what in ((json, "the metrics"), (html, "the page")):
        if file is not None:
            check_out(file)
            check_writable_file(file, what)
    request = Request(
        data=names[-1], model=names[0] if len(names) == 2 else None, arch=arch, split=split, n_folds=folds,
        n_pieces=pieces, baselines=baselines, outside=outside, label_column=label_column, tables=tables,
        settings=TrainingSettings.for_arch(arch or "cnn").changed(training), config=settings,
    )  # fmt: skip
    evaluation = _evaluate(request)
    # Files first, so that they are written even if the reader of stdout closes the pipe early.
    write_evaluation(evaluation, json, html)
    print_evaluation(evaluation)


def _evaluate(request: "Request") -> "Evaluation":
    """Evaluate with progress on stderr."""
    from jobs.console.progress import Meter, show_progress
    from jobs.evaluation.evaluate import evaluate_job

    n_epochs = request.settings.epochs
    with ExitStack() as stack:
        meters: list[Meter] = []

        def show(fold: int, epoch: "Epoch") -> None:
            # Not earlier: the engine shows its own progress while it computes features.
            if not meters:
                training = show_progress("training", n_epochs * request.n_folds, unit="epochs")
                meters.append(stack.enter_context(training))
            which = f"fold {fold}: " if request.n_folds > 1 else ""
            note = f"{which}loss {epoch.loss:.3f}, accuracy {epoch.valid_accuracy:.3f}"
            meters[0].show((fold - 1) * n_epochs + epoch.number, note)

        return evaluate_job(request, on_epoch=show, say=say)
