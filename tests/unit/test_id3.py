"""ID3 tags byte for byte, in all versions, and bounds on the cost of malicious ones."""

import io
import os
import zlib

import pytest
from mutagen.id3 import ID3, TCON

from pipeline.audio.tags.id3 import Id3Error, parse_id3, render_id3, with_genre

TEXTS = frozenset({"TIT2", "TPE1", "TCON", "TDRC", "TYER"})
COVER = bytes(2 << 20) + os.urandom(1 << 10)


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def frame(version: int, name: bytes, content: bytes, flags: int = 0) -> bytes:
    """Return a frame as that version of ID3 has it."""
    if version == 2:
        return name + len(content).to_bytes(3) + content
    size = synchsafe(len(content)) if version == 4 else len(content).to_bytes(4)
    return name + size + flags.to_bytes(2) + content


def tag(version: int, body: bytes, flags: int = 0) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(body)) + body


TITLE = frame(4, b"TIT2", b"\3Tit")
PACKED_COVER = zlib.compress(COVER)
PACKED_TITLE = zlib.compress(b"\0Tit")
TAGS: dict[str, bytes] = {
    "2.2": tag(
        2,
        frame(2, b"TT2", b"\0Tit")
        + frame(2, b"TCO", b"\0(17)")
        + frame(2, b"PIC", b"\0PNG\3\0abc")
        + frame(2, b"XYZ", b"unknown"),
    ),
    "2.3": tag(
        3,
        frame(3, b"TIT2", b"\0Tit")
        + frame(3, b"TYER", b"\x001999")
        + frame(3, b"TSIZ", b"\x00123")
        + frame(3, b"XABC", b"unknown")
        + frame(3, b"PRIV", b"owner\0" + bytes(range(256)))
        + bytes(500),
    ),
    "2.3 packed": tag(
        3,
        frame(3, b"APIC", len(COVER).to_bytes(4) + PACKED_COVER, 0x80)
        + frame(3, b"TIT2", (4).to_bytes(4) + PACKED_TITLE, 0x80),
    ),
    "2.3 unsynchronized": tag(
        3,
        (frame(3, b"TIT2", b"\1" + "Tit".encode("utf-16")) + frame(3, b"PRIV", b"x\0\xff\xe0")).replace(
            b"\xff", b"\xff\0"
        ),
        0x80,
    ),
    "2.3 extended": tag(3, (6).to_bytes(4) + bytes(6) + frame(3, b"TIT2", b"\0Tit"), 0x40),
    "2.4": tag(
        4, TITLE + frame(4, b"TCON", b"\3A") + frame(4, b"TCON", b"\3B") + frame(4, b"TPE1", b"\3X\0Y")
    ),
    "2.4 packed": tag(
        4,
        frame(4, b"APIC", synchsafe(len(COVER)) + PACKED_COVER, 0x09)
        + frame(4, b"TIT2", synchsafe(4) + PACKED_TITLE, 0x09),
    ),
    "2.4 unsynchronized": tag(
        4,
        frame(4, b"TIT2", b"\1\xff\0\xfeT\0i\0t\0", 0x02) + frame(4, b"PRIV", b"x\0\xff\0\xe0", 0x02),
        0x80,
    ),
    "2.4 extended": tag(4, synchsafe(6) + b"\1\0" + TITLE, 0x40),
    "2.4 encrypted": tag(4, frame(4, b"PRIV", b"\1abc", 0x04) + TITLE),
    "2.4 of iTunes": tag(4, frame(3, b"COMM", b"\3eng\0" + b"x" * 300) + frame(3, b"TIT2", b"\3Tit")),
    "2.4 of many strings": tag(4, frame(4, b"TXXX", b"\3d\0" + b"a\0" * 400_000) + TITLE),
    "2.4 with a footer": tag(4, TITLE, 0x10) + b"3DI\4\0\x10" + synchsafe(len(TITLE)),
    "of no frames": tag(3, b""),
}  # fmt: skip


@pytest.mark.parametrize("kind", TAGS)
def test_all_frames_except_the_genre_keep_their_bytes(kind: str) -> None:
    """Compressed covers and custom frames would be lost from thousands of files."""
    before = parse_id3(TAGS[kind])
    assert before.whole
    after = parse_id3(render_id3(with_genre(before, "jazz")) + b"audio")
    assert after.whole
    assert after.version == before.version
    assert [f for f in after.frames if after.name(f) != "TCON"] == [
        f for f in before.frames if before.name(f) != "TCON"
    ]
    texts = after.texts(TEXTS)
    assert texts["TCON"] == ["jazz"]
    assert texts.get("TIT2", ["Tit"]) == ["Tit"]


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("genre", ["jazz", "Ærger ✓", "x" * 300])
def test_other_programs_read_any_genre(version: int, genre: str) -> None:
    """Players would show another genre than the one that was written."""
    written = render_id3(with_genre(parse_id3(tag(version, b"")), genre))
    frames = ID3(io.BytesIO(written)).getall("TCON")
    assert [f.text for f in frames] == [TCON(encoding=3, text=[genre]).text]


def test_a_tag_with_padding_keeps_its_size() -> None:
    """Every genre would needlessly move the audio of a large file."""
    before = parse_id3(TAGS["2.3"])
    assert len(render_id3(with_genre(before, "jazz"))) == before.n_bytes == len(TAGS["2.3"])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"ID3", tag(5, TITLE), tag(2, b"", 0x40), tag(4, b"\x7f\x7f\x7f\x7f", 0x40),
        b"ID3\4\0\0\xff\0\0\0" + bytes(100),
    ],
)  # fmt: skip
def test_an_unsupported_tag_is_refused(data: bytes) -> None:
    """A tag that cannot be parsed would be overwritten."""
    with pytest.raises(Id3Error):
        parse_id3(data)


@pytest.mark.parametrize(
    "data", [tag(4, TITLE + b"garbage, no frame"), tag(4, TITLE)[:-1], tag(3, frame(3, b"TIT2", b"\0T")[:-1])]
)
def test_damage_is_detected(data: bytes) -> None:
    """The frames after the damage would be dropped when the genre is written."""
    assert not parse_id3(data).whole


@pytest.mark.timeout(60)
def test_text_that_unpacks_to_too_much_is_ignored() -> None:
    """A megabyte of ten thousand packed titles would take ten gigabytes of a worker's memory."""
    bomb = zlib.compress(b"\3" + b"x" * (1 << 20), 9)
    packed = frame(4, b"TIT2", synchsafe(1 << 20) + bomb, 0x09)
    texts = parse_id3(tag(4, packed * 10_000 + frame(4, b"TPE1", b"\3A"))).texts(TEXTS)
    assert sum(map(len, texts["TIT2"])) <= 2 << 20
    assert texts["TPE1"] == ["A"]


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_million_frames_are_read_quickly() -> None:
    """A file of tiny frames would stall a worker, or `earmark scan`, for an hour."""
    body = frame(4, b"TIT2", b"\3") * 1_000_000 + frame(4, b"TPE1", b"\3A")
    assert parse_id3(tag(4, body)).texts(TEXTS)["TPE1"] == ["A"]
