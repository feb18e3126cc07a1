"""The data that an evaluation tests: with the features and the genres of the model."""

from dataclasses import replace

import numpy as np

from jobs.console.messages import Say
from jobs.evaluation.matched_genres import match_genres, some_of
from jobs.evaluation.request import Request
from jobs.training.training_data import read_labeled_data
from pipeline.models.bundle import ModelBundle
from pipeline.training.networks import check_data
from pipeline.training.splits import check_pieces, parse_split
from pipeline.training.training_set import TrainingSet
from schemas.errors import MisuseError


def read_tested_data(request: Request, bundle: ModelBundle | None, say: Say) -> TrainingSet:
    """Read the data; featurize audio for the model."""
    arch = request.settings.arch if bundle is None else bundle.info.arch
    check_pieces(arch, parse_split(request.split)[0] if request.split else None, request.n_pieces)
    is_cut = request.split == "segment" or request.n_pieces is not None
    data = read_labeled_data(
        request.data,
        arch,
        label_column=request.label_column,
        tables=request.tables,
        model=request.model,
        n_frames=None if bundle is None or is_cut else bundle.info.n_frames,
        min_genres=2 if bundle is None else 1,
        config=request.config,
        say=say,
    )
    if bundle is None:
        check_data(data, arch)
    else:
        _check_features(request.data, data, bundle)
    return data


def _check_features(name: str, data: TrainingSet, bundle: ModelBundle) -> None:
    """Check that data has features as a model reads them.

    Raises
    ------
    MisuseError
        If it has none, or others.
    """
    features = bundle.info.features
    if features.descriptors and data.descriptors is None:
        raise MisuseError(
            f"{name} has no descriptors, which {bundle.model} reads; evaluate it on audio or on tables"
        )
    if not features.log_mel:
        return
    if data.log_mel is None:
        raise MisuseError(
            f"{name} has no log-mels, which {bundle.model} reads; evaluate it on audio or on tables"
        )
    n_mels = data.log_mel.shape[1]
    if n_mels != features.n_mels:
        raise MisuseError(
            f"{name} has log-mels of {n_mels} bands, but {bundle.model} takes {features.n_mels}"
        )
    if differing := features.other_form(data.features):
        raise MisuseError(
            f"{name} has log-mels with other settings than {bundle.model} takes "
            f"({', '.join(differing)}); evaluate it on audio"
        )


def align_genres(
    data: TrainingSet, bundle: ModelBundle, request: Request, say: Say
) -> tuple[TrainingSet, TrainingSet | None]:
    """Return the segments of the model's genres, labeled in its order, and those of other genres."""
    genres = bundle.info.genres
    matched = match_genres(data.genres, genres, request.label_column, say)
    place = np.array(
        [genres.index(matched[name]) if name in matched else -1 for name in data.genres], np.intp
    )
    labels = place[data.labels]
    known, unknown = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    if not len(known):
        raise MisuseError(
            f"none of the data's genres ({some_of(data.genres)}) is a genre of the model "
            f"({', '.join(genres)})"
        )
    aligned = replace(data.take(known), labels=labels[known], genres=genres)
    return aligned, data.take(unknown) if len(unknown) else None
