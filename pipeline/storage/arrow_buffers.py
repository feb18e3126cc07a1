"""Arrow buffers with bytes that are already in memory."""

import pyarrow as pa


def arrow_buffer(*data: bytes) -> pa.BufferReader:
    """Copy bytes, one after the other, into memory that Arrow owns, and return a reader.

    Arrow reads ahead in a thread of its own. What that thread holds may outlive an error, and then be
    released while the interpreter ends, which aborts the process if it is a Python object.
    """
    sink = pa.BufferOutputStream()
    for each in data:
        sink.write(each)
    return pa.BufferReader(sink.getvalue())
