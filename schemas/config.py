"""RunConfig: the settings of a run, from flags or a TOML file."""

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from schemas.errors import MisuseError

MOST_CPUS = 100_000
"""CPUs, and actors, of the largest cluster. Numbers without bounds overflow somewhere in a library."""


class RunConfig(BaseModel):
    """Settings of ``earmark run``, ``featurize`` and ``label``. The TOML file uses these names as keys.

    A setting is declared only here: its flag, its help text and its row in docs/operations.md are generated
    from its field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(
        default="default",
        min_length=1,
        description="Name of a model (see `earmark models`), several names joined by +, or the folder (path "
        "or URI) of a trained one. Without it, tables that the default of 0.1.0 labeled keep using `gtzan`.",
    )
    address: str | None = Field(
        default=None,
        description="Address of the Ray cluster. Default: RAY_ADDRESS, else a local Ray for this run.",
    )
    limit: int | None = Field(
        default=None, ge=1, le=10**9, description="Process only the first N tracks of the listing."
    )
    retry_failed: bool = Field(
        default=False, description="Retry failed tracks even if they have not changed."
    )
    descriptors: bool = Field(default=False, description="Also compute the 57 descriptors.")
    segment_labels: bool = Field(default=False, description="Also write a label for each segment.")
    embeddings: bool = Field(
        default=False,
        description="Also write the embedding of each segment, for tracks labeled before too.",
    )
    min_confidence: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Write no genre for tracks with a lower confidence; existing labels stay as they are.",
    )
    actors: int | None = Field(
        default=None,
        ge=1,
        le=MOST_CPUS,
        description="Number of actors that run the model. Default: one per GPU; on CPUs, as many as needed.",
    )
    gpus_per_actor: float | None = Field(
        default=None,
        ge=0,
        description="GPUs per actor, such as 0.5. Default: 1 if the cluster has GPUs, otherwise 0.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Segments per batch of the model. Default: 64 on a GPU, 8 on CPUs.",
    )
    cpus: int | None = Field(
        default=None, ge=1, le=MOST_CPUS, description="CPUs of the local Ray. Default: all."
    )
    track_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=1e7,
        description="Seconds that decoding and featurizing one track may take before it fails.",
    )
    track_memory_mb: int = Field(
        default=320,
        ge=64,
        le=10**7,
        description="Memory in MiB that decoding and featurizing one track may take before it fails.",
    )
    max_failure_rate: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Exit with 3, and publish nothing, if more than this share of the catalog's tracks have "
        "failed, in this run or an earlier one.",
    )
    keep_features: str = Field(
        default="all",
        coerce_numbers_to_str=True,
        description="Features to keep once their tracks are labeled: all, none, or those of the last DAYS.",
    )
    publish: str | None = Field(
        default=None,
        description="Folder or prefix to which the run finally publishes the current labels, as one table.",
    )
    publish_format: Literal["delta", "parquet"] = Field(
        default="delta", description="Format to publish in: delta or parquet."
    )
    # Often a secret: it must not get into reports.
    notify: str | None = Field(
        default=None,
        exclude=True,
        repr=False,
        description="URL to which the end of the run is posted as JSON. Default: EARMARK_NOTIFY, else none.",
    )
    shard_tracks: int = Field(default=128, ge=1, le=10000, description="Maximum number of tracks per shard.")
    shard_mb: int = Field(
        default=2048, ge=1, le=10**7, description="Approximate size of a shard in MiB of audio files."
    )
    part_mb: int = Field(
        default=128,
        ge=0,
        le=4096,
        description="Approximate size in MiB of the parts that a run merges its small ones into; 0: none.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_switch_for_number(cls, value: object, info: ValidationInfo) -> object:
        # To Python, true is the number 1: `limit = true` would label a single track.
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("must not be true or false")
        return value

    @field_validator("keep_features")
    @classmethod
    def _keep_known(cls, value: str) -> str:
        if not re.fullmatch("all|none|[0-9]{1,5}", value):
            raise ValueError("must be all, none, or a number of days, such as 30")
        return value

    @field_validator("notify")
    @classmethod
    def _post_to_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @property
    def keep_features_days(self) -> int | None:
        """Days for which features of labeled tracks are kept; None: for ever."""
        if self.keep_features == "all":
            return None
        return 0 if self.keep_features == "none" else int(self.keep_features)

    @classmethod
    def load(cls, file: Path | None, **flags: object) -> Self:
        """Read settings from a TOML file; flags that are not None override them.

        Raises
        ------
        MisuseError
            If the file cannot be read or is not valid TOML, or if a key or value is invalid.
        """
        settings: dict[str, object] = {}
        if file is not None:
            try:
                settings = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Notepad writes a BOM
            except OSError as error:
                raise MisuseError(f"cannot read the configuration {file}: {error.strerror}") from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise MisuseError(f"the configuration {file} is not valid TOML: {error}") from error
        settings |= {key: value for key, value in flags.items() if value is not None}
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            key, reason = first_fault(error)
            where = f" in {file}" if file is not None and flags.get(key) is None else ""
            if key not in cls.model_fields:
                hint = f"the settings are {', '.join(cls.model_fields)}"
                for near in get_close_matches(key, cls.model_fields, n=1):
                    hint = f"did you mean '{near}'?"
                raise MisuseError(f"unknown setting '{key}'{where}; {hint}") from error
            raise MisuseError(f"setting '{key}'{where}: {reason}") from error


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return the name of the first invalid setting, and the reason."""
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if wanted := _WANTED.match(reason):
        reason = f"must {wanted[1]}, not {first['input']!r}"
    return ".".join(str(part) for part in first["loc"]), reason[:1].lower() + reason[1:]


_WANTED = re.compile(r"Input should (.*?)(?:, (?:unable|got) .*)?$")
"""What pydantic says of a value."""
