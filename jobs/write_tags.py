"""``earmark labels --write-tags``: the labels as genre tags of the files, or of copies of them."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa

from jobs.console.output import console, print_table, printable
from pipeline.audio.tags.tags import read_tags
from pipeline.audio.tags.write_tags import write_tagged
from pipeline.catalogs.tracks import stat_track
from pipeline.storage import storage
from schemas.errors import EarmarkError, MisuseError

TaggingOutcome = Literal["to write", "written", "unchanged", "there already", "failed"]

_PRINTED = 20
_PROGRESS_EVERY = 100
_NO_FILES = frozenset({"missing", "unreadable", "irregular"})
"""Etags of what cannot be read."""


@dataclass(frozen=True, slots=True)
class Tagging:
    """A file and the genre that goes into it.

    Attributes
    ----------
    uri, etag : str
        The track, in the version that was labeled.
    target : Path
        The file to write: a copy, or the track itself.
    genre : str
        The new tag.
    before : str or None
        The tag as it was when the track was read.
    outcome : str
        What is to be done, or what was done.
    reason : str
        Why it failed.
    """

    uri: str
    etag: str
    target: Path
    genre: str
    before: str | None
    outcome: TaggingOutcome = "to write"
    reason: str = ""


def plan_copies(rows: pa.Table, catalog: str, folder: Path) -> list[Tagging]:
    """What to write for copies of the tracks in a folder, below which they lie as below the catalog.

    A file that is there already is left alone.

    Parameters
    ----------
    rows : pyarrow.Table
        Labels with the columns ``track_id``, ``uri``, ``etag``, ``genre`` and ``genre_tag``; rows without a
        genre are left out.
    catalog : str
        Where the catalog is.
    folder : Path
        For the copies.

    Raises
    ------
    MisuseError
        If the folder lies in the catalog: the next run would take the copies for new tracks.
    """
    if storage.is_local(catalog):
        root = Path(storage.split(catalog)[1]).resolve()
        if folder.resolve().is_relative_to(root if root.is_dir() else root / "."):
            raise MisuseError(f"{folder} lies in the catalog, which would then hold the copies; name another")
    labeled = _labeled(rows)
    below = _below([storage.split(row["uri"])[1] for row in labeled], storage.split(catalog)[1])
    plan, taken = [], set()
    for row, relative in zip(labeled, below, strict=True):
        target = folder / relative
        if target in taken:
            target = target.with_name(f"{row['track_id']} {target.name}")
        taken.add(target)
        outcome: TaggingOutcome = "there already" if target.exists() else "to write"
        plan.append(Tagging(row["uri"], row["etag"], target, row["genre"], row["genre_tag"], outcome))
    return plan


def plan_in_place(rows: pa.Table) -> list[Tagging]:
    """What to write for changing the tracks themselves; see `plan_copies`.

    A track that has its genre already is left alone: as it was labeled, or after an earlier command.

    Raises
    ------
    MisuseError
        If a track is an object of a store.
    """
    plan = []
    for row in _labeled(rows):
        protocol, path = storage.split(row["uri"])
        if protocol != "file":
            raise MisuseError(
                f"{row['uri']} is no local file; write copies with --write-tags DIR and upload them"
            )
        outcome: TaggingOutcome = "unchanged" if _has_genre(row) else "to write"
        plan.append(Tagging(row["uri"], row["etag"], Path(path), row["genre"], row["genre_tag"], outcome))
    return plan


def _has_genre(row: Mapping[str, str]) -> bool:
    """Whether a track has its genre, when it was labeled or, where it has changed since, now."""
    if row["genre_tag"] == row["genre"]:
        return True
    try:
        track = stat_track(row["uri"], "")
        if track.etag in {row["etag"], *_NO_FILES}:
            return False
        with storage.open_binary(row["uri"], track.size) as file:
            return read_tags(file, row["uri"]).genre_tag == row["genre"]
    except (EarmarkError, OSError):
        return False  # writing tells the reason


def _labeled(rows: pa.Table) -> list[dict[str, str]]:
    wanted = rows.select(["track_id", "uri", "etag", "genre", "genre_tag"])
    return [row for row in wanted.to_pylist() if row["genre"] is not None]


def _below(paths: Sequence[str], catalog: str) -> list[PurePosixPath]:
    """Paths below the catalog or, for a manifest, below the deepest folder that all share; never outside."""
    paths = [path.lstrip("/") for path in paths]
    root = f"{catalog.strip('/')}/"
    if paths and not all(path.startswith(root) for path in paths):
        root = f"{os.path.commonpath([path.rpartition('/')[0] for path in paths])}/"
    below = (path.removeprefix(root).split("/") for path in paths)
    return [PurePosixPath(*(part for part in parts if part not in {"", ".", ".."})) for parts in below]


def write_all(plan: Sequence[Tagging], progress: Callable[[int], None]) -> list[Tagging]:
    """Do what is to be done; a file that cannot be written does not stop the others.

    Parameters
    ----------
    plan : sequence of Tagging
        Of `plan_copies` or `plan_in_place`.
    progress : callable
        Told how many files are done, every now and then.
    """
    done = []
    for number, each in enumerate(plan, start=1):
        done.append(_written(each) if each.outcome == "to write" else each)
        if number % _PROGRESS_EVERY == 0:
            progress(number)
    return done


def _written(each: Tagging) -> Tagging:
    outcome: TaggingOutcome = "written"
    reason = ""
    try:
        track = stat_track(each.uri, "")
        if track.etag != each.etag:
            raise EarmarkError(f"{each.uri} has changed since it was labeled, or is gone; run again first")
        write_tagged(each.uri, track.size, each.target, each.genre)
    except EarmarkError as error:
        outcome, reason = "failed", str(error)
    except Exception as error:  # whatever is wrong with one file, the others are written
        outcome, reason = "failed", f"{each.uri}: {type(error).__name__}: {error}"
    return Tagging(each.uri, each.etag, each.target, each.genre, each.before, outcome, reason)


def print_taggings(plan: Sequence[Tagging]) -> None:
    """Print what is to be written or was written, the first lines of it, and the sums."""
    shown = [each for each in plan if each.outcome in {"to write", "written"}]
    if shown:
        print_table(
            ("tag", "becomes", "file"),
            [(each.before or "–", each.genre, str(each.target)) for each in shown[:_PRINTED]],
        )
    if len(shown) > _PRINTED:
        console.print(f"… and {len(shown) - _PRINTED:,} more")
    failed = [each for each in plan if each.outcome == "failed"]
    for each in failed[:_PRINTED]:
        console.print(f"failed: {printable(each.reason)}", markup=False)
    if len(failed) > _PRINTED:
        console.print(f"… and {len(failed) - _PRINTED:,} more failed")
    sums = Counter(each.outcome for each in plan)
    console.print(", ".join(f"{n:,} {outcome}" for outcome, n in sums.items()) or "nothing to write")
