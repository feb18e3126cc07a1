"""Explaining a label: the time and frequency regions of a segment that the model's decision depends on.

Occlusion (Zeiler and Fergus 2014) is the reference method: a patch of the log-mel is replaced with the
segment's median level, and the resulting loss of probability is the patch's importance. Grad-CAM (Selvaraju
et al. 2017) is fast: it weights the channels of the last convolution by the gradient of the genre's logit.
Neither explains why a genre sounds the way it does; both show what this network responds to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.mel_bands import band_edges
from pipeline.models.classifier import Classifier, fit_frames
from pipeline.models.prediction import class_indices
from schemas.errors import MisuseError
from schemas.features import FeatureSpec
from schemas.genres import find_genre
from schemas.model import ModelInfo

Method = Literal["occlusion", "grad-cam"]
Map = NDArray[np.float64]

PATCH = (16, 32)
"""Size of an occluded patch in bands and frames; 32 frames are about 2.5 s."""
STRIDE = (8, 16)
"""Distance between patches in bands and frames."""
MASKED = 0.1
"""Fraction of the log-mel that `run_masking_test` masks."""
_TRIALS = 8
_N_STRONGEST = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """The evidence for or against a genre in a segment.

    Attributes
    ----------
    method : str
        ``occlusion`` or ``grad-cam``.
    genre : str
        The genre that is explained.
    probability : float
        Its calibrated probability for the segment.
    first_frame : int
        Frame of the segment that corresponds to the first column of `importance`.
    importance : ndarray of float64, shape (n_mels, n_frames)
        Occlusion: loss of probability when the surroundings of the cell are masked, negative for evidence
        against the genre. Grad-CAM: relative importance, 0 to 1.
    """

    method: Method
    genre: str
    probability: float
    first_frame: int
    importance: Map


@dataclass(frozen=True, slots=True)
class MaskingTest:
    """A check of an explanation: the genre's probability with a tenth of the log-mel masked.

    Attributes
    ----------
    whole : float
        Probability with nothing masked.
    without_top : float
        Probability with the most important tenth masked.
    without_random : float
        Probability with the same number of cells masked in random patches; mean of eight trials.
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
        The segment. If it is longer than the model's input, its middle is explained, which is what the model
        reads.
    classifier : Classifier
        A model that reads log-mels.
    method : str
        ``occlusion`` or ``grad-cam``.
    genre : str, optional
        The genre to explain; the most probable one if not given.

    Raises
    ------
    MisuseError
        If the model does not have the genre, or does not read log-mels only.
    """
    info = classifier.info
    if info.arch != "cnn":
        raise MisuseError(
            f"the model {info.name} reads descriptors; only models that read log-mels can be explained"
        )
    named = None if genre is None else find_genre(genre, info.genres)
    if genre is not None and named is None:
        raise MisuseError(
            f"the model {info.name} has no genre '{genre}'; its genres are {', '.join(info.genres)}"
        )
    n_frames = min(log_mel.shape[1], info.n_frames or log_mel.shape[1])
    seen = fit_frames(log_mel, n_frames)
    proba = classifier.predict_proba([seen])[0]
    number = int(proba.argmax()) if named is None else info.genres.index(named)
    find = occlusion if method == "occlusion" else grad_cam
    importance = find(seen, classifier, number)
    first_frame = (log_mel.shape[1] - n_frames) // 2  # fit_frames crops to the middle
    return Explanation(method, info.genres[number], float(proba[number]), first_frame, importance)


def occlusion(log_mel: NDArray[np.uint8], classifier: Classifier, genre: int) -> Map:
    """Return how much of a genre's probability depends on each cell.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n_mels, n_frames)
        A segment.
    classifier : Classifier
        The model.
    genre : int
        Index of the genre.

    Returns
    -------
    ndarray of float64, shape (n_mels, n_frames)
        Loss of probability, averaged over the patches that contain the cell.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    whole = classifier.predict_proba([log_mel])[0, genre]
    patches = list(_iter_patches(log_mel.shape))
    level = np.uint8(np.median(log_mel))
    total, times = np.zeros(log_mel.shape), np.zeros(log_mel.shape)
    for first in range(0, len(patches), classifier.batch_size):
        some = patches[first : first + classifier.batch_size]
        masked = [_mask(log_mel, patch, level) for patch in some]
        for patch, lost in zip(some, whole - classifier.predict_proba(masked)[:, genre], strict=True):
            total[patch] += lost
            times[patch] += 1
    return total / times


