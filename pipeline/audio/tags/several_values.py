"""Several values of one tag, such as the artists of a duet, in one text."""

SEPARATOR = "; "


def split_values(text: str) -> list[str]:
    """Return the values that `pipeline.audio.tags.tags.read_tags` joined, each once and none empty.

    Names with "feat.", "&" or a comma stay whole: nobody can tell a duet from a band.

    Examples
    --------
    >>> split_values("Björk; Earth, Wind & Fire")
    ['Björk', 'Earth, Wind & Fire']
    """
    values = (value.strip() for value in text.split(SEPARATOR.strip()))
    return list(dict.fromkeys(filter(None, values)))
