"""What ``earmark labels`` prints: labels, playlists, and tags that are written into files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs.console.output import console, print_table
from jobs.write_tags import Tagging
from pipeline.models.label import MIN_IS_MUSIC

_COLUMNS = ["genre", "style", "confidence", "is_music", "n_segments", "uri"]
_PRINTED = 20
"""Maximum number of files to print, and of failures."""


def print_labels(rows: pa.Table) -> None:
    """Print labels, one track per line."""
    print_table(
        ("genre", "confidence", "segments", "track"),
        (
            (_genre(row), _confidence(row), row["n_segments"], row["uri"])
            for row in rows.select(_COLUMNS).to_pylist()
        ),
    )


def _genre(row: dict[str, Any]) -> str:
    """Return a label's genre and style; a dash if it has neither."""
    return " / ".join(part for part in (row["genre"], row["style"]) if part) or "–"


def _confidence(row: dict[str, Any]) -> str:
    """Return the confidence in a genre; a dash if there is none for want of music."""
    no_music = row["is_music"] is not None and row["is_music"] < MIN_IS_MUSIC
    return "–" if no_music else f"{row['confidence']:.2f}"


def print_playlists(written: Mapping[str, int]) -> None:
    """Print the playlists and the number of tracks in each."""
    print_table(("tracks", "playlist"), [(f"{n:,}", location) for location, n in written.items()])


def print_taggings(plan: Sequence[Tagging]) -> None:
    """Print the first files that are to be written or were written, the failures, and totals."""
    shown = [each for each in plan if each.outcome in {"to write", "written"}]
    if shown:
        print_table(
            ("tag", "becomes", "file"),
            [(each.before or "–", each.genre, str(each.target)) for each in shown[:_PRINTED]],
        )
    if len(shown) > _PRINTED:
        console.print(f"… and {len(shown) - _PRINTED:,} more")
    failed = [each for each in plan if each.outcome in {"refused", "failed"}]
    for each in failed[:_PRINTED]:
        console.print(f"{each.outcome}: {each.reason}")
    if len(failed) > _PRINTED:
        console.print(f"… and {len(failed) - _PRINTED:,} more {failed[0].outcome}")
    sums = Counter(each.outcome for each in plan)
    console.print(", ".join(f"{n:,} {outcome}" for outcome, n in sums.items()) or "nothing to write")
