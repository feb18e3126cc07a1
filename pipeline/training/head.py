"""A linear head on embeddings: logistic regression, regularized by cross-validation on training tracks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models import metrics
from pipeline.models.mobilenet import Head
from pipeline.models.prediction import softmax
from pipeline.training.artist_folds import Folds, count_artists, divide
from pipeline.training.embedded_tracks import EmbeddedTracks
from pipeline.training.networks import check_genres
from schemas.errors import MisuseError

MIN_TRACKS = 4
"""Fewest tracks of a genre: with fewer, nothing can be held out to choose by and to measure on."""
STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Inverse strengths of regularization to choose from; a larger one fits the training tracks more closely."""
_USUAL_STRENGTH = 0.1
"""For so few artists that nothing can be held out to choose by."""
_CHOICE_FOLDS = 3
_CHOICE_TRACKS = 500
"""Tracks to choose the strength by; more do not change the choice, and it would no longer take seconds."""
_ABSENT = -30.0
"""Logit of a genre of which a fold has no training track."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head, and what it answers for tracks that it was not trained on.

    Attributes
    ----------
    head : Head
        Weights and bias of the layer, for embeddings as the network gives them.
    temperature : float
        Divides its logits; fitted to `logits`.
    strength : float
        The chosen inverse strength of regularization.
    held_out : EmbeddedTracks
        The tracks that the figures are about.
    logits : ndarray of float64, shape (n_segments, n_genres)
        Logits of their segments, by heads that were not trained on them.
    folds : Folds or None
        How they were held out; None if lists say which.
    """

    head: Head
    temperature: float
    strength: float
    held_out: EmbeddedTracks
    logits: Floats
    folds: Folds | None = None

    @property
    def proba(self) -> Floats:
        """Probabilities of the held-out tracks, calibrated without themselves, shape (n_tracks, n_genres)."""
        tracks = self.held_out.names[self.held_out.track_of]
        calibrated = metrics.cross_calibrate(self.logits, self.held_out.segment_labels, tracks)
        return self.held_out.mean_by_track(calibrated)


def train_head(data: EmbeddedTracks, seed: int = 0) -> TrainedHead:
    """Train a head on all tracks, and measure it by cross-validation with artists apart.

    In each fold, the strength of regularization is chosen anew from the other folds alone, so that the figure
    is not optimistic.

    Parameters
    ----------
    data : EmbeddedTracks
        The labeled tracks.
    seed : int
        Seed of the folds.

    Raises
    ------
    MisuseError
        If a genre has fewer than `MIN_TRACKS` tracks.
    """
    check_tracks(data)
    folds = divide(data, seed)
    logits = np.empty((len(data.vectors), len(data.genres)))
    for fold in range(folds.n_folds):
        others = data.take(np.flatnonzero(folds.fold_of != fold))
        held_out = folds.fold_of[data.track_of] == fold
        logits[held_out] = apply_head(fit_head(others, choose_strength(others, seed)), data.vectors[held_out])
    strength = choose_strength(data, seed)
    temperature = metrics.fit_temperature(logits, data.segment_labels)
    return TrainedHead(fit_head(data, strength), temperature, strength, data, logits, folds)


def train_head_on_list(train: EmbeddedTracks, valid: EmbeddedTracks, seed: int = 0) -> TrainedHead:
    """Train a head on some tracks and measure it on others, which also fit the temperature.

    Parameters
    ----------
    train, valid : EmbeddedTracks
        Tracks of the same genres.
    seed : int
        Seed of the folds that choose the strength of regularization.

    Raises
    ------
    MisuseError
        If a genre has fewer than `MIN_TRACKS` training tracks.
    """
    check_tracks(train)
    strength = choose_strength(train, seed)
    head = fit_head(train, strength)
    logits = apply_head(head, valid.vectors)
    temperature = metrics.fit_temperature(logits, valid.segment_labels)
    return TrainedHead(head, temperature, strength, valid, logits)


def leave_out_rare_genres(data: EmbeddedTracks, say: Callable[[str], None]) -> EmbeddedTracks:
    """Leave out genres with fewer than `MIN_TRACKS` tracks, if two others are left.

    Parameters
    ----------
    data : EmbeddedTracks
        The labeled tracks to train on.
    say : callable
        Called with a message about the genres that are left out.
    """
    enough = np.array([data.tracks_by_genre.get(genre, 0) >= MIN_TRACKS for genre in data.genres])
    if enough.all() or enough.sum() < 2:
        return data
    genres = tuple(genre for genre, is_kept in zip(data.genres, enough, strict=True) if is_kept)
    few = ", ".join(f"{name} ({n})" for name, n in data.tracks_by_genre.items() if name not in genres)
    say(f"left out because they have fewer than {MIN_TRACKS} training tracks with embeddings: {few}")
    return data.of_genres(genres)


