"""RunReport: what a run did, kept as JSON in ``_runs/``. Fields that later versions add are ignored."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas.features import FeatureSpec

RunOutcome = Literal["running", "done", "interrupted", "failed"]


class Counts(BaseModel):
    """Tracks of a run. ``listed = labeled_before + failed_before + labeled + failed + left``.

    Attributes
    ----------
    listed : int
        Tracks in the catalog.
    labeled_before, failed_before : int
        Those that earlier runs had labeled, or had failed on (and that have not changed since).
    featurized, labeled, failed : int
        What this run added. Where only features were asked for, ``labeled`` counts featurized tracks.
    left : int
        Tracks that are still to be done: none, unless the run was interrupted or failed.
    gone : int
        Tracks that have left the catalog since the run before.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    listed: int
    labeled_before: int = 0
    failed_before: int = 0
    featurized: int = 0
    labeled: int = 0
    failed: int = 0
    left: int = 0
    gone: int = 0

    @model_validator(mode="before")
    @classmethod
    def _spelled_as_now(cls, fields: Any) -> Any:
        """Take the British spelling that Earmark 0.1.0 wrote."""
        if not isinstance(fields, dict):
            return fields
        return {name.replace("labelled", "labeled"): value for name, value in fields.items()}

    @property
    def balanced(self) -> bool:
        """Whether every listed track is accounted for exactly once."""
        return self.left >= 0 and self.listed == (
            self.labeled_before + self.failed_before + self.labeled + self.failed + self.left
        )


class LeftOut(BaseModel):
    """Files that lie in the catalog but are no tracks, counted by kind.

    Attributes
    ----------
    not_audio : dict
        Files without an extension of audio, by extension.
    system : dict
        Files of operating systems and sync programs, by the name of their folder (``@eaDir``) or their own
        (``._*``); folders that were not opened are counted as one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    not_audio: dict[str, int] = {}
    system: dict[str, int] = {}

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.not_audio.values()) + sum(self.system.values())


class Timeline(BaseModel):
    """How busy the workers of a run were, in steps of equal length from its start.

    Attributes
    ----------
    step_s : float
        Length of a step, seconds; the last step may be cut short by the end of the run.
    featurizing, labeling : tuple of float
        Featurize workers and actors at work, mean over each step.
    cpus, actors : tuple of int
        What there was to work with, the most in each step.
    shards_left, parts_left : tuple of int
        Shards not yet featurized and featurized parts not yet labeled, the most in each step.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    step_s: float
    featurizing: tuple[float, ...] = ()
    labeling: tuple[float, ...] = ()
    cpus: tuple[int, ...] = ()
    actors: tuple[int, ...] = ()
    shards_left: tuple[int, ...] = ()
    parts_left: tuple[int, ...] = ()


class SlowTrack(BaseModel):
    """A track and the seconds a worker took to read, decode and featurize it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: str
    seconds: float


class FailureExample(BaseModel):
    """A track that failed, and the reason in a sentence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: str
    message: str


class RunReport(BaseModel):
    """What a run did.

    Attributes
    ----------
    run : str
        Name of the run; names sort by time.
    command : str
        ``run``, ``featurize`` or ``label``.
    outcome : str
        ``running`` is written before the work begins, and stays where a run was killed.
    error : str or None
        Why it failed.
    balanced : bool
        Whether every listed track ended exactly once as labeled, failed or left.
    wall_s : float
        Length of the run, seconds.
    seconds : dict
        Seconds by stage, added up over all workers.
    audio_s : float
        Length of the segments that were decoded, seconds.
    genres, failures : dict
        Tracks this run labeled, by genre; tracks it failed on, by error type.
    left_out : LeftOut
        Files of the catalog that are no tracks; none where a manifest names the tracks.
    rejected : int
        Tracks this run labeled without a genre, for want of confidence: ``labeled`` counts them too.
    failure_examples : dict
        Some of the tracks that failed, by error type.
    timeline : Timeline or None
        How busy the workers were; None where there was nothing to do.
    slowest : tuple of SlowTrack
        The tracks that took longest to featurize, the slowest first.
    cluster : dict
        CPUs, GPUs, actors.
    versions : dict
        Versions of the packages that make the numbers.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
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
    seconds: dict[str, float] = {}
    genres: dict[str, int] = {}
    rejected: int = 0
    failures: dict[str, int] = {}
    failure_examples: dict[str, tuple[FailureExample, ...]] = {}
    timeline: Timeline | None = None
    slowest: tuple[SlowTrack, ...] = ()
    model: str | None = None
    feature_set: str
    features: dict[str, Any] = {}
    config: dict[str, Any] = {}
    cluster: dict[str, float] = {}
    versions: dict[str, str] = {}

    @property
    def spec(self) -> FeatureSpec | None:
        """The features that the run computed; None where only a newer Earmark knows what they are."""
        try:
            return FeatureSpec.model_validate(self.features)
        except ValidationError:
            return None
