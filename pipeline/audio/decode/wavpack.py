"""WavPack: finds the blocks after damage, at which FFmpeg stops.

References
----------
https://www.wavpack.com/WavPack5FileFormat.pdf, section 2.0 (the block header)
"""

from pipeline.audio.decode.source import Source

_MAGIC = b"wvpk"
_HEADER_BYTES = 32
_MAX_BYTES = 1 << 20
_VERSIONS = range(0x402, 0x411)


def next_block(source: Source, at: int) -> int | None:
    """Return the offset of the first block from byte `at` on, or None."""
    headers = source.find_each(_MAGIC, _HEADER_BYTES, at)
    return next((found for found, header in headers if _is_header(header)), None)


def _is_header(header: bytes) -> bool:
    n_bytes = int.from_bytes(header[4:8], "little")
    n_samples = int.from_bytes(header[20:24], "little")
    version = int.from_bytes(header[8:10], "little")
    return _HEADER_BYTES - 8 <= n_bytes <= _MAX_BYTES and version in _VERSIONS and n_samples > 0
