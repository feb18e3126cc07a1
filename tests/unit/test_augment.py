"""Augmentation must give plausible music with the right target."""

import numpy as np

from pipeline.training.augment import Augmentation, equalize, mask, mix, random_crops

STILL = Augmentation(stretch=0, shift=0, gain=0, tilt=0, contrast=0, band_mask=0, frame_mask=0, mixup=0)


def test_amounts_of_zero_change_only_the_position() -> None:
    """An ablation that sets an amount to zero measures something else."""
    rng = np.random.default_rng(0)
    log_mel = rng.integers(0, 256, (3, 16, 40), dtype=np.uint8)
    crops = random_crops(log_mel, np.array([2, 0]), 24, STILL, rng)
    for crop, row in zip(crops, (2, 0), strict=True):
        assert any((crop == log_mel[row, :, start : start + 24]).all() for start in range(17))
    np.testing.assert_allclose(equalize(crops, STILL, rng), crops, atol=1e-4)
    np.testing.assert_array_equal(mask(crops, STILL, rng), crops)
    targets = np.eye(2, dtype=np.float32)
    assert mix((crops, targets), STILL, rng)[1] is targets


def test_stretch_and_shift_move_a_mark_within_bounds() -> None:
    """A tone must stay a tone, at most `shift` bands away; a pulse must keep its period within `stretch`."""
    tone = np.zeros((1, 32, 200), np.uint8)
    tone[0, 16] = 255
    pulse = np.zeros((1, 32, 200), np.uint8)
    for offset in range(3):
        pulse[0, :, offset::20] = 255
    amount = Augmentation(shift=3, stretch=0.2)
    bands, periods = set(), []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        crop = random_crops(tone, np.zeros(1, np.intp), 100, amount, rng)[0]
        (rows,) = np.nonzero(crop.all(axis=1))
        assert len(rows) == 1
        bands.add(int(rows[0]))
        heard = random_crops(pulse, np.zeros(1, np.intp), 100, amount, rng)[0, 0]
        periods.append(np.diff(np.flatnonzero(np.diff(heard) > 0)).mean())
    assert bands == set(range(13, 20))
    assert 20 / 1.2 - 1 < min(periods) < 18 < 22 < max(periods) < 20 / 0.8 + 1


def test_short_segments_are_repeated() -> None:
    """Segments shorter than a crop end in silence or an IndexError."""
    log_mel = np.arange(1, 11, dtype=np.uint8).reshape(1, 1, 10).repeat(16, axis=1)
    crop = random_crops(log_mel, np.zeros(4, np.intp), 25, Augmentation(), np.random.default_rng(0))
    assert crop.shape == (4, 16, 25)
    assert crop.min() >= 1


def test_levels_stay_levels() -> None:
    """Training shows the network levels outside 0 … 255, which it never gets in use."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, 128, 32)).astype(np.float32)
    varied = mask(equalize(x, Augmentation(gain=60, tilt=60), rng), Augmentation(), rng)
    assert varied.dtype == np.float32
    assert varied.min() >= 0
    assert varied.max() <= 255


def test_mixing_keeps_targets_with_their_music() -> None:
    """Targets are blended differently from the inputs, so the network learns wrong genres."""
    rng = np.random.default_rng(0)
    targets = np.eye(8, dtype=np.float32)
    x = np.repeat(np.arange(8, dtype=np.float32), 6).reshape(8, 2, 3)
    blended, mixed = mix((x, targets), Augmentation(mixup=1.0), rng)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(blended[:, 0, 0], mixed @ np.arange(8), rtol=1e-5)
    assert (mixed.argmax(axis=1) == np.arange(8)).all()
