"""How good a head on embeddings is: ``python tests/benchmarks/bench_head.py TABLES GTZAN [MODEL]``.

TABLES hold GTZAN's clips with audio, by a manifest with the column ``label``, run with ``--embeddings`` by
MODEL (``audioset``) and labeled by ``gtzan``. Heads are trained on clips of the train list, measured on the
valid list, whose artists are others, and compared with ``gtzan`` among the same genres: with all clips, with
few clips of each genre, drawn several times, and with the published log-mels in the place of missing audio.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from numpy.typing import NDArray

from infra.audioset.imitation import imitations
from jobs.read_tables import open_tables, pick_embedding_model, read_labels
from pipeline.models.audioset import FEATURES
from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier
from pipeline.models.prediction import softmax
from pipeline.storage import storage
from pipeline.tables.current import current_tracks, read_genres
from pipeline.tables.objects import list_objects
from pipeline.tables.tables import Tables
from pipeline.training.data.embedded_tables import import_embeddings
from pipeline.training.embedded_tracks import EmbeddedTracks
from pipeline.training.head import MIN_TRACKS, choose_strength, fit_head, train_head_on_list
from pipeline.training.head import apply_head as apply
from pipeline.training.splits import find_listed
from schemas.genres import GTZAN_GENRES

DRAWS = 10


def among(data: EmbeddedTracks, genres: Sequence[str]) -> EmbeddedTracks:
    """Return the tracks of some genres, numbered anew."""
    numbers = [data.genres.index(genre) for genre in genres if genre in data.genres]
    chosen = data.take(np.flatnonzero(np.isin(data.labels, numbers)))
    labels = np.array([genres.index(data.genres[label]) for label in chosen.labels.tolist()], np.intp)
    return replace(chosen, labels=labels, genres=tuple(genres))


def describe(name: str, proba: NDArray[np.float64], data: EmbeddedTracks) -> tuple[float, float]:
    """Print accuracy, mean over genres and hits by genre; return the first two."""
    right = proba.argmax(axis=1) == data.labels
    tested = np.unique(data.labels)
    mean = float(np.mean([right[data.labels == label].mean() for label in tested]))
    hits = ", ".join(
        f"{data.genres[label]} {right[data.labels == label].sum()}/{(data.labels == label).sum()}"
        for label in tested
    )
    if name:
        print(f"  {name:<34} {right.mean():.3f}, mean over genres {mean:.3f}: {hits}")
    return float(right.mean()), mean


class Labeled:
    """The probabilities of ``gtzan`` for the clips of the tables."""

    def __init__(self, tables: Tables) -> None:
        rows = read_labels(tables, "gtzan")
        self._genres = read_genres(tables, rows["model"][0].as_py())
        names = [Path(uri).stem for uri in rows["uri"].to_pylist()]
        self._proba = dict(zip(names, rows["probabilities"].to_pylist(), strict=True))

    def proba(self, data: EmbeddedTracks) -> NDArray[np.float64]:
        """Return its probabilities of the genres of some clips."""
        found = np.array([self._proba[stem(name)] for name in data.names.tolist()])
        return found[:, [self._genres.index(genre) for genre in data.genres]]


def stem(name: str) -> str:
    """Return the name of a clip."""
    return name.rpartition("/")[2]


def imitated(tables: Tables, model: str, gtzan: Path, real: EmbeddedTracks) -> EmbeddedTracks:
    """Return all clips of the train list by their published log-mels, as if they were real."""
    uris = {row["track_id"]: Path(row["uri"]).stem for row in current_tracks(tables).to_pylist()}
    wanted = {stem(name) for name in real.names.tolist()}
    columns = ["track_id", "segment", "log_mel", "n_frames", "feature_set"]
    rows = tables.read("features", columns).sort_by([("track_id", "ascending"), ("segment", "ascending")])
    log_mels: dict[str, list[NDArray[np.uint8]]] = {}
    for row in rows.to_pylist():
        name = uris[row["track_id"]]
        if row["feature_set"] == FEATURES.feature_set and name in wanted:
            levels = np.frombuffer(row["log_mel"], np.uint8).reshape(-1, row["n_frames"])
            log_mels.setdefault(name, []).append(levels)
    names, found, segments = imitations(gtzan, log_mels)
    classifier = Classifier(
        ModelBundle.load(storage.join(tables.root, "_models", model)), threads=2, batch_size=16
    )
    _, vectors = classifier.predict_and_embed([each for of_clip in segments for each in of_clip])
    track_of = np.repeat(np.arange(len(names)), [len(of_clip) for of_clip in segments])
    labels = np.array([GTZAN_GENRES.index(genre) for genre in found], np.intp)
    made = EmbeddedTracks(
        vectors, track_of, np.array(names), labels, np.array([""] * len(names)), GTZAN_GENRES
    )
    # An imitation differs from what it imitates by a shift and a scale of each number.
    both = [number for number, name in enumerate(names) if name in wanted]
    near = made.take(np.array(both)).vectors
    shift, scale = near.mean(axis=0), real.vectors.std(axis=0) / np.maximum(near.std(axis=0), 1e-6)
    return replace(made, vectors=(vectors - shift) * scale + real.vectors.mean(axis=0))


def join(first: EmbeddedTracks, second: EmbeddedTracks) -> EmbeddedTracks:
    """Return the tracks of both, which have the same genres."""
    return EmbeddedTracks(
        np.concatenate([first.vectors, second.vectors]),
        np.concatenate([first.track_of, second.track_of + len(first)]),
        np.concatenate([first.names, second.names]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.artists, second.artists]),
        first.genres,
    )


def learning_curve(train: EmbeddedTracks, valid: EmbeddedTracks, shipped: Labeled) -> None:
    """Print the accuracy of heads trained on few clips of each genre."""
    for n_tracks in (4, 8, 20):
        counts = train.tracks_by_genre
        genres = [genre for genre in train.genres if counts[genre] >= n_tracks]
        print(f"{n_tracks} clips of each of {', '.join(genres)}; {DRAWS} draws")
        tested = among(valid, genres)
        describe("gtzan", shipped.proba(tested), tested)
        found = []
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            own = among(train, genres)
            drawn = np.concatenate(
                [
                    rng.choice(np.flatnonzero(own.labels == label), n_tracks, replace=False)
                    for label in range(len(genres))
                ]
            )
            chosen = own.take(np.sort(drawn))
            logits = apply(fit_head(chosen, choose_strength(chosen, 0)), tested.vectors)
            found.append(describe("", tested.mean_by_track(softmax(logits)), tested))
        (accuracy, mean), (spread, _) = np.mean(found, axis=0), np.std(found, axis=0)
        print(f"  {'head':<34} {accuracy:.3f} ± {spread:.3f}, mean over genres {mean:.3f}")


def main(location: str, gtzan: Path, name: str = "audioset") -> None:
    """Train heads and print how good they are."""
    tables = open_tables(location)
    model = pick_embedding_model(list_objects(tables), name)
    data, shipped = among(import_embeddings(tables, model), GTZAN_GENRES), Labeled(tables)
    lists = [gtzan / "splits" / f"{each}_filtered.txt" for each in ("train", "valid")]
    train, valid = (data.take(np.flatnonzero(found)) for found in find_listed(data.names, *lists))
    counts = train.tracks_by_genre
    genres = [genre for genre in GTZAN_GENRES if counts[genre] >= MIN_TRACKS]
    print(f"clips with audio, genres with {MIN_TRACKS} or more: {counts}")
    own, tested = among(train, genres), among(valid, genres)
    start = time.perf_counter()
    trained = train_head_on_list(own, tested)
    print(
        f"  trained on {len(own)} clips in {time.perf_counter() - start:.1f} s, strength {trained.strength}"
    )
    describe("gtzan", shipped.proba(tested), tested)
    describe("head", tested.mean_by_track(softmax(trained.logits)), tested)
    learning_curve(train, valid, shipped)
    print("all ten genres, clips without audio by their published log-mels")
    made = imitated(tables, model, gtzan, train)
    real = set(map(stem, train.names.tolist()))
    without = [number for number, name in enumerate(made.names.tolist()) if name not in real]
    every = join(train, made.take(np.array(without)))
    start = time.perf_counter()
    trained = train_head_on_list(every, valid)
    print(
        f"  trained on {len(every)} clips in {time.perf_counter() - start:.1f} s, strength {trained.strength}"
    )
    describe("gtzan", shipped.proba(valid), valid)
    describe("head", valid.mean_by_track(softmax(trained.logits)), valid)


if __name__ == "__main__":
    if len(sys.argv) >= 3:
        main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    else:
        print("give TABLES and GTZAN to measure a head on embeddings")
