"""Values as text: sizes, durations, commands, and the files that a listing left out."""

import shlex
from collections.abc import Mapping

from schemas.report import LeftOut, Publication

_MAX_KINDS = 8
_MAX_NAME = 100
_FILES = {
    "._*": "AppleDouble (._*)",
    ".DS_Store": ".DS_Store",
    ".tmp-*": "unfinished copies of Earmark (.tmp-*)",
}


def count_text(n: int, thing: str) -> str:
    """Return a number of things with the noun, such as "1 track" or "2,000 tracks"."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def short_name(name: str) -> str:
    """Return the first characters of a name, such as a tag, which can be arbitrarily long."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def command_text(*words: str) -> str:
    """Return a command to copy into a shell, for names with spaces.

    Examples
    --------
    >>> command_text("labels", "My Music/tables")
    "earmark labels 'My Music/tables'"
    """
    return shlex.join(["earmark", *words])


def left_out_text(left_out: LeftOut) -> str:
    """Describe the files left out of a listing, by kind; "" if there are none.

    Examples
    --------
    >>> left_out_text(LeftOut(not_audio={"jpg": 200, "cue": 80}, system={"@eaDir": 14}))
    'left out: 280 files without an audio extension (jpg 200, cue 80), 14 in @eaDir'
    """
    parts = []
    if n := sum(left_out.not_audio.values()):
        kinds = _by_extension(left_out.not_audio)
        parts.append(f"{count_text(n, 'file')} without an audio extension ({kinds})")
    parts += [f"{n:,} {_place(kind)}" for kind, n in left_out.system.items()]
    return f"left out: {', '.join(parts)}" if parts else ""


def size_text(size: int) -> str:
    """Format a number of bytes: 1,234,567 → 1.2 MB."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if round(value, 1) < 1000 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def directions_text(n_bytes: Mapping[str, int]) -> str:
    """Format numbers of bytes by direction: 1.2 GB received, 3.4 MB sent."""
    return ", ".join(f"{size_text(n)} {direction}" for direction, n in n_bytes.items())


def duration_text(seconds: float) -> str:
    """Format a number of seconds: 3,725 → 1 h 02 min, 2.345 → 2.35 s."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def publication_text(done: Publication) -> str:
    """Say in one line what was published, that nothing had changed, or why nothing could be published."""
    if done.error is not None:
        return f"the labels could not be published to {done.location}: {done.error}"
    rows = count_text(done.rows, "row")
    if not done.written:
        are = "is" if done.rows == 1 else "are"
        return f"nothing to publish: {rows} in {done.location} {are} up to date"
    version = "" if done.version is None else f" as version {done.version}"
    changes = f"{done.changed:,} new or changed, {done.removed:,} removed"
    return f"{rows} published to {done.location}{version}: {changes}"


def _by_extension(counts: dict[str, int]) -> str:
    kinds = sorted(counts.items(), key=lambda item: -item[1])
    shown, rest = kinds[:_MAX_KINDS], kinds[_MAX_KINDS:]
    texts = [f"{kind} {n:,}" for kind, n in shown]
    if rest:
        texts.append(f"{count_text(len(rest), 'other kind')} {sum(n for _, n in rest):,}")
    return ", ".join(texts)


def _place(kind: str) -> str:
    if kind in _FILES:
        return _FILES[kind]
    return kind if kind.endswith(")") else f"in {kind}"
