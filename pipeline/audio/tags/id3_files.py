"""Edits that set the genre in the ID3 tags of mp3, wav and aiff files and keep all other bytes."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import BinaryIO

from mutagen.id3 import COMM, ID3, TALB, TCON, TCOP, TDRC, TIT2, TPE1, TRCK, Frame, ParseID3v1

from pipeline.audio.decode.source import Source, id3_blocks
from pipeline.audio.tags.id3 import Id3, Id3Error, has_genre, parse_id3, render_id3, with_genre
from pipeline.audio.tags.iff_chunks import HEADER_BYTES, Chunk, Chunks
from pipeline.audio.tags.mp3_end import read_mp3_end
from pipeline.audio.tags.riff_info import info_genre_edits
from pipeline.audio.tags.splicing import Edit
from pipeline.audio.tags.tags import ffmpeg_metadata
from schemas.tracks import Tags

_NO_GENRE = 255
_MAX_SIZE = (1 << 32) - 2


def mp3_genre_edits(source: Source, known: Tags, genre: str) -> list[Edit]:
    """Return the edits that set the genre of an mp3: in ID3v2 and, if present, in ID3v1 and APEv2.

    An mp3 that names its track in APEv2 and has no ID3v2 gets none: most programs would then
    ignore all other items of APEv2, such as track number and cover.

    Parameters
    ----------
    source : Source
        The mp3.
    known : Tags
        Values of its other tags, for an mp3 without ID3v2.
    genre : str
        The new genre.

    Raises
    ------
    Id3Error
        If its ID3v2 tag is damaged, is at its end, or has no room for the genre.
    """
    end = read_mp3_end(source)
    if end.has_id3v2:
        raise Id3Error("its ID3v2 tag is at its end; move it to its start with a tag editor first")
    blocks = list(id3_blocks(source))
    first = source.read_at(0, blocks[0]) if blocks else b""
    in_ape_only = not blocks and any(tag.names_the_track for tag in end.ape)
    edits = [edit for tag in end.ape for edit in tag.genre_edits(genre, add=in_ape_only)]
    if end.id3v1:
        size = source.size()
        edits.append(Edit(size - 1, size, bytes([_id3v1_number(genre)])))
    if not in_ape_only:
        tag = _parse_undamaged(first) if first else _new_tag(known, _of_id3v1(end.id3v1))
        edits.append(Edit(0, len(first), render_id3(with_genre(tag, genre))))
    return edits + _further_id3_edits(source, blocks, genre)


def _further_id3_edits(source: Source, blocks: Sequence[int], genre: str) -> list[Edit]:
    """Return the edits that set the genre in the ID3v2 tags after the first, if it is there."""
    edits = []
    for start, n_bytes in zip(accumulate(blocks[:-1]), blocks[1:], strict=True):
        with contextlib.suppress(Id3Error):  # what is no tag stays as it is
            tag = parse_id3(source.read_at(start, n_bytes))
            if tag.whole and has_genre(tag):
                edits.append(Edit(start, start + n_bytes, render_id3(with_genre(tag, genre))))
    return edits


def chunk_genre_edits(file: BinaryIO, chunks: Chunks, known: Tags, genre: str) -> list[Edit]:
    """Return the edits that set the genre of a wav or aiff: in ID3 and, if present, in RIFF INFO.

    A header without a valid audio size, as in a wav from a pipe, gets the real one: otherwise the tag would
    be decoded as audio.

    Parameters
    ----------
    file : BinaryIO
        The wav or aiff.
    chunks : Chunks
        Its chunks.
    known : Tags
        Values of its other tags, for a file without ID3.
    genre : str
        The new genre.

    Raises
    ------
    Id3Error
        If no chunk has audio, or the ID3 tag is damaged or has no room for the genre.
    """
    audio = chunks.audio
    if audio is None:
        raise Id3Error("none of its chunks has audio")
    edits = info_genre_edits(file, chunks, genre)
    for old in chunks.id3:
        file.seek(old.data_start)
        data = file.read(old.size)
        tag = _parse_undamaged(data) if data.strip(b"\0") else _new_tag(known, _of_chunks(file))
        edits.append(Edit(old.start, old.end, _id3_chunk(old.name, tag, chunks, genre)))
    if not chunks.id3:
        last = chunks.chunks[-1]
        name = b"ID3 " if chunks.form == b"FORM" else b"id3 "
        chunk = _id3_chunk(name, _new_tag(known, _of_chunks(file)), chunks, genre)
        edits.append(Edit(last.end, last.end, bytes(last.is_uneven) + chunk))
    growth = sum(len(edit.data) - (edit.end - edit.start) for edit in edits)
    return edits + _sizes(chunks, audio, growth)


def _id3_chunk(name: bytes, tag: Id3, chunks: Chunks, genre: str) -> bytes:
    content = render_id3(with_genre(tag, genre))
    content += bytes(len(content) % 2)
    return name + len(content).to_bytes(4, chunks.byteorder) + content


def _sizes(chunks: Chunks, audio: Chunk, growth: int) -> list[Edit]:
    """Return the edits that update the sizes in the headers for a file that grows by `growth` bytes."""
    last = chunks.chunks[-1].end
    is_right = last <= chunks.declared_bytes <= chunks.n_bytes and not chunks.open_ended
    size = (chunks.declared_bytes if is_right else last) + growth - HEADER_BYTES
    if long_sizes := chunks.sizes:
        place = long_sizes.data_start
        edits = [Edit(place, place + 8, size.to_bytes(8, "little"))]
        if chunks.open_ended:
            edits.append(Edit(place + 8, place + 16, audio.size.to_bytes(8, "little")))
        return edits
    if size > _MAX_SIZE:
        raise Id3Error("with a genre it would exceed the 4 GB that its format allows")
    edits = [Edit(4, 8, size.to_bytes(4, chunks.byteorder))]
    if chunks.open_ended:
        edits.append(Edit(audio.start + 4, audio.data_start, audio.size.to_bytes(4, chunks.byteorder)))
    return edits


def _parse_undamaged(data: bytes) -> Id3:
    tag = parse_id3(data)
    if not tag.whole:
        raise Id3Error("its ID3 tag is damaged")
    return tag


def _of_id3v1(tag: bytes) -> dict[str, Frame]:
    frames: dict[str, Frame] = ParseID3v1(tag) or {}
    if comment := frames.get("COMM"):
        comment.desc = ""  # mutagen describes it, and players look for one without a description
    return frames


def _of_chunks(file: BinaryIO) -> dict[str, Frame]:
    """Return what the text of a wav or aiff says beside `Tags`."""
    texts = ffmpeg_metadata(Source(file, ""))
    return {
        kind.__name__: kind(encoding=3, text=[texts[name]])
        for name, kind in (("track", TRCK), ("comment", COMM), ("copyright", TCOP))
        if texts.get(name)
    }


def _new_tag(known: Tags, others: Mapping[str, Frame]) -> Id3:
    """Return a new ID3 tag with the values of the other tags: most programs read only ID3v2 if it exists."""
    texts = ((TPE1, known.artist), (TALB, known.album), (TIT2, known.title), (TDRC, known.release_date))
    frames = {kind.__name__: kind(encoding=3, text=[text]) for kind, text in texts if text is not None}
    frames = {**others, **frames}
    if not frames:
        return Id3(4, False, (), 0, True)
    tags, file = ID3(), io.BytesIO()
    for frame in frames.values():
        tags.add(frame)
    tags.save(file, v1=0, padding=lambda _: 0)
    return parse_id3(file.getvalue())


def _id3v1_number(genre: str) -> int:
    """Return the ID3v1 number of a genre, or 255 if it has none."""
    names = [_fold_letters(name) for name in TCON.GENRES]
    return names.index(_fold_letters(genre)) if _fold_letters(genre) in names else _NO_GENRE


def _fold_letters(genre: str) -> str:
    return "".join(filter(str.isalnum, genre)).casefold()
