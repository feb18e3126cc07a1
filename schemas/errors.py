"""Errors a user meets. Each message is one sentence: what is wrong, where, and what to do."""

from typing import ClassVar, Literal

Stage = Literal["read", "decode", "featurize", "label"]


class EarmarkError(Exception):
    """The job cannot go on; the command prints the message without a traceback and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class MisuseError(EarmarkError):
    """The command, an option, a configuration or a name it was given is wrong."""

    exit_code: ClassVar[int] = 2


class TrackError(EarmarkError):
    """One track cannot be labelled; it becomes one row of the failures table and the run goes on.

    The class name is the row's ``error_type``. `retryable` says whether the same bytes may succeed at
    another time (network faults) or not (a broken file): the next run tries only the former again.
    """

    stage: ClassVar[Stage]
    retryable: ClassVar[bool] = False


class ReadError(TrackError):
    """The store did not hand out the bytes; another run may get them."""

    stage = "read"
    retryable = True


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


class TooShortError(TrackError):
    """The audio that decodes is shorter than the feature set asks for."""

    stage = "decode"


class FeatureError(TrackError):
    """The features of the decoded audio cannot be computed."""

    stage = "featurize"


class DecoderCrashedError(TrackError):
    """The process that decoded the track died: a decoder crash, or more memory than there was."""

    stage = "decode"


class LabelError(TrackError):
    """The model gave no usable answer for the track's features."""

    stage = "label"


class LabelerCrashedError(LabelError):
    """The process that ran the model on the track died."""
