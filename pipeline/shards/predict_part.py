"""What the networks of a model predict for the segments of a part of ``features/``."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.audio.features.descriptors import DESCRIPTOR_NAMES
from pipeline.models.classifier import Classifier
from pipeline.models.combination import MemberPrediction
from pipeline.models.ensemble_classifier import EnsembleClassifier, networks_of
from pipeline.models.prediction import Prediction, join_predictions
from pipeline.shards.segment_rows import is_silent
from pipeline.stopwatch import Stopwatch
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.storage.read_and_parse import read_and_parse
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

_KEYS = ["track_id", "etag", "segment", "start_s", "n_frames", "range_db"]

_Rows = list[dict[str, object]]
_Batch = tuple[_Rows, list[NDArray[np.uint8]] | None, NDArray[np.float64] | None]
"""Rows without their features, their log-mels, and their descriptors."""


@dataclass(frozen=True, slots=True)
class PredictedSegments:
    """The segments that a network has read, and what it predicts for them.

    Attributes
    ----------
    info : ModelInfo
        The model of the network.
    segments : list of dict
        The rows, without their features.
    found : Prediction
        The predictions.
    vectors : ndarray of float32, shape (n, n_numbers), or None
        The embeddings, if they were asked for and there are segments.
    """

    info: ModelInfo
    segments: _Rows
    found: Prediction
    vectors: NDArray[np.float32] | None

    def by_track(self) -> dict[object, tuple[set[object], MemberPrediction]]:
        """Return the numbers of each track's segments and the predictions for them, by track id."""
        rows_of: dict[object, list[int]] = {}
        for row, segment in enumerate(self.segments):
            rows_of.setdefault(segment["track_id"], []).append(row)
        return {
            track_id: (
                {self.segments[row]["segment"] for row in rows},
                MemberPrediction(
                    self.info, self.found.rows(rows), [is_silent(self.segments[row]) for row in rows]
                ),
            )
            for track_id, rows in rows_of.items()
        }


def predict_part(
    part: str,
    feature_set: str,
    versions: Set[tuple[str, str]],
    classifier: Classifier | EnsembleClassifier,
    watch: Stopwatch,
    *,
    embeddings: bool,
) -> list[PredictedSegments]:
    """Read a part and run the networks of a model over it, a row group at a time.

    Parameters
    ----------
    part : str
        Location of the part.
    feature_set : str
        Of the part; it contains what the model reads.
    versions : set of (str, str)
        ``track_id`` and ``etag`` of the tracks to predict.
    classifier : Classifier or EnsembleClassifier
        The model.
    watch : Stopwatch
        Gets the seconds of the stages ``read`` and ``predict``.
    embeddings : bool
        Whether to return embeddings too.

    Returns
    -------
    list of PredictedSegments
        One for each network.

    Raises
    ------
    OSError
        If the part cannot be read.
    """
    with watch.stage("read"):
        file = read_and_parse(part, lambda data: pq.ParquetFile(arrow_buffer(data)))
    found = []
    stored = classifier.info.features.stored_as(feature_set)
    for network in networks_of(classifier):
        place = stored.place_of(network.info.features)
        batches = _batches(file, versions, network.info.features, place, watch)
        found.append(_predict(network, batches, watch, embeddings=embeddings))
    return found


def _predict(
    network: Classifier, batches: Iterator[_Batch], watch: Stopwatch, *, embeddings: bool
) -> PredictedSegments:
    segments: _Rows = []
    predictions: list[Prediction] = []
    vectors: list[NDArray[np.float32]] = []
    for rows, log_mels, descriptors in batches:
        if embeddings:
            prediction, embedded = network.predict_and_embed(log_mels, descriptors, watch)
            vectors.append(embedded)
        else:
            prediction = network.predict(log_mels, descriptors, watch)
        predictions.append(prediction)
        segments += rows
    found = join_predictions(predictions, network.info)
    return PredictedSegments(network.info, segments, found, np.concatenate(vectors) if vectors else None)


def _batches(
    file: pq.ParquetFile,
    versions: Set[tuple[str, str]],
    spec: FeatureSpec,
    place: int | None,
    watch: Stopwatch,
) -> Iterator[_Batch]:
    """Yield rows, log-mels and descriptors of the wanted track versions, one row group at a time.

    Of a part with segments by several specs, yield only those by the spec at `place`.
    """
    names = DESCRIPTOR_NAMES if spec.descriptors else ()
    keys = _KEYS if place is None else [*_KEYS, "spec"]
    columns = [*keys, *(("log_mel",) if spec.log_mel else ()), *names]
    for group in range(file.num_row_groups):
        with watch.stage("read"):
            table = file.read_row_group(group, columns=columns)
            rows = table.select(keys).to_pylist()
            wanted = [(row["track_id"], row["etag"]) in versions and row.get("spec") == place for row in rows]
            if not all(wanted):
                table, rows = table.filter(pa.array(wanted)), list(compress(rows, wanted))
            log_mels = descriptors = None
            if spec.log_mel:
                log_mels = [
                    np.frombuffer(value.as_buffer(), np.uint8).reshape(spec.n_mels, row["n_frames"])
                    for row, value in zip(rows, table["log_mel"], strict=True)
                ]
            if spec.descriptors:
                # A null becomes NaN, so do the probabilities, and the track becomes a failure.
                descriptors = np.stack([table[name].to_numpy() for name in names], axis=1)
        if rows:
            yield rows, log_mels, descriptors
