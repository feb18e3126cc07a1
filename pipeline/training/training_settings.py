"""TrainingSettings: the settings of a training, with defaults for each architecture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from pipeline.training.augment import Augmentation
from schemas.errors import MisuseError
from schemas.model import Arch

_AUGMENTATION = "augmentation_"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The settings of a training. Defaults are for ``cnn``; `for_arch` has those of the other architectures.

    Attributes
    ----------
    arch : str
        ``cnn``, ``dense`` or ``both``.
    epochs : int
        An epoch draws as many crops as fit side by side into all training segments.
    batch_size : int
    crop : int
        Frames of a training crop (at most those of the segments).
    n_frames : int
        Frames that the finished network takes (at most those of the segments).
    learning_rate, weight_decay : float
        Settings of AdamW (Loshchilov and Hutter 2019); without decay it is Adam.
    schedule : {"cosine", "constant"}
        ``cosine``: the rate rises for 200 steps, then falls as a cosine.
    dropout : float
    keep_bands : bool
        See `pipeline.models.cnn.embed`; only for ``cnn``.
    label_smoothing : float
    average : float
        Decay per step of the moving average of the weights; 0 keeps the last weights.
    early_stopping : int or None
        Stop when the loss on the valid tracks has not fallen for this many epochs, and keep the best weights.
    class_weights : bool
        Weight each genre by the inverse of its share of the training segments.
    seed : int
        Fixes the initial weights and every batch.
    threads : int
        CPU threads per operation. The number changes the order of sums, and so the last bits of the weights.
    augmentation : Augmentation
    """

    arch: Arch = "cnn"
    epochs: int = 60
    batch_size: int = 32
    crop: int = 128
    n_frames: int = 384
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    dropout: float = 0.3
    keep_bands: bool = False
    label_smoothing: float = 0.1
    average: float = 0.998
    early_stopping: int | None = None
    class_weights: bool = False
    seed: int = 0
    threads: int = 2
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def for_arch(cls, arch: str) -> "TrainingSettings":
        """Return the defaults of an architecture.

        Raises
        ------
        MisuseError
            If there is no such architecture.
        """
        if arch == "dense":
            return cls(
                arch="dense",
                epochs=600,
                batch_size=128,
                learning_rate=1e-3,
                weight_decay=0.0,
                schedule="constant",
                dropout=0.2,
                label_smoothing=0.0,
                average=0.0,
                augmentation=Augmentation(mixup=0.0),
            )
        if arch not in get_args(Arch):
            raise MisuseError(f"there is no architecture '{arch}': choose {', '.join(get_args(Arch))}")
        return cls(arch=arch)  # type: ignore[arg-type]

    @classmethod
    def from_notes(cls, arch: str, training: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings in the notes of a model (`ModelInfo.training`); missing ones have defaults."""
        settings = cls.for_arch(arch)
        names = {each.name for each in fields(cls)} - {"arch", "augmentation"}
        amounts = {
            each.name: training[_AUGMENTATION + each.name]
            for each in fields(Augmentation)
            if _AUGMENTATION + each.name in training
        }
        values = {name: training[name] for name in names if name in training}
        # The notes store booleans as 1 and 0.
        values |= {name: bool(values.get(name)) for name in ("class_weights", "keep_bands")}
        return replace(settings, **values, augmentation=replace(settings.augmentation, **amounts))

    def to_notes(self) -> dict[str, str | int | float | None]:
        """Return the settings as a flat dict for the notes of a model."""
        values = asdict(self)
        augmentation = values.pop("augmentation")
        return {**values, **{_AUGMENTATION + key: value for key, value in augmentation.items()}}

    def check(self) -> None:
        """Check that all numbers are in their ranges.

        Raises
        ------
        MisuseError
            If one is not.
        """
        for name in ("epochs", "threads", "batch_size", "crop", "early_stopping"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise MisuseError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        for name in ("dropout", "label_smoothing", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise MisuseError(f"--{name.replace('_', '-')} must be from 0 to below 1")
        if not 0 < self.learning_rate < 10 or not 0 <= self.weight_decay < 1:
            raise MisuseError("--learning-rate must be above 0, and --weight-decay from 0 to below 1")
        if self.seed < 0:
            raise MisuseError(f"--seed must be at least 0, not {self.seed}")
