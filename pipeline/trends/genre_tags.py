"""What files call their genres, in the model's words: "Hip-Hop/Rap" and "Trap" are ``hiphop``."""

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
"""Words of tags, in lower case without accents and punctuation, and the genre of GTZAN that they mean."""

MISLEADING_ENDINGS = frozenset({"rhythm and blues", "brit pop and soul"})
"""Tags whose last word names another genre than they mean."""

_SEPARATORS = re.compile(r"[;/,|\\]| - ")


def normalize_tag(tag: str, genres: Sequence[str]) -> str:
    """A genre tag in the model's words; one that it has no word for stays itself, in lower case.

    Of a tag with several parts ("Electronic; Jazz", "Hip-Hop/Rap") the first that is known counts. A part is
    known if it is a genre, an alias, or ends in one of them: "Progressive Rock" is ``rock``, "Death Metal"
    ``metal``.

    Parameters
    ----------
    tag : str
        As the file has it.
    genres : sequence of str
        The model's genres; an alias counts only where its genre is one of them.

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
    """The genre that words mean, taken as a whole."""
    name = "".join(words)
    alias = ALIASES.get(" ".join(words), ALIASES.get(name, ""))
    return known.get(name) or known.get(alias)


def _find_genre_at_end(words: list[str], known: dict[str, str]) -> str | None:
    """The genre that a tag's words or the last of them mean."""
    if " ".join(words) in MISLEADING_ENDINGS:
        return None
    meanings = (_find_genre(words[start:], known) for start in range(len(words)))
    return next((genre for genre in meanings if genre is not None), None)


def _split_words(text: str) -> list[str]:
    """Lower-case words without accents and punctuation; "&" is read as "and"."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return re.findall(r"\w+", plain)


def _squeeze(text: str) -> str:
    return "".join(_split_words(text))
