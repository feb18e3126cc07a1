"""Mentions of tracks in free text: in the messages of reports and logs."""

from collections.abc import Collection
from itertools import takewhile
from urllib.parse import quote

from pipeline.redaction import redact

_SHORTEST = 8
"""Characters of what is looked for inside longer texts; a shorter id, such as 7, is in many of them."""


class Mentions:
    """Tells whether a text mentions one of many tracks, by id or by location.

    A location is recognized with and without its protocol, quoted for a URL, and without secrets, as logs
    have it.

    Parameters
    ----------
    track_ids, uris : collection of str
        The tracks.
    """

    def __init__(self, track_ids: Collection[str], uris: Collection[str]) -> None:
        self._whole = frozenset(track_ids).union(uris)
        plain = [*uris, *map(redact, uris)]
        paths = {uri.partition("://")[2] or uri for uri in plain}
        texts = (paths, {quote(path) for path in paths} - paths, set(track_ids))
        self._searches = [
            _Search(long) for each in texts if (long := {text for text in each if len(text) >= _SHORTEST})
        ]

    def is_in(self, value: object) -> bool:
        """Return whether a text, or any text in a structure of JSON, mentions one of the tracks."""
        if isinstance(value, str):
            return value in self._whole or any(search.matches(value) for search in self._searches)
        if isinstance(value, dict):
            return any(self.is_in(inner) for pair in value.items() for inner in pair)
        if isinstance(value, list):
            return any(map(self.is_in, value))
        return False


class _Search:
    """Looks for many texts at once, which usually begin alike."""

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = frozenset(texts)
        first, last = min(texts), max(texts)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        self._prefix = "".join(letter for letter, _ in same)
        self._lengths = sorted({len(text) for text in texts})

    def matches(self, text: str) -> bool:
        at = text.find(self._prefix)
        while at >= 0 and at < len(text):
            if any(text[at : at + length] in self._texts for length in self._lengths):
                return True
            at = text.find(self._prefix, at + 1)
        return False
