"""Findings: what ``earmark verify`` reports about the tables."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

EXAMPLES = 5
"""Maximum number of examples in a finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in the tables, or a note about them.

    Attributes
    ----------
    kind : str
        The kind of finding, in two or three words.
    table : str
        The table concerned, or another folder of the root.
    message : str
        What was found, and what to do about it.
    count : int
        Number of tracks, rows or parts affected.
    examples : tuple of str
        The first few of them.
    fault : bool
        Whether a guarantee of the tables is broken; other findings are only notes.
    passing : bool
        Whether a run or a compaction that is going on may be the reason, and its end the cure.
    """

    kind: str
    table: str
    message: str
    count: int
    examples: tuple[str, ...] = ()
    fault: bool = True
    passing: bool = False


def report_names(
    kind: str, table: str, message: str, names: Iterable[str], *, fault: bool = True, passing: bool = False
) -> list[Finding]:
    """Return a finding about named things, with the first few names as examples; empty without names."""
    found = sorted(names)
    if not found:
        return []
    return [Finding(kind, table, message, len(found), tuple(found[:EXAMPLES]), fault, passing)]


def report_tracks(kind: str, table: str, message: str, batches: Iterable[pa.Array]) -> list[Finding]:
    """Return a finding about tracks, with the first few as examples; empty without tracks.

    Parameters
    ----------
    kind, table, message : str
        See `Finding`.
    batches : iterable of pyarrow.Array
        Their ids, some at a time.
    """
    count = 0
    examples: list[str] = []
    for ids in batches:
        count += len(ids)
        examples += ids[: EXAMPLES - len(examples)].to_pylist()
    return [Finding(kind, table, message, count, tuple(examples))] if count else []


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Something that could not be read, so that nothing is known about its content.

    Attributes
    ----------
    path : str
        A part, a table or another object, below the root.
    reason : str
        Why.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelAccount:
    """The accounting of one model: what became of each track in the catalog.

    Attributes
    ----------
    model : str
        Name with hash.
    tracks : int
        Tracks in the catalog when it was last listed.
    labeled, failed : int
        Tracks with a label, and tracks with a failure instead.
    missing : int
        Track versions that a run of this model should have processed but that have neither.
    unseen : int
        Tracks that no run of this model has listed.
    """

    model: str
    tracks: int
    labeled: int
    failed: int
    missing: int
    unseen: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `pipeline.tables.maintenance.verify.verification.verify`.

    Attributes
    ----------
    parts, rows : int
        Number of parts and rows checked.
    accounts : tuple of ModelAccount
        One per model, the model that ran last at the end.
    findings : tuple of Finding
        Faults first.
    unchecked : tuple of Unchecked
        What could not be read. Nothing is reported missing then, since it may be there.
    """

    parts: int
    rows: int
    accounts: tuple[ModelAccount, ...]
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether everything could be read and no fault was found."""
        return not self.unchecked and not self.faulty

    @property
    def faulty(self) -> bool:
        """Whether a fault was found."""
        return any(finding.fault for finding in self.findings)

    @property
    def lasting(self) -> bool:
        """Whether a fault was found that no run or compaction in progress explains."""
        return any(finding.fault and not finding.passing for finding in self.findings)
