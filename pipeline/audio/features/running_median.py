"""The running median of 31 rows, by sorting networks in vector registers.

Sixteen neighboring medians share sixteen of their 31 rows, which are sorted once. The outputs are then
halved repeatedly, and each half merges in the further rows that all its windows share. A value that has too
many others above or below it to be a median of the half is dropped at once: half as many outputs leave half
as many candidates, and a single output leaves one, its median. That takes 30 minima and maxima per value
without branches, so that one vector register processes 8 or 16 columns at a time.

The sharing follows Adams, "Fast Median Filters using Separable Sorting Networks", ACM Transactions on
Graphics 40(4), 2021, in one dimension; the merges are Batcher's bitonic merges (AFIPS 1968).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.features.compilation import inlined, kernel

WINDOW = 31
"""Rows of a median's window."""

REACH = WINDOW // 2
"""Rows on either side of the middle one."""

_GROUP = 16
"""Medians computed together: the most whose windows of 31 rows share 16 rows."""

_L = 64
"""Columns processed together; entry ``[row, column]`` of a group's arrays lies at ``row * _L + column``."""

# Offsets of the sorted runs of 1, 2, 4, 8 and 16 rows in a group's array.
_R1, _R2, _R4, _R8, _R16 = (level * _GROUP * _L for level in range(5))
_RUNS = 5 * _GROUP * _L

_Floats = NDArray[np.float32]
_Values = tuple[Any, ...]


@kernel
def running_median(x: NDArray[np.float32], first_row: int, out: NDArray[np.float32]) -> None:
    """Compute the median of each row and its 15 neighbors above and below, column by column.

    The values are those of ``scipy.ndimage.median_filter(x, size=(31, 1), mode="reflect")``, bit for bit.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_columns)
        No NaN. Beyond its first and last row it is mirrored (d c b a | a b c d | d c b a).
    first_row : int
        Row of `x` that corresponds to the first row of `out`.
    out : ndarray of float32, shape (m, n_columns), m <= n - first_row
        Receives the medians.
    """
    above = np.zeros(_RUNS, np.float32)
    runs = np.zeros(_RUNS, np.float32)
    below = np.zeros(_RUNS, np.float32)
    medians = np.zeros(_GROUP * _L, np.float32)
    for column in range(0, out.shape[1], _L):
        _load(x, first_row - _GROUP, column, above)
        _load(x, first_row, column, runs)
        for row in range(0, out.shape[0], _GROUP):
            _load(x, first_row + row + _GROUP, column, below)
            _take_medians(above, runs, below, medians)
            _store(medians, row, column, out)
            above, runs, below = runs, below, above


@kernel
def _load(x: _Floats, first_row: int, first_column: int, runs: _Floats) -> None:
    """Load 16 rows of some columns, mirrored at the ends, and sort their runs."""
    n = x.shape[0]
    for i in range(_GROUP):
        row = (first_row + i) % (2 * n)
        row = min(row, 2 * n - 1 - row)
        for j in range(min(_L, x.shape[1] - first_column)):
            runs[i * _L + j] = x[row, first_column + j]
    _sort_runs(runs)


@kernel
def _store(medians: _Floats, first_row: int, first_column: int, out: _Floats) -> None:
    for i in range(min(_GROUP, out.shape[0] - first_row)):
        for j in range(min(_L, out.shape[1] - first_column)):
            out[first_row + i, first_column + j] = medians[i * _L + j]


@kernel
def _sort_runs(runs: _Floats) -> None:
    """Sort runs of 2, 4, 8 and 16 neighboring rows, by merging runs half as long."""
    for k in range(0, _GROUP * _L, 2 * _L):
        for i in range(k, k + _L):
            _put2(runs, _R2 + i, _order2(_up2(runs, _R1 + i)))
    for k in range(0, _GROUP * _L, 4 * _L):
        for i in range(k, k + _L):
            a, b = _up2(runs, _R2 + i), _down2(runs, _R2 + i + 2 * _L)
            _put2(runs, _R4 + i, _order2(_low2(a, b)))
            _put2(runs, _R4 + i + 2 * _L, _order2(_high2(a, b)))
    for k in range(0, _GROUP * _L, 8 * _L):
        for i in range(k, k + _L):
            a, b = _up4(runs, _R4 + i), _down4(runs, _R4 + i + 4 * _L)
            _put4(runs, _R8 + i, _order4(_low4(a, b)))
            _put4(runs, _R8 + i + 4 * _L, _order4(_high4(a, b)))
    for i in range(_L):
        a, b = _up8(runs, _R8 + i), _down8(runs, _R8 + i + 8 * _L)
        _put8(runs, _R16 + i, _order8(_low8(a, b)))
        _put8(runs, _R16 + i + 8 * _L, _order8(_high8(a, b)))


