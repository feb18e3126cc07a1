"""The genre in the INFO list of a wav, which some players prefer to ID3.

References
----------
Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), chapter 2
"""

from typing import BinaryIO

from pipeline.audio.tags.iff_chunks import HEADER_BYTES, Chunk, Chunks
from pipeline.audio.tags.splicing import Edit

_LIST, _INFO, _GENRE = b"LIST", b"INFO", b"IGNR"
_MAX_BYTES = 16 << 20


def info_genre_edits(file: BinaryIO, chunks: Chunks, genre: str) -> list[Edit]:
    """Return the edits that set the genre in INFO lists; none if there is no list.

    A list without a genre gets one: FFmpeg ignores ID3 if there is a list, and writes a list into every wav
    to name itself.

    Parameters
    ----------
    file : BinaryIO
        The wav.
    chunks : Chunks
        Its chunks.
    genre : str
        The new genre.
    """
    edits = []
    for chunk in chunks.chunks:
        if chunk.name == _LIST and chunk.size <= _MAX_BYTES:
            file.seek(chunk.data_start)
            edits += _edits(file.read(chunk.size), chunk, chunks, genre)
    return edits


def _edits(data: bytes, chunk: Chunk, chunks: Chunks, genre: str) -> list[Edit]:
    if not data.startswith(_INFO):
        return []
    start, end = _place(data, chunks)
    text = genre.encode() + b"\0"
    # Items are padded to an even size, unless this one replaces a last item without its pad byte.
    text += bytes((len(text) + end - start) % 2)
    item = _GENRE + len(text).to_bytes(4, chunks.byteorder) + text
    new_size = chunk.size + len(item) - (end - start)
    return [
        Edit(chunk.start + 4, chunk.data_start, new_size.to_bytes(4, chunks.byteorder)),
        Edit(chunk.data_start + start, chunk.data_start + end, item),
    ]


def _place(data: bytes, chunks: Chunks) -> tuple[int, int]:
    """Return the range of the genre in a list or, if there is none, an empty range after the last item."""
    start = len(_INFO)
    while start + HEADER_BYTES <= len(data):
        size = int.from_bytes(data[start + 4 : start + HEADER_BYTES], chunks.byteorder)
        end = start + HEADER_BYTES + size
        if end <= len(data) and data[start : start + 4] == _GENRE:
            return start, min(end + size % 2, len(data))
        end += size % 2
        if end > len(data):
            break
        start = end
    return start, start
