"""RunReport: what a run did, stored as JSON in ``_runs/``. Fields added by later versions are ignored."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from schemas.features import FeatureSpec
from schemas.versions import Stored

RunOutcome = Literal["running", "done", "interrupted", "failed"]


class _AnySpelling(Stored):
    """Fields, also by the British names that Earmark 0.1.0 wrote."""

    @model_validator(mode="before")
    @classmethod
    def _accept_british_spelling(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name.replace("labell", "label"): value for name, value in fields.items()}


class Counts(_AnySpelling):
    """Track counts of a run.

    ``listed = labeled_before + failed_before + labeled + embedded + failed + left``.

    In a ``featurize`` run a featurized track is complete: it counts as ``labeled`` (or ``labeled_before``),
    so that the equation holds for every command.

    Attributes
    ----------
    listed : int
        Tracks in the catalog.
    labeled_before, failed_before : int
        Unchanged tracks that earlier runs labeled or failed on. If the run writes embeddings, tracks that
        lack only them are not among those labeled before.
    featurized, labeled, failed : int
        Tracks that this run featurized, labeled or failed on.
    embedded : int
        Tracks with an earlier label to which this run added only the embeddings.
    left : int
        Tracks still to process; 0 unless the run was interrupted or failed.
    gone : int
        Tracks that have left the catalog since the previous run.
    """

    listed: int
    labeled_before: int = 0
    failed_before: int = 0
    featurized: int = 0
    labeled: int = 0
    failed: int = 0
    embedded: int = 0
    left: int = 0
    gone: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every listed track is accounted for exactly once."""
        return self.left >= 0 and self.listed == (
            self.labeled_before + self.failed_before + self.labeled + self.embedded + self.failed + self.left
        )

    @property
    def all_failed(self) -> int:
        """Tracks that have failed, in this run or before."""
        return self.failed_before + self.failed

    def too_many_failed(self, rate: float) -> bool:
        """Whether more than this share of the catalog's tracks have failed."""
        return self.all_failed > rate * self.listed


class Purged(Stored):
    """Rows of a run that ``earmark purge`` removed later, by what they counted as in the report."""

    labeled: int = 0
    failed: int = 0
    embedded: int = 0

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(
            labeled=self.labeled + other.labeled,
            failed=self.failed + other.failed,
            embedded=self.embedded + other.embedded,
        )


class LeftOut(Stored):
    """Files in the catalog that are not tracks, counted by kind.

    Attributes
    ----------
    not_audio : dict
        Files without an audio extension, by extension.
    system : dict
        Files of operating systems and sync tools, by folder name (``@eaDir``) or file name (``._*``); a
        folder that was not opened counts as one.
    """

    not_audio: dict[str, int] = Field(default_factory=dict)
    system: dict[str, int] = Field(default_factory=dict)

    @property
    def total(self) -> int:
        """All files left out."""
        return sum(self.not_audio.values()) + sum(self.system.values())


class Timeline(_AnySpelling):
    """Worker utilization of a run, in equal time steps from its start.

    Attributes
    ----------
    step_s : float
        Length of a step, seconds; the end of the run may cut the last step short.
    featurizing, labeling : tuple of float
        Busy featurize workers and actors whose network is busy, mean over each step.
    cpus, actors : tuple of int
        CPUs and actors available, maximum in each step.
    shards_left, parts_left : tuple of int
        Shards not yet featurized and featurized parts not yet labeled, maximum in each step.
    """

    step_s: float
    featurizing: tuple[float, ...] = ()
    labeling: tuple[float, ...] = ()
    cpus: tuple[int, ...] = ()
    actors: tuple[int, ...] = ()
    shards_left: tuple[int, ...] = ()
    parts_left: tuple[int, ...] = ()


class SlowTrack(Stored):
    """A track and the time it took to read, decode and featurize it, seconds."""

    uri: str
    seconds: float


class FailureExample(Stored):
    """A failed track and the reason."""

    uri: str
    message: str


class Publication(Stored):
    """What publishing the current labels did, or why it failed.

    Attributes
    ----------
    location : str
        The destination.
    format : str
        ``delta`` or ``parquet``.
    model : str
        The model's name with its hash.
    rows : int
        Rows of the published table: labeled tracks of the catalog.
    changed, removed : int
        Rows that are new or different, and rows of tracks without a current label.
    written : bool
        Whether anything was written; if not, the published table was up to date, or publishing failed.
    version : int or None
        Version of the Delta table; None for Parquet, or if nothing was written.
    error : str or None
        Why nothing was published.
    """

    location: str
    format: str
    model: str
    rows: int = 0
    changed: int = 0
    removed: int = 0
    written: bool = False
    version: int | None = None
    error: str | None = None


