"""The size of the cluster, for a loop that needs it all the time."""

import math
import time

from jobs.engine.cluster import cpus_and_gpus

_ASK_EVERY_S = 1.0


class ClusterSize:
    """Remembers the size of the connected cluster: asking takes longer, the more nodes there are."""

    def __init__(self) -> None:
        self._cpus = 0
        self._asked_at = -math.inf

    def cpus(self) -> int:
        """Return the CPUs of the cluster, as of a second ago; an autoscaling one may have none yet.

        Raises
        ------
        EarmarkError
            If the cluster's head does not answer.
        """
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            self._cpus, _ = cpus_and_gpus()
            self._asked_at = time.monotonic()
        return self._cpus
