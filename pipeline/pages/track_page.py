"""The page of a track: an audio player, plots with a moving playhead, and facts."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from pipeline.formatting import duration_text, short_name
from pipeline.pages import render, to_data_uri
from pipeline.plots.figures import LEFT, RIGHT, read_labels, to_svg
from pipeline.plots.track_view import SegmentView, TrackView
from pipeline.redaction import redact
from pipeline.storage import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_S = 120.0
"""A longer segment is cut to its first part for playback."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with its caption and data. If `timed`, its x axis is the segment being played."""

    figure: "Figure"
    caption: str
    timed: bool = True
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def render_track_page(
    view: TrackView,
    segment: SegmentView,
    pictures: Sequence[Picture],
    *,
    heading: str,
    summary: str,
    out: str,
    lines: Sequence[str] = (),
) -> str:
    """Render the page as HTML.

    Parameters
    ----------
    view : TrackView
        The track.
    segment : SegmentView
        The segment to play and plot.
    pictures : sequence of Picture
        The plots, in order.
    heading, summary : str
        Topic of the page, and its result in one sentence.
    out : str
        Where the page will be written; the link to a local track is relative to it.
    lines : sequence of str
        Further results, one per line.
    """
    sr = view.spec.sample_rate
    length_s = len(segment.y) / sr
    played = segment.y[: round(_MOST_S * sr)]
    return render(
        "track.html",
        title=_choose_title(view),
        script="track.js",
        uri=redact(view.uri),
        heading=heading,
        summary=summary,
        lines=lines,
        facts=_list_facts(view, segment),
        audio=to_data_uri(_encode_mp3(played, sr), "audio/mpeg"),
        audio_name=f"Segment starting at {segment.start_s:g} s",
        audio_note="The player plays what the model hears: mono, resampled. "
        "Click a plot to play from that point.",
        start_s=segment.start_s,
        length_s=length_s,
        link=_link_to_track(view.uri, out),
        left=LEFT,
        right=RIGHT,
        pictures=[
            {
                "source": to_data_uri(to_svg(picture.figure), "image/svg+xml"),
                "caption": picture.caption,
                "alternative": read_labels(picture.figure),
                "timed": picture.timed,
                "heads": picture.heads,
                "rows": picture.rows,
            }
            for picture in pictures
        ],
    )


def _encode_mp3(y: object, sr: int) -> bytes:
    """Encode samples as mp3, which every browser can play."""
    import soundfile as sf

    buffer = io.BytesIO()
    sf.write(buffer, y, sr, format="MP3")
    return buffer.getvalue()


def _choose_title(view: TrackView) -> str:
    title = view.tags.title or view.uri.rstrip("/").rpartition("/")[2]
    return " – ".join(short_name(name) for name in (title, view.tags.artist) if name)


def _list_facts(view: TrackView, segment: SegmentView) -> dict[str, str]:
    tags, info = view.tags, view.info
    end_s = segment.start_s + len(segment.y) / view.spec.sample_rate
    facts = {
        "album": tags.album,
        "year": tags.year,
        "genre tag": tags.genre_tag,
        "duration": duration_text(info.duration_s),
        "format": f"{info.codec}, {info.sample_rate:,} Hz, channels: {info.channels}",
        "excerpt": f"{segment.start_s:g} to {end_s:g} s; segments in the track: {len(view.segments)}",
    }
    return {name: short_name(str(value)) for name, value in facts.items() if value is not None}


def _link_to_track(uri: str, out: str) -> str | None:
    """Return the URL of a local track relative to the page, or None if either is not local."""
    if not (storage.is_local(uri) and storage.is_local(out)):
        return None
    page, track = Path(storage.split(out)[1]).parent, Path(storage.split(uri)[1])
    return quote_from_bytes(os.fsencode(os.path.relpath(track, page)))
