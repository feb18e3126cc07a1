"""Errors a user meets. Each message is one sentence: what is wrong, where, and what to do."""

from typing import ClassVar, Literal

from schemas.tracks import Tags

Stage = Literal["read", "decode", "featurize", "label"]


class EarmarkError(Exception):
    """The job cannot go on; the command prints the message without a traceback and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class MisuseError(EarmarkError):
    """The command, an option, a configuration or a name it was given is wrong."""

    exit_code: ClassVar[int] = 2


class StoreError(EarmarkError):
    """A store, or a disk, did not do what was asked of it: that says nothing of what it holds."""


class EnvironmentFaultError(EarmarkError):
    """A machine, its libraries or its installation cannot do the work: no track is to blame for that."""


class TrackError(EarmarkError):
    """One track cannot be labeled; it becomes one row of the failures table and the run goes on.

    The class name is the row's ``error_type``. `retryable` says whether the same bytes may succeed at
    another time (network faults) or not (a broken file): the next run tries only the former again. `tags`
    is what the file says of itself, where that could be read all the same.
    """

    stage: ClassVar[Stage]
    retryable: ClassVar[bool] = False
    tags: Tags = Tags()


class ReadError(TrackError):
    """The store did not hand out the bytes; another run may get them.

    `transient` says whether another try in the same run may get them too: the store was overloaded, the
    network failed, or the track was written to while it was read.
    """

    stage = "read"
    retryable = True
    transient: bool = False


class NotFoundError(TrackError):
    """The track was listed but is gone from the store."""

    stage = "read"
    retryable = True


class EmptyFileError(TrackError):
    """The file has no bytes."""

    stage = "read"


class DecodeError(TrackError):
    """No decoder makes audio of the file."""

    stage = "decode"


class NotAFileError(TrackError):
    """The name is that of a folder, a pipe, a socket or a device."""

    stage = "read"


class TooShortError(TrackError):
    """The audio that decodes is shorter than the feature set asks for."""

    stage = "decode"


class FeatureError(TrackError):
    """The features of the decoded audio cannot be computed."""

    stage = "featurize"


class DecoderCrashedError(TrackError):
    """The track crashes the process that decodes it."""

    stage = "decode"


class TimedOutError(TrackError):
    """The track takes longer to decode and featurize than ``--track-timeout`` allows."""

    stage = "decode"


class TooMuchMemoryError(TrackError):
    """The track takes more memory to decode and featurize than ``--track-memory`` allows."""

    stage = "decode"


class LabelError(TrackError):
    """The model gave no usable answer for the track's features."""

    stage = "label"


class LabelerCrashedError(LabelError):
    """The process that ran the model on the track died."""
