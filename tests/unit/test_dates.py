"""Dates of tags, as people and programs write them."""

import pytest

from pipeline.audio.tags.dates import parse_date


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1999", "1999"),
        (" 1987 ", "1987"),
        ("1999-05-03", "1999-05-03"),
        ("1999.05.03", "1999-05-03"),
        ("1999/5/3", "1999-05-03"),
        ("2001:02:03 04:05:06", "2001-02-03"),
        ("1999-05", "1999-05"),
        ("1999-05-00", "1999-05"),
        ("1999-00-00", "1999"),
        ("2001-02-03T04:05:06Z", "2001-02-03"),
        ("19990503", "1999-05-03"),
        ("19990500", "1999-05"),
        ("19991231T235959", "1999-12-31"),
        ("May 3, 1999", "1999-05-03"),
        ("Sept. 3, 1999", "1999-09-03"),
        ("3rd May 1999", "1999-05-03"),
        ("1st of January 2001", "2001-01-01"),
        ("1 Jan 2001", "2001-01-01"),
        ("03-May-1999", "1999-05-03"),
        ("1999 May 3", "1999-05-03"),
        ("Mon, 03 May 1999 12:00:00 GMT", "1999-05-03"),
        ("May 1999", "1999-05"),
        ("1999年5月3日", "1999-05-03"),
        ("1999년 5월 3일", "1999-05-03"),
        ("１９９９", "1999"),
        ("٢٠٠١-٠٢-٠٣", "2001-02-03"),
    ],
)
def test_unambiguous_dates_are_parsed(written: str, meant: str) -> None:
    """Fails: tracks with such tags have no year, or no month, in trends."""
    assert parse_date(written) == meant


@pytest.mark.parametrize(
    ("written", "year"),
    [
        ("03/05/1999", "1999"),
        ("12051999", "1999"),
        ("1999/05", "1999"),
        ("1999-5", "1999"),
        ("1987-88", "1987"),
        ("1967-1969", "1967"),
        ("1967 – 1969", "1967"),
        ("2001;1999", "2001"),
        ("2001-13-05", "2001"),
        ("1999-02-31", "1999"),
        ("Feb 30 2001", "2001"),
        ("May-June 1999", "1999"),
        ("3. Mai 1999", "1999"),
        ("3 de mayo de 1999", "1999"),
        ("c. 1967", "1967"),
        ("[1967?]", "1967"),
        ("℗ 2012 Label", "2012"),
        ("1999 (remastered 2011)", "1999"),
        ("Summer 1969", "1969"),
    ],
)
def test_only_the_year_of_an_ambiguous_date_is_used(written: str, year: str) -> None:
    """Fails: tracks are put in a month or a year that nobody gave them."""
    assert parse_date(written) == year


@pytest.mark.parametrize(
    "written",
    [
        "", "?", "soon", "May", "99", "'99", "03/05/99", "0000", "0000-05-03", "9999", "123456", "1999050312",
        "1960s", "the 1990's", "19xx", "before 1967", "<1950", "2542", "๒๕๔๒", "5759", "1420 AH",
        "between 1965 and 1970",
    ],
)  # fmt: skip
def test_an_uncertain_year_is_none(written: str) -> None:
    """Fails: trends show music of the year 9999, of 2542 (1999 in Thailand), or of 1999 for "'99" of 1899."""
    assert parse_date(written) is None


@pytest.mark.timeout(20)
def test_a_megabyte_is_not_a_date() -> None:
    """Fails: one tag stalls a worker for hours."""
    for text in ("1" * (1 << 20), "1 " * (1 << 19), "May" + " " * (1 << 20) + "1999", "mon, " * (1 << 18)):
        assert parse_date(text) is None