def grad_cam(log_mel: NDArray[np.uint8], classifier: Classifier, genre: int) -> Map:
    """Return where the last convolution finds evidence for a genre.

    Parameters and shape are those of `occlusion`. Values are 0 to 1, all 0 if nothing supports the genre.

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
        logit = tf.reduce_max(tf.gather(logits[0], _find_outputs(classifier.info, genre)))
    weights = tf.reduce_mean(tape.gradient(logit, channels), axis=(1, 2), keepdims=True)
    small = tf.nn.relu(tf.reduce_sum(channels * weights, axis=-1, keepdims=True))
    resized: Any = tf.image.resize(small, (log_mel.shape[0], n_frames), method="bilinear")
    importance = resized[0, :, : log_mel.shape[1], 0].numpy().astype(np.float64)
    largest = importance.max()
    return np.asarray(importance / largest if largest > 0 else importance)


def _find_outputs(info: ModelInfo, genre: int) -> tuple[int, ...]:
    """Return the indices of the network's outputs for a genre."""
    if info.taxonomy is None:
        return (genre,)
    return class_indices(info.genres, info.taxonomy)[genre]


def run_masking_test(log_mel: NDArray[np.uint8], classifier: Classifier, found: Explanation) -> MaskingTest:
    """Mask the cells that an explanation names, then as many random ones, and compare the probabilities.

    Parameters
    ----------
    log_mel : ndarray of uint8, shape (n_mels, n_frames)
        The segment that was explained.
    classifier : Classifier
        The model.
    found : Explanation
        The result of `explain`.
    """
    seen = fit_frames(log_mel, found.importance.shape[1])
    number = classifier.info.genres.index(found.genre)
    level = np.uint8(np.median(seen))
    n_masked = round(MASKED * seen.size)
    top = np.zeros(seen.size, bool)
    top[np.argsort(-found.importance, axis=None, kind="stable")[:n_masked]] = True
    rng = np.random.default_rng(0)
    masks = [top.reshape(seen.shape), *(_draw_random_mask(seen.shape, n_masked, rng) for _ in range(_TRIALS))]
    proba = classifier.predict_proba([_mask(seen, mask, level) for mask in masks])[:, number]
    return MaskingTest(found.probability, float(proba[0]), float(proba[1:].mean()))


def _iter_patches(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield patches that cover a log-mel; those at its upper and right edges are shifted to fit inside."""

    def starts(length: int, size: int, stride: int) -> list[int]:
        last = max(length - size, 0)
        return [*range(0, last, stride), last]

    for band in starts(shape[0], PATCH[0], STRIDE[0]):
        for frame in starts(shape[1], PATCH[1], STRIDE[1]):
            yield slice(band, band + PATCH[0]), slice(frame, frame + PATCH[1])


def _draw_random_mask(shape: tuple[int, ...], n_masked: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask random patches until `n_masked` cells are covered; the last patch is cropped to that number."""
    patches = list(_iter_patches(shape))
    mask = np.zeros(shape, bool)
    for number in rng.permutation(len(patches)):
        before = mask.copy()
        mask[patches[number]] = True
        if (extra := int(mask.sum()) - n_masked) >= 0:
            new = np.flatnonzero(mask & ~before)
            mask.reshape(-1)[new[len(new) - extra :]] = False
            break
    return mask


def _mask(log_mel: NDArray[np.uint8], where: Any, level: np.uint8) -> NDArray[np.uint8]:
    copy = log_mel.copy()
    copy[where] = level
    return copy


def find_strongest_patches(
    found: Explanation, spec: FeatureSpec, start_s: float
) -> list[tuple[float, float, float, float]]:
    """Return the patches with the strongest evidence, at most three, without overlaps.

    Parameters
    ----------
    found : Explanation
        The result of `explain`.
    spec : FeatureSpec
        The spec of the log-mel.
    start_s : float
        Start of the segment in the track, seconds.

    Returns
    -------
    list of (float, float, float, float)
        Start and end in seconds of the track, lowest and highest frequency in Hz.
    """
    edges = band_edges(spec)
    patches = sorted(_iter_patches(found.importance.shape), key=lambda patch: -found.importance[patch].mean())
    n_mels, n_frames = found.importance.shape
    taken = np.zeros((n_mels, n_frames), bool)
    chosen: list[tuple[float, float, float, float]] = []
    for bands, frames in patches:
        if len(chosen) == _N_STRONGEST or found.importance[bands, frames].mean() <= 0:
            break
        if taken[bands, frames].any():
            continue
        taken[bands, frames] = True
        first = start_s + (found.first_frame + frames.start) * spec.frame_s
        last = first + min(PATCH[1], n_frames) * spec.frame_s
        top = min(bands.stop, n_mels)
        chosen.append((first, last, float(edges[bands.start]), float(edges[top + 1])))
    return chosen
