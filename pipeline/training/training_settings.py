"""TrainingSettings: the settings of a training, with defaults for each architecture."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.training.augment import Augmentation
from schemas.config import first_fault
from schemas.errors import MisuseError
from schemas.model import Arch

LARGEST_SEED = 2**32 - 1
"""The largest seed that NumPy, scikit-learn and Keras take."""
MIN_FRAMES = 16
"""The CNN pools by two four times."""
_AUGMENTATION = "augmentation_"


@dataclass(frozen=True, slots=True, config=ConfigDict(allow_inf_nan=False))
class TrainingSettings:
    """The settings of a training. Defaults are for ``cnn``; `for_arch` returns those of other architectures.

    A setting is declared only here: the flags of ``earmark train`` and their help texts are generated from
    these fields.
    """

    arch: Arch = Field(default="cnn", description="cnn (log-mels), dense (the 57 descriptors) or both.")
    epochs: int = Field(default=60, ge=1, le=10**6, description="Number of passes over the training tracks.")
    batch_size: int = Field(default=32, ge=1, le=10**6, description="Segments per step.")
    crop: int = Field(
        default=128, ge=MIN_FRAMES, le=10**6, description="Maximum number of frames of a training crop."
    )
    n_frames: int = Field(
        default=384,
        ge=MIN_FRAMES,
        le=10**6,
        description="Maximum number of frames per input of the finished network.",
    )
    learning_rate: float = Field(
        default=2e-3,
        gt=0,
        lt=10,
        description="Learning rate of Adam (of AdamW, Loshchilov and Hutter 2019, with weight decay).",
    )
    weight_decay: float = Field(default=1e-2, ge=0, lt=1, description="Weight decay of AdamW.")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine",
        description="Learning rate schedule: warm up for 200 steps, then cosine decay; or constant.",
    )
    dropout: float = Field(default=0.3, ge=0, lt=1, description="Dropout rate.")
    keep_bands: bool = Field(default=False, description="For cnn: see `pipeline.models.cnn.embed`.")
    label_smoothing: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Label smoothing: share of each target spread evenly over all genres.",
    )
    average: float = Field(
        default=0.998,
        ge=0,
        lt=1,
        description="Decay per step of the moving average of the weights; 0 keeps the last weights.",
    )
    early_stopping: int | None = Field(
        default=None,
        ge=1,
        le=10**6,
        description="Stop after N epochs without a lower validation loss, and keep the best epoch.",
    )
    class_weights: bool = Field(
        default=False, description="Weight genres by the inverse of their share of the training tracks."
    )
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Random seed.")
    # Another number of threads adds floats in another order: results are similar, not bit-identical.
    threads: int = Field(default=2, ge=1, le=1024, description="Number of CPU threads of TensorFlow.")
    augmentation: Augmentation = Field(default_factory=Augmentation)

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
            raise MisuseError(f"there is no architecture '{arch}'; choose {', '.join(get_args(Arch))}")
        return cls(arch=arch)  # type: ignore[arg-type]

    @classmethod
    def from_notes(cls, arch: str, training: Mapping[str, Any]) -> "TrainingSettings":
        """Return the settings recorded in a model (`ModelInfo.training`), with defaults for missing ones."""
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
        return settings.changed(values | {"augmentation": replace(settings.augmentation, **amounts)})

    def to_notes(self) -> dict[str, str | int | float | None]:
        """Return the settings as a flat dict, to be recorded in a model."""
        values = asdict(self)
        augmentation = values.pop("augmentation")
        return {**values, **{_AUGMENTATION + key: value for key, value in augmentation.items()}}

    def changed(self, changes: Mapping[str, object]) -> "TrainingSettings":
        """Return these settings with some of them changed.

        Raises
        ------
        MisuseError
            If a value is invalid.
        """
        try:
            return replace(self, **changes)  # type: ignore[arg-type]
        except ValidationError as error:
            name, reason = first_fault(error)
            raise MisuseError(f"setting '{name}': {reason}") from error
