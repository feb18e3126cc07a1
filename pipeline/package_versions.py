"""Versions of installed packages, as reports and published tables record them."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

_DECISIVE = (
    "earmark",
    "ray",
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "soundfile",
    "soxr",
    "av",
    "pyarrow",
)
"""The packages that determine the results of a run."""


def package_versions(packages: Iterable[str] = _DECISIVE) -> dict[str, str]:
    """Return the versions of packages; by default, of those that determine the results of a run."""
    return {package: package_version(package) for package in packages}


def package_version(package: str) -> str:
    """Return the version of a package; ``unknown`` if it is not installed, as Earmark in a checkout."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
