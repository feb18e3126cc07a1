"""The genre in the INFO list of a wav, which some players read before ID3.

References
----------
Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), chapter 2
"""

from typing import BinaryIO

from pipeline.audio.tags.chunks import HEADER_BYTES, Chunk, Chunks
from pipeline.audio.tags.splicing import Edit

_LIST, _INFO, _GENRE = b"LIST", b"INFO", b"IGNR"
_MAX_BYTES = 16 << 20


def info_genre_edits(file: BinaryIO, chunks: Chunks, genre: str) -> list[Edit]:
    """Return the edits that set the genre of INFO lists; nothing where there is no list.

    A list without a genre gets one: FFmpeg does not look at ID3 where there is a list, and writes one into
    each wav to name itself.

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
    # Even, as items are to be; or odd, in place of a last item that lacks what makes it even.
    text += bytes((len(text) + end - start) % 2)
    item = _GENRE + len(text).to_bytes(4, chunks.byteorder) + text
    new_size = chunk.size + len(item) - (end - start)
    return [
        Edit(chunk.start + 4, chunk.data_start, new_size.to_bytes(4, chunks.byteorder)),
        Edit(chunk.data_start + start, chunk.data_start + end, item),
    ]


def _place(data: bytes, chunks: Chunks) -> tuple[int, int]:
    """Return where the genre is in a list or, where there is none, an empty range behind the last item."""
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
