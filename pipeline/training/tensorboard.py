"""EventLog: loss and accuracy by epoch, in files that TensorBoard displays."""

from types import TracebackType
from typing import Any, Self


class EventLog:
    """Writes scalars of each epoch to an event file; it does not need TensorBoard.

    Parameters
    ----------
    tf : module
        TensorFlow.
    folder : str
        Where the event file is written; one folder for each training.
    """

    def __init__(self, tf: Any, folder: str) -> None:
        self._tf = tf
        self._writer = tf.summary.create_file_writer(folder)
        # The same metadata as `tf.summary.scalar` writes, which needs the tensorboard package.
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self._metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)

    def add(self, epoch: int, **values: float) -> None:
        """Write the values of an epoch, by name."""
        with self._writer.as_default():
            for name, value in values.items():
                scalar = self._tf.constant(value, self._tf.float32)
                self._tf.summary.write(name, scalar, step=epoch, metadata=self._metadata)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
