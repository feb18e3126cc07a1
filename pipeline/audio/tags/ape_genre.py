"""The genre in the APEv2 tag at the end of some mp3s, which some players prefer to ID3.

References
----------
https://wiki.hydrogenaud.io/index.php?title=APEv2_specification
"""

from typing import BinaryIO

from pipeline.audio.tags.splicing import Edit

_MAGIC = b"APETAGEX"
_FOOTER_BYTES = 32
_SIZE_AT, _COUNT_AT, _FLAGS_AT = 12, 16, 20
_HAS_HEADER = 1 << 31
_KIND = 0b110
_ITEM_HEADER_BYTES = 8
_MAX_BYTES = 64 << 20


def ape_genre_edits(file: BinaryIO, end: int, genre: str) -> list[Edit]:
    """Return the edits that set the genre of an APEv2 tag; none if there is no tag or no genre in it.

    Parameters
    ----------
    file : BinaryIO
        The mp3.
    end : int
        Where the tag would end: the end of the file, or the start of ID3v1.
    genre : str
        The new genre.
    """
    file.seek(max(end - _FOOTER_BYTES, 0))
    footer = file.read(_FOOTER_BYTES)
    size = _number(footer, _SIZE_AT)
    if not footer.startswith(_MAGIC) or not _FOOTER_BYTES <= size <= min(end, _MAX_BYTES):
        return []
    start = end - size
    file.seek(start)
    found = _genre_value(file.read(size - _FOOTER_BYTES), _number(footer, _COUNT_AT))
    if found is None:
        return []
    item, value, value_end = found
    new = genre.encode()
    new_size = _bytes(size + len(new) - (value_end - value))
    edits = [
        Edit(start + item, start + item + 4, _bytes(len(new))),
        Edit(start + value, start + value_end, new),
        Edit(end - _FOOTER_BYTES + _SIZE_AT, end - _FOOTER_BYTES + _COUNT_AT, new_size),
    ]
    header = start - _FOOTER_BYTES
    if _number(footer, _FLAGS_AT) & _HAS_HEADER and header >= 0:
        edits.append(Edit(header + _SIZE_AT, header + _COUNT_AT, new_size))
    return edits


def _genre_value(items: bytes, n_items: int) -> tuple[int, int, int] | None:
    """Return the offsets of the genre's item, of its value and of the value's end."""
    position = 0
    for _ in range(n_items):
        name_start = position + _ITEM_HEADER_BYTES
        name_end = items.find(b"\0", name_start)
        end = name_end + 1 + _number(items, position)
        if name_end < 0 or end > len(items):
            return None
        is_text = not _number(items, position + 4) & _KIND
        if is_text and items[name_start:name_end].lower() == b"genre":
            return position, name_end + 1, end
        position = end
    return None


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], "little")


def _bytes(number: int) -> bytes:
    return number.to_bytes(4, "little")
