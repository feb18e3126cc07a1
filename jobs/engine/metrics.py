"""Metrics that Ray exports to Prometheus, as ``ray_earmark_…``."""

from collections.abc import Mapping

from ray.util.metrics import Counter


class Metrics:
    """Counters of a run; Prometheus adds ``_total`` and computes rates."""

    def __init__(self) -> None:
        self._tracks = Counter(
            "earmark_tracks", "Tracks that ended, by outcome: featurized, labeled, failed.", ("outcome",)
        )
        self._seconds = Counter(
            "earmark_stage_seconds", "Seconds spent by all workers, by stage.", ("stage",)
        )

    def add(self, tracks: Mapping[str, int], seconds: Mapping[str, float]) -> None:
        """Count tracks by outcome and seconds by stage."""
        for outcome, n in tracks.items():
            if n:
                self._tracks.inc(n, {"outcome": outcome})
        for stage, spent in seconds.items():
            if spent > 0:
                self._seconds.inc(spent, {"stage": stage})
