"""RunConfig: what can be set for a run, by flags or in a TOML file."""

import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import MisuseError


class RunConfig(BaseModel):
    """Settings of ``earmark run``, ``featurize`` and ``label``. Keys of the TOML file have these names.

    Attributes
    ----------
    model : str
        A shipped model's name, or the folder (path or URI) of a trained one.
    address : str or None
        Ray cluster to use; None: ``RAY_ADDRESS`` where set, else a local Ray for the run.
    actors : int or None
        Actors that run the model; None: one a GPU, else one for every eight CPUs.
    gpus_per_actor : float or None
        GPUs (or share of one) an actor takes; None: one where the cluster has GPUs, else none.
    cpus : int or None
        CPUs of the local Ray; None: all.
    batch_size : int or None
        Segments the model takes at once; None: 64 on a GPU, 8 on CPUs.
    limit : int or None
        Only the first tracks of the listing.
    retry_failed : bool
        Try failed tracks again although they have not changed.
    descriptors : bool
        Compute the 57 descriptors too.
    segment_labels : bool
        Write ``segment_labels/`` too.
    min_confidence : float
        Leave the genre null where the model is less sure than this. What is labeled already stays as it is.
    max_failure_rate : float
        Exit with 3 when more than this share of the catalog's tracks have failed.
    track_timeout_s : float
        A track that takes longer than this to decode and featurize is a failure.
    track_memory_mb : int
        A track that takes more memory than this (MiB) to decode and featurize is a failure.
    shard_tracks : int
        Most tracks of a shard.
    shard_mb : int
        Shards are cut at about this many megabytes of audio files.
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
        """Settings of a TOML file, overridden by the flags that are not None.

        Raises
        ------
        MisuseError
            If the file cannot be read, is no TOML, or a key or value is not one of the above.
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
