"""Errors that users see. Each message is one sentence: what is wrong, where, and what to do."""

from typing import ClassVar, Literal

from schemas.tracks import Tags

Stage = Literal["read", "decode", "featurize", "label"]


class EarmarkError(Exception):
    """The job cannot continue: the command prints the message, no traceback, and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class MisuseError(EarmarkError):
    """A command, an option, a setting or a name given by the user is wrong."""

    exit_code: ClassVar[int] = 2


class StoreError(EarmarkError):
    """A store or a disk refused or failed a request. The data in it may be fine.

    `transient` is true if the same request may succeed soon: the store was overloaded, or out of reach.
    """

    transient: bool = False


class LeaseHeldError(EarmarkError):
    """Another run is writing to the tables. Nothing was changed; the same command may succeed later."""

    exit_code: ClassVar[int] = 5


class EnvironmentFaultError(EarmarkError):
    """A machine, its libraries or its installation cannot do the work; no track is to blame."""


class DivergedError(EarmarkError):
    """A training ended in numbers that are not finite. Other settings may train on the same data."""


class TrackError(EarmarkError):
    """One track cannot be labeled. It becomes one row of the failures table, and the run continues.

    The class name is the row's ``error_type``. `retryable` is true if the same bytes may succeed later (a
    network fault), false if they cannot (a broken file); the next run retries only the former. `tags` holds
    the file's tags if they could be read.
    """

    stage: ClassVar[Stage]
    retryable: ClassVar[bool] = False
    tags: Tags = Tags()


class ReadError(TrackError):
    """The store did not return the bytes; a later run may get them.

    `transient` is true if a retry in the same run may succeed: the store was overloaded, the network failed,
    or the track was written to while it was read.
    """

    stage = "read"
    retryable = True
    transient: bool = False


class NotFoundError(TrackError):
    """The track was listed but no longer exists in the store."""

    stage = "read"
    retryable = True


class EmptyFileError(TrackError):
    """The file has zero bytes."""

    stage = "read"


class DecodeError(TrackError):
    """No decoder can read the file as audio."""

    stage = "decode"


class NotAFileError(TrackError):
    """The path is a directory, a pipe, a socket or a device, not a regular file."""

    stage = "read"


class TooShortError(TrackError):
    """The decoded audio is shorter than the feature set requires."""

    stage = "decode"


class FeatureError(TrackError):
    """Features cannot be computed from the decoded audio."""

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
    """The model returned no usable output for the track's features."""

    stage = "label"


class LabelerCrashedError(LabelError):
    """The process that ran the model on the track died."""
