"""``earmark train --on embeddings``: train a head on embeddings and write it as a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shlex import quote

import numpy as np

from jobs.console.messages import Say
from jobs.read_tables import open_tables, pick_embedding_model
from jobs.training.train import TrainRequest, check_options, last_name
from jobs.training.training_data import (
    check_regular,
    choose_label_column,
    is_audio,
    label_audio,
    open_root,
    refuse_unused,
)
from pipeline.evaluation.protocols import drop_folders
from pipeline.models.bundle import ModelBundle
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables
from pipeline.training.data.embedded_tables import import_embeddings
from pipeline.training.data.labeled_tables import is_tables
from pipeline.training.embedded_tracks import EmbeddedTracks
from pipeline.training.head import TrainedHead, leave_out_rare_genres, train_head, train_head_on_list
from pipeline.training.head_bundle import build_head_bundle, measure_head
from pipeline.training.provenance import count_seen, describe_provenance
from pipeline.training.splits import find_listed, parse_split
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError


@dataclass(frozen=True)
class HeadResult:
    """The model, and how its figures were measured, in words."""

    bundle: ModelBundle
    protocol: str


def train_head_job(request: TrainRequest, *, say: Say = lambda sentence: None) -> HeadResult:
    """Train a head on embeddings and write the model that it makes of their network.

    Parameters
    ----------
    request : TrainRequest
        Its ``data`` is tables with embeddings, or audio, which is run through the model ``start`` first. Its
        ``split`` is ``track`` (cross-validation with artists apart) or ``file:TRAIN.txt,VALID.txt``.
    say : callable
        Prints a message for the user.

    Raises
    ------
    MisuseError
        If the options or the data are invalid, or a genre has too few tracks.
    KeyboardInterrupt
        If the run over audio was interrupted.
    """
    check_options(request)
    protocol, lists = parse_split(request.split)
    if protocol == "segment":
        raise MisuseError("--on embeddings holds out whole tracks; choose --split track or file:TRAIN,VALID")
    with _embedded(request, say) as (tables, column):
        model = pick_embedding_model(list_objects(tables), request.start)
        base = ModelBundle.load(tables.model_folder(model))
        data = import_embeddings(tables, model, label_column=column, say=say)
    trained_on, trained = _train(data, lists, request.first_seed, say)
    how = _describe(trained, request) + _describe_leak(trained.held_out, base, say)
    notes: dict[str, str | int | float | None] = {
        "command": _command(request, base),
        "train_segments": len(trained_on.vectors),
        "train_tracks": len(trained_on),
        "protocol": how,
        "seed": request.first_seed,
        **describe_provenance(_names(trained_on, base), _names(trained.held_out, base), base.info),
    }
    figure = measure_head(trained, f"{PurePosixPath(request.data).name}, {how}")
    bundle = build_head_bundle(base, trained, request.model_name, figure, notes)
    bundle.save(request.out)
    return HeadResult(bundle, how)


@contextmanager
def _embedded(request: TrainRequest, say: Say) -> Iterator[tuple[Tables, str | None]]:
    """Yield tables with embeddings, and where the genres of their tracks are."""
    check_regular(request.data)
    if is_tables(request.data):
        refuse_unused(request.data, "tables", {"--tables": request.tables})
        yield open_tables(request.data), request.label_column
        return
    if not is_audio(request.data):
        raise MisuseError(
            f"{request.data} has no embeddings; give tables of 'earmark run … --embeddings', a folder of "
            "audio for each genre, or a manifest of audio"
        )
    column = choose_label_column(request.data, request.label_column)
    with open_root(request.tables) as root:
        settings = request.config.model_copy(
            update={"embeddings": True, **({} if request.start is None else {"model": request.start})}
        )
        yield label_audio(request.data, root, settings, say).tables, column


def _train(
    data: EmbeddedTracks, lists: tuple[Path, Path] | None, seed: int, say: Say
) -> tuple[EmbeddedTracks, TrainedHead]:
    """Return the training tracks, and the head that is measured by cross-validation or on the second list."""
    if lists is None:
        train = leave_out_rare_genres(data, say)
        _say_size(train, say)
        return train, train_head(train, seed)
    train, listed = (data.take(np.flatnonzero(found)) for found in find_listed(data.names, *lists))
    train = leave_out_rare_genres(train, say)
    valid = listed.of_genres(train.genres)
    if not len(valid):
        raise MisuseError(
            f"{lists[1]} names no track of the genres that {lists[0]} has enough tracks of "
            f"({', '.join(train.genres)}); add some"
        )
    if n_left_out := len(listed) - len(valid):
        say(f"left out with their genres: {n_left_out:,} of {len(listed):,} tracks to measure on")
    _say_size(train, say)
    return train, train_head_on_list(train, valid, seed)


def _say_size(train: EmbeddedTracks, say: Say) -> None:
    say(f"training a head on {len(train):,} tracks of {len(train.genres)} genres")


def _describe(trained: TrainedHead, request: TrainRequest) -> str:
    """Return how the head was measured, in words."""
    if trained.folds is None:
        return f"held-out tracks of split {drop_folders(request.split)}"
    return f"{trained.folds.n_folds}-fold cross-validation, {trained.folds.protocol}"


def _describe_leak(held_out: EmbeddedTracks, base: ModelBundle, say: Say) -> str:
    """Return, and say, how many held-out tracks the network of the embeddings learned from; "" if none."""
    n_seen = count_seen(base.info, held_out.names.tolist(), _names(held_out, base)).trained_on
    if not n_seen:
        return ""
    leak = f"{n_seen:,} of the {len(held_out):,} held-out tracks were used to train {base.model}"
    say(f"LEAKS: {leak} (matched by name); accuracy and calibration are optimistic")
    return f"; LEAKS: {leak}"


def _command(request: TrainRequest, base: ModelBundle) -> str:
    """Return the command that trains this model again, without paths of this machine."""
    # Tables name their models in full; audio is run through one by its name or its folder.
    start = base.model if is_tables(request.data) else last_name(request.start or request.config.model)
    words = ["earmark train", quote(last_name(request.data)), "--on embeddings --out MODEL"]
    words += [f"--from {quote(start)}", f"--split {quote(drop_folders(request.split))}"]
    words += [f"--label-column {quote(request.label_column)}"] if request.label_column else []
    return " ".join([*words, f"--seed {request.first_seed}", f"--name {request.model_name}"])


def _names(data: EmbeddedTracks, base: ModelBundle) -> TrainingSet:
    """Return the tracks by name, for the notes that tell later which tracks a model has seen."""
    return TrainingSet(None, data.labels, data.names, data.genres, features=base.info.features)
