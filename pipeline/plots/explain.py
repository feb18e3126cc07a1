"""Explaining a label: which seconds and bands of a segment carried the model's decision.

Occlusion (Zeiler and Fergus 2014) is the reference: a patch of the log-mel is replaced by the segment's
median level, and what the probability of the genre loses by it is the patch's importance. Grad-CAM (Selvaraju
et al. 2017) is quick: the last convolution's channels, weighted by how the genre's logit rises with each.
Neither says why a genre sounds as it does; both say what this network reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.mel_bands import band_edges
from pipeline.models.bundle import Classifier, fit_frames
from pipeline.models.prediction import class_indices
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.model import ModelInfo

Method = Literal["occlusion", "grad-cam"]
Map = NDArray[np.float64]

PATCH = (16, 32)
"""Bands and frames of an occluded patch: about 2.5 s."""
STRIDE = (8, 16)
"""Bands and frames from one patch to the next."""
MASKED = 0.1
"""Share of a log-mel that `masking_test` masks."""
_TRIALS = 8


@dataclass(frozen=True, slots=True)
class Explanation:
    """What carried a decision.

    Attributes
    ----------
    method : str
        ``occlusion`` or ``grad-cam``.
    genre : str
        The genre that is explained.
    probability : float
        Its calibrated probability for the segment.
    first_frame : int
        Frame of the segment that the first column of `importance` belongs to.
    importance : ndarray of float64, shape (n_mels, n_frames)
        Occlusion: probability that the genre loses without the cell's surroundings, negative where they spoke
        against it. Grad-CAM: 0 to 1, relative.
    """

    method: Method
    genre: str
    probability: float
    first_frame: int
    importance: Map


@dataclass(frozen=True, slots=True)
class MaskingTest:
    """Whether an explanation holds: what the genre's probability becomes with a tenth of the log-mel masked.

    Attributes
    ----------
    whole : float
        The probability as it is.
    without_top : float
        With the most important tenth masked.
    without_random : float
        With as many cells masked elsewhere, in patches at random; mean of eight trials.
    """

    whole: float
    without_top: float
    without_random: float


def explain(
    log_mel: NDArray[np.uint8], classifier: Classifier, *, method: Method, genre: str | None = None
) -> Explanation:
    """Explain the label of a segment.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n_mels, n_frames)
        The segment; a longer one than the model takes is explained in its middle, where the model reads it.
    classifier : Classifier
        A model of log-mels.
    method : str
        ``occlusion`` or ``grad-cam``.
    genre : str, optional
        The genre to explain; the most probable one if not given.

    Raises
    ------
    MisuseError
        If the model knows no such genre, or reads anything but log-mels.
    """
    info = classifier.info
    if info.arch != "cnn":
        raise MisuseError(
            f"the model {info.name} reads descriptors; only models of log-mels can be explained"
        )
    if genre is not None and genre not in info.genres:
        raise MisuseError(
            f"the model {info.name} knows no genre '{genre}' (it knows {', '.join(info.genres)})"
        )
    n_frames = min(log_mel.shape[1], info.n_frames or log_mel.shape[1])
    seen = fit_frames(log_mel, n_frames)
    proba = classifier.predict_proba([seen])[0]
    number = int(proba.argmax()) if genre is None else info.genres.index(genre)
    find = occlusion if method == "occlusion" else grad_cam
    importance = find(seen, classifier, number)
    first_frame = (log_mel.shape[1] - n_frames) // 2  # as fit_frames cuts
    return Explanation(method, info.genres[number], float(proba[number]), first_frame, importance)


def occlusion(log_mel: NDArray[np.uint8], classifier: Classifier, genre: int) -> Map:
    """Return how much of a genre's probability hangs on each cell.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n_mels, n_frames)
        A segment.
    classifier : Classifier
        The model.
    genre : int
        Number of the genre.

    Returns
    -------
    ndarray of float64, shape (n_mels, n_frames)
        Mean loss over the patches that a cell lies in.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    whole = classifier.predict_proba([log_mel])[0, genre]
    patches = list(_patches(log_mel.shape))
    level = np.uint8(np.median(log_mel))
    total, times = np.zeros(log_mel.shape), np.zeros(log_mel.shape)
    for first in range(0, len(patches), classifier.batch_size):
        some = patches[first : first + classifier.batch_size]
        masked = [_masked(log_mel, patch, level) for patch in some]
        for patch, lost in zip(some, whole - classifier.predict_proba(masked)[:, genre], strict=True):
            total[patch] += lost
            times[patch] += 1
    return total / times


