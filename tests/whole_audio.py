"""A track opened to read any excerpt of it, at its own sample rate: what segments are compared with."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.decode.audio import open_source
from pipeline.audio.decode.decoder_choice import decoders_for
from pipeline.audio.decode.decoders import Decoder, UndecodableError
from pipeline.audio.decode.excerpts import read_mono
from schemas.tracks import AudioInfo


@dataclass(frozen=True, slots=True)
class WholeAudio:
    """An open track, with the facts that its container states."""

    info: AudioInfo
    _decoder: Decoder

    def read(self, start_s: float, duration_s: float) -> NDArray[np.float32]:
        """Return the mono mix of an excerpt; at the end of the audio it is shorter."""
        rate = self.info.sample_rate
        return read_mono(self._decoder, round(start_s * rate), round(duration_s * rate))


@contextmanager
def open_audio(file: BinaryIO, name: str) -> Iterator[WholeAudio]:
    """Open a track with the first decoder that accepts its content."""
    source = open_source(file, name)
    for decoder_type in decoders_for(source):
        try:
            decoder = decoder_type.open(source)
        except UndecodableError as error:
            if error.final:
                raise
            continue
        with closing(decoder):
            yield WholeAudio(decoder.info, decoder)
        return
    raise AssertionError(f"no decoder accepts {name}")
