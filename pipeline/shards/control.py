"""Control: known-good sounds, which tell whether a failure is the track's or the machine's."""

import io
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.audio.features.featurize import featurize_track
from pipeline.shards.isolation import Isolated, ProcessDiedError, call_with_restarts
from pipeline.shards.limits import TIMED_OUT, TrackLimits
from pipeline.shards.transfer import format_error
from schemas.errors import EnvironmentFaultError
from schemas.features import FeatureSpec

_MP3 = Path(__file__).with_name("control.mp3")
"""A tone in noise, 1.5 s: read by the other decoder than a wav is."""
_RATE = 44100
_DURATION_S = 1.5
_UNLIMITED_S = 600.0
"""Where no limit is tested: longer than any machine takes that works, kernels to compile included."""


def featurize_known_good(spec: FeatureSpec, limits: TrackLimits | None = None) -> None:
    """Featurize known-good sounds, one for each decoder.

    Parameters
    ----------
    spec : FeatureSpec
        Which features.
    limits : TrackLimits, optional
        What a sound may take; one that takes more ends this process.

    Raises
    ------
    EnvironmentFaultError
        If that fails: whatever else fails here is no track's fault.
    """
    spec = spec.model_copy(update={"min_s": min(spec.min_s, 1.0)})
    for name, sound in _sounds():
        try:
            file = io.BytesIO(sound)
            with limits.enforce(file, remote=False) if limits else file as opened:
                featurize_track(opened, name, spec)
        except Exception as error:
            raise EnvironmentFaultError(
                f"a known-good sound ({name}) gives no features: {format_error(error)}"
            ) from error


def check_process(process: Isolated, spec: FeatureSpec, limits: TrackLimits, death: int | None) -> None:
    """Make sure that known-good sounds get through a process in which a track failed.

    A track may leave a process behind in which nothing works any more, with its heap overwritten or its
    files used up; that says nothing of the machine, which a new process does.

    Parameters
    ----------
    process : Isolated
        The process, or the one that takes its place.
    spec : FeatureSpec
        Which features.
    limits : TrackLimits
        What a track may take.
    death : int or None
        The exit code, where the track ended the process. If it took too long, the sounds must not.

    Raises
    ------
    EnvironmentFaultError
        If they do not.
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
            # Again, since a process that is new takes time to load what it needs.
            call_with_restarts(process, featurize_known_good, spec, limits)
    except ProcessDiedError as own_death:
        raise EnvironmentFaultError(_death_message(own_death, limits)) from own_death


def _death_message(death: ProcessDiedError, limits: TrackLimits) -> str:
    sound = f"a known-good sound of {_DURATION_S:g} s"
    if death.code == TIMED_OUT:
        return f"{sound} takes longer to decode than --track-timeout allows ({limits.timeout_s:g} s)"
    return f"{sound} crashes its decoder ({death.how})"


def _sounds() -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the sounds."""
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