def grad_cam(log_mel: NDArray[np.uint8], classifier: Classifier, genre: int) -> Map:
    """Return where the last convolution speaks for a genre.

    Parameters and shape as `occlusion`; from 0 to 1, all 0 where nothing speaks for the genre.

    References
    ----------
    Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization",
    ICCV 2017.
    """
    import keras
    import tensorflow as tf

    network = classifier.network
    *_, pooled = (x for x in network.layers if isinstance(x, keras.layers.GlobalAveragePooling2D))
    both = keras.Model(network.inputs[0], [pooled.input, network.output])
    n_frames = classifier.info.n_frames or log_mel.shape[1]
    x = tf.constant(fit_frames(log_mel, n_frames)[np.newaxis, :, :, np.newaxis], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        channels, logits = both(x, training=False)
        logit = tf.reduce_max(tf.gather(logits[0], _outputs(classifier.info, genre)))
    weights = tf.reduce_mean(tape.gradient(logit, channels), axis=(1, 2), keepdims=True)
    small = tf.nn.relu(tf.reduce_sum(channels * weights, axis=-1, keepdims=True))
    resized: Any = tf.image.resize(small, (log_mel.shape[0], n_frames), method="bilinear")
    importance = resized[0, :, : log_mel.shape[1], 0].numpy().astype(np.float64)
    largest = importance.max()
    return np.asarray(importance / largest if largest > 0 else importance)


def _outputs(info: ModelInfo, genre: int) -> tuple[int, ...]:
    """Return the outputs that speak for a genre."""
    if info.taxonomy is None:
        return (genre,)
    return class_indices(info.genres, info.taxonomy)[genre]


def masking_test(log_mel: NDArray[np.uint8], classifier: Classifier, found: Explanation) -> MaskingTest:
    """Mask what an explanation names, and as much elsewhere, and compare.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n_mels, n_frames)
        The segment that was explained.
    classifier : Classifier
        The model.
    found : Explanation
        What `explain` gave.
    """
    seen = fit_frames(log_mel, found.importance.shape[1])
    number = classifier.info.genres.index(found.genre)
    level = np.uint8(np.median(seen))
    n_masked = round(MASKED * seen.size)
    top = np.zeros(seen.size, bool)
    top[np.argsort(-found.importance, axis=None, kind="stable")[:n_masked]] = True
    rng = np.random.default_rng(0)
    masks = [top.reshape(seen.shape), *(_random_mask(seen.shape, n_masked, rng) for _ in range(_TRIALS))]
    proba = classifier.predict_proba([_masked(seen, mask, level) for mask in masks])[:, number]
    return MaskingTest(found.probability, float(proba[0]), float(proba[1:].mean()))


def _patches(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Patches that together cover a log-mel, those at its upper and right edge moved back into it."""

    def starts(length: int, size: int, stride: int) -> list[int]:
        last = max(length - size, 0)
        return [*range(0, last, stride), last]

    for band in starts(shape[0], PATCH[0], STRIDE[0]):
        for frame in starts(shape[1], PATCH[1], STRIDE[1]):
            yield slice(band, band + PATCH[0]), slice(frame, frame + PATCH[1])


def _random_mask(shape: tuple[int, ...], n_masked: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Patches at random until `n_masked` cells are covered; the last patch is cut to that number."""
    patches = list(_patches(shape))
    mask = np.zeros(shape, bool)
    for number in rng.permutation(len(patches)):
        before = mask.copy()
        mask[patches[number]] = True
        if (extra := int(mask.sum()) - n_masked) >= 0:
            new = np.flatnonzero(mask & ~before)
            mask.reshape(-1)[new[len(new) - extra :]] = False
            break
    return mask


def _masked(log_mel: NDArray[np.uint8], where: Any, level: np.uint8) -> NDArray[np.uint8]:
    copy = log_mel.copy()
    copy[where] = level
    return copy


def strongest(
    found: Explanation, spec: FeatureSpec, start_s: float, *, n: int = 3
) -> list[tuple[float, float, float, float]]:
    """Return the patches that carried most, none of which overlap.

    Parameters
    ----------
    found : Explanation
        What `explain` gave.
    spec : FeatureSpec
        What the log-mel was made by.
    start_s : float
        Where the segment starts in the track, seconds.
    n : int
        Patches at most.

    Returns
    -------
    list of (float, float, float, float)
        From and to in seconds of the track, lowest and highest frequency in Hz.
    """
    edges = band_edges(spec)
    frame_s = spec.mel_hop / spec.sample_rate
    patches = sorted(_patches(found.importance.shape), key=lambda patch: -found.importance[patch].mean())
    n_mels, n_frames = found.importance.shape
    taken = np.zeros((n_mels, n_frames), bool)
    chosen: list[tuple[float, float, float, float]] = []
    for bands, frames in patches:
        if len(chosen) == n or found.importance[bands, frames].mean() <= 0:
            break
        if taken[bands, frames].any():
            continue
        taken[bands, frames] = True
        first = start_s + (found.first_frame + frames.start) * frame_s
        last = first + min(PATCH[1], n_frames) * frame_s
        top = min(bands.stop, n_mels)
        chosen.append((first, last, float(edges[bands.start]), float(edges[top + 1])))
    return chosen
