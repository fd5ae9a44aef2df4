"""Writes 16-bit PNGs, and what they say about their colours and their alpha; reads that back."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any
from zlib import crc32

from torch import Tensor

from .colours import RGB, SRGB, ColourTags
from .formats import PNG16
from .pixels import frame_for
from .timecode import ALPHAS, UNLABELLED, Labels, note_in

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = len(SIGNATURE) + 25
"""Bytes before the chunks that say something: the signature and IHDR."""
PLAIN = ColourTags(transfer=SRGB, matrix=RGB)
"""The colours of pictures that say nothing."""
SEARCHED = 2**16
"""Bytes at the begin of a file in which its chunks are looked for. Colours and texts stand before the pixels."""


def png16(picture: Tensor, labels: Labels = UNLABELLED) -> bytes:
    """A matte ``[1, H, W]``, a picture ``[3, H, W]`` or a subject ``[4, H, W]``, in 0..1, as the bytes of a 16-bit PNG.

    HDR and wide colours of ``labels`` become a ``cICP`` chunk, its notes become texts.
    """
    import av

    pixels = PNG16.pixels(*picture.shape)
    frame = frame_for(picture, pixels)
    encoder: Any = av.CodecContext.create(PNG16.encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = frame.width, frame.height, pixels, Fraction(1)
    content = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    said = [chunk(b"tEXt", f"{name}\0{value}".encode("latin-1", "replace")) for name, value in labels.notes.items()]
    if not labels.colour.is_plain:
        said.insert(0, chunk(b"cICP", bytes((labels.colour.primaries, labels.colour.transfer, RGB, 1))))
    return content[:HEADER] + b"".join(said) + content[HEADER:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))


def labels_of_png(path: Path) -> Labels:
    """What the chunks of a PNG say about its colours and alpha; sRGB if they say nothing or cannot be read."""
    with path.open("rb") as file:
        content = file.read(SEARCHED)
    at, colour, texts = len(SIGNATURE), PLAIN, dict[str, str]()
    while (kind := content[at + 4 : at + 8]) and kind != b"IDAT":
        data = content[at + 8 : at + 8 + int.from_bytes(content[at : at + 4], "big")]
        if kind == b"cICP" and len(data) == 4:
            colour = ColourTags(data[0], data[1], RGB)
        elif kind == b"tEXt":
            name, _, value = data.partition(b"\0")
            texts[name.decode("latin-1")] = value.decode("latin-1")
        at += len(data) + 12
    return Labels(colour=colour, alpha=note_in([texts], "alpha", ALPHAS), light=note_in([texts], "light"))
