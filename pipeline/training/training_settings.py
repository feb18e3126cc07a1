"""TrainingSettings: what a training is made of, by architecture, and how a model's notes keep it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from pipeline.training.augment import Augmentation
from schemas.errors import MisuseError
from schemas.model import Arch

_AUGMENTATION = "augmentation_"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a training is made of; the defaults are those of the ``cnn``, `of` has those of the others.

    Attributes
    ----------
    arch : str
        ``cnn``, ``dense`` or ``both``.
    epochs : int
        In an epoch as many crops are seen as fit side by side into all training segments.
    batch_size : int
    crop : int
        Frames of a training crop (at most those of the segments).
    n_frames : int
        Frames the finished network takes at once (at most those of the segments).
    learning_rate, weight_decay : float
        Of AdamW (Loshchilov and Hutter 2019); without decay it is Adam.
    schedule : {"cosine", "constant"}
        The rate rises for 200 steps, then falls as a cosine; or it stays.
    dropout : float
    keep_bands : bool
        See `pipeline.models.cnn.embed`; for ``cnn``.
    label_smoothing : float
    average : float
        Decay of the moving average of the weights, a step; 0: the last weights are kept.
    early_stopping : int or None
        Stop when the loss on the valid tracks has not fallen for so many epochs, and keep the best weights.
    class_weights : bool
        Weigh each genre by the inverse of its share in the training segments.
    seed : int
        Fixes the initial weights and every batch.
    threads : int
        CPU threads of an operation. Other counts add floats in another order: equal in kind, not in bits.
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
    def of(cls, arch: str) -> "TrainingSettings":
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
    def recorded(cls, arch: str, training: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings that a model's notes keep (`ModelInfo.training`); what they lack is default."""
        settings = cls.of(arch)
        own = {each.name for each in fields(cls)} - {"arch", "augmentation"}
        varied = {each.name for each in fields(Augmentation)}
        amounts = {
            name: training[_AUGMENTATION + name] for name in varied if _AUGMENTATION + name in training
        }
        kept = {name: training[name] for name in own if name in training}
        # JSON notes keep yes and no as 1 and 0.
        kept |= {name: bool(kept.get(name)) for name in ("class_weights", "keep_bands")}
        return replace(
            settings,
            **kept,
            augmentation=replace(settings.augmentation, **amounts),
        )

    def flat(self) -> dict[str, str | int | float | None]:
        """Return the settings as a model's notes keep them."""
        values = asdict(self)
        augmentation = values.pop("augmentation")
        return {**values, **{_AUGMENTATION + key: value for key, value in augmentation.items()}}

    def check(self) -> None:
        """Check that the numbers are ones that a training can have.

        Raises
        ------
        MisuseError
            If one is out of its range.
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
