"""Invented artists, albums and titles, with the kinds of characters found in real catalogs."""

ALBUMS = {
    "blues": (("Lonnie Marsh", "Delta Mile #9", "1962"), ("The Tin Roof Four", "Rain on Tin", "1971-08-02")),
    "classical": (("Quatuor Élan", "Nocturnes & Études", "1998"), ("Jiří Horal", "Suita č. 2", "2004-11-19")),
    "country": (("Dusty Calloway", "Fence Posts", "1978"), ("Mae & the Hollow", "Back Road 40%", "2011-03")),
    "disco": (("Mirror Ball Unit", "120% Night", "1977-06-10"), ("東京ナイトライン", "夜の環状線", "1980")),
    "hiphop": (("C# Collective", "Loop #1", "1994"), ("Señor Ñandú", "Barrio 100%", "2003-09-30")),
    "jazz": (("Sigrún Þórs Tríó", "Blátt í Þrjú", "1959"), ("The Walking Five", "Ride On", "1964-02-14")),
    "metal": (("Rostwerk", "Eisen & Asche", "1986"), ("Null Vector", "Heap #0", "2009-10-31")),
    "pop": (("Ева Светлова", "Лето", "2016-05-20"), ("Paper Lantern Club", "Fold and Float", "1989")),
    "reggae": (
        ("Island Steppers", "One Drop (Dub + Version)", "1976"),
        ("Ras Amaru", "Off Beat", "1983-04-21"),
    ),
    "rock": (("The Half Measures", "What's Left", "1973"), ("Ölände", "100 % Live", "1991-07-13")),
}
"""Two invented artists for each style: name, album, date."""

FIRST_WORDS = (
    "Slow",
    "Blue",
    "Broken",
    "Golden",
    "Night",
    "Última",
    "Second",
    "Paper",
    "No.",
    "Hidden",
    "Café",
    "50%",
)
SECOND_WORDS = (
    "River",
    "Train",
    "Mirror",
    "Road",
    "Étude",
    "Signal",
    "Letter",
    "Harbour",
    "Garden",
    "#7",
    "Line",
    "日",
)
