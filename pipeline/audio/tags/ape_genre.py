"""The genre in the APEv2 tags of some mp3s, which some players prefer to ID3.

References
----------
https://wiki.hydrogenaud.io/index.php?title=APEv2_specification
"""

from dataclasses import dataclass
from typing import BinaryIO

from pipeline.audio.decode.source import Source
from pipeline.audio.tags.splicing import Edit

_MAGIC = b"APETAGEX"
_FOOTER_BYTES = 32
_SIZE_AT, _COUNT_AT, _FLAGS_AT = 12, 16, 20
_KIND = 0b110
_ITEM_HEADER_BYTES = 8
_MAX_BYTES = 64 << 20
_OF_A_TRACK = {"artist", "album", "title", "track", "year"}


@dataclass(frozen=True, slots=True)
class ApeTag:
    """An APEv2 tag.

    Attributes
    ----------
    start, end : int
        Where its items begin in the file, after a header if there is one, and where its footer ends.
    n_items : int
        Its items, as the footer counts them.
    items : dict of str to (int, int, int)
        Of each item, by its name in lower case: where it, its value and what follows it begin in the file.
    has_header : bool
        Whether a header precedes the items.
    """

    start: int
    end: int
    n_items: int
    items: dict[str, tuple[int, int, int]]
    has_header: bool

    @property
    def header_start(self) -> int:
        """Where the tag begins, including a header."""
        return self.start - _FOOTER_BYTES * self.has_header

    @property
    def names_the_track(self) -> bool:
        """Whether it tells more than loudness, which mp3gain and others keep in APEv2 tags of their own."""
        return not _OF_A_TRACK.isdisjoint(self.items)

    def genre_edits(self, genre: str, *, add: bool) -> list[Edit]:
        """Return the edits that set the genre; if there is none in the tag, only to `add` it."""
        value = genre.encode()
        if (item := self.items.get("genre")) is not None:
            start, old, old_end = item
            edits = [Edit(start, start + 4, _bytes(len(value))), Edit(old, old_end, value)]
            growth, n_items = len(value) - (old_end - old), self.n_items
        elif add:
            footer = self.end - _FOOTER_BYTES
            new = _bytes(len(value)) + _bytes(0) + b"Genre\0" + value
            edits = [Edit(footer, footer, new)]
            growth, n_items = len(new), self.n_items + 1
        else:
            return []
        counts = _bytes(self.end - self.start + growth) + _bytes(n_items)
        places = [self.end - _FOOTER_BYTES, *([self.header_start] if self.has_header else [])]
        return edits + [Edit(place + _SIZE_AT, place + _FLAGS_AT, counts) for place in places]


def read_ape(file: BinaryIO | Source, end: int) -> ApeTag | None:
    """Return the APEv2 tag that ends at `end`; None if there is none, or its items are damaged.

    Parameters
    ----------
    file : BinaryIO or Source
        The mp3.
    end : int
        Where the tag would end.
    """
    file.seek(max(end - _FOOTER_BYTES, 0))
    footer = file.read(_FOOTER_BYTES)
    size = _number(footer, _SIZE_AT)
    if not footer.startswith(_MAGIC) or not _FOOTER_BYTES <= size <= min(end, _MAX_BYTES):
        return None
    start, n_items = end - size, _number(footer, _COUNT_AT)
    file.seek(start)
    items = _text_items(file.read(size - _FOOTER_BYTES), n_items, start)
    if items is None:
        return None
    file.seek(max(start - _FOOTER_BYTES, 0))
    has_header = file.read(_FOOTER_BYTES).startswith(_MAGIC)
    return ApeTag(start, end, n_items, items, has_header)


def _text_items(items: bytes, n_items: int, start: int) -> dict[str, tuple[int, int, int]] | None:
    """Return where the text items are; None if they do not fill the tag."""
    found: dict[str, tuple[int, int, int]] = {}
    position = 0
    for _ in range(n_items):
        name_start = position + _ITEM_HEADER_BYTES
        name_end = items.find(b"\0", name_start)
        end = name_end + 1 + _number(items, position)
        if name_end < 0 or end > len(items):
            return None
        if not _number(items, position + 4) & _KIND:
            name = items[name_start:name_end].decode("latin-1").lower()
            found.setdefault(name, (start + position, start + name_end + 1, start + end))
        position = end
    return found


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], "little")


def _bytes(number: int) -> bytes:
    return number.to_bytes(4, "little")
