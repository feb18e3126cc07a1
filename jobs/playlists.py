"""``earmark labels --format m3u``: a playlist for each genre."""

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.storage import storage
from pipeline.tables.current import current_tracks
from pipeline.tables.tables import Tables
from schemas.errors import MisuseError

TRACK_COLUMNS = ("artist", "title", "genre_tag", "duration_s")
"""What `with_facts` adds to labels."""

_UNPLAYABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]|^[\s#]|\s$")
"""What breaks a line of a playlist, or what a player takes for a comment or strips."""


def with_facts(tables: Tables, labels: pa.Table) -> pa.Table:
    """Labels with the tags and lengths that the catalog's files have.

    Parameters
    ----------
    tables : Tables
        The tables.
    labels : pyarrow.Table
        Current labels.
    """
    tracks = current_tracks(tables, TRACK_COLUMNS)
    row = pc.index_in(labels["track_id"], tracks["track_id"].combine_chunks())
    for name in TRACK_COLUMNS:
        labels = labels.append_column(name, tracks[name].take(row))
    return labels


def write_playlists(rows: pa.Table, folder: str) -> dict[str, int]:
    """Write a playlist (extended m3u, UTF-8) for each genre, the surest tracks first.

    Local tracks stand there by their absolute path, or as a ``file://`` URI where a path would break the
    line; objects by their URI. Tracks without a genre are in none.

    Parameters
    ----------
    rows : pyarrow.Table
        Labels of `with_facts`.
    folder : str
        Folder or prefix for the files, which are called ``GENRE.m3u8``.

    Returns
    -------
    dict
        Tracks by location of the playlist.

    Raises
    ------
    MisuseError
        If two genres would have the same file.
    """
    rows = rows.filter(pc.is_valid(rows["genre"])).sort_by(
        [("confidence", "descending"), ("uri", "ascending")]
    )
    written: dict[str, int] = {}
    for genre in sorted(rows["genre"].unique().to_pylist()):
        tracks = rows.filter(pc.equal(rows["genre"], genre)).to_pylist()
        location = storage.join(folder, f"{_file_name(genre)}.m3u8")
        if location in written:
            raise MisuseError(f"the playlist of {genre} would be called like another one ({location})")
        with storage.explain_errors(location, "write"):
            storage.write_bytes(location, playlist(genre, tracks).encode())
        written[location] = len(tracks)
    return written


def playlist(name: str, tracks: list[dict[str, Any]]) -> str:
    """The text of a playlist.

    Parameters
    ----------
    name : str
        Its title.
    tracks : list of dict
        With ``uri``, ``artist``, ``title`` and ``duration_s``, of which all but the first may be None.
    """
    lines = ["#EXTM3U", f"#PLAYLIST:{_line(name)}"]
    for track in tracks:
        # A length of -1 is how a playlist says that it does not know.
        length = -1 if track["duration_s"] is None else round(track["duration_s"])
        lines += [f"#EXTINF:{length},{_caption(track)}", _entry(track["uri"])]
    return "\n".join(lines) + "\n"


def _caption(track: dict[str, Any]) -> str:
    title = track["title"] or PurePosixPath(track["uri"]).stem
    return _line(f"{track['artist']} - {title}" if track["artist"] else title)


def _line(text: str) -> str:
    """Text in one line."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text).split())


def _entry(uri: str) -> str:
    """A track as a line that players open."""
    if "://" not in uri:
        return f"file://{quote(uri)}" if _UNPLAYABLE.search(uri) else uri
    return re.sub(_UNPLAYABLE, lambda found: quote(found.group()), uri)


def _file_name(genre: str) -> str:
    return re.sub(r"[^\w &+'()-]", "_", genre).strip() or "_"
