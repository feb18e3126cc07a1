"""Brings the bandwidth of a segment, inside the network, to that of the music that it learned genres from.

Files of a low sample rate, such as telephone sound, lack bands that the network was trained on, and it takes
little for music without them. Where the spectrum of a segment ends abruptly, each frame gets the mean of what
the missing bands are, given the others: the conditional mean of a normal distribution (Cooke, Green,
Josifovski and Vizinho 2001), fitted to frames of GTZAN's train clips.

Those end at 11 kHz. Most other music does not, and from its upper bands the network concludes that it is like
the music of games, which was trained with them. So it hears half of the frames without: after the mean over
time it is as if the scores of both were averaged, without a second pass.

Segments of GTZAN's bandwidth stay as they are, to the bit.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.distill.student import N_BANDS, build_network, copy_weights
from pipeline.models.audioset import STEP_DB

CUTOFFS = range(28, 47)
"""First pooled band that is restored: for spectra that end at 2.4 to 6.7 kHz. GTZAN's end at band 58."""
_EDGE = 3
"""Pooled bands within which a spectrum ends: no resampler's or encoder's filter is ideal."""
_DROP_DB = 30.0
"""How far it falls within them. Music does not, nor does a filter of 24 dB per octave."""
_NOISE_DB = 2.5
"""Standard deviation added to each band, for levels are 2.5 dB apart."""
_NARROW = 57
"""The first pooled band that GTZAN's clips have in part at most."""
_WIDE = 59
"""The first of the pooled bands that tell whether a segment has more."""
_HEARD_DB = (2.5, 5.0)
"""Mean above the floor from which a segment begins to have these, and has them."""

Levels = NDArray[np.uint8]


def fit_bands(excerpts: Iterable[Levels]) -> dict[str, NDArray[np.float32]]:
    """Fit what restores missing bands to music that has them.

    Parameters
    ----------
    excerpts : iterable of ndarray of uint8, each of shape (64, n_frames)
        Pooled levels.

    Returns
    -------
    dict of str to ndarray of float32
        Weights of the layers of `restore_bands` by their names. For each cutoff, ``restored_from``, shape
        (n_cutoffs, 64 * 64), times the levels of a frame, less ``restored_mean``, shape (n_cutoffs, 64), is
        what is added to them.
    """
    frames = np.concatenate([each.T for each in excerpts])[::5].astype(np.float64)
    mean = frames.mean(axis=0)
    covariance = np.cov(frames.T) + (_NOISE_DB / STEP_DB) ** 2 * np.eye(N_BANDS)
    added = np.zeros((len(CUTOFFS), N_BANDS, N_BANDS))
    lowered = np.zeros((len(CUTOFFS), N_BANDS))
    for place, cutoff in enumerate(CUTOFFS):
        there, missing = slice(cutoff), slice(cutoff, None)
        slopes = np.linalg.solve(covariance[there, there], covariance[there, missing]).T
        added[place, missing, there] = slopes
        added[place, missing, missing] = -np.eye(N_BANDS - cutoff)
        lowered[place, missing] = slopes @ mean[there] - mean[missing]
    return {
        "restored_from": added.reshape(len(CUTOFFS), -1).astype(np.float32),
        "restored_mean": lowered.astype(np.float32),
    }


def with_equal_bandwidth(network: Any, weights: dict[str, NDArray[np.float32]]) -> Any:
    """Return a network that restores and narrows bands first.

    Parameters
    ----------
    network : keras.Model
        As `infra.distill.student.build_network` builds it.
    weights : dict of str to ndarray
        What `fit_bands` returns.
    """
    n_frames, n_outputs = network.input_shape[2], network.output_shape[-1]
    changed = build_network(n_outputs, n_frames, lambda pooled: narrow_bands(restore_bands(pooled)))
    copy_weights(network, changed, but=weights)
    for name, values in weights.items():
        changed.get_layer(name).set_weights([values])
    return changed


