"""Vorbis comments, byte for byte.

References
----------
https://xiph.org/vorbis/doc/v-comment.html
"""

from dataclasses import dataclass


class CommentError(ValueError):
    """Comments that cannot be parsed; the message is a reason without the file's name."""


@dataclass(frozen=True, slots=True)
class Comments:
    """A block of Vorbis comments.

    Attributes
    ----------
    vendor : bytes
        The software that wrote the audio.
    entries : tuple of bytes
        Each is ``NAME=text``.
    """

    vendor: bytes
    entries: tuple[bytes, ...]

    @property
    def others(self) -> tuple[bytes, ...]:
        """The entries other than genres."""
        return tuple(entry for entry in self.entries if not _is_genre(entry))

    def with_genre(self, genre: str) -> "Comments":
        """Return the comments with another genre and all other entries byte for byte the same."""
        names = [entry[:5] for entry in self.entries if _is_genre(entry)]
        name = names[0] if names else b"GENRE"
        return Comments(self.vendor, (*self.others, name + b"=" + genre.encode()))

    def render(self) -> bytes:
        """Return the block as bytes for a file."""
        strings = [_sized(entry) for entry in self.entries]
        return b"".join((_sized(self.vendor), len(strings).to_bytes(4, "little"), *strings))


def parse_comments(data: bytes) -> Comments:
    """Parse the block that `data` begins with.

    Raises
    ------
    CommentError
        If it is truncated or damaged.
    """
    vendor, position = _string(data, 0)
    n_entries = int.from_bytes(data[position : position + 4], "little")
    position += 4
    entries = []
    for _ in range(n_entries):
        entry, position = _string(data, position)
        entries.append(entry)
    return Comments(vendor, tuple(entries))


def _is_genre(entry: bytes) -> bool:
    return entry[:6].upper() == b"GENRE="


def _sized(text: bytes) -> bytes:
    return len(text).to_bytes(4, "little") + text


def _string(data: bytes, position: int) -> tuple[bytes, int]:
    start = position + 4
    end = start + int.from_bytes(data[position:start], "little")
    if start > len(data) or end > len(data):
        raise CommentError("its comments are damaged")
    return data[start:end], end
