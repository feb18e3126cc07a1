"""Mapping genre tags of files to the model's genres: "Hip-Hop/Rap" and "Trap" become ``hiphop``."""

import re
import unicodedata
from collections.abc import Sequence

ALIASES: dict[str, str] = {
    "hiphop": "hiphop",
    "hip hop": "hiphop",
    "rap": "hiphop",
    "trap": "hiphop",
    "drill": "hiphop",
    "boom bap": "hiphop",
    "baroque": "classical",
    "chamber music": "classical",
    "chamber": "classical",
    "opera": "classical",
    "orchestral": "classical",
    "symphony": "classical",
    "symphonic": "classical",
    "romantic": "classical",
    "klassik": "classical",
    "classique": "classical",
    "bebop": "jazz",
    "bop": "jazz",
    "swing": "jazz",
    "big band": "jazz",
    "dixieland": "jazz",
    "bluegrass": "country",
    "honky tonk": "country",
    "americana": "country",
    "nashville": "country",
    "dub": "reggae",
    "dancehall": "reggae",
    "ska": "reggae",
    "rocksteady": "reggae",
    "rock steady": "reggae",
    "punk": "rock",
    "grunge": "rock",
    "indie": "rock",
    "rock and roll": "rock",
    "rock n roll": "rock",
    "rock roll": "rock",
    "rockabilly": "rock",
    "thrash": "metal",
    "grindcore": "metal",
    "metalcore": "metal",
    "hard rock and metal": "metal",
    "euro disco": "disco",
    "italo disco": "disco",
    "schlager": "pop",
    "synthpop": "pop",
    "synth pop": "pop",
    "chanson": "pop",
}
"""GTZAN genres by genre tag; tags are in lower case, without accents or punctuation."""

MISLEADING_ENDINGS = frozenset({"rhythm and blues", "brit pop and soul"})
"""Tags that end in the name of a different genre."""

_SEPARATORS = re.compile(r"[;/,|\\]| - ")


def normalize_tag(tag: str, genres: Sequence[str]) -> str:
    """Map a genre tag to one of the model's genres, or return it in lower case if none matches.

    If a tag has several parts ("Electronic; Jazz", "Hip-Hop/Rap"), the first part that matches decides. A
    part matches if it is a genre or an alias, or ends in one: "Progressive Rock" is ``rock``, "Death Metal"
    is ``metal``.

    Parameters
    ----------
    tag : str
        The tag as stored in the file.
    genres : sequence of str
        The model's genres; aliases of other genres are ignored.

    Examples
    --------
    >>> normalize("Hip-Hop/Rap", ["hiphop", "rock"])
    'hiphop'
    >>> normalize("Sea Shanty", ["hiphop", "rock"])
    'sea shanty'
    """
    known = {_squeeze(genre): genre for genre in genres}
    if (found := _find_genre(_split_words(tag), known)) is not None:
        return found
    for part in _SEPARATORS.split(tag):
        if (found := _find_genre_at_end(_split_words(part), known)) is not None:
            return found
    return " ".join(tag.casefold().split())


def _find_genre(words: list[str], known: dict[str, str]) -> str | None:
    """Return the genre that all the words together name, if any."""
    name = "".join(words)
    alias = ALIASES.get(" ".join(words), ALIASES.get(name, ""))
    return known.get(name) or known.get(alias)


def _find_genre_at_end(words: list[str], known: dict[str, str]) -> str | None:
    """Return the genre that the words, or the last few of them, name, if any."""
    if " ".join(words) in MISLEADING_ENDINGS:
        return None
    meanings = (_find_genre(words[start:], known) for start in range(len(words)))
    return next((genre for genre in meanings if genre is not None), None)


def _split_words(text: str) -> list[str]:
    """Split text into lower-case words without accents or punctuation, reading "&" as "and"."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return re.findall(r"\w+", plain)


def _squeeze(text: str) -> str:
    return "".join(_split_words(text))
