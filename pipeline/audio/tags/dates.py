"""Parses date tags, in the many ways people write them, only as precisely as they are unambiguous."""

import re
import unicodedata
from datetime import date

FIRST_YEAR, LAST_YEAR = 1000, 2099
"""Plausible years of music in the Gregorian calendar: 2542 is 1999 in Thailand, and 9999 is a placeholder."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?[.,]*\s*)?"
_NAMED = tuple(
    re.compile(rf"{_WEEKDAY}{pattern}(?:[T,\s]+\d{{1,2}}:\d\d.*)?", re.IGNORECASE)
    for pattern in (
        rf"{_DAY}[\s/-]*(?:of\s+)?{_MONTH}[\s,/-]*(?P<year>\d{{4}})",
        rf"{_MONTH}[\s/-]*{_DAY}[\s,/-]+(?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})[\s,/-]+{_MONTH}(?:[\s/-]*{_DAY})?",
        rf"{_MONTH}[\s,/-]*(?P<year>\d{{4}})",
    )
)
_NUMBERED = re.compile(
    r"(?<!\d)(?P<year>\d{4})(?:"
    r"(?P<separator>[-./:])(?P<month>\d{1,2})(?P=separator)(?P<day>\d{1,2})"
    r"|[-.](?P<month_alone>\d\d)(?![-.]?\d)"
    r")(?!\d)"
)
_COMPACT = re.compile(r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?:T\d.*)?")
_COMPACT_REVERSED = re.compile(r"(?P<day>\d\d)(?P<month>\d\d)(?P<year>\d{4})")
_YEAR = re.compile(r"(?<!\d)(?P<year>\d{4})(?!\d)")
_VAGUE = re.compile(r"\d{4}\s*['’]?s\b|\b(?:before|after|pre|post|until|between|AH)\b|[<>]", re.IGNORECASE)
"""A decade, a bound, or a Hijri year: no Gregorian year is certain."""
_MAX_CHARACTERS = 200
"""Characters of a date tag that are parsed."""
_EAST_ASIAN = str.maketrans({"年": "-", "月": "-", "日": " ", "년": "-", "월": "-", "일": " "})


def parse_date(written: str) -> str | None:
    """Return a date tag in ISO 8601, only as precise as it is unambiguous.

    Parameters
    ----------
    written : str
        The text of the tag. If it has several dates, the first one counts.

    Returns
    -------
    str or None
        ``1999-05-03``, ``1999-05`` or ``1999``; None if not even the year is certain, as in ``'99`` or
        ``1990s``.

    Examples
    --------
    >>> parse_date("May 3, 1999"), parse_date("03/05/1999"), parse_date("c. 1967")
    ('1999-05-03', '1999', '1967')
    """
    text = _plain(written)
    if compact := _COMPACT.fullmatch(text):
        reversed_ = _COMPACT_REVERSED.fullmatch(text)
        return _exact(compact) or (_year(reversed_) if reversed_ and _is_day(reversed_) else None)
    for pattern in _NAMED:
        if found := pattern.fullmatch(text):
            return _date(found)
    year = _YEAR.search(text)
    if year is None or _VAGUE.search(text):
        return None
    numbered = _NUMBERED.search(text)
    if numbered is not None and numbered.start() == year.start():
        return _date(numbered)
    return _year(year)


def _plain(written: str) -> str:
    """Normalize digits and hyphens to ASCII, and East Asian dates to numbers with hyphens between them."""
    digits = "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in unicodedata.normalize("NFKC", written[:_MAX_CHARACTERS])
    )
    text = re.sub(r"(?<=[年月년월])\s+", "", digits).translate(_EAST_ASIAN)
    return text.replace("\N{HYPHEN}", "-").replace("\N{EN DASH}", "-").strip(" -\t\r\n\0\ufeff")


def _year(found: re.Match[str]) -> str | None:
    return found["year"] if FIRST_YEAR <= int(found["year"]) <= LAST_YEAR else None


def _date(found: re.Match[str]) -> str | None:
    """Return the date, or the year alone if there is no such day."""
    return _exact(found) or _year(found)


def _exact(found: re.Match[str]) -> str | None:
    """Return the date as far as it is given; some taggers write an unknown month or day as 00."""
    parts = found.groupdict()
    year, named = _year(found), parts["month"] or parts.get("month_alone") or ""
    month = int(named) if named.isdecimal() else _MONTHS.index(named[:3].lower()) + 1
    day = int(parts.get("day") or 0)
    if year is None or (month == 0 and day):
        return None
    try:
        date(int(year), month or 1, day or 1)
    except ValueError:
        return None
    return year + (f"-{month:02}" if month else "") + (f"-{day:02}" if day else "")


def _is_day(found: re.Match[str]) -> bool:
    """Whether the digits are a valid ``ddmmyyyy`` or ``mmddyyyy``; the year is the same in both."""
    year, first, second = int(found["year"]), int(found["day"]), int(found["month"])
    for month, day in ((first, second), (second, first)):
        try:
            date(year, month, day)
        except ValueError:
            continue
        return True
    return False
