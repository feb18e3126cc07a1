"""What a calibrated model gets right, and how much of something it takes for music."""

from typing import Any

import numpy as np

from infra.audioset.clips import Clips
from infra.audioset.taxonomy import gtzan_places
from pipeline.models import metrics
from pipeline.models.prediction import read_outputs
from schemas.model import ModelInfo


def report(info: ModelInfo, name: str, clips: Clips) -> list[dict[str, Any]]:
    """Print and return accuracies among all genres and among GTZAN's ten."""
    proba = clips.mean(read_outputs(clips.logits, info).proba)
    ten = gtzan_places(info)
    among = np.zeros_like(proba)
    among[:, ten] = proba[:, ten] / proba[:, ten].sum(axis=1, keepdims=True)
    figures = []
    for genres, p in ((f"{len(info.genres)} genres", proba), ("GTZAN's ten genres", among)):
        right = p.argmax(axis=1) == clips.genre
        by_genre = {
            info.genres[g]: (int(right[clips.genre == g].sum()), int((clips.genre == g).sum()))
            for g in np.unique(clips.genre)
        }
        figure = {
            "protocol": "file",
            "dataset": f"GTZAN, {name} with audio, among {genres}",
            "accuracy": round(metrics.accuracy(p, clips.genre), 4),
            "ece": round(metrics.expected_calibration_error(p, clips.genre), 4),
            "n": len(clips.genre),
            "by_genre": by_genre,
        }
        mean = np.mean([hits / n for hits, n in by_genre.values()])
        print(f"{figure['dataset']}: {figure['accuracy']}, mean over genres {mean:.3f}, ECE {figure['ece']}")
        figures.append(figure)
    return figures


def count_music(info: ModelInfo, speech: Clips, noise: Clips, music: Clips) -> list[dict[str, Any]]:
    """Print and return how many clips of each kind count as music."""
    return [
        _got_genre(info, "clips of synthesized speech that get a genre", speech),
        _got_genre(info, "clips of noise that get a genre", noise),
        _got_genre(info, "clips of music that get a genre", music),
    ]


def _got_genre(info: ModelInfo, what: str, clips: Clips) -> dict[str, Any]:
    is_music = np.asarray(read_outputs(clips.logits, info).is_music)
    count = int((clips.mean(is_music[:, np.newaxis]) >= 0.5).sum())
    print(f"{what}: {count} of {len(clips.genre)}")
    return {"what": what, "count": count, "n": len(clips.genre)}
