"""The ten genres of GTZAN (Tzanetakis and Cook 2002), in their usual order, and genres that users name."""

from collections.abc import Iterable

GTZAN_GENRES: tuple[str, ...] = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)


def find_genre(name: str, genres: Iterable[str]) -> str | None:
    """Return the genre of this name in any case, such as ``jazz`` for ``Jazz``; None if none has it.

    A genre that is spelled exactly so comes first.
    """
    found = [genre for genre in genres if genre.casefold() == name.casefold()]
    return name if name in found else next(iter(found), None)
