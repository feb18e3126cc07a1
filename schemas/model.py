"""ModelInfo: the metadata of a model bundle (``model.json`` next to ``model.keras``)."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.features import FeatureSpec
from schemas.versions import MODEL_FORMAT

Arch = Literal["cnn", "dense", "both"]
"""Networks over log-mels, over descriptors, and over both."""

SplitProtocol = Literal["segment", "track", "file"]
"""How test and training tracks are kept apart; ``segment`` leaks."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,40}$"


def feature_kinds(arch: Arch) -> dict[str, bool]:
    """Return which kinds of features an architecture takes, as the `FeatureSpec` fields that select them."""
    return {"log_mel": arch != "dense", "descriptors": arch != "cnn"}


class Measurement(BaseModel):
    """A measured accuracy and what it was measured on.

    Attributes
    ----------
    protocol : str
        How test and training tracks were kept apart: ``segment`` (leaks), ``track`` or ``file``.
    dataset : str
        The test data, described in words.
    accuracy : float
        Fraction of tracks (``segment``: of pieces) whose most probable genre is the true one.
    ece : float or None
        Expected calibration error, 15 bins of equal width.
    n : int
        Tracks (or pieces) tested.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    protocol: SplitProtocol
    dataset: str
    accuracy: float = Field(ge=0, le=1)
    ece: float | None = None
    n: int = Field(ge=1)


class ModelInfo(BaseModel):
    """The bundle's ``model.json``. Fields added by later versions are ignored, except in `features`.

    Attributes
    ----------
    format_version : int
        See `schemas.versions`.
    name : str
        Chosen by whoever trained it: lowercase letters, digits and ``-``.
    arch : str
        ``cnn`` (log-mels), ``dense`` (descriptors) or ``both``.
    genres : tuple of str
        In the order of the network's outputs.
    features : FeatureSpec
        The features the network takes, limited to the kinds that it reads.
    n_frames : int or None
        Log-mel frames the network takes; shorter segments are repeated to that length, longer ones cropped.
        None if it takes no log-mels.
    temperature : float
        Divides the logits; fitted on held-out data (Guo et al. 2017).
    figures : tuple of Measurement
        Measured accuracies.
    training : dict
        Source of the training data, seed, epochs and other settings.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = Field(default=MODEL_FORMAT, ge=1, le=MODEL_FORMAT)
    name: str = Field(pattern=NAME_PATTERN)
    arch: Arch = "cnn"
    genres: tuple[str, ...] = Field(min_length=2)
    features: FeatureSpec
    n_frames: int | None = Field(default=None, ge=8)
    temperature: float = Field(gt=0)
    figures: tuple[Measurement, ...] = ()
    training: dict[str, str | int | float | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        takes = feature_kinds(self.arch)
        if takes != {"log_mel": self.features.log_mel, "descriptors": self.features.descriptors}:
            raise ValueError(f"features do not match the architecture {self.arch}")
        if (self.n_frames is not None) != takes["log_mel"]:
            raise ValueError("n_frames must be set if and only if the network takes log-mels")
        return self