@kernel
def _take_medians(above: _Floats, runs: _Floats, below: _Floats, medians: _Floats) -> None:
    """Compute the medians of 16 rows from their sorted runs and those of the groups above and below."""
    for i in range(_L):
        low, high = _up8(runs, _R16 + i), _down8(runs, _R16 + i + 8 * _L)
        upper = _middle8(low, high, _down8(above, _R8 + i + 8 * _L))
        _take8(upper, above, below, i, medians)
    for i in range(_L):
        low, high = _up8(runs, _R16 + i), _down8(runs, _R16 + i + 8 * _L)
        lower = _middle8(low, high, _down8(below, _R8 + i))
        _take8(lower, above, below, i + 8 * _L, medians)


@inlined
def _take8(c: _Values, above: _Floats, below: _Floats, i: int, medians: _Floats) -> None:
    """Compute the medians of 8 rows from the 8 candidates of the rows that they share."""
    _take4(_middle4(c, _down4(above, _R4 + i + 4 * _L)), above, below, i, medians)
    _take4(_middle4(c, _down4(below, _R4 + i)), above, below, i + 4 * _L, medians)


@inlined
def _take4(c: _Values, above: _Floats, below: _Floats, i: int, medians: _Floats) -> None:
    _take2(_middle2(c, _down2(above, _R2 + i + 2 * _L)), above, below, i, medians)
    _take2(_middle2(c, _down2(below, _R2 + i)), above, below, i + 2 * _L, medians)


@inlined
def _take2(c: _Values, above: _Floats, below: _Floats, i: int, medians: _Floats) -> None:
    medians[i] = _low(_high(c[0], above[_R1 + i + _L]), c[1])
    medians[i + _L] = _low(_high(c[0], below[_R1 + i]), c[1])


# The middle half of 2 h sorted candidates and h more: `_high` drops the h lowest, `_low` the h highest.


@inlined
def _middle8(low: _Values, high_down: _Values, more_down: _Values) -> _Values:
    return _order8(_low8(_order8(_high8(low, more_down)), high_down))


@inlined
def _middle4(c: _Values, more_down: _Values) -> _Values:
    return _order4(_low4(_order4(_high4(c[:4], more_down)), (c[7], c[6], c[5], c[4])))


@inlined
def _middle2(c: _Values, more_down: _Values) -> _Values:
    return _order2(_low2(_order2(_high2(c[:2], more_down)), (c[3], c[2])))


# Bitonic merges: sort a tuple that falls and then rises, or rises and then falls, in ascending order.


@inlined
def _order2(t: _Values) -> _Values:
    return _low(t[0], t[1]), _high(t[0], t[1])


@inlined
def _order4(t: _Values) -> _Values:
    return _order2(_low2(t[:2], t[2:])) + _order2(_high2(t[:2], t[2:]))


@inlined
def _order8(t: _Values) -> _Values:
    return _order4(_low4(t[:4], t[4:])) + _order4(_high4(t[:4], t[4:]))


# Minima and maxima of pairs. Written as conditional expressions, they compile to one instruction each.


@inlined
def _low(a: float, b: float) -> float:
    return a if a < b else b


@inlined
def _high(a: float, b: float) -> float:
    return b if a < b else a


@inlined
def _low2(a: _Values, b: _Values) -> _Values:
    return _low(a[0], b[0]), _low(a[1], b[1])


@inlined
def _high2(a: _Values, b: _Values) -> _Values:
    return _high(a[0], b[0]), _high(a[1], b[1])


@inlined
def _low4(a: _Values, b: _Values) -> _Values:
    return _low2(a[:2], b[:2]) + _low2(a[2:], b[2:])


@inlined
def _high4(a: _Values, b: _Values) -> _Values:
    return _high2(a[:2], b[:2]) + _high2(a[2:], b[2:])


@inlined
def _low8(a: _Values, b: _Values) -> _Values:
    return _low4(a[:4], b[:4]) + _low4(a[4:], b[4:])


@inlined
def _high8(a: _Values, b: _Values) -> _Values:
    return _high4(a[:4], b[:4]) + _high4(a[4:], b[4:])


# Reading the rows of one column, in ascending or descending order, and writing them.


@inlined
def _up2(x: _Floats, i: int) -> _Values:
    return x[i], x[i + _L]


@inlined
def _up4(x: _Floats, i: int) -> _Values:
    return _up2(x, i) + _up2(x, i + 2 * _L)


@inlined
def _up8(x: _Floats, i: int) -> _Values:
    return _up4(x, i) + _up4(x, i + 4 * _L)


@inlined
def _down2(x: _Floats, i: int) -> _Values:
    return x[i + _L], x[i]


@inlined
def _down4(x: _Floats, i: int) -> _Values:
    return _down2(x, i + 2 * _L) + _down2(x, i)


@inlined
def _down8(x: _Floats, i: int) -> _Values:
    return _down4(x, i + 4 * _L) + _down4(x, i)


@inlined
def _put2(x: _Floats, i: int, t: _Values) -> None:
    x[i] = t[0]
    x[i + _L] = t[1]


@inlined
def _put4(x: _Floats, i: int, t: _Values) -> None:
    _put2(x, i, t[:2])
    _put2(x, i + 2 * _L, t[2:])


@inlined
def _put8(x: _Floats, i: int, t: _Values) -> None:
    _put4(x, i, t[:4])
    _put4(x, i + 4 * _L, t[4:])
