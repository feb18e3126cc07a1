"""Control: known-good sounds, which show whether a failure is due to the track or the machine."""

import io
import wave
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np

from pipeline.audio.features.featurize import featurize_track
from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts
from pipeline.shards.limits import TIMED_OUT, TrackLimits
from pipeline.shards.process_errors import format_error
from schemas.errors import EnvironmentFaultError
from schemas.features import FeatureSpec

_MP3 = Path(__file__).with_name("known_good.mp3")
"""A tone in noise, 1.5 s, which FFmpeg decodes; wav goes to libsndfile."""
_RATE = 44100
_DURATION_S = 1.5
_UNLIMITED_S = 600.0
"""Longer than any working machine takes, including the time to compile kernels."""


def featurize_known_good(spec: FeatureSpec, limits: TrackLimits | None = None) -> None:
    """Featurize known-good sounds, one for each decoder.

    Parameters
    ----------
    spec : FeatureSpec
        The features to compute.
    limits : TrackLimits, optional
        Time and memory that a sound may take; exceeding them ends this process.

    Raises
    ------
    EnvironmentFaultError
        If a sound fails: then no failure on this machine is a track's fault.
    """
    specs = [one.model_copy(update={"min_s": min(one.min_s, 1.0)}) for one in spec.specs]
    for (name, sound), one in product(_sounds(), specs):
        try:
            file = io.BytesIO(sound)
            with limits.enforce(file, remote=False) if limits else file as opened:
                featurize_track(opened, name, one)
        except Exception as error:
            raise EnvironmentFaultError(
                f"a known-good sound ({name}) gives no features: {format_error(error)}"
            ) from error


def check_process(process: Isolated, spec: FeatureSpec, limits: TrackLimits, death: int | None) -> None:
    """Check that known-good sounds pass in a process in which a track failed.

    A track may corrupt its process, by overwriting its heap or using up its file descriptors. That says
    nothing about the machine, so if the sounds fail too, they are tried in a new process.

    Parameters
    ----------
    process : Isolated
        The process.
    spec : FeatureSpec
        The features to compute.
    limits : TrackLimits
        Time and memory that a track may take.
    death : int or None
        The exit code, if the track ended the process. If it timed out, the sounds must not.

    Raises
    ------
    EnvironmentFaultError
        If the sounds fail in a new process too.
    """
    unlimited = TrackLimits(_UNLIMITED_S, 1 << 40)
    if death is None:
        with suppress(EnvironmentFaultError, ProcessDiedError):
            process.call(featurize_known_good, spec, unlimited)
            return
        process.close()
    try:
        call_with_restarts(process, featurize_known_good, spec, unlimited)
        if death == TIMED_OUT:
            # A second time, since a new process first needs time to load its libraries.
            call_with_restarts(process, featurize_known_good, spec, limits)
    except ProcessDiedError as own_death:
        raise EnvironmentFaultError(_death_message(own_death, limits)) from own_death


def _death_message(death: ProcessDiedError, limits: TrackLimits) -> str:
    sound = f"a known-good sound of {_DURATION_S:g} s"
    if death.code == TIMED_OUT:
        return f"{sound} takes longer to decode than --track-timeout allows ({limits.timeout_s:g} s)"
    return f"{sound} crashes its decoder ({death.how})"


def _sounds() -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the sounds."""
    yield "wav", _wav()
    yield "mp3", _MP3.read_bytes()


def _wav() -> bytes:
    n = round(_RATE * _DURATION_S)
    y = 0.3 * np.sin(2 * np.pi * 440 / _RATE * np.arange(n)) + np.random.default_rng(0).normal(0, 0.05, n)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        sound.writeframes((y * 32767).astype("<i2").tobytes())
    return file.getvalue()