class RunReport(Stored):
    """What a run did.

    Attributes
    ----------
    run : str
        Name of the run; names sort by time.
    command : str
        ``run``, ``featurize`` or ``label``.
    outcome : str
        ``running`` is written before the work starts, and remains if the run is killed.
    error : str or None
        Why the run failed.
    balanced : bool
        Whether every listed track is accounted for exactly once: labeled, failed or left.
    wall_s : float
        Duration of the run, seconds.
    seconds : dict
        Seconds by stage, summed over all workers.
    audio_s : float
        Duration of the decoded segments, seconds.
    genres, failures : dict
        Tracks that this run labeled, by genre; tracks that it failed on, by error type.
    left_out : LeftOut
        Files in the catalog that are not tracks; empty if a manifest names the tracks.
    rejected : int
        Tracks labeled without a genre because they are silent or the model abstained; included in
        ``labeled``.
    failure_examples : dict
        A few failed tracks, by error type.
    timeline : Timeline or None
        Worker utilization; None if there was nothing to do.
    slowest : tuple of SlowTrack
        The tracks that took longest to featurize, slowest first.
    cluster : dict
        Numbers of CPUs, GPUs and actors.
    removed_features_bytes : int
        Size of the features that were removed because their tracks are labeled (``--keep-features``).
    publication : Publication or None
        What was published at the end; None if nothing was to be.
    requests : dict
        Requests to object stores by kind (LIST, HEAD, GET, PUT, DELETE), of the driver and the workers, with
        retries; empty on a local disk.
    store_bytes : dict
        Bytes ``received`` from object stores and ``sent`` to them, as `requests`.
    versions : dict
        Versions of the packages that determine the results.
    purged : Purged
        Rows of the run that were purged later; `counts` still includes them.
    """

    # It names files: a path would have the page written elsewhere, over a file of whoever opens the tables.
    run: str = Field(pattern=r"^[^/]+$")
    command: Literal["run", "featurize", "label"]
    catalog: str
    outcome: RunOutcome
    error: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    wall_s: float = 0.0
    counts: Counts
    left_out: LeftOut = LeftOut()
    balanced: bool = True
    tracks_per_hour: float | None = None
    audio_s: float = 0.0
    seconds: dict[str, float] = Field(default_factory=dict)
    genres: dict[str, int] = Field(default_factory=dict)
    rejected: int = 0
    failures: dict[str, int] = Field(default_factory=dict)
    failure_examples: dict[str, tuple[FailureExample, ...]] = Field(default_factory=dict)
    timeline: Timeline | None = None
    slowest: tuple[SlowTrack, ...] = ()
    model: str | None = None
    feature_set: str
    features: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    cluster: dict[str, float] = Field(default_factory=dict)
    removed_features_bytes: int = 0
    publication: Publication | None = None
    requests: dict[str, int] = Field(default_factory=dict)
    store_bytes: dict[str, int] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    purged: Purged = Purged()

    @property
    def spec(self) -> FeatureSpec | None:
        """The features that the run computed; None if only a newer Earmark knows them."""
        try:
            return FeatureSpec.model_validate(self.features)
        except ValidationError:
            return None

    @property
    def n_labeled(self) -> int:
        """Tracks that the run labeled: none if it only featurized, which `counts` has as labeled."""
        return 0 if self.command == "featurize" else self.counts.labeled

    @property
    def n_featurized(self) -> int:
        """Tracks that the run featurized."""
        return self.counts.labeled if self.command == "featurize" else self.counts.featurized

    @property
    def publication_error(self) -> str | None:
        """Why the labels could not be published; None if they were, or were not to be."""
        return self.publication.error if self.publication is not None else None

    @property
    def is_full(self) -> bool:
        """Whether the run was meant to process the whole catalog."""
        return self.command == "run" and self.config.get("limit") is None

    @property
    def writes_embeddings(self) -> bool:
        """Whether every track that the run labels also gets embeddings."""
        return self.command != "featurize" and bool(self.config.get("embeddings"))
