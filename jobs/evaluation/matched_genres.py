"""The genres of labeled data as a model that is measured on it spells them."""

from collections.abc import Iterable, Sequence

from jobs.console.messages import Say
from pipeline.formatting import short_name
from pipeline.training.data.labeled_tables import GENRE_TAG
from pipeline.trends.genre_tags import match_spelling, normalize_tag

_SHOWN = 10


def match_genres(
    names: Iterable[str], genres: Sequence[str], label_column: str | None, say: Say
) -> dict[str, str]:
    """Return the model's genre for each genre of the data that it knows.

    People write ``Jazz`` and ``Hip-Hop`` where models have ``jazz`` and ``hiphop``. Genre tags mean what they
    mean in trends, such as ``Hard Bop``; other names only the genre of that name.

    Parameters
    ----------
    names : iterable of str
        Genres of the data.
    genres : sequence of str
        Genres of the model.
    label_column : str or None
        Where the genres of the data are; see `jobs.training.training_data.read_labeled_data`.
    say : callable
        Prints a message, if names differ.
    """
    find = normalize_tag if label_column == GENRE_TAG else match_spelling
    found = {name: name if name in genres else find(name, genres) for name in sorted(set(names))}
    matched = {name: genre for name, genre in found.items() if genre is not None and genre in genres}
    if others := [f"{name} as {genre}" for name, genre in matched.items() if name != genre]:
        say(f"genres of the data taken as genres of the model: {some_of(others)}")
    return matched


def some_of(names: Sequence[str]) -> str:
    """Join the first of several names, and say how many others there are."""
    more = len(names) - _SHOWN
    return ", ".join(map(short_name, names[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
