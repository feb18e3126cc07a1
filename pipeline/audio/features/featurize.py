"""Featurizes one track: from its bytes to the features of its segments."""

from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.audio import read_segments
from pipeline.audio.decode.silence import is_silent
from pipeline.audio.features.log_mel import log_mel
from pipeline.audio.tags.tags import read_tags
from pipeline.stopwatch import Stopwatch
from schemas.errors import FeatureError
from schemas.features import FeatureSpec
from schemas.tracks import SILENT_WITHOUT_LOG_MEL, SegmentFeatures, TrackFeatures


def featurize_track(
    file: BinaryIO, name: str, spec: FeatureSpec, watch: Stopwatch | None = None
) -> TrackFeatures:
    """Decode the segments of a track and compute their features, by each spec that `spec` consists of.

    Parameters
    ----------
    file : BinaryIO
        Seekable: a local file, bytes in memory, or an fsspec file that reads ranges. It stays open.
    name : str
        The track's URI, for messages only.
    spec : FeatureSpec
        What to compute.
    watch : Stopwatch, optional
        Counts the time of the stages ``decode`` (with resampling), ``tags``, ``log_mel`` and ``descriptors``.

    Returns
    -------
    TrackFeatures
        Audio facts, tags and one `SegmentFeatures` a segment, those of the first spec first.

    Raises
    ------
    EmptyFileError, DecodeError, TooShortError
        If the file has too little audio, or none.
    FeatureError
        If the features of the decoded audio cannot be computed.
    ReadError, NotFoundError
        If the store does not return the bytes.
    """
    watch = watch or Stopwatch()
    with watch.stage("decode"):
        info, excerpts = read_segments(file, name, spec)
    with watch.stage("tags"):
        tags = read_tags(file, name)
    segments = [_featurize_segment(start_s, y, name, spec, watch) for start_s, y in excerpts]
    for place, further in enumerate(spec.also, start=1):
        with watch.stage("decode"):
            _, excerpts = read_segments(file, name, further)
        found = [_featurize_segment(start_s, y, name, further, watch) for start_s, y in excerpts]
        segments += [replace(segment, spec=place) for segment in found]
    return TrackFeatures(info=info, tags=tags, segments=tuple(segments))


def _featurize_segment(
    start_s: float, y: NDArray[np.float32], name: str, spec: FeatureSpec, watch: Stopwatch
) -> SegmentFeatures:
    levels, range_db, descriptors = None, 0.0, None
    try:
        if spec.log_mel:
            with watch.stage("log_mel"):
                levels, range_db = log_mel(y, spec)
        elif is_silent(y, spec.sample_rate):
            range_db = SILENT_WITHOUT_LOG_MEL
        if spec.descriptors:
            with watch.stage("descriptors"):
                descriptors = _descriptors(y, spec)
    except (ValueError, ArithmeticError) as error:
        raise FeatureError(
            f"{name} has audio at {start_s:.1f} s that cannot be featurized ({error})"
        ) from error
    return SegmentFeatures(start_s, len(y) / spec.sample_rate, levels, range_db, descriptors)


def _descriptors(y: NDArray[np.float32], spec: FeatureSpec) -> NDArray[np.float64]:
    # Imported late: a run without descriptors does not need their compiled kernels.
    from pipeline.audio.features.descriptors import compute_descriptors

    return compute_descriptors(y, sr=spec.sample_rate)
