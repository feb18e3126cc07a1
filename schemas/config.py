"""RunConfig: the settings of a run, from flags or a TOML file."""

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import MisuseError


class RunConfig(BaseModel):
    """Settings of ``earmark run``, ``featurize`` and ``label``. The TOML file uses these names as keys.

    Attributes
    ----------
    model : str
        Name of a shipped model, or the folder (path or URI) of a trained one.
    address : str or None
        Ray cluster to use. None means ``RAY_ADDRESS`` if it is set, else a local Ray for this run.
    actors : int or None
        Actors that run the model. None means one per GPU, or one per eight CPUs without GPUs.
    gpus_per_actor : float or None
        GPUs, or a fraction of one, reserved by each actor. None means one if the cluster has GPUs, else none.
    cpus : int or None
        CPUs of the local Ray. None means all of them.
    batch_size : int or None
        Segments per batch. None means 64 on a GPU and 8 on CPUs.
    limit : int or None
        Process only the first tracks of the listing.
    retry_failed : bool
        Retry failed tracks even though they have not changed.
    descriptors : bool
        Also compute the 57 descriptors.
    segment_labels : bool
        Also write ``segment_labels/``.
    min_confidence : float
        Abstain (leave the genre null) below this confidence. Existing labels are not changed.
    max_failure_rate : float
        Exit with status 3 if more than this fraction of the catalog's tracks have failed.
    track_timeout_s : float
        Fail a track that takes longer than this to decode and featurize.
    track_memory_mb : int
        Fail a track that needs more memory than this (MiB) to decode and featurize.
    shard_tracks : int
        Maximum number of tracks in a shard.
    shard_mb : int
        Approximate size of a shard in megabytes of audio files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "default"
    address: str | None = None
    actors: int | None = Field(default=None, ge=1)
    gpus_per_actor: float | None = Field(default=None, ge=0)
    cpus: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1, le=4096)
    limit: int | None = Field(default=None, ge=1)
    retry_failed: bool = False
    descriptors: bool = False
    segment_labels: bool = False
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    max_failure_rate: float = Field(default=0.5, ge=0, le=1)
    track_timeout_s: float = Field(default=120.0, gt=0, le=1e7)
    track_memory_mb: int = Field(default=320, ge=64)
    shard_tracks: int = Field(default=128, ge=1, le=10000)
    shard_mb: int = Field(default=2048, ge=1)

    @classmethod
    def load(cls, file: Path | None, **flags: Any) -> Self:
        """Read settings from a TOML file and override them with the flags that are not None.

        Raises
        ------
        MisuseError
            If the file cannot be read or is not valid TOML, or if a key or value is invalid.
        """
        settings: dict[str, Any] = {}
        if file is not None:
            try:
                settings = tomllib.loads(file.read_text(encoding="utf-8"))
            except OSError as error:
                raise MisuseError(f"cannot read the configuration {file}: {error.strerror}") from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise MisuseError(f"the configuration {file} is not valid TOML: {error}") from error
        settings |= {key: value for key, value in flags.items() if value is not None}
        try:
            return cls(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            where = f" in {file}" if file is not None and flags.get(key) is None else ""
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise MisuseError(f"unknown setting '{key}'{where}; the settings are {known}") from error
            raise MisuseError(f"setting '{key}'{where}: {first['msg'].lower()}") from error
