"""The input and the output of the engine."""

from collections import Counter
from dataclasses import dataclass, field

from jobs.engine.lease import Lease
from jobs.engine.timeline import TimelineRecorder
from pipeline.tables.tables import Tables
from schemas.config import RunConfig
from schemas.features import FeatureSpec


@dataclass(frozen=True)
class Assignment:
    """What the workers of a run need to know.

    Attributes
    ----------
    run_date : str
        The day the run began.
    tables : Tables
        Where parts go.
    lease : Lease
        Checked before each write.
    spec : FeatureSpec
        Which features.
    model : str or None
        The model's name with its hash; None: features only.
    model_location : str
        Where the actors find the model.
    config : RunConfig
        Sizes the actor pool, and says whether ``segment_labels/`` and ``embeddings/`` are written.
    """

    run_date: str
    tables: Tables
    lease: Lease
    spec: FeatureSpec
    model: str | None
    model_location: str
    config: RunConfig


ACTOR_STATES = ("starting", "idle", "busy")
"""What an actor is at: it has not loaded the model yet, has no part, or has one."""


@dataclass
class Totals:
    """Running totals: tracks, seconds by stage, genres, what the store was asked, work left, cluster size.

    `n_results` counts the shards and parts that have ended. `waiting_for` says what is missing, if all work
    waits for the same thing.
    """

    n_results: int = 0
    featurized: int = 0
    labeled: int = 0
    embedded: int = 0
    failed: int = 0
    rejected: int = 0
    audio_s: float = 0.0
    cpus: int = 0
    gpus: int = 0
    actors: int = 0
    actors_by_state: Counter[str] = field(default_factory=Counter)
    shards_left: int = 0
    parts_left: int = 0
    waiting_for: str = ""
    seconds: Counter[str] = field(default_factory=Counter)
    genres: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    store_bytes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    timeline: TimelineRecorder = field(default_factory=TimelineRecorder)
    slowest: tuple[tuple[float, str], ...] = ()
