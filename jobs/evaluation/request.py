"""Request: the options of ``earmark evaluate``."""

from dataclasses import dataclass, field

from pipeline.training.training_settings import TrainingSettings
from schemas.config import RunConfig
from schemas.errors import MisuseError


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``earmark evaluate``.

    Attributes
    ----------
    data : str
        Labeled data, as `jobs.training.training_data.read_labeled_data` reads it.
    model : str or None
        Name of a shipped model, several joined by ``+``, or a folder; if None, `arch` is trained.
    arch : str or None
        The architecture to train.
    split : str or None
        ``segment``, ``track`` or ``file:TRAIN.txt,VALID.txt``; if None, all of the data is tested.
    n_folds : int
        Folds of a cross-validation by track (with ``segment``, by piece); 1 for a single split.
    n_pieces : int or None
        Cut each segment into this many pieces; None: ten under the ``segment`` protocol, else no cut.
    baselines : bool
        Also evaluate the baseline classifiers.
    outside : str or None
        A catalog of music out of distribution: none of the genres.
    label_column, tables : str or None
        See `jobs.training.training_data.read_labeled_data`.
    settings : TrainingSettings
        Of the training; its seed is also used for splits and intervals.
    config : RunConfig
        Selects the Ray cluster that featurizes audio.
    """

    data: str
    model: str | None = None
    arch: str | None = None
    split: str | None = None
    n_folds: int = 1
    n_pieces: int | None = None
    baselines: bool = True
    outside: str | None = None
    label_column: str | None = None
    tables: str | None = None
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    config: RunConfig = field(default_factory=RunConfig)


def check_request(request: Request) -> None:
    """Check that the options go together.

    Raises
    ------
    MisuseError
        If they do not.
    """
    if (request.model is None) == (request.arch is None):
        raise MisuseError("give either a model or an architecture to train (--arch), not both")
    if request.model is not None and request.n_folds > 1:
        raise MisuseError("--folds trains a model for each fold; give --arch instead of a model")
    if request.n_folds < 1 or (request.n_pieces is not None and request.n_pieces < 1):
        raise MisuseError("--folds and --pieces must be at least 1")
    if request.n_folds > 1 and (request.split or "track") not in ("track", "segment"):
        raise MisuseError("--folds needs --split track or segment; --split file: defines only one split")
