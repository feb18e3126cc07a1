"""The tally of a run: adds up results as they arrive."""

from collections import Counter

from jobs.engine.assignment import Totals
from jobs.engine.metrics import Counters
from pipeline.shards.featurize_shard import ShardResult
from pipeline.shards.label_part import LabelResult
from pipeline.stopwatch import slowest_of


class Tally:
    """Adds up results, and updates the Ray metrics.

    Attributes
    ----------
    totals : Totals
        The running totals.
    """

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self._counters = Counters()

    def add(self, result: ShardResult | LabelResult) -> None:
        """Add the result of a shard or a label task."""
        totals = self.totals
        totals.n_results += 1
        totals.failed += result.n_failed
        totals.failures.update(result.failures)
        totals.seconds.update(result.seconds)
        tracks = {"failed": result.n_failed}
        if isinstance(result, ShardResult):
            totals.featurized += result.n_featurized
            totals.audio_s += result.audio_s
            totals.slowest = slowest_of([*totals.slowest, *result.slowest])
            totals.timeline.record_work("featurizing", result.busy_s)
            tracks["featurized"] = result.n_featurized
        else:
            totals.labeled += result.n_labeled
            totals.embedded += result.n_embedded
            totals.genres.update(result.genres)
            totals.rejected += result.n_rejected
            totals.timeline.record_work("labeling", result.busy_s)
            tracks["labeled"] = result.n_labeled
        self._counters.add(tracks, result.seconds)

    def add_failures(self, failures: Counter[str]) -> None:
        """Add tracks whose failures the engine itself wrote, by type of error."""
        self.totals.failed += failures.total()
        self.totals.failures.update(failures)
        self._counters.add({"failed": failures.total()}, {})
