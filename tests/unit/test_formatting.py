"""Values as text, at the edges of their units."""

import pytest

from pipeline.formatting import left_out_text, size_text
from schemas.report import LeftOut


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (10**15, "1,000.0 TB")],
)
def test_a_size_has_at_most_three_digits_before_the_point(size: int, text: str) -> None:
    """A table of sizes shows 1,000.0 kB beside 1.0 MB, which is as much."""
    assert size_text(size) == text


def test_one_other_kind_is_one() -> None:
    """The page of a run says "1 other kinds"."""
    kinds = LeftOut(not_audio={f"x{number}": 9 - number for number in range(9)})
    assert left_out_text(kinds).endswith("x7 2, 1 other kind 1)")
