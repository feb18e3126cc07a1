"""The genre in the INFO list of a wav, which some players read before ID3.

References
----------
Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), chapter 2
"""

from typing import BinaryIO

from pipeline.decoding.chunks import HEADER_BYTES, Chunk, Chunks
from pipeline.decoding.splicing import Edit

_LIST, _INFO, _GENRE = b"LIST", b"INFO", b"IGNR"
_MOST_BYTES = 16 << 20


def info_with_genre(file: BinaryIO, chunks: Chunks, genre: str) -> list[Edit]:
    """Return the edits that set the genre of INFO lists; nothing where they have none.

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
        if chunk.name == _LIST and chunk.size <= _MOST_BYTES:
            file.seek(chunk.data_start)
            edits += _edits(file.read(chunk.size), chunk, chunks, genre)
    return edits


def _edits(data: bytes, chunk: Chunk, chunks: Chunks, genre: str) -> list[Edit]:
    if not data.startswith(_INFO):
        return []
    position = len(_INFO)
    while position + HEADER_BYTES <= len(data):
        size = int.from_bytes(data[position + 4 : position + HEADER_BYTES], chunks.byteorder)
        end = position + HEADER_BYTES + size + size % 2
        if data[position : position + 4] == _GENRE and end <= len(data):
            text = genre.encode() + b"\0"
            item = _GENRE + len(text).to_bytes(4, chunks.byteorder) + text + bytes(len(text) % 2)
            new_size = chunk.size + len(item) - (end - position)
            return [
                Edit(chunk.start + 4, chunk.data_start, new_size.to_bytes(4, chunks.byteorder)),
                Edit(chunk.data_start + position, chunk.data_start + end, item),
            ]
        position = end
    return []