def restore_bands(pooled: Any) -> Any:
    """Apply the layers that restore high frequencies to pooled levels.

    Their weights, of ``restored_from`` and ``restored_mean``, are those of `fit_bands`.
    """
    from keras import layers

    n_frames, n_cutoffs = pooled.shape[2], len(CUTOFFS)
    mean = layers.AveragePooling2D((1, n_frames), name="mean_level")(pooled)
    spectrum = layers.Reshape((N_BANDS, 1), name="spectrum")(mean)
    # Below each cutoff the mean of two bands, above it the loudest of all bands.
    below = layers.AveragePooling1D(2, strides=1, name="below")(spectrum)
    padded = layers.ZeroPadding1D((0, N_BANDS), name="padded_spectrum")(spectrum)
    above = layers.MaxPooling1D(N_BANDS, strides=1, name="above")(padded)
    below = _at_cutoffs(below, CUTOFFS.start - 2, "below_cutoffs")
    above = _at_cutoffs(above, CUTOFFS.start + _EDGE, "above_cutoffs")
    drop_db = layers.Rescaling(STEP_DB, -_DROP_DB, name="drop_db")(
        layers.Subtract(name="drop")([below, above])
    )
    ends = layers.ReLU(max_value=1.0, name="ends")(drop_db)
    # Where the spectrum ends, several cutoffs in a row find it. Only the lowest counts.
    padded = layers.ZeroPadding1D((n_cutoffs, 0), name="padded_ends")(ends)
    earlier = layers.MaxPooling1D(n_cutoffs, strides=1, name="earlier")(padded)
    first = layers.Subtract(name="later_than_earlier")([ends, _at_cutoffs(earlier, 0, "earlier_cutoffs")])
    cutoff = layers.Flatten(name="cutoff")(layers.ReLU(name="first")(first))
    levels = layers.Reshape((N_BANDS, n_frames), name="frames")(pooled)
    slopes = layers.Dense(N_BANDS * N_BANDS, use_bias=False, name="restored_from")(cutoff)
    slopes = layers.Reshape((N_BANDS, N_BANDS), name="slopes")(slopes)
    lowered = layers.Dense(N_BANDS, use_bias=False, name="restored_mean")(cutoff)
    lowered = layers.Reshape((N_BANDS, 1), name="lowered")(lowered)
    added = layers.Subtract(name="added")([layers.Dot((2, 1), name="predicted")([slopes, levels]), lowered])
    restored = layers.Add(name="restored_frames")([levels, added])
    restored = layers.ReLU(max_value=255.0, name="restored_levels")(restored)
    return layers.Reshape((N_BANDS, n_frames, 1), name="restored")(restored)


def narrow_bands(pooled: Any) -> Any:
    """Apply the layers that silence the highest bands in half of the frames, of segments that have them."""
    from keras import layers

    n_frames = pooled.shape[2]
    half = n_frames // 2
    top = layers.Cropping2D(((_WIDE, 0), (0, 0)), name="top_bands")(pooled)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="top_level")(top)
    # 1 for a segment without these bands, 0 for one with them.
    least, most = _HEARD_DB
    lacking = layers.Rescaling(-STEP_DB / (most - least), most / (most - least), name="lacks_top")(mean)
    kept = layers.ReLU(max_value=1.0, name="kept")(lacking)
    low = layers.Cropping2D(((0, N_BANDS - _NARROW), (0, 0)), name="low_bands")(pooled)
    first = layers.Cropping2D(((_NARROW, 0), (0, n_frames - half)), name="high_bands_first_half")(pooled)
    second = layers.Cropping2D(((_NARROW, 0), (half, 0)), name="high_bands_second_half")(pooled)
    narrowed = layers.Multiply(name="narrowed")([second, kept])
    high = layers.Concatenate(axis=2, name="high_bands")([first, narrowed])
    return layers.Concatenate(axis=1, name="bandwidth")([low, high])


def _at_cutoffs(x: Any, start: int, name: str) -> Any:
    """Return the numbers of a sequence that belong to the cutoffs; the first of them is at `start`."""
    from keras import layers

    return layers.Cropping1D((start, x.shape[1] - start - len(CUTOFFS)), name=name)(x)
