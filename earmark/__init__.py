"""Earmark labels music by genre: the API for notebooks and programs.

>>> import earmark
>>> earmark.label("song.wav")[["genre", "duration_s"]]
       genre  duration_s
0  classical        65.0

`label` labels a track, a folder or a list of tracks without Ray, with the same results as ``earmark run``;
`load_model` loads a model for several calls. `describe` returns the 57 descriptors of a track,
`track_features` everything that a run with the same features would store about it, and `plots` draws it.
`open_tables` reads what runs have written. Heavy packages are imported only when they are used. For catalogs
of many thousands of tracks, use ``earmark run``, which uses all cores of a machine or a cluster and can be
killed at any time.

Errors, each with one sentence that names the problem and says what to do::

    EarmarkError                  the call cannot continue
    ├── MisuseError               an argument, a name or a configuration is wrong
    ├── StoreError                a store or a disk did not do what was asked of it
    ├── LeaseHeldError            another run is writing to the tables
    ├── EnvironmentFaultError     this machine or its libraries cannot decode even a known-good sound
    ├── DivergedError             a training ended in numbers that are not finite
    └── TrackError                one track cannot be labeled: a row of the data frame of `label`
        ├── ReadError, NotFoundError, NotAFileError, EmptyFileError
        ├── DecodeError, TooShortError, DecoderCrashedError, TimedOutError, TooMuchMemoryError
        ├── FeatureError
        └── LabelError, LabelerCrashedError
"""

from typing import TYPE_CHECKING, Any

from earmark._own_packages import check_own_packages, is_command

if not is_command():
    check_own_packages()

if TYPE_CHECKING:
    from earmark import errors, plots
    from earmark._label import label
    from earmark._model import Model, load_model
    from earmark._tables import Tables, open_tables
    from earmark.errors import EarmarkError, MisuseError, TrackError
    from pipeline.shards.one_track import describe, track_features

    __version__: str

__all__ = [
    "EarmarkError",
    "MisuseError",
    "Model",
    "Tables",
    "TrackError",
    "__version__",
    "describe",
    "errors",
    "label",
    "load_model",
    "open_tables",
    "plots",
    "track_features",
]

_HOME_OF = {
    "EarmarkError": "earmark.errors",
    "MisuseError": "earmark.errors",
    "TrackError": "earmark.errors",
    "Model": "earmark._model",
    "Tables": "earmark._tables",
    "describe": "pipeline.shards.one_track",
    "label": "earmark._label",
    "load_model": "earmark._model",
    "open_tables": "earmark._tables",
    "track_features": "pipeline.shards.one_track",
}
"""Modules of the names that are imported on first use, because these modules import pandas and more."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        value: Any = _version()
    elif name in ("errors", "plots"):
        return import_module(f"earmark.{name}")
    elif name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'earmark' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("earmark")
    except PackageNotFoundError:
        return "unknown"
