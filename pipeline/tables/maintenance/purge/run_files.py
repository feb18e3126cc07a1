"""The files in ``_runs/`` without the traces of some tracks: reports, plans and logs."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import storage
from pipeline.storage.arrow_buffers import arrow_buffer
from pipeline.tables.maintenance.purge.mentions import Mentions
from pipeline.tables.maintenance.purge.selection import TracesInTables
from pipeline.tables.objects import StoredObject, StoredObjects
from pipeline.tables.tables import encode_part, is_damage
from schemas.errors import EarmarkError
from schemas.report import Purged, RunReport

_REMOVED = "(purged)"


@dataclass(frozen=True, slots=True)
class CleanedFile:
    """A file of a run that names purged tracks, or counts their rows.

    Attributes
    ----------
    entry : StoredObject
        The file.
    kind : str
        ``reports``, ``plans`` or ``logs``.
    removed : int
        Mentions, rows or lines that are left out.
    data : bytes
        Its content without them.
    report : RunReport or None
        If it is a report, what it says now.
    """

    entry: StoredObject
    kind: str
    removed: int
    data: bytes
    report: RunReport | None = None


@dataclass(frozen=True, slots=True)
class _Purging:
    """The tracks, what names them, and by run how many of their rows have been purged in all."""

    traces: TracesInTables
    mentions: Mentions
    purged: Mapping[str, Purged]


def clean_run_files(
    stored: StoredObjects, traces: TracesInTables, purged: Mapping[str, Purged]
) -> Iterator[CleanedFile]:
    """Yield the files in ``_runs/`` that must change, with their new content.

    Parameters
    ----------
    stored : StoredObjects
        The objects under the root.
    traces : TracesInTables
        The tracks.
    purged : mapping of str to Purged
        By run, how many rows have been purged of those that its report counts, in all.

    Raises
    ------
    EarmarkError
        If a file cannot be read.
    """
    purging = _Purging(traces, Mentions(traces.track_ids, traces.uris), purged)
    for entry in stored.below("_runs"):
        location, clean = stored.location(entry), _find_cleaner(entry.name)
        if clean is None:
            continue
        with storage.explain_errors(location, "read"):
            try:
                cleaned = clean(entry, storage.read_bytes(location), purging)
            except Exception as error:
                if not (is_damage(error) or isinstance(error, ValueError)):
                    raise
                raise EarmarkError(
                    f"{location} is damaged ({storage.reason(error)}); move it out of the folder, and "
                    "delete it if it may name the tracks"
                ) from error
        if cleaned is not None:
            yield cleaned


def _find_cleaner(name: str) -> "_Cleaner | None":
    return next((clean for suffix, clean in _CLEANERS.items() if name.endswith(suffix)), None)


def _clean_report(entry: StoredObject, data: bytes, purging: _Purging) -> CleanedFile | None:
    # As it was written, so that what another version of Earmark added stays.
    report: dict[str, Any] = json.loads(data)
    removed = 0
    for kind, examples in (report.get("failure_examples") or {}).items():
        kept = [each for each in examples if not purging.mentions.is_in(each)]
        removed += len(examples) - len(kept)
        report["failure_examples"][kind] = kept
    slowest = report.get("slowest") or []
    kept = [each for each in slowest if not purging.mentions.is_in(each)]
    removed += len(slowest) - len(kept)
    if slowest:
        report["slowest"] = kept
    if purging.mentions.is_in(report.get("error")):
        report["error"] = _REMOVED
        removed += 1
    publication = report.get("publication") or {}
    if purging.mentions.is_in(publication.get("error")):
        publication["error"] = _REMOVED
        removed += 1
    counts = purging.purged.get(str(report.get("run")), Purged()).model_dump()
    is_counted = counts == (report.get("purged") or Purged().model_dump())
    if not removed and (is_counted or str(report.get("run")) not in purging.purged):
        return None
    if str(report.get("run")) in purging.purged:
        report["purged"] = counts
    text = json.dumps(report, indent=2, ensure_ascii=False)
    return CleanedFile(entry, "reports", removed, text.encode(), RunReport.model_validate_json(text))


def _clean_plan(entry: StoredObject, data: bytes, purging: _Purging) -> CleanedFile | None:
    with pq.ParquetFile(arrow_buffer(data)) as file:
        rows = file.read()
    named = pc.or_(
        pc.is_in(rows["track_id"], pa.array(sorted(purging.traces.track_ids), pa.string())),
        pc.is_in(rows["uri"], pa.array(sorted(purging.traces.uris), pa.string())),
    )
    kept = rows.filter(pc.invert(named))
    removed = rows.num_rows - kept.num_rows
    return CleanedFile(entry, "plans", removed, encode_part(kept)) if removed else None


def _clean_log(entry: StoredObject, data: bytes, purging: _Purging) -> CleanedFile | None:
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    kept = [line for line in lines if not purging.mentions.is_in(_parse_line(line))]
    removed = len(lines) - len(kept)
    return CleanedFile(entry, "logs", removed, "".join(kept).encode()) if removed else None


def _parse_line(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:  # a line that was cut off
        return line


_Cleaner = Callable[[StoredObject, bytes, _Purging], CleanedFile | None]
_CLEANERS: dict[str, _Cleaner] = {
    ".json": _clean_report,
    ".plan.parquet": _clean_plan,
    ".log.jsonl": _clean_log,
}
