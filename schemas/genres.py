"""The genre taxonomy of GTZAN (Tzanetakis and Cook, 2002), in the order of every list of probabilities."""

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
