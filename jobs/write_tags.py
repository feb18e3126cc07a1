"""``earmark labels --write-tags`` and ``--in-place``: write labels as genre tags into files or copies."""

import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa

from pipeline.audio.tags.tags import read_tags
from pipeline.audio.tags.write_tags import check_taggable, remove_leftovers, write_tagged
from pipeline.catalogs.track_refs import NOT_READABLE, stat_track, track_id_of
from pipeline.storage import storage
from pipeline.storage.local_kind import local_kind
from schemas.errors import EarmarkError, MisuseError

TaggingOutcome = Literal["to write", "written", "unchanged", "already there", "refused", "failed"]

_PROGRESS_EVERY = 100


@dataclass(frozen=True, slots=True)
class Tagging:
    """A file and the genre to write into it.

    Attributes
    ----------
    uri, etag : str
        The track, and the version of its content that was labeled.
    target : Path
        The file to write: a copy, or the track itself.
    genre : str
        The new tag.
    before : str or None
        The tag as it was when the track was read.
    outcome : str
        What remains to be done, or what was done.
    reason : str
        Why writing failed, or would fail (``refused``).
    """

    uri: str
    etag: str
    target: Path
    genre: str
    before: str | None
    outcome: TaggingOutcome = "to write"
    reason: str = ""


def plan_copies(rows: pa.Table, catalog: str, folder: Path) -> list[Tagging]:
    """Plan copies of the tracks in a folder, with the same relative paths as in the catalog.

    A file that already exists is left alone. A file that a manifest lists under several ids is copied once;
    of different tracks with the same path, the later ones get a folder each.

    Parameters
    ----------
    rows : pyarrow.Table
        Labels with the columns ``track_id``, ``uri``, ``etag``, ``genre`` and ``genre_tag``; rows without a
        genre are left out.
    catalog : str
        Location of the catalog.
    folder : Path
        Folder for the copies.

    Raises
    ------
    MisuseError
        If the folder is inside the catalog, where the next run would take the copies for new tracks.
    """
    if storage.is_local(catalog):
        root = Path(storage.split(catalog)[1]).resolve()
        copies = Path(storage.split(str(folder))[1]).resolve()
        if copies.is_relative_to(root if local_kind(root) == "folder" else root / "."):
            raise MisuseError(
                f"{folder} is inside the catalog, and the next run would label the copies; choose another"
            )
    # One file can have several ids in a manifest.
    labeled = list({(row["uri"], row["etag"], row["genre"]): row for row in _select_labeled(rows)}.values())
    below = _relative_paths([storage.split(row["uri"])[1] for row in labeled], storage.split(catalog)[1])
    plan: list[Tagging] = []
    taken: set[Path] = set()
    for row, relative in zip(labeled, below, strict=True):
        target = _choose_target(folder / relative, row["track_id"], taken)
        taken.add(target)
        outcome: TaggingOutcome = "already there" if local_kind(target) else "to write"
        plan.append(Tagging(row["uri"], row["etag"], target, row["genre"], row["genre_tag"], outcome))
    return plan


def _choose_target(wanted: Path, track_id: str, taken: Set[Path]) -> Path:
    """Return the wanted target or, if it is taken, one in a folder beside it."""
    target, name = wanted, track_id
    while target in taken:
        # An id may contain any character and be of any length, and a name may have no room for a suffix.
        name = track_id_of(name)
        target = wanted.parent / name / wanted.name
    return target


def plan_in_place(rows: pa.Table) -> list[Tagging]:
    """Plan to change the tracks themselves; see `plan_copies`.

    A track whose tag already is its genre is left alone. A file that the catalog has under several ids or
    links is planned once: after the first writing it is no longer the version that was labeled.

    Raises
    ------
    MisuseError
        If a track is an object in a store.
    """
    plan: list[Tagging] = []
    planned: set[tuple[str, str, str]] = set()
    for row in _select_labeled(rows):
        protocol, path = storage.split(row["uri"])
        if protocol != "file":
            raise MisuseError(
                f"{row['uri']} is not a local file; write copies with --write-tags DIR and upload them"
            )
        file = (os.path.realpath(path), row["etag"], row["genre"])
        if file in planned:
            continue
        planned.add(file)
        outcome: TaggingOutcome = "unchanged" if _has_genre(row) else "to write"
        plan.append(Tagging(row["uri"], row["etag"], Path(path), row["genre"], row["genre_tag"], outcome))
    return plan


