"""RunConfig: the settings of a run, from flags or a TOML file."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import MisuseError


class RunConfig(BaseModel):
    """Settings of ``earmark run``, ``featurize`` and ``label``. The TOML file uses these names as keys.

    This is the only place where a setting is declared: its flag, the help of that and the table in
    docs/operations.md are made from its field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(
        default="default",
        description="Name of a model (see earmark models), or the folder (path or URI) of a trained one.",
    )
    address: str | None = Field(
        default=None,
        description="Ray cluster to use; without it RAY_ADDRESS, else a local Ray for the run.",
    )
    limit: int | None = Field(default=None, ge=1, description="Only the first N tracks of the listing.")
    retry_failed: bool = Field(
        default=False, description="Try failed tracks again although they have not changed."
    )
    descriptors: bool = Field(default=False, description="Compute the 57 descriptors too.")
    segment_labels: bool = Field(default=False, description="Write a label for each segment too.")
    min_confidence: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Leave the genre null where the model is less sure; labels that are there stay.",
    )
    actors: int | None = Field(
        default=None,
        ge=1,
        description="Actors that run the model; else one a GPU, or one for every eight CPUs.",
    )
    gpus_per_actor: float | None = Field(
        default=None,
        ge=0,
        description="GPUs of an actor, such as 0.5; else one where the cluster has GPUs, or none.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Segments the model takes at once; else 64 on a GPU, or 8 on CPUs.",
    )
    cpus: int | None = Field(default=None, ge=1, description="CPUs of the local Ray; else all.")
    track_timeout_s: float = Field(
        default=120.0,
        gt=0,
        le=1e7,
        description="Seconds after which a track that is still decoded and featurized has failed.",
    )
    track_memory_mb: int = Field(
        default=320,
        ge=64,
        description="Memory in MiB above which a track that is decoded and featurized has failed.",
    )
    max_failure_rate: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Exit with 3 when more than this share of the catalog's tracks have failed.",
    )
    shard_tracks: int = Field(default=128, ge=1, le=10000, description="Most tracks of a shard.")
    shard_mb: int = Field(
        default=2048, ge=1, description="Shards are cut at about this many megabytes of audio files."
    )

    @classmethod
    def load(cls, file: Path | None, **flags: object) -> Self:
        """Settings of a TOML file, overridden by the flags that are not None.

        Raises
        ------
        MisuseError
            If the file cannot be read or is not valid TOML, or if a key or value is invalid.
        """
        settings: dict[str, object] = {}
        if file is not None:
            try:
                settings = tomllib.loads(file.read_text(encoding="utf-8"))
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
                known = ", ".join(cls.model_fields)
                raise MisuseError(f"unknown setting '{key}'{where}; the settings are {known}") from error
            raise MisuseError(f"setting '{key}'{where}: {reason}") from error


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return the first setting that cannot be as it was given, and why."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].lower()
