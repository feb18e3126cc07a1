"""Mapping genre tags of files to the model's genres: "Hip-Hop/Rap" and "Trap" become ``hiphop``."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

ALIASES: dict[str, tuple[str, ...]] = {
    "blues": ("boogie woogie",),
    "children": ("childrens", "kids", "lullaby", "lullabies", "nursery rhymes"),
    "classical": (
        "baroque", "chamber", "chamber music", "classique", "klassik", "neoclassical", "opera", "orchestral",
        "romantic", "sonata", "symphonic", "symphony",
    ),
    "country": ("americana", "bluegrass", "country and western", "honky tonk", "nashville", "western swing"),
    "disco": ("euro disco", "italo disco"),
    "electronic": (
        "ambient", "big beat", "breakbeat", "breaks", "chillout", "club", "d and b", "dance", "dnb",
        "downtempo", "drum and bass", "drum n bass", "dubstep", "ebm", "edm", "electro", "electro swing",
        "electroclash", "electronica", "eurodance", "gabber", "goa", "hardstyle", "house", "idm", "illbient",
        "jungle", "leftfield", "nu breakz", "psybient", "psytrance", "rave", "synthwave", "techno",
        "techno industrial", "trance", "trip hop",
    ),
    "folk": ("folklore", "volksmusik"),
    "gospel": ("ccm", "christian", "spirituals", "worship"),
    "hiphop": ("boom bap", "drill", "g funk", "hip hop", "rap", "trap"),
    "jazz": (
        "bebop", "big band", "bop", "dixieland", "fast fusion", "fusion", "jazz funk", "jazz fusion", "swing",
    ),
    "latin": (
        "bachata", "bolero", "bossa nova", "cumbia", "flamenco", "latino", "mambo", "mariachi", "merengue",
        "ranchera", "reggaeton", "rumba", "salsa", "samba", "tango",
    ),
    "metal": ("grindcore", "hard rock and metal", "metalcore", "thrash"),
    "new-age": ("meditation", "meditative", "relaxation"),
    "pop": ("chanson", "electropop", "jpop", "kpop", "new romantic", "pop folk", "schlager", "synthpop"),
    "reggae": ("dancehall", "dub", "rocksteady", "ska"),
    "rnb": (
        "funk", "motown", "new jack swing", "r and b", "rhythm and blues", "rhythm blues", "rhythm n blues",
        "slow jam", "soul",
    ),
    "rock": (
        "alternative", "emo", "grunge", "indie", "jam band", "krautrock", "progressive", "psychedelic",
        "punk", "rock and roll", "rock n roll", "rock roll", "rockabilly", "shoegaze",
    ),
    "vocal": ("a capella", "a cappella", "barbershop", "vocals"),
    "world": (
        "african", "afrobeat", "afrobeats", "asian", "bhangra", "bollywood", "carnatic", "ethnic", "global",
        "highlife", "middle eastern", "native american", "world fusion", "worldbeat",
    ),
}  # fmt: skip
"""Genre tags by the genre that they mean: all styles of our models, and other usual ones.

Tags are in lower case, without accents or punctuation; spaces do not count.
"""

MISLEADING = frozenset({"britpopandsoul"})
"""Tags, without spaces, that end in the name of a different genre."""

ALONE = frozenset({"dance", "fusion"})
"""Aliases that mean a genre only without a word before them: a folk dance is not electronic."""

_MEANINGS = {
    alias.replace(" ", ""): genre.replace("-", "") for genre, aliases in ALIASES.items() for alias in aliases
}
_SEPARATORS = re.compile(r"[;/,|\\]| - ")


def normalize_tag(tag: str, genres: Sequence[str]) -> str:
    """Map a genre tag to one of the model's genres, or return it in lower case if none matches.

    If a tag has several parts ("Electronic; Jazz", "Hip-Hop/Rap"), the first part that matches decides. A
    part matches if it is a genre or an alias, or ends in one: "Progressive Rock" is ``rock``, "Death Metal"
    is ``metal``. The longest ending that means a genre decides, even if the model lacks that genre: "Rhythm
    and Blues" is not ``blues``. The word "music" at the end does not count.

    Parameters
    ----------
    tag : str
        The tag as stored in the file.
    genres : sequence of str
        The model's genres; aliases of other genres are ignored.

    Examples
    --------
    >>> normalize_tag("Hip-Hop/Rap", ["hiphop", "rock"])
    'hiphop'
    >>> normalize_tag("Sea Shanty", ["hiphop", "rock"])
    'sea shanty'
    """
    if (same := match_spelling(tag, genres)) is not None:
        return same
    known = {name: genre for genre in genres if (name := _squeeze(genre))}
    if (found := _find_genre([_squeeze(tag)], known)) is not None:
        return found
    for part in _SEPARATORS.split(tag):
        words = _split_words(part)
        endings = ("".join(words[start:]) for start in range(len(words)))
        names = (name for place, name in enumerate(endings) if not (place and name in ALONE))
        if (found := _find_genre(names, known)) is not None:
            return found
    return _fold(tag)


def match_spelling(name: str, genres: Sequence[str]) -> str | None:
    """Return the genre of that name, without regard to case, accents, spaces and punctuation, or None.

    A genre that differs only in case goes before one that differs in more: "c#" is ``C#`` before ``C``.

    Examples
    --------
    >>> match_spelling("Hip-Hop", ["hiphop", "rock"])
    'hiphop'
    >>> match_spelling("Death Metal", ["metal"])
    """
    for spell in (_fold, _squeeze):
        if spelled := spell(name):
            for genre in genres:
                if spell(genre) == spelled:
                    return genre
    return None


def _find_genre(names: Iterable[str], known: Mapping[str, str]) -> str | None:
    """Return the genre that the first name with a meaning has; None if the model lacks it."""
    for name in names:
        if name in MISLEADING:
            return None
        spellings = (name, name.removesuffix("music"))
        if (own := next(filter(known.get, spellings), None)) is not None:
            return known[own]
        if (alias := next(filter(_MEANINGS.get, spellings), None)) is not None:
            return known.get(_MEANINGS[alias])
    return None


def _split_words(text: str) -> list[str]:
    """Split text into lower-case words without accents or punctuation, reading "&" as "and"."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    words = "".join(map(_spell, plain)).split()
    return [word for word in words if any(map(str.isalnum, word))]


def _spell(character: str) -> str:
    """Return a decomposed character as in a word, "" for an accent, or a space for punctuation."""
    if not unicodedata.category(character).startswith("M"):
        return character if character.isalnum() else " "
    # Accents and the vowels of Hebrew and Arabic may be left out. Without other marks, words of Hindi, Thai
    # and Japanese would be other words.
    kind = unicodedata.combining(character)
    return "" if kind >= 200 or 10 <= kind <= 36 else character


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _squeeze(text: str) -> str:
    return "".join(_split_words(text))
