"""The page of one track: an audio player, pictures that its clock runs over, and facts."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from pipeline.pages import data_uri, render
from pipeline.plots.figures import LEFT, RIGHT, to_svg
from pipeline.plots.track_view import SegmentView, TrackView
from pipeline.redaction import without_secrets
from pipeline.storage import storage
from pipeline.wording import duration_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_S = 120.0
"""Of a longer segment the page plays the beginning."""
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with its caption and what it shows in words; timed: its axis is the segment that is played."""

    figure: "Figure"
    caption: str
    alternative: str
    timed: bool = True


def track_page(
    view: TrackView,
    segment: SegmentView,
    pictures: Sequence[Picture],
    *,
    heading: str,
    summary: str,
    out: str,
    lines: Sequence[str] = (),
) -> str:
    """The page as HTML.

    Parameters
    ----------
    view : TrackView
        The track.
    segment : SegmentView
        The segment that is played and seen.
    pictures : sequence of Picture
        In their order.
    heading, summary : str
        What the page is about, and its result in a sentence.
    out : str
        Where the page will be: a link to a local track is relative to it.
    lines : sequence of str
        Further results, a line each.
    """
    sr = view.spec.sample_rate
    length_s = len(segment.y) / sr
    played = segment.y[: round(_MOST_S * sr)]
    return render(
        "track.html",
        title=_title(view),
        script="track.js",
        uri=without_secrets(view.uri),
        heading=heading,
        summary=summary,
        lines=lines,
        facts=_facts(view, segment),
        audio=data_uri(_mp3(played, sr), "audio/mpeg"),
        audio_name=f"The segment from {segment.start_s:g} s on",
        audio_note="The player has it as the model hears it: mono, resampled. "
        "Click into a picture to play from there.",
        start_s=segment.start_s,
        length_s=length_s,
        link=_link(view.uri, out),
        left=LEFT,
        right=RIGHT,
        pictures=[
            {
                "source": data_uri(to_svg(picture.figure), "image/svg+xml"),
                "caption": picture.caption,
                "alternative": picture.alternative,
                "timed": picture.timed,
            }
            for picture in pictures
        ],
    )


def _mp3(y: object, sr: int) -> bytes:
    """The samples as mp3, which every browser plays."""
    import soundfile as sf

    buffer = io.BytesIO()
    sf.write(buffer, y, sr, format="MP3")
    return buffer.getvalue()


def _title(view: TrackView) -> str:
    title = view.tags.title or view.uri.rstrip("/").rpartition("/")[2]
    return f"{title} – {view.tags.artist}" if view.tags.artist else title


def _facts(view: TrackView, segment: SegmentView) -> dict[str, str]:
    tags, info = view.tags, view.info
    end_s = segment.start_s + len(segment.y) / view.spec.sample_rate
    facts = {
        "album": tags.album,
        "year": tags.year,
        "genre tag": tags.genre_tag,
        "length": duration_text(info.duration_s),
        "format": f"{info.codec}, {info.sample_rate:,} Hz, channels: {info.channels}",
        "seen here": f"{segment.start_s:g} to {end_s:g} s; segments of the track: {len(view.segments)}",
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _link(uri: str, out: str) -> str | None:
    """The address of a local track as the page beside it knows it."""
    if not (storage.is_local(uri) and storage.is_local(out)):
        return None
    page, track = Path(storage.split(out)[1]).parent, Path(storage.split(uri)[1])
    return quote_from_bytes(os.fsencode(os.path.relpath(track, page)))
