"""Fonts for names in any script: matplotlib's own font has no Chinese, Japanese or Korean letters."""

import contextlib
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1024)
def choose_fonts(text: str) -> tuple[tuple[str, ...], str]:
    """Choose the fonts to draw a text with.

    Parameters
    ----------
    text : str
        What to draw.

    Returns
    -------
    families : tuple of str
        The usual font, and others on this machine with the letters that it lacks.
    missing : str
        The letters that no font on this machine has, sorted.
    """
    from matplotlib import font_manager

    usual = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    missing = {letter for letter in text if letter.isprintable() and not usual.get_char_index(ord(letter))}
    families = ["sans-serif"]
    # The manager's own list is of when matplotlib was first used here: a font installed since is not in it.
    for path in sorted(font_manager.findSystemFonts(), key=_rank) if missing else ():
        with contextlib.suppress(OSError, RuntimeError):  # no font, or one that FreeType cannot read
            font = font_manager.get_font(path)
            if found := {letter for letter in missing if font.get_char_index(ord(letter))}:
                font_manager.fontManager.addfont(path)
                families.append(font.family_name)
                missing -= found
    return tuple(families), "".join(sorted(missing))


@contextlib.contextmanager
def boxes_allowed() -> Iterator[None]:
    """Draw boxes for letters that no font has, without a warning for each, during a ``with`` block."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _rank(path: str) -> tuple[bool, bool, str]:
    """Sort plain fonts without serifs first, and fonts whose letters are boxes last."""
    name = Path(path).name
    return "LastResort" in name, not ("Sans" in name and "Regular" in name), name
