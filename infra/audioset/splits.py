"""The lists of clips of GTZAN's fault-filtered split."""

from pathlib import Path


def listed_clips(gtzan: Path, name: str) -> list[str]:
    """Return the clips of a list, ``train`` or ``valid``, in its order."""
    return [Path(line).stem for line in (gtzan / "splits" / f"{name}_filtered.txt").read_text().split()]
