"""The command that trains models: train."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer

from jobs.cli.commands import options as opt
from jobs.cli.commands import training_options as own
from jobs.cli.commands.settings import with_settings, with_training
from jobs.console.messages import INTERRUPTED, say
from pipeline.training.training_settings import LARGEST_SEED
from schemas.config import RunConfig

if TYPE_CHECKING:
    from jobs.training.train import TrainRequest, TrainResult
    from pipeline.training.trainer import Epoch


@with_training(
    "epochs", "batch_size", "learning_rate", "weight_decay", "dropout", "label_smoothing", "early_stopping",
    "class_weights", "seed", "threads",
)  # fmt: skip
@with_settings("address", "cpus")
def train(
    data: own.Data,
    out: own.Out,
    *,
    on: own.On = "features",
    arch: own.Arch = None,
    split: own.Split = "track",
    training: Mapping[str, object],
    split_seed: own.SplitSeed = None,
    seeds: own.Seeds = None,
    grid: own.Grid = None,
    start: own.Start = None,
    like: own.Like = None,
    name: own.Name = None,
    label_column: opt.LabelColumn = None,
    tables: own.KeptTables = None,
    checkpoint: own.CheckpointFolder = None,
    tensorboard: own.TensorBoard = None,
    settings: RunConfig,
) -> None:
    """Train a model on labeled audio, features, descriptors or log-mels."""
    from jobs.cli.summaries.models import print_head, print_model, print_trials
    from jobs.train_head import train_head_job
    from jobs.training.train import TrainRequest, settings_for

    request = TrainRequest(
        data=data,
        out=out,
        settings=settings_for(arch, like, training),
        start=start,
        split=split,
        split_seed=split_seed,
        seeds=_parse_seeds(seeds),
        grid=tuple(grid or ()),
        name=name,
        label_column=label_column,
        tables=tables,
        checkpoint=checkpoint,
        tensorboard=tensorboard,
        config=settings,
    )
    if on == "embeddings":
        _refuse_network_options(
            {"arch": arch, "seeds": seeds, "grid": grid, "like": like, "checkpoint": checkpoint}
            | {"tensorboard": tensorboard}
            | {name: value for name, value in training.items() if name != "seed"}
        )
        print_head(train_head_job(request, say=say), out)
        return
    result = _train(request)
    print_trials(result.trials)
    print_model(result.bundle, out)


def _refuse_network_options(given: Mapping[str, object]) -> None:
    """Refuse options that say how a network is trained.

    Raises
    ------
    MisuseError
        If one was given.
    """
    from jobs.cli.commands.settings import flag_of
    from schemas.errors import MisuseError

    for name, value in given.items():
        if value not in (None, []):  # 0 was given, and so was --no-class-weights
            raise MisuseError(f"--on embeddings trains no network, so {flag_of(name)} has no effect; omit it")


def _train(request: "TrainRequest") -> "TrainResult":
    """Train with progress on stderr."""
    from jobs.console.progress import show_progress
    from jobs.training.train import train_job

    with ExitStack() as stack:
        meters = []
        done: dict[int, int] = {}

        def start(n_epochs: int) -> None:
            # Not earlier: the engine shows its own progress while it computes features.
            meters.append(stack.enter_context(show_progress("training", n_epochs, unit="epochs")))

        def show(trial: int, epoch: "Epoch") -> None:
            done[trial] = epoch.number
            which = f"trial {trial + 1}: " if len(done) > 1 else ""
            note = f"{which}loss {epoch.loss:.3f}, validation accuracy {epoch.valid_accuracy:.3f}"
            meters[0].show(sum(done.values()), note)

        try:
            return train_job(request, on_start=start, on_epoch=show, say=say)
        except KeyboardInterrupt:
            resume = (
                "; run the same command again to resume from the checkpoint" if request.checkpoint else ""
            )
            say(f"interrupted{resume}")
            raise typer.Exit(INTERRUPTED) from None


def _parse_seeds(listed: str | None) -> tuple[int, ...]:
    """Parse seeds such as ``0,1,2``."""
    from schemas.errors import MisuseError

    try:
        seeds = tuple(int(number) for number in listed.split(",")) if listed else ()
    except ValueError as error:
        raise MisuseError(f"--seeds takes integers separated by commas, not '{listed}'") from error
    if not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise MisuseError(f"--seeds takes integers from 0 to {LARGEST_SEED}, not '{listed}'")
    return seeds
