"""Downmix to mono that keeps the music even if the channels are out of phase."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

MAX_SAMPLE = 1e12
"""Larger, infinite or NaN float samples are damage and count as 0: their power would overflow float32."""

CANCELED = 0.1
"""Channels cancel if their sum at low frequencies has less than this fraction of their total power.

For unrelated channels the fraction is 1, for two in phase up to 2; for two channels, 0.1 is a correlation of
-0.9. Only frequencies below about a kilohertz count: there, a delay of some samples does not hide an inverted
channel, and the channels of recordings are in phase.
"""

WEAKENED = 0.6
"""Channels also cancel only if no more than this is left of the whole spectrum: rumble in opposite phase
alone does not do that to music.
"""

_LOW_RATE = 2000
_STEP = 4
_MEASURED = 2
"""One half of every fourth block is measured: enough for powers, at no cost in speed."""


class Downmix:
    """Mixes the blocks of one excerpt to mono and detects whether their channels cancel.

    The decision is made for the whole excerpt, so it is known only after the last block. An excerpt that
    cancels is mixed again, with the signs that `signs` returns. `mix_excerpt` does both.

    Parameters
    ----------
    rate : int
        Sample rate, Hz.
    signs : mapping, optional
        A sign for each channel, by the number of channels; for other numbers the plain mean is taken.
    """

    def __init__(self, rate: int, signs: Mapping[int, NDArray[np.float32]] | None = None) -> None:
        self._width = max(rate // _LOW_RATE, 1)
        self._signs = signs or {}
        self._moments: dict[int, tuple[_Moments, _Moments]] = {}
        self._n_blocks = 0

    def mono(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mono mix of a block of shape (channels, n), and measure the block."""
        n_channels = len(block)
        if n_channels in self._signs:
            return to_mono(block * self._signs[n_channels][:, np.newaxis])
        if n_channels > 1 and (n_channels not in self._moments or self._n_blocks % _STEP == 0):
            self._measure(block)
        self._n_blocks += 1
        return to_mono(block)

    def _measure(self, block: NDArray[np.float32]) -> None:
        n_channels, n_samples = block.shape
        whole, low = self._moments.setdefault(n_channels, (_Moments(n_channels), _Moments(n_channels)))
        n_low = -(-n_samples // (_MEASURED * self._width))
        part = block[:, : n_low * self._width]
        if not whole.add(part):
            part = without_damage(part)
            whole.add(part)
        low.add(np.add.reduceat(part, np.arange(0, part.shape[1], self._width), axis=1))

    def signs(self) -> dict[int, NDArray[np.float32]]:
        """Return, by number of channels, the signs to mix with if the plain mean cancels; else nothing."""
        return {
            n_channels: strongest_signs(low.covariance())
            for n_channels, (whole, low) in self._moments.items()
            if low.share() < CANCELED and whole.share() < WEAKENED
        }


class _Moments:
    """Running sums of the channels and of their products."""

    def __init__(self, n_channels: int) -> None:
        self._n = 0
        self._sums = np.zeros(n_channels)
        self._products = np.zeros((n_channels, n_channels))

    def add(self, y: NDArray[np.float32]) -> bool:
        """Add samples; return False, and add nothing, if some of them are damaged."""
        with np.errstate(invalid="ignore", over="ignore"):
            products = y @ y.T
        if not products.trace() < MAX_SAMPLE**2:
            return False
        self._products += products
        self._sums += y @ np.ones(y.shape[1], np.float32)
        self._n += y.shape[1]
        return True

    def covariance(self) -> NDArray[np.float64]:
        """Return the sums of products around the means: a channel's constant offset is not sound."""
        return self._products - np.outer(self._sums, self._sums) / max(self._n, 1)

    def share(self) -> float:
        """Return the power of the channels' sum as a fraction of the sum of their powers; 1 for silence."""
        covariance = self.covariance()
        powers = float(np.trace(covariance))
        return float(covariance.sum()) / powers if powers > 0 else 1.0


def mix_excerpt(blocks: Callable[[], Iterable[NDArray[np.float32]]], rate: int) -> NDArray[np.float32]:
    """Return the mono mix of an excerpt.

    It is the mean of the channels. If they cancel, as with a reversed cable, channels are inverted so that
    each adds to the power of the louder ones.

    Parameters
    ----------
    blocks : callable
        Returns the blocks of the excerpt, shape (channels, n). It is called again if the mean cancels, so
        that memory does not grow with the number of channels.
    rate : int
        Sample rate, Hz.

    Returns
    -------
    y : ndarray of float32, shape (n,)
        Full scale ±1, damaged float samples set to 0.
    """
    downmix = Downmix(rate)
    y = join(map(downmix.mono, blocks()))
    signs = downmix.signs()
    return join(map(Downmix(rate, signs).mono, blocks())) if signs else y


def first_frames(blocks: Iterable[NDArray[np.float32]], n_frames: int) -> Iterator[NDArray[np.float32]]:
    """Yield the first `n_frames` of blocks of shape (channels, n), or all if there are fewer."""
    for block in blocks:
        yield block[:, :n_frames]
        n_frames -= block.shape[1]
        if n_frames <= 0:
            break


def join(pieces: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Concatenate mono pieces; return an empty array for none."""
    taken = list(pieces)
    return np.concatenate(taken) if taken else np.empty(0, np.float32)


def to_mono(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the channels of `y`, shape (channels, n), with damaged float samples set to 0."""
    mono: NDArray[np.float32]
    if len(y) == 1:
        mono = y[0].copy()
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            mono = y[0] + y[1]
            for channel in y[2:]:
                mono += channel
            mono /= np.float32(len(y))
    if not -MAX_SAMPLE < float(mono.min(initial=0.0)) <= float(mono.max(initial=0.0)) < MAX_SAMPLE:
        mono = without_damage(mono)
    return mono


def without_damage(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `y` with samples that are infinite, NaN or beyond `MAX_SAMPLE` set to 0."""
    return np.where(np.abs(y) < MAX_SAMPLE, y, np.float32(0))


def strongest_signs(covariance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the sign of each channel, ±1, with which it adds to the power of the louder ones' sum."""
    signs = np.zeros(len(covariance), np.float32)
    for channel in np.argsort(-np.diagonal(covariance), kind="stable"):
        signs[channel] = 1 if covariance[channel] @ signs >= 0 else -1
    return signs
