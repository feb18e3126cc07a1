"""The genre taxonomy of GTZAN (Tzanetakis and Cook, 2002), in the order every probability list uses."""

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