def check_tracks(data: EmbeddedTracks) -> None:
    """Check that there are enough tracks of each genre.

    Raises
    ------
    MisuseError
        If there are not, or there is only one genre.
    """
    check_genres(data.genres)
    few = {genre: n for genre, n in data.tracks_by_genre.items() if n < MIN_TRACKS}
    if few:
        listed = ", ".join(f"{genre} has {n}" for genre, n in few.items())
        raise MisuseError(
            f"a head needs at least {MIN_TRACKS} training tracks of each genre with embeddings, but "
            f"{listed}; add tracks"
        )


def choose_strength(data: EmbeddedTracks, seed: int) -> float:
    """Choose the strength of regularization by the likelihood of tracks that were held out.

    Every genre counts the same.
    """
    if count_artists(data) < 2:
        return _USUAL_STRENGTH
    if len(data) > _CHOICE_TRACKS:
        data = data.take(_draw(data, _CHOICE_TRACKS, seed))
        if count_artists(data) < 2:
            return _USUAL_STRENGTH
    folds = divide(data, seed, max_folds=_CHOICE_FOLDS)
    loss = np.zeros(len(STRENGTHS))
    for fold in range(folds.n_folds):
        others, held_out = (
            data.take(np.flatnonzero(chosen)) for chosen in (folds.fold_of != fold, folds.fold_of == fold)
        )
        of_genre = np.bincount(data.labels, minlength=len(data.genres))
        for number, strength in enumerate(STRENGTHS):
            logits = apply_head(fit_head(others, strength), held_out.vectors)
            proba = held_out.mean_by_track(softmax(logits))
            likelihood = proba[np.arange(len(held_out)), held_out.labels]
            loss[number] -= (np.log(np.maximum(likelihood, 1e-12)) / of_genre[held_out.labels]).sum()
    return STRENGTHS[int(loss.argmin())]


def _draw(data: EmbeddedTracks, n_tracks: int, seed: int) -> NDArray[np.intp]:
    """Draw tracks at random, but at least `MIN_TRACKS` of each genre."""
    order = np.random.default_rng(seed).permutation(len(data))
    chosen = set(order[:n_tracks].tolist())
    for label in range(len(data.genres)):
        chosen.update(order[data.labels[order] == label][:MIN_TRACKS].tolist())
    return np.array(sorted(chosen), np.intp)


def fit_head(data: EmbeddedTracks, strength: float) -> Head:
    """Fit a head to all segments of some tracks.

    Numbers are standardized for the fit; the head takes them as they are.

    Parameters
    ----------
    data : EmbeddedTracks
        The tracks. A genre without any gets a logit that is never the greatest: where artists play several
        genres, a fold without some of them can even leave a single genre.
    strength : float
        Inverse strength of regularization.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    weights = np.zeros((data.vectors.shape[1], len(data.genres)), np.float32)
    bias = np.full(len(data.genres), _ABSENT, np.float32)
    if len(present := np.unique(data.labels)) == 1:
        bias[present] = 0.0
        return Head(weights, bias)
    mean, spread = data.vectors.mean(axis=0, dtype=np.float64), data.vectors.std(axis=0, dtype=np.float64)
    spread[spread <= np.finfo(np.float32).eps * np.abs(mean).max()] = 1.0
    model = LogisticRegression(C=strength, max_iter=1000)
    with threadpool_limits(1):  # products of small matrices, which several threads make many times slower
        model.fit((data.vectors - mean) / spread, data.segment_labels, sample_weight=data.segment_weights)
    kernel, offset = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(kernel) == 1:  # of two genres scikit-learn gives only the logit of the second
        kernel, offset = np.concatenate([0 * kernel, kernel]), np.concatenate([0 * offset, offset])
    kernel = kernel / spread
    weights[:, model.classes_] = kernel.T
    bias[model.classes_] = offset - kernel @ mean
    return Head(weights, bias)


def apply_head(head: Head, vectors: NDArray[np.float32]) -> Floats:
    """Return the logits of segments, shape (n_segments, n_genres)."""
    return np.asarray(vectors @ head.weights + head.bias, np.float64)
