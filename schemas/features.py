"""FeatureSpec: the features computed from a track. Its hash identifies the feature set in every table."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

_ALWAYS_STORED = frozenset(
    {
        *("sample_rate", "segment_s", "max_segments", "min_s", "n_fft", "n_mels", "mel_hop", "top_db"),
        *("log_mel", "descriptors"),
    }
)
"""The fields of the first release. Later fields are stored and hashed only if they differ from their default,
so that existing ids do not change and an unknown field always means features that this version cannot
compute."""


class FeatureSpec(BaseModel):
    """How a track is cut into segments and features are computed from each segment.

    Specs with equal values have the same `feature_set`; features of different sets never mix. A new field
    needs a default that leaves features unchanged, and defaults never change.

    Attributes
    ----------
    sample_rate : int
        Sample rate in Hz after mixing to mono and resampling (soxr HQ).
    segment_s : float
        Length of a segment in seconds. A track no longer than this is one segment.
    max_segments : int
        Number of segments in a longer track, spaced evenly.
    min_s : float
        Minimum length of the audio in seconds; shorter audio raises `TooShortError`.
    n_fft : int
        STFT length in samples (frames centered, zero-padded at the edges like librosa's).
    n_mels : int
        Mel bands, from 0 Hz to `f_max`.
    mel_hop : int
        Samples between log-mel frames.
    top_db : float
        Range of the log-mel in dB: its floor lies so far below its maximum, or below `max_db`.
    log_mel : bool
        Whether to compute log-mels, the input of networks.
    descriptors : bool
        Whether to compute the 57 descriptors of the published GTZAN tables.
    window : str
        ``hann`` (periodic, like librosa's) or ``hann-symmetric``.
    win_length : int or None
        Length of the window in samples, centered in `n_fft`; None: `n_fft`.
    preemphasis : float
        Fraction of each sample that is subtracted from the next one before the STFT; 0: none.
    mel_scale : str
        ``slaney`` (Slaney scale and normalization, librosa's defaults) or ``htk-kaldi`` (triangles of unit
        height, linear over mels, on the scale 1127 ln(1 + f / 700), like Kaldi's).
    f_max : float or None
        Upper edge of the highest band in Hz; None: Nyquist.
    max_db : float or None
        Power in dB of level 255, so that levels are absolute. None: level 255 is the maximum of the segment.
    n_levels : int
        Number of different levels, spaced evenly from 0 to 255; fewer take less space.
    also : tuple of FeatureSpec
        Further specs, by each of which the track is cut and featurized too: the networks of an ensemble may
        read different features.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = Field(default=22050, ge=8000, le=96000)
    segment_s: float = Field(default=30.0, ge=1.0, le=600.0)
    max_segments: int = Field(default=3, ge=1, le=100)
    min_s: float = Field(default=1.0, ge=0.2)
    n_fft: int = Field(default=2048, ge=256)
    n_mels: int = Field(default=128, ge=16, le=512)
    mel_hop: int = Field(default=1708, ge=64)
    top_db: float = Field(default=80.0, gt=0)
    log_mel: bool = True
    descriptors: bool = False
    window: Literal["hann", "hann-symmetric"] = "hann"
    win_length: int | None = Field(default=None, ge=16)
    preemphasis: float = Field(default=0.0, ge=0, lt=1)
    mel_scale: Literal["slaney", "htk-kaldi"] = "slaney"
    f_max: float | None = Field(default=None, gt=0)
    max_db: float | None = None
    n_levels: int = Field(default=256, ge=2, le=256)
    also: tuple["FeatureSpec", ...] = ()

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if not (self.log_mel or self.descriptors):
            raise ValueError("a feature set needs log-mels, descriptors or both")
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError("win_length is greater than n_fft")
        if self.f_max is not None and self.f_max > self.sample_rate / 2:
            raise ValueError("f_max is above half the sample rate")
        if any(spec.also for spec in self.also):
            raise ValueError("a further spec has further specs of its own")
        return self

    @model_serializer(mode="wrap")
    def _omit_later_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        stored: dict[str, Any] = serialize(self)
        return {
            name: value
            for name, value in stored.items()
            if name in _ALWAYS_STORED or getattr(self, name) != fields[name].default
        }

    @property
    def frame_s(self) -> float:
        """Seconds from one frame of the log-mel to the next."""
        return self.mel_hop / self.sample_rate

    @property
    def specs(self) -> tuple["FeatureSpec", ...]:
        """The first spec alone, then the further ones, in the order that ``spec`` in ``features/`` counts."""
        return (self.model_copy(update={"also": ()}), *self.also)

    def place_of(self, spec: "FeatureSpec") -> int | None:
        """Return which of `specs` another one is; None if there is only one."""
        return self.specs.index(spec) if self.also else None

    @property
    def with_descriptors(self) -> "FeatureSpec":
        """The spec of these features and the 57 descriptors.

        The published descriptors are those of segments of 30 s at 22,050 Hz. A spec of another rate keeps its
        own segments, and has those as well.
        """
        if self.descriptors or self.sample_rate == _PUBLISHED_DESCRIPTORS.sample_rate:
            return self.model_copy(update={"descriptors": True})
        return self.model_copy(update={"also": (*self.also, _PUBLISHED_DESCRIPTORS)})

    @property
    def only_descriptors(self) -> "FeatureSpec":
        """The spec of the descriptors that `with_descriptors` adds."""
        *_, last = self.with_descriptors.specs
        return last.model_copy(update={"log_mel": False})

    @classmethod
    def join(cls, specs: Iterable["FeatureSpec"]) -> "FeatureSpec":
        """Return the spec of all features that some specs describe, whatever their order."""
        first, *others = sorted(set(specs), key=lambda spec: spec.feature_set)
        return first.model_copy(update={"also": tuple(others)})

    def supersets(self) -> list["FeatureSpec"]:
        """Return the specs whose features include all of this one's: itself and those that compute more."""
        kinds = [
            {"log_mel": log_mel, "descriptors": descriptors}
            for log_mel in (True, False)
            for descriptors in (True, False)
            if log_mel >= self.log_mel and descriptors >= self.descriptors and (log_mel or descriptors)
        ]
        found = [self.model_copy(update=kind) for kind in kinds]
        return found if self.also or self.with_descriptors in found else [*found, self.with_descriptors]

    def stored_as(self, feature_set: str) -> "FeatureSpec":
        """Return the one of `supersets` that has an id.

        Raises
        ------
        ValueError
            If none has it: such features do not include these.
        """
        for spec in self.supersets():
            if spec.feature_set == feature_set:
                return spec
        raise ValueError(f"the features {feature_set} do not include {self.feature_set}")

    def other_form(self, other: "FeatureSpec") -> list[str]:
        """Return the settings, except hop and bands, that make the log-mels of another spec differ."""
        form = {"sample_rate", "window", "win_length", "preemphasis", "mel_scale", "f_max", "max_db"}
        return sorted(name for name in form if getattr(self, name) != getattr(other, name))

    @property
    def feature_set(self) -> str:
        """The id of these features: the first ten hex digits of the SHA-256 of the spec as sorted JSON."""
        canonical = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]


_PUBLISHED_DESCRIPTORS = FeatureSpec(log_mel=False, descriptors=True)
