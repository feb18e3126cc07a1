"""The training job: labelled data in, a model folder out."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pipeline.importers import import_data
from pipeline.model import ModelBundle
from pipeline.training import Epoch, TrainingSettings, train
from pipeline.training_set import TrainingSet, split_at_random, split_by_lists, split_by_track
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import NAME_PATTERN

Protocol = Literal["segment", "track", "file"]
PIECES_A_SEGMENT = 10


def split_data(data: TrainingSet, split: str, seed: int) -> tuple[TrainingSet, TrainingSet, Protocol]:
    """Part data as ``--split`` says.

    Parameters
    ----------
    data : TrainingSet
    split : str
        ``segment`` (ten pieces a segment at random, which leaks), ``track`` (random tracks) or
        ``file:TRAIN.txt,VALID.txt`` (lists of tracks).
    seed : int
        Of the random splits.

    Returns
    -------
    train_set, valid_set : TrainingSet
    protocol : str

    Raises
    ------
    MisuseError
        For another word, or lists that do not fit the data.
    """
    kind, _, rest = split.partition(":")
    lists = rest.split(",")
    if kind == "file" and len(lists) == 2:
        return *split_by_lists(data, Path(lists[0]), Path(lists[1])), "file"
    if split == "track":
        return *split_by_track(data, seed), "track"
    if split == "segment":
        return *split_at_random(data.pieces(PIECES_A_SEGMENT), seed), "segment"
    raise MisuseError(f"cannot split by '{split}': choose segment, track or file:TRAIN.txt,VALID.txt")


def train_job(
    data: str,
    out: str,
    *,
    arch: str = "cnn",
    split: str = "track",
    epochs: int = TrainingSettings().epochs,
    seed: int = 0,
    name: str | None = None,
    threads: int = 2,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> ModelBundle:
    """Train a model on labelled data and write its folder.

    Parameters
    ----------
    data : str
        What `pipeline.importers.import_data` reads: an ``.npz`` of labelled log-mels.
    out : str
        Folder to write; it must not exist or be empty. It appears whole, at the end, or not at all.
    arch, split : str
        ``cnn``; see `split_data`.
    epochs, seed, threads : int
        See `pipeline.training.TrainingSettings`.
    name : str, optional
        Name of the model; if not given, that of the folder with '-' for what no name holds.
    on_epoch : callable
        Called after each epoch, for progress.

    Returns
    -------
    ModelBundle
        As written.

    Raises
    ------
    MisuseError
        For anything wrong with the arguments or the data.
    """
    folder, name = Path(out), name or _name_for(Path(out))
    _check_options(folder, arch, epochs, threads, name)
    labelled = import_data(data)
    train_set, valid_set, protocol = split_data(labelled, split, seed)
    file, split = Path(data).name, _without_folders(split)
    options = f"--split {split} --epochs {epochs} --seed {seed} --threads {threads} --name {name}"
    bundle = train(
        train_set,
        valid_set,
        name=name,
        features=FeatureSpec(n_mels=labelled.log_mel.shape[1]),
        protocol=protocol,
        dataset=f"{file}, {len(set(valid_set.tracks.tolist()))} held-out tracks of split {split}",
        command=f"earmark train {file} --out MODEL {options}",
        settings=TrainingSettings(epochs=epochs, seed=seed, threads=threads),
        on_epoch=on_epoch,
    )
    bundle.save(folder)
    return bundle


def _without_folders(split: str) -> str:
    """Drop the folders of the lists: where files lay on one machine is no part of a model."""
    kind, colon, lists = split.partition(":")
    return kind + colon + ",".join(Path(path).name for path in lists.split(",") if path)


def _name_for(folder: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40] or "model"


def _check_options(folder: Path, arch: str, epochs: int, threads: int, name: str) -> None:
    if arch != "cnn":
        raise MisuseError(f"there is no architecture '{arch}': choose cnn")
    if epochs < 1 or threads < 1:
        raise MisuseError(f"--epochs and --threads must be at least 1, not {min(epochs, threads)}")
    if not re.fullmatch(NAME_PATTERN, name):
        raise MisuseError(f"'{name}' cannot name a model: use a-z, 0-9 and '-' (--name)")
    if ":/" in str(folder):
        raise MisuseError(
            f"cannot write a model to {folder}: --out must be a local folder; copy it from there"
        )
    parent = next(path for path in folder.absolute().parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise MisuseError(
            f"cannot write the model folder {folder}: {parent} is no folder that can be written to"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MisuseError(f"{folder} is there already: choose another --out, no model is overwritten")
