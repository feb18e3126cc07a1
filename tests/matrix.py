"""Tests of all combinations of some values: ``make test`` runs a few, ``make thorough`` the others."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest


def each_value_once(*axes: Sequence[Any]) -> list[Any]:
    """Return parameters for every combination; all but a few, in which each value occurs, are thorough.

    Parameters
    ----------
    *axes : sequence
        The values of each parameter; a tuple stands for several parameters that belong together.

    Examples
    --------
    >>> [each.values for each in each_value_once(["wav", "flac"], [1, 2, 3]) if not each.marks]
    [('wav', 1), ('wav', 3), ('flac', 2)]
    """
    axes = tuple(list(axis) for axis in axes)
    n_few = max(map(len, axes))
    few = [tuple(number % len(axis) for axis in axes) for number in range(n_few)]
    return [
        pytest.param(
            *_flat(axis[place] for axis, place in zip(axes, places, strict=True)),
            marks=() if places in few else pytest.mark.thorough,
        )
        for places in product(*(range(len(axis)) for axis in axes))
    ]


def _flat(values: Any) -> list[Any]:
    return [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