def _has_genre(row: Mapping[str, str]) -> bool:
    """Return whether the tag of a track was its genre when labeled, or is now, if the file has changed."""
    if row["genre_tag"] == row["genre"]:
        return True
    try:
        track = stat_track(row["uri"], "")
        if track.etag in {row["etag"], *NOT_READABLE}:
            return False
        with storage.open_binary(row["uri"], track.size) as file:
            return read_tags(file, row["uri"]).genre_tag == row["genre"]
    except (EarmarkError, OSError):
        return False  # writing reports the reason


def _select_labeled(rows: pa.Table) -> list[dict[str, str]]:
    wanted = rows.select(["track_id", "uri", "etag", "genre", "genre_tag"])
    return [row for row in wanted.to_pylist() if row["genre"] is not None]


def _relative_paths(paths: Sequence[str], catalog: str) -> list[PurePosixPath]:
    """Return paths relative to the catalog or, for a manifest, to the deepest common folder."""
    paths = [path.lstrip("/") for path in paths]
    root = f"{catalog.strip('/')}/"
    if paths and not all(path.startswith(root) for path in paths):
        root = f"{os.path.commonpath([path.rpartition('/')[0] for path in paths])}/"
    below = (path.removeprefix(root).split("/") for path in paths)
    return [PurePosixPath(*(part for part in parts if part not in {"", ".", ".."})) for parts in below]


def check_all(plan: Sequence[Tagging], progress: Callable[[int], None]) -> list[Tagging]:
    """Find the files that cannot be written, as far as this is known without writing them.

    Objects of a store are left as planned: each would take requests.

    Parameters
    ----------
    plan, progress
        As for `write_all`.
    """
    return _apply(_check, "refused", plan, progress)


def write_all(plan: Sequence[Tagging], progress: Callable[[int], None]) -> list[Tagging]:
    """Write the tags; a file that cannot be written does not stop the others.

    Copies that a killed process left beside the files to write are removed first.

    Parameters
    ----------
    plan : sequence of Tagging
        From `plan_copies` or `plan_in_place`.
    progress : callable
        Called every hundred files with the number of files done.
    """
    for folder in {each.target.resolve().parent for each in plan if each.outcome == "to write"}:
        remove_leftovers(folder)
    return _apply(_write, "failed", plan, progress)


def _apply(
    act: Callable[[Tagging], TaggingOutcome],
    otherwise: TaggingOutcome,
    plan: Sequence[Tagging],
    progress: Callable[[int], None],
) -> list[Tagging]:
    done = []
    for number, each in enumerate(plan, start=1):
        done.append(_try(act, otherwise, each) if each.outcome == "to write" else each)
        if number % _PROGRESS_EVERY == 0:
            progress(number)
    return done


def _try(act: Callable[[Tagging], TaggingOutcome], otherwise: TaggingOutcome, each: Tagging) -> Tagging:
    try:
        return replace(each, outcome=act(each))
    except EarmarkError as error:
        reason = str(error)
    except Exception as error:  # one bad file must not stop the others
        reason = f"{each.uri}: {type(error).__name__}: {error}"
    return replace(each, outcome=otherwise, reason=reason)


def _check(each: Tagging) -> TaggingOutcome:
    protocol, path = storage.split(each.uri)
    if protocol == "file":
        _labeled_size(each)
        check_taggable(Path(path), each.target)
    return "to write"


def _write(each: Tagging) -> TaggingOutcome:
    write_tagged(each.uri, _labeled_size(each), each.target, each.genre)
    return "written"


def _labeled_size(each: Tagging) -> int:
    """Return the size of a track that is still the version that was labeled."""
    track = stat_track(each.uri, "")
    if track.etag != each.etag:
        raise EarmarkError(
            f"{each.uri} has changed since it was labeled, or is gone; run 'earmark run' first"
        )
    return track.size
