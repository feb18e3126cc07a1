"""Bytes that are in memory already, for Arrow to read."""

import pyarrow as pa


def arrow_buffer(*data: bytes) -> pa.BufferReader:
    """Return the bytes, one after the other, in Arrow's own memory.

    Arrow reads ahead in a thread of its own. What that thread holds may outlive an error, and then be
    released while the interpreter ends, which aborts the process where it is an object of Python's.
    """
    sink = pa.BufferOutputStream()
    for each in data:
        sink.write(each)
    return pa.BufferReader(sink.getvalue())
