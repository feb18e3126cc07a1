"""ModelInfo: the metadata of a model bundle (``model.json`` next to ``model.keras``)."""

from typing import Annotated, Literal, Self, TypedDict

from pydantic import Field, model_validator

from schemas.features import FeatureSpec
from schemas.taxonomy import Taxonomy
from schemas.versions import MODEL_FORMAT, Stored

Arch = Literal["cnn", "dense", "both"]
"""Networks over log-mels, over descriptors, and over both."""

SplitProtocol = Literal["segment", "track", "file"]
"""How test and training tracks are kept apart; ``segment`` leaks."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,40}$"


class FeatureKinds(TypedDict):
    """Which kinds of features are wanted, by the fields of `FeatureSpec` that select them."""

    log_mel: bool
    descriptors: bool


def feature_kinds(arch: Arch) -> FeatureKinds:
    """Return which kinds of features an architecture takes."""
    return {"log_mel": arch != "dense", "descriptors": arch != "cnn"}


class Measurement(Stored):
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
    by_genre : dict of str to tuple of (int, int)
        Correct answers and tracks tested, by genre; empty if unknown.
    """

    protocol: SplitProtocol
    dataset: str
    accuracy: float = Field(ge=0, le=1)
    ece: float | None = None
    n: int = Field(ge=1)
    by_genre: dict[str, tuple[int, int]] = Field(default_factory=dict)


class Count(Stored):
    """How many of some things that were counted.

    Attributes
    ----------
    what : str
        In words, such as "clips of synthesized speech that get a genre".
    count, n : int
        So many of so many.
    """

    what: str
    count: int = Field(ge=0)
    n: int = Field(ge=1)


class ModelInfo(Stored):
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
    taxonomy : Taxonomy or None
        How the network's outputs, one for each class, become genres; None if the outputs are the logits of
        the genres (softmax).
    counts : tuple of Count
        Other measurements, such as how much speech is taken for music.
    source, license, weights_sha256 : str or None
        Origin of weights that others trained, their license, and the SHA-256 of their file.
    members : dict of str to ModelInfo
        The models of an ensemble, by name, sorted; empty for a network.
    """

    format_version: int = Field(default=1, ge=1, le=MODEL_FORMAT)
    name: str = Field(pattern=NAME_PATTERN)
    arch: Arch = "cnn"
    genres: tuple[str, ...] = Field(min_length=2)
    features: FeatureSpec
    n_frames: int | None = Field(default=None, ge=8)
    temperature: float = Field(gt=0)
    figures: tuple[Measurement, ...] = ()
    training: dict[str, str | int | float | None] = Field(default_factory=dict)
    taxonomy: Taxonomy | None = None
    counts: tuple[Count, ...] = ()
    source: str | None = None
    license: str | None = None
    weights_sha256: str | None = None
    members: dict[Annotated[str, Field(pattern=NAME_PATTERN)], "ModelInfo"] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len(set(self.genres)) < len(self.genres):
            raise ValueError("two genres have the same name")
        if self.members:
            return self
        takes = feature_kinds(self.arch)
        if takes != {"log_mel": self.features.log_mel, "descriptors": self.features.descriptors}:
            raise ValueError(f"features do not match the architecture {self.arch}")
        if (self.n_frames is not None) != takes["log_mel"]:
            raise ValueError("n_frames must be set if and only if the network takes log-mels")
        if self.taxonomy is not None and self.taxonomy.genres() != self.genres:
            raise ValueError("the genres must be those of the taxonomy, in alphabetical order")
        return self

    @property
    def n_outputs(self) -> int:
        """Outputs of the network: one a genre, or one a class of its taxonomy."""
        return len(self.genres) if self.taxonomy is None else self.taxonomy.n_outputs
