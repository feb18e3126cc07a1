"""Findings: what `earmark verify` has to say of the tables."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the tables that somebody ought to know.

    Attributes
    ----------
    kind : str
        Two or three words that name the kind.
    table : str
        The table, or another folder of the root, that it is about.
    message : str
        What is so, and what to do about it.
    count : int
        How many tracks, rows or parts it is about.
    examples : tuple of str
        Some of them.
    fault : bool
        Whether it breaks what the tables promise; other findings are only to be known.
    """

    kind: str
    table: str
    message: str
    count: int
    examples: tuple[str, ...] = ()
    fault: bool = True


def report_rows(kind: str, table: str, message: str, rows: pa.Table, *columns: str) -> list[Finding]:
    """A finding about rows, with some columns of the first few as examples; none where there are no rows."""
    if not rows.num_rows:
        return []
    first = rows.slice(0, EXAMPLES).select(list(columns)).to_pylist()
    examples = tuple(" ".join(str(value) for value in row.values()) for row in first)
    return [Finding(kind, table, message, rows.num_rows, examples)]


def report_names(
    kind: str, table: str, message: str, names: Iterable[str], *, fault: bool = True
) -> list[Finding]:
    """A finding about things that have names; none where there are none."""
    found = sorted(names)
    if not found:
        return []
    return [Finding(kind, table, message, len(found), tuple(found[:EXAMPLES]), fault)]


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Something that could not be read: that says nothing of what it holds.

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
    """What became of the tracks in the catalog, for one model.

    Attributes
    ----------
    model : str
        Name with hash.
    tracks : int
        Tracks that the catalog held when it was last listed.
    labeled, failed : int
        Those with a label, and those with a failure instead.
    missing : int
        Track versions that a run of this model was to do and that have neither.
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
    """The outcome of `pipeline.tables.maintenance.verify.verification.verify`.

    Attributes
    ----------
    parts, rows : int
        Parts and rows that were looked at.
    accounts : tuple of ModelAccount
        By model, the one that ran last at the end.
    findings : tuple of Finding
        Faults first.
    unchecked : tuple of Unchecked
        What could not be read. Nothing is said to be missing then: it may be there.
    """

    parts: int
    rows: int
    accounts: tuple[ModelAccount, ...]
    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether all could be read, and nothing was found that breaks what the tables promise."""
        return not self.unchecked and not self.faulty

    @property
    def faulty(self) -> bool:
        """Whether something was found that breaks what the tables promise."""
        return any(finding.fault for finding in self.findings)
