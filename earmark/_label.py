"""Label tracks in this process, with the functions that the workers of a run call."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, SupportsFloat

import numpy as np
import pandas as pd
import pyarrow as pa

from earmark._model import DEFAULTS, Model, Source, load_model
from pipeline.catalogs.catalog import canonical, list_catalog
from pipeline.catalogs.manifest_file import is_manifest
from pipeline.catalogs.selection import is_audio_name
from pipeline.catalogs.track_refs import from_table
from pipeline.models.classifier import Classifier
from pipeline.models.combination import MemberPrediction, label_members
from pipeline.models.ensemble_classifier import networks_of
from pipeline.models.label import Label, TrackLabel
from pipeline.models.network_shape import network_inputs
from pipeline.shards.failures import message_of
from pipeline.shards.kept_process import kept_process
from pipeline.shards.limits import TrackLimits
from pipeline.shards.one_track import named_track
from pipeline.shards.outcomes import featurize_isolated
from pipeline.stopwatch import Stopwatch
from pipeline.storage import storage
from schemas.config import RunConfig
from schemas.errors import EarmarkError, LabelError, MisuseError, TrackError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo
from schemas.tracks import TrackFeatures, TrackRef

_SEGMENTS = 64
"""Minimum number of segments to collect for the model, so that its batches are full; up to 130 kB each."""
_LOOK_THREADS = 16


@dataclass(frozen=True, slots=True)
class _Labeled:
    """A track, its duration, and its label or the reason why it has none."""

    track: TrackRef
    result: TrackLabel | TrackError
    duration_s: float = float("nan")


def label(
    tracks: Source | Iterable[Source],
    model: "str | os.PathLike[str] | Model" = "default",
    *,
    min_confidence: SupportsFloat = DEFAULTS.min_confidence,
    track_timeout_s: float = DEFAULTS.track_timeout_s,
    track_memory_mb: int = DEFAULTS.track_memory_mb,
) -> pd.DataFrame:
    """Label tracks by genre, without Ray, with the same results as ``earmark run``.

    The model runs in this process, where TensorFlow gets one thread (unless it has run before) and computes
    without TensorFloat-32 from then on, so that labels are those of a run. Audio is decoded in a child
    process, one track at a time, so that a file that crashes or hangs its decoder costs only its own row.
    The process is kept for half a minute, for the next call; still, one call for many tracks is faster than a
    call for each. Nothing is written.

    To label in several processes, start them with ``multiprocessing.get_context("spawn")``: one that is
    forked after TensorFlow has started cannot use it.

    Parameters
    ----------
    tracks : str, path, or iterable of these
        A track, a folder, a prefix of an object store (``s3://bucket/music``) or a manifest (.csv, .parquet);
        or an iterable of these.
    model : str, path or Model
        A shipped model's name, several joined by ``+``, the folder of a trained one, or the result of
        `load_model`, which is faster for repeated calls.
    min_confidence : float
        Tracks with a lower confidence get no genre; they keep their confidence and probabilities.
    track_timeout_s : float
        Seconds that decoding and featurizing one track may take before it fails.
    track_memory_mb : int
        Memory in MiB that decoding and featurizing one track may take before it fails.

    Returns
    -------
    pandas.DataFrame
        A row for each track, in the order given, folders sorted by path:

        ========================  ====================================================================
        ``uri``                   where the track is, as the tables of a run have it
        ``genre``                 the most probable genre; missing where the track failed, is silent,
                                  no music, or is below `min_confidence`
        ``confidence``            its calibrated probability, float32; NaN where the track failed
        ``p_blues``, …            the probability of each genre, float32, in the order of `Model.genres`
        ``duration_s``            length of the track, seconds; NaN where it could not be read
        ``error_type``            why it failed, by the name of a class in `earmark.errors`
        ``error``                 … and in a sentence; both missing where it did not fail
        ========================  ====================================================================

        Text has pandas' type ``str``, where missing values are NaN, also in a frame without rows. Models that
        answer for styles and for music at all have the columns ``style``, ``is_music`` and ``labels`` too, as
        the labels table has them.

    Raises
    ------
    TrackError
        If `tracks` is a single track, not in a list, and it cannot be labeled. In a list or a folder, a track
        that cannot be labeled never raises.
    MisuseError
        If there is no such model, manifest or prefix, one of `tracks` is no path, or an option is out of its
        range.
    EarmarkError
        If a folder contains no audio files or cannot be listed, a store does not answer, or this process was
        forked after TensorFlow had started.

    Examples
    --------
    >>> import earmark
    >>> labels = earmark.label("music")
    >>> labels["genre"].notna().tolist(), labels["error_type"].tolist()
    ([False, True], ['DecodeError', nan])
    >>> earmark.label("song.wav").columns[:4].tolist()
    ['uri', 'genre', 'confidence', 'style']
    """
    options = RunConfig.load(
        None,
        min_confidence=min_confidence,
        track_timeout_s=track_timeout_s,
        track_memory_mb=track_memory_mb,
    )
    ready = model if isinstance(model, Model) else load_model(model)
    single = _is_one_track(tracks)
    found = list(_label_tracks(ready, _list_tracks(tracks), options))
    if single and isinstance(found[0].result, TrackError):
        raise found[0].result
    found.sort(key=lambda each: int(each.track.track_id))
    return _frame(found, ready.info)


def _is_one_track(source: object) -> bool:
    """Return whether a source is a single track, not a folder, a prefix, a manifest or an iterable."""
    if not isinstance(source, str | os.PathLike):
        return False
    protocol, path = storage.split(os.fspath(source))
    if protocol == "file":
        # Path.is_dir raises an OSError for a name that is too long.
        return not (is_manifest(path) or os.path.isdir(path))  # noqa: PTH112
    return is_audio_name(path)


def _list_tracks(tracks: Source | Iterable[Source]) -> list[TrackRef]:
    """List all tracks as they are now, with their positions as ids."""
    sources = [tracks] if isinstance(tracks, str | os.PathLike) else _check_sources(tracks)
    with ThreadPoolExecutor(_LOOK_THREADS) as pool:
        found = chain.from_iterable(pool.map(_tracks_of, sources))
        return [replace(track, track_id=str(place)) for place, track in enumerate(found)]


def _check_sources(tracks: object) -> list[Source]:
    if isinstance(tracks, pd.DataFrame):
        raise MisuseError(
            "tracks cannot be a data frame; give the column that names them, such as frame['uri']"
        )
    if not isinstance(tracks, Iterable):
        raise MisuseError(f"tracks are a path, a URI or an iterable of these, not {tracks!r}")
    # A column of Arrow, such as those of `earmark.Tables`, yields scalars.
    sources = [source.as_py() if isinstance(source, pa.Scalar) else source for source in tracks]
    for place, source in enumerate(sources):
        if not isinstance(source, str | os.PathLike) or not str(source).strip():
            raise MisuseError(f"tracks are paths or URIs, but number {place} (from 0) is {source!r}")
    return sources


def _tracks_of(source: Source) -> list[TrackRef]:
    if _is_one_track(source):
        return [named_track(source)]
    catalog = canonical(os.fspath(source))
    tracks = from_table(list_catalog(catalog))
    if not tracks:
        raise EarmarkError(f"{catalog} contains no audio files")
    return tracks


def _label_tracks(model: Model, tracks: list[TrackRef], options: RunConfig) -> Iterator[_Labeled]:
    """Yield each track with its label or failure; tracks that waited for a store come last."""
    limits = TrackLimits.of(options)
    waiting: list[tuple[TrackRef, TrackFeatures]] = []
    # The process is lent until the model has run, because TensorFlow sets variables of the environment.
    with kept_process() as process:
        for track, outcome in featurize_isolated(
            tracks, model.features, Stopwatch(), limits, nullcontext(process)
        ):
            if isinstance(outcome, TrackError):
                yield _Labeled(track, outcome)
                continue
            waiting.append((track, outcome))
            if sum(len(features.segments) for _, features in waiting) >= _SEGMENTS:
                yield from _predict(model, waiting, options.min_confidence)
                waiting = []
        yield from _predict(model, waiting, options.min_confidence)


def _predict(
    model: Model, tracks: list[tuple[TrackRef, TrackFeatures]], min_confidence: float
) -> Iterator[_Labeled]:
    if not tracks:
        return
    answers = [_answers(network, tracks, model.features) for network in networks_of(model._classifier)]
    for (track, features), *members in zip(tracks, *answers, strict=True):
        result: TrackLabel | TrackError
        try:
            result = label_members(track.uri, members, model.info, min_confidence)
        except LabelError as error:
            result = error
        yield _Labeled(track, result, features.info.duration_s)


def _answers(
    network: Classifier, tracks: list[tuple[TrackRef, TrackFeatures]], spec: FeatureSpec
) -> Iterator[MemberPrediction]:
    """Yield what a network predicts for the segments of each track that it reads."""
    place = spec.place_of(network.info.features) or 0
    read = [[each for each in features.segments if each.spec == place] for _, features in tracks]
    found = network.predict(*network_inputs(list(chain.from_iterable(read))))
    first = 0
    for segments in read:
        silent = [segment.is_silent for segment in segments]
        yield MemberPrediction(network.info, found.rows(slice(first, first + len(segments))), silent)
        first += len(segments)


def _frame(rows: list[_Labeled], info: ModelInfo) -> pd.DataFrame:
    genres = info.genres
    labels = [row.result if isinstance(row.result, TrackLabel) else None for row in rows]
    errors = [row.result if isinstance(row.result, TrackError) else None for row in rows]
    unknown = np.full(len(genres), np.nan)
    p = np.array([unknown if label is None else label.probabilities for label in labels], np.float32)
    p = p.reshape(len(rows), len(genres))
    columns: dict[str, Any] = {
        "uri": _text(row.track.uri for row in rows),
        "genre": _text(None if label is None else label.genre for label in labels),
        "confidence": np.array(
            [np.nan if label is None else label.confidence for label in labels], np.float32
        ),
        **(_taxonomy_columns(labels) if info.taxonomy is not None else {}),
        **{f"p_{genre}": p[:, number] for number, genre in enumerate(genres)},
        "duration_s": np.array([row.duration_s for row in rows], np.float64),
        "error_type": _text(None if error is None else type(error).__name__ for error in errors),
        "error": _text(None if error is None else message_of(error) for error in errors),
    }
    return pd.DataFrame(columns)


def _text(values: Iterable[str | None]) -> "pd.Series[str]":
    """Return a column of pandas' own type for text, also if it has no rows or no values."""
    return pd.Series(list(values), dtype=pd.StringDtype(na_value=np.nan))


def _taxonomy_columns(labels: list[TrackLabel | None]) -> dict[str, Any]:
    """Return what models of classes say beside the genre."""
    is_music = [None if label is None else label.is_music for label in labels]
    several = [None if label is None else label.labels for label in labels]
    return {
        "style": _text(None if label is None else label.style for label in labels),
        "is_music": np.array([np.nan if each is None else each for each in is_music], np.float32),
        "labels": pd.Series(
            [None if each is None else [_rounded(label) for label in each] for each in several], dtype=object
        ),
    }


def _rounded(label: Label) -> dict[str, Any]:
    """Return a label as the labels table has it: its probability is a float32."""
    return asdict(label) | {"probability": float(np.float32(label.probability))}
