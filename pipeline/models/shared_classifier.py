"""A classifier that several threads use at once, so that its network is never idle or half empty."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.bundle import ModelBundle
from pipeline.models.classifier import Classifier, Network, join_outputs
from pipeline.stopwatch import Stopwatch

Outputs = list[NDArray[np.float32]]


@dataclass(eq=False, slots=True)
class _Request:
    """Segments of one thread, some of which may already be in a batch."""

    network: Network
    inputs: list[Any]
    n_taken: int = 0
    n_done: int = 0
    seconds: float = 0.0
    outputs: list[Outputs] = field(default_factory=list)
    result: Future[list[Outputs]] = field(default_factory=Future)

    @property
    def n_segments(self) -> int:
        return len(self.inputs[0])

    def take(self, most: int) -> "_Chunk":
        """Take up to `most` segments that are in no batch yet."""
        start = self.n_taken
        self.n_taken = min(start + most, self.n_segments)
        return _Chunk(self, self.n_taken - start, [each[start : self.n_taken] for each in self.inputs])

    def add(self, outputs: Outputs, n_segments: int, seconds: float) -> None:
        """Add the outputs of the next segments; the last ones complete the result."""
        self.outputs.append(outputs)
        self.n_done += n_segments
        self.seconds += seconds
        if self.n_done == self.n_segments:
            self.result.set_result(self.outputs)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Segments of a request that are in one batch."""

    request: _Request
    n_segments: int
    inputs: list[Any]


class SharedClassifier(Classifier):
    """A classifier for several threads, whose segments fill batches together.

    The network runs in a thread of its own, in the order in which segments arrive. Meanwhile the other
    threads read the next segments, or write what was predicted. A batch takes as long half empty as full, so
    the rest of one part shares a batch with the beginning of the next. Predictions are those of `Classifier`
    to within rounding: on some CPUs, last bits depend on a segment's place in its batch.

    Parameters
    ----------
    bundle, threads, batch_size
        See `Classifier`.
    guard : callable
        Returns a context in which each batch runs, such as a limit of its time.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        threads: int = 1,
        batch_size: int = 32,
        guard: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(bundle, threads=threads, batch_size=batch_size)
        self._guard = guard
        self._waiting: deque[_Request] = deque()
        self._arrival = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="network").start()

    def _run(self, network: Network, inputs: list[Any], watch: Stopwatch) -> Outputs:
        request = _Request(network, inputs)
        with self._arrival:
            self._waiting.append(request)
            self._arrival.notify()
        outputs = request.result.result()
        watch.add({"predict": request.seconds})
        # Not in the network's thread: if that ended by an error, all others would wait forever.
        return join_outputs(outputs)

    def _work(self) -> None:
        while True:
            with self._arrival:
                self._arrival.wait_for(lambda: self._waiting)
                chunks = self._take_batch()
            self._predict(chunks)

    def _take_batch(self) -> list[_Chunk]:
        """Take as many segments as fit into a batch, as long as they are for the same network."""
        chunks: list[_Chunk] = []
        left, network = self.batch_size, self._waiting[0].network
        while left and self._waiting and self._waiting[0].network is network:
            chunks.append(self._waiting[0].take(left))
            left -= chunks[-1].n_segments
            if self._waiting[0].n_taken == self._waiting[0].n_segments:
                self._waiting.popleft()
        return chunks

    def _predict(self, chunks: list[_Chunk]) -> None:
        """Predict a batch; if it fails, predict each request's share alone, so that only one fails."""
        try:
            with self._guard():
                start = time.perf_counter()
                outputs = self._run_batch(chunks[0].request.network, [chunk.inputs for chunk in chunks])
                seconds = time.perf_counter() - start
        except Exception as error:
            if len(chunks) == 1:
                self._fail(chunks[0].request, error)
            else:
                for chunk in chunks:
                    self._predict([chunk])
            return
        n_all, first = sum(chunk.n_segments for chunk in chunks), 0
        for chunk in chunks:
            share = [each[first : first + chunk.n_segments] for each in outputs]
            chunk.request.add(share, chunk.n_segments, seconds * chunk.n_segments / n_all)
            first += chunk.n_segments

    def _fail(self, request: _Request, error: Exception) -> None:
        with self._arrival:
            if request in self._waiting:
                self._waiting.remove(request)
        request.result.set_exception(error)
