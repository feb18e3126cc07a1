"""What ``earmark estimate`` prints."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from jobs.cli.summaries.runs import print_left_out
from jobs.console.json_text import json_text
from jobs.console.output import console, print_table
from jobs.estimate import RunEstimate
from pipeline.estimate.estimate import Estimate, RunTime
from pipeline.estimate.totals import CONFIDENCE, Total
from pipeline.formatting import count_text, duration_text, size_text

_GB = 10**9


@dataclass(frozen=True, slots=True)
class Prices:
    """What the user pays, in any currency; None if not given.

    Attributes
    ----------
    core_hour : float or None
        For one CPU for an hour.
    gb_month : float or None
        For 10⁹ bytes for a month.
    """

    core_hour: float | None = None
    gb_month: float | None = None


def print_estimate(found: RunEstimate, prices: Prices) -> None:
    """Print an estimate."""
    console.print(_head(found))
    print_left_out(found.left_out)
    if found.estimate is None:
        console.print("nothing to do: the next run would only list the catalog")
        return
    _print_sample(found)
    _print_cpu(found.estimate)
    _print_run_times(found.estimate, prices)
    _print_storage(found.estimate, prices)
    if found.keep_features != "all":
        removed = "all" if found.keep_features == "none" else f"older than {found.keep_features} days"
        console.print(f"the run removes labeled features at its end: {removed} (--keep-features)")
    _print_store(found.estimate)
    console.print(
        f"memory of Ray's head node: {found.estimate.head_memory_bytes >> 30} GiB. GPU: not measured; it can "
        "speed up only the stage 'label'."
    )
    console.print(
        f"Ranges are {CONFIDENCE:.0%} intervals of the error of sampling alone. Other machines "
        "are faster or slower than the CPU of this one, on which the sample ran."
    )


def _head(found: RunEstimate) -> str:
    parts = (
        (found.n_to_featurize, f"to featurize ({size_text(found.size_bytes)})"),
        (found.n_to_label, "to label from stored features"),
        (found.n_labeled, "already done"),
        (found.n_failed, "failed in earlier runs, not retried"),
    )
    work = ", ".join(f"{n:,} {what}" for n, what in parts if n)
    return f"{count_text(found.n_listed, 'track')} listed: {work}"


def _print_sample(found: RunEstimate) -> None:
    if not found.formats:
        return
    console.print()
    print_table(
        ("format", "tracks", "size", "sample", "failed"),
        [
            (
                each.format or "none",
                f"{each.n_tracks:,}",
                size_text(each.size_bytes),
                each.n_sampled,
                each.n_failed,
            )
            for each in found.formats
        ],
        title=f"sample: {sum(each.n_sampled for each in found.formats)} of the tracks, seed {found.seed}",
    )
    if found.failures:
        console.print("failures: " + ", ".join(f"{kind} {n:,}" for kind, n in found.failures.items()))


def _print_cpu(estimate: Estimate) -> None:
    total = estimate.total_cpu_s
    rows = [
        (stage, _range(seconds, _time), f"{seconds.value / total.value:.0%}")
        for stage, seconds in estimate.cpu_s.items()
    ]
    console.print()
    print_table(("stage", "CPU time", "share"), [*rows, ("total", _range(total, _time), "100%")])


def _print_run_times(estimate: Estimate, prices: Prices) -> None:
    rows = []
    for each in estimate.run_times:
        row = [f"{each.cpus:,}", _range(each.wall_s, _time), _range(each.core_hours, _core_hours)]
        if prices.core_hour is not None:
            row.append(_range(each.core_hours.times(prices.core_hour), _money))
        rows.append(row)
    heads = ("CPUs", "wall time", "core-hours paid", "price")
    console.print()
    print_table(heads[: len(rows[0])], rows)


def _print_storage(estimate: Estimate, prices: Prices) -> None:
    rows = []
    for table, size in (*estimate.storage_bytes.items(), ("total", estimate.total_bytes)):
        row = [table, _range(size, _bytes)]
        if prices.gb_month is not None:
            row.append(_range(size.times(prices.gb_month / _GB), _money))
        rows.append(row)
    heads = ("storage", "size", "price per month")
    console.print()
    print_table(heads[: len(rows[0])], rows)
    console.print()


def _print_store(estimate: Estimate) -> None:
    if estimate.requests:
        kinds = ", ".join(f"{kind} {n.value:,.0f}" for kind, n in estimate.requests.items())
        console.print(f"requests to the store: {kinds}")
        console.print(f"read from the store: {_range(estimate.received_bytes, _bytes)}")


def _time(seconds: float) -> str:
    return duration_text(round(seconds, 3)) if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def _core_hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _bytes(size: float) -> str:
    return size_text(round(size))


def _money(price: float) -> str:
    return f"{price:,.2f}"


def _range(total: Total, text: Callable[[float], str]) -> str:
    """Format a total, with its interval if it has one."""
    value, low, high = (text(max(0.0, each)) for each in (total.value, total.low, total.high))
    return value if low == high else f"{value} ({low} to {high})"


def render_json(found: RunEstimate, prices: Prices) -> str:
    """Return an estimate as JSON."""
    record = asdict(found) | {"left_out": found.left_out.model_dump(), "confidence": CONFIDENCE}
    if found.estimate is not None:
        record["estimate"]["run_times"] = [
            asdict(each) | {"core_hours": asdict(each.core_hours)} | _price(each, prices)
            for each in found.estimate.run_times
        ]
        if prices.gb_month is not None:
            record["estimate"]["price_per_month"] = asdict(
                found.estimate.total_bytes.times(prices.gb_month / _GB)
            )
    return json_text(record, indent=2)


def _price(each: RunTime, prices: Prices) -> dict[str, object]:
    if prices.core_hour is None:
        return {}
    return {"price": asdict(each.core_hours.times(prices.core_hour))}
