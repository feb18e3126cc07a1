"""``earmark train``: train a model on labeled data and write its folder."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from jobs.console.messages import Say
from jobs.training.training_data import read_labeled_data
from jobs.training.trials import Trial, TrialPlan, pick_best, plan_trials
from pipeline.catalogs.catalog import canonical
from pipeline.evaluation.protocols import drop_folders
from pipeline.models.bundle import ModelBundle, shipped_models
from pipeline.models.model_cache import ADDABLE
from pipeline.storage.local_kind import local_kind
from pipeline.storage.output_checks import check_writable
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.head import MIN_TRACKS
from pipeline.training.networks import check_data
from pipeline.training.provenance import count_seen
from pipeline.training.splits import check_pieces, leave_out_untrained_genres, parse_split, split_data
from pipeline.training.train_model import TrainingOptions, train
from pipeline.training.trainer import Epoch
from pipeline.training.training_set import TrainingSet
from pipeline.training.training_settings import TrainingSettings
from pipeline.training.warm_start import check_arch
from schemas.config import RunConfig
from schemas.errors import MisuseError
from schemas.model import NAME_PATTERN, SplitProtocol

_FLAGS = (
    "batch_size", "learning_rate", "weight_decay", "dropout", "label_smoothing", "early_stopping",
    "class_weights",
)  # fmt: skip
"""Settings that the recorded command includes if they differ from the defaults of the architecture."""
_VARIED = ("crop", "average")
"""Further such settings, which have no flag: ``--grid`` sets them."""


@dataclass(frozen=True)
class TrainRequest:
    """The options of ``earmark train``.

    Attributes
    ----------
    data : str
        Labeled data, as `jobs.training.training_data.read_labeled_data` reads it.
    out : Path
        Folder to write, missing or empty. It is written whole at the end, or not at all.
    settings : TrainingSettings
        Settings of the training; the seed applies if there is only one trial.
    split : str
        See `pipeline.training.splits.split_data`.
    split_seed : int or None
        Seed of a random split; if None, that of the first trial.
    start : str or None
        Model to fine-tune: the name of a shipped one, or a folder.
    seeds : tuple of int
        If there are several, one trial for each on a Ray cluster; the best model is kept.
    grid : tuple of str
        Settings to vary, as in `jobs.training.trials.plan_trials`.
    name : str or None
        Name of the model; if None, that of the folder, with '-' for invalid characters.
    label_column, tables : str or None
        See `jobs.training.training_data.read_labeled_data`.
    checkpoint, tensorboard : str or None
        Folders; see `pipeline.training.train_model.TrainingOptions`.
    config : RunConfig
        Selects the Ray cluster, if one is needed.
    """

    data: str
    out: Path
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    split: str = "track"
    split_seed: int | None = None
    start: str | None = None
    seeds: tuple[int, ...] = ()
    grid: tuple[str, ...] = ()
    name: str | None = None
    label_column: str | None = None
    tables: str | None = None
    checkpoint: str | None = None
    tensorboard: str | None = None
    config: RunConfig = field(default_factory=RunConfig)

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self.name or _name_for(self.out)

    @property
    def first_seed(self) -> int:
        """Seed of a random split."""
        first = self.seeds[0] if self.seeds else self.settings.seed
        return first if self.split_seed is None else self.split_seed


@dataclass(frozen=True)
class TrainResult:
    """The model, and the trials from which it was chosen if there were several."""

    bundle: ModelBundle
    trials: tuple[Trial, ...] = ()


def settings_for(arch: str | None, like: str | None, flags: Mapping[str, object]) -> TrainingSettings:
    """Return the settings of an architecture, or those recorded in a model, updated with flags.

    Raises
    ------
    MisuseError
        If there is no such architecture or model, the two contradict each other, or a value is invalid.
    """
    if like is None:
        settings = TrainingSettings.for_arch(arch or "cnn")
    else:
        info = ModelBundle.load(like).info
        if arch not in (None, info.arch):
            raise MisuseError(f"--like {like} is a model of --arch {info.arch}, not {arch}; omit --arch")
        if "learning_rate" not in info.training:  # distilled, converted, or a head
            raise MisuseError(
                f"--like {like} has no settings to train with: they are not those of a network that 'earmark "
                "train' trained; name one such as gtzan, or omit --like"
            )
        settings = TrainingSettings.from_notes(info.arch, info.training)
    return settings.changed(flags)


def train_job(
    request: TrainRequest,
    *,
    on_epoch: Callable[[int, Epoch], None] = lambda trial, epoch: None,
    on_start: Callable[[int], None] = lambda n_epochs: None,
    say: Say = lambda sentence: None,
) -> TrainResult:
    """Train a model on labeled data and write its folder.

    Parameters
    ----------
    request : TrainRequest
    on_epoch : callable
        Called with the number of a trial, from 0, and each of its epochs.
    on_start : callable
        Called before the first epoch with the total number of epochs of all trials.
    say : callable
        Prints a message for the user.

    Raises
    ------
    MisuseError
        If the options or the data are invalid.
    DivergedError
        If the training diverges, or all of several do.
    """
    check_options(request)
    check_pieces(request.settings.arch, parse_split(request.split)[0], None)
    planned = _plan(request)
    start = _load_start(request)
    data = read_labeled_data(
        request.data,
        request.settings.arch,
        label_column=request.label_column,
        tables=request.tables,
        model=request.start,
        config=request.config,
        say=say,
    )
    check_data(data, request.settings.arch)
    train_set, valid_set, protocol = split_data(data, request.split, request.first_seed)
    train_set, valid_set = leave_out_untrained_genres(train_set, valid_set, say)
    if train_set.shares is None:  # else, a track has something of many genres
        _warn_of_few(train_set, valid_set, say)
    if start is not None:
        _warn_of_leak(start, valid_set, say)
    on_start(sum(each.settings.epochs for each in planned))

    several = len(planned) > 1
    options = [_options(request, each, protocol, valid_set, start, several=several) for each in planned]
    if len(planned) == 1:
        bundle = train(train_set, valid_set, options[0], on_epoch=lambda epoch: on_epoch(0, epoch))
        result = TrainResult(bundle)
    else:
        result = _train_trials(request, planned, train_set, valid_set, options, on_epoch)
    result.bundle.save(request.out)
    if request.checkpoint is not None:
        for each in planned:
            Checkpoint(request.checkpoint, train_set, valid_set, each.settings, start).remove()
    return result


def _load_start(request: TrainRequest) -> ModelBundle | None:
    if request.start is None:
        return None
    start = ModelBundle.load(request.start)
    # Check before features are computed, which may take hours.
    check_arch(start, request.settings.arch)
    return start


def _warn_of_few(train_set: TrainingSet, valid_set: TrainingSet, say: Say) -> None:
    """Name the genres that hardly any track is trained on, and those that no track is held out of."""
    if few := [f"{genre} {n}" for genre, n in train_set.tracks_by_genre.items() if n < MIN_TRACKS]:
        audio = train_set.content is not None
        head = f"; --on embeddings trains a head, for which {MIN_TRACKS} of each genre are enough"
        say(
            f"few tracks to train on: {', '.join(few)}; a network hardly learns to know a genre by them: add "
            f"tracks{head if audio else ''}"
        )
    if unmeasured := [genre for genre, n in valid_set.tracks_by_genre.items() if not n]:
        say(f"not measured, since none of their tracks is held out: {', '.join(unmeasured)}")


def _warn_of_leak(start: ModelBundle, valid_set: TrainingSet, say: Say) -> None:
    tracks = set(valid_set.tracks.tolist())
    seen = count_seen(start.info, tracks, valid_set).seen
    if seen:
        say(
            f"LEAKS: {seen:,} of the {len(tracks):,} held-out tracks were used to make {start.model} "
            "(matched by content or by name); the accuracy is optimistic"
        )


def _plan(request: TrainRequest) -> list[TrialPlan]:
    return plan_trials(request.settings, request.seeds or (request.settings.seed,), request.grid)


def _train_trials(
    request: TrainRequest,
    planned: list[TrialPlan],
    train_set: TrainingSet,
    valid_set: TrainingSet,
    options: Sequence[TrainingOptions],
    on_epoch: Callable[[int, Epoch], None],
) -> TrainResult:
    """Train all trials on Ray and return the best model, which records the results of the others."""
    from jobs.engine.cluster import connected
    from jobs.training.trial_tasks import run_trials

    with connected(request.config):
        trials = run_trials(planned, train_set, valid_set, options, on_epoch)
    best, summary = pick_best(trials)
    notes = {
        "picked_from_trials": len(trials),
        "picked_from_seeds": summary.by_seed(digits=4),
        "accuracy_mean_of_seeds": round(summary.mean, 4),
    }
    if summary.std is not None:
        notes["accuracy_std_of_seeds"] = round(summary.std, 4)
    info = best.info.model_copy(update={"training": {**best.info.training, **notes}})
    return TrainResult(ModelBundle(info, best.weights), tuple(trials))


def _options(
    request: TrainRequest,
    each: TrialPlan,
    protocol: SplitProtocol,
    valid_set: TrainingSet,
    start: ModelBundle | None,
    *,
    several: bool,
) -> TrainingOptions:
    """Return the options of one trial."""
    file, split = last_name(request.data), drop_folders(request.split)
    n_tracks = len(set(valid_set.tracks.tolist()))
    # Absolute, because workers have other working directories.
    log = None if request.tensorboard is None else canonical(request.tensorboard)
    if log is not None and several:
        log = f"{log}/{each.varied.replace(', ', '-').replace(' ', '=') or 'seeds'}/seed-{each.settings.seed}"
    return TrainingOptions(
        name=request.model_name,
        protocol=protocol,
        dataset=f"{file}, {n_tracks} held-out tracks of split {split}",
        settings=each.settings,
        command=_command(request, file, split, each.settings),
        notes={} if protocol == "file" else {"split_seed": request.first_seed},
        start=start,
        checkpoint=None if request.checkpoint is None else canonical(request.checkpoint),
        tensorboard=log,
    )


def _command(request: TrainRequest, file: str, split: str, settings: TrainingSettings) -> str:
    """Return the command that trains this model again, without paths of this machine."""
    own = TrainingSettings.for_arch(settings.arch)
    words = ["earmark train", quote(file), "--out MODEL"]
    words += [f"--arch {settings.arch}"] if settings.arch != "cnn" else []
    words += [f"--from {quote(last_name(request.start))}"] if request.start else []
    words += [f"--label-column {quote(request.label_column)}"] if request.label_column else []
    words += [f"--split {quote(split)}", f"--epochs {settings.epochs}"]
    for name in _FLAGS:
        value = getattr(settings, name)
        if value != getattr(own, name):
            flag = f"--{name.replace('_', '-')}"
            words.append(flag if value is True else f"{flag} {value}")
    varied = {name: getattr(settings, name) for name in _VARIED}
    words += [f"--grid {name}={value}" for name, value in varied.items() if value != getattr(own, name)]
    words.append(f"--seed {settings.seed}")
    if ":" not in request.split and request.first_seed != settings.seed:
        words.append(f"--split-seed {request.first_seed}")
    return " ".join([*words, f"--threads {settings.threads}", f"--name {request.model_name}"])


def last_name(path: str) -> str:
    """Return the last name of a path: the folders of one machine do not belong in a model."""
    return path.rstrip("/").rpartition("/")[2]


def _name_for(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40] or "model"


def check_options(request: TrainRequest) -> None:
    """Check name, seeds and folder before any work.

    Raises
    ------
    MisuseError
        If one of them is invalid.
    """
    folder = request.out
    if not re.fullmatch(NAME_PATTERN, request.model_name):
        raise MisuseError(f"'{request.model_name}' is not a valid model name; use a-z, 0-9 and '-' (--name)")
    for name in (request.model_name, str(folder)):
        if name in (*shipped_models(), *ADDABLE):
            raise MisuseError(
                f"--model {name} names a model of Earmark's own, and would never use this one; choose "
                "another --out or --name"
            )
    if len(set(request.seeds)) < len(request.seeds):
        raise MisuseError("--seeds contains a seed twice; give each seed once")
    if ":/" in str(folder):
        raise MisuseError(
            f"cannot write a model to {folder}: --out must be a local folder; copy the model from there"
        )
    check_writable(folder, "the model folder")
    for location, what in ((request.checkpoint, "a checkpoint to"), (request.tensorboard, "events to")):
        if location is not None:
            check_writable(f"{location}/training", what)
    kind = local_kind(folder)
    if kind is not None and (kind != "folder" or any(folder.iterdir())):
        raise MisuseError(f"{folder} already exists, and models are never overwritten; choose another --out")
