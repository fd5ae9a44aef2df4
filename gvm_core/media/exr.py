"""Reads OpenEXR pictures, any layer of any part: by the OpenEXR package where it is installed, else by FFmpeg.

The header is read here. So both decoders take the same layer, and an error can say what a file holds. FFmpeg reads
layers of colour in most compressions. The OpenEXR package also reads layers of one channel, and every compression.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import MediaError, MissingPackageError, cause, optional
from ..post.light import BT709, CURVES, Light
from ..post.resize import SQUARE
from .colours import CLOSE, RGB, TRANSFERS, UNSPECIFIED, ColourTags, primaries_of
from .container import open_container, refuse_size
from .pixels import rgb, rgba
from .timecode import ALPHAS, WIDEST, Labels, from_clock, note_in

MAGIC = b"\x76\x2f\x31\x01"
MULTI_PART = 0x1000
LONGEST = 600
"""More bytes than the name and the type of an attribute have together."""
LETTERS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}
MAIN = {"combined", "beauty", "rgba", "rgb"}
"""Last words of the names that renderers give to the picture itself, in lower case."""
LINEAR = Light("linear")
LISTED = 12
ONE = struct.pack("<f", 1)

Box = tuple[int, int, int, int]
"""Left, top, right and bottom pixel, all included."""


@dataclass(frozen=True)
class Layer:
    """Channels of one part that belong together.

    Attributes:
        name: The name before the last dot of its channels. With several parts, the name of the part if it has no other.
        part: Index of the part.
        prefix: What its channels are called before the last dot.
        channels: The file's name of each channel, by its letter: R, G, B and A, or others.
        data: The pixels that are stored.
        display: The pixels of the picture.
    """

    name: str
    part: int
    prefix: str
    channels: dict[str, str]
    data: Box
    display: Box

    @property
    def colour(self) -> list[str]:
        """Three channels, or the only channel if it is grey; empty if these channels are no picture."""
        three = [self.channels[letter] for letter in "RGB" if letter in self.channels]
        single = [name for letter, name in self.channels.items() if letter != "A" or len(self.channels) == 1]
        return three if len(three) == 3 else single if len(single) == 1 else []

    def __str__(self) -> str:
        return f"{self.name or 'no layer name'} ({', '.join(self.channels)})"


@dataclass(frozen=True, slots=True)
class ExrFacts:
    """What the header of an EXR file says about a clip.

    Attributes:
        rate: Frames per second; None if it says none.
        pixel_aspect: The width of a pixel over its height.
        clock: The first word of its timecode, as FFmpeg orders its bytes; None if it says none.
        reel: Name of the reel.
        light: The light of its colours: linear by convention, or what we wrote into it.
        alpha: "straight" or "premultiplied", if it says so; else it is premultiplied by convention.
    """

    rate: Fraction | None = None
    pixel_aspect: Fraction = SQUARE
    clock: int | None = None
    reel: str = ""
    light: Light = LINEAR
    alpha: str = ""

    def labels(self, rate: Fraction, after: int) -> Labels:
        """What it says about the frame so many frames ``after`` its own, at ``rate`` frames per second."""
        timecode = None if self.clock is None else from_clock(self.clock, rate)
        transfer = next((number for number, name in TRANSFERS.items() if name == self.light.transfer), UNSPECIFIED)
        colour = ColourTags(primaries_of(self.light.primaries), transfer, RGB)
        return Labels(
            self.pixel_aspect, timecode and timecode.after(after), self.reel, colour, self.alpha, self.light.transfer
        )


def facts_of(path: Path) -> ExrFacts:
    """The facts in the header of a file; none if it cannot be read, which `read_exr` tells."""
    try:
        header = headers_of(path)[0]
        above, below = struct.unpack("<iI", header.get(b"framesPerSecond", bytes(8)))
        (aspect,) = struct.unpack("<f", header.get(b"pixelAspectRatio", ONE))
        clock = header.get(b"timeCode", b"")[:4]
        colours = struct.unpack("<8f", header.get(b"chromaticities", struct.pack("<8f", *BT709)))
        notes = [{name: header.get(name.encode(), b"").decode("utf-8", "replace") for name in ("alpha", "light")}]
    except (OSError, ValueError, IndexError, struct.error):
        return ExrFacts()
    return ExrFacts(
        Fraction(above, below) if above > 0 and below else None,
        Fraction(aspect).limit_denominator(1000) if 1 / WIDEST < aspect < WIDEST else SQUARE,
        int.from_bytes(clock, "big") if len(clock) == 4 else None,
        header.get(b"reelName", b"").decode("utf-8", "replace"),
        light_of(colours, note_in(notes, "light", CURVES)),
        note_in(notes, "alpha", ALPHAS),
    )


def light_of(colours: tuple[float, ...], transfer: str) -> Light:
    """The light of an EXR file with these chromaticities; those of BT.709 if they are no colours."""
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y = rounded = [round(each, 5) for each in colours]
    area = (green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)
    usual = max(abs(a - b) for a, b in zip(rounded, BT709, strict=True)) < CLOSE
    usable = math.isfinite(area) and abs(area) > CLOSE and min(red_y, green_y, white_x, white_y) > 0 and blue_y != 0
    return Light(transfer or "linear", BT709 if usual or not usable else tuple(rounded))  # pyright: ignore[reportArgumentType]  # eight


def read_exr(path: Path, layer: str | None = None, *, alpha: bool = False) -> Tensor:
    """A layer as ``[3, H, W]`` float32 in linear light, as large as the display window; 0 where nothing is stored.

    With ``alpha`` it is ``[4, H, W]``, premultiplied as it is stored.

    Args:
        path: The file.
        layer: Name of the layer, or the end of its name after a dot; None takes the picture itself.
        alpha: Read the layer's alpha, too.

    Raises:
        MediaError: If the file cannot be read, has no such layer, or several layers and none is the picture itself; if
            ``alpha`` is True and the layer has no alpha.
    """
    found = layers_of(path)
    chosen = choose(found, path, layer)
    for left, top, right, bottom in (chosen.data, chosen.display):
        if right < left or bottom < top:
            raise MediaError(f"{path} is damaged: its header says a picture from {left}, {top} to {right}, {bottom}")
        refuse_size(path, right + 1 - left, bottom + 1 - top)
    if alpha and "A" not in chosen.channels:
        raise MediaError(f"{path} has no alpha channel (its layer holds {', '.join(chosen.channels)})")
    if (openexr := library()) is not None:
        return by_openexr(openexr, path, chosen, alpha)
    from av.error import FFmpegError

    try:
        return by_ffmpeg(path, chosen, alpha)
    except (FFmpegError, OSError, StopIteration, IndexError) as error:
        raise MediaError(
            f"{path} cannot be read as a picture: {cause(error)}. FFmpeg reads some EXR files only. The OpenEXR package reads "
            f"them all: pip install 'OpenEXR>=3.3'. The file holds {listed(found)}"
        ) from error


def library() -> Any:
    """The OpenEXR package, 3.3 or later; None if it is not installed."""
    try:
        module = optional("OpenEXR", "OpenEXR")
    except MissingPackageError:
        return None
    return module if hasattr(module, "File") else None


def by_openexr(openexr: Any, path: Path, layer: Layer, alpha: bool) -> Tensor:
    """`read_exr` with the OpenEXR package. It decodes all layers of the file."""
    names = [*layer.colour, *([layer.channels["A"]] if alpha else [])]
    try:
        with openexr.File(str(path), separate_channels=True) as file:
            if layer.part >= len(file.parts):
                raise ValueError("its pixels are damaged")
            channels = file.parts[layer.part].channels
            stored = torch.stack([torch.from_numpy(channels[name].pixels.astype("f4")) for name in names])
    except (RuntimeError, ValueError, OSError, IndexError, KeyError, TypeError) as error:
        raise MediaError(f"{path} cannot be read as a picture: {cause(error)}") from error
    if len(layer.colour) == 1:
        stored = torch.cat([stored[:1].expand(3, -1, -1), stored[1:]])
    return placed(stored, layer.data, layer.display)


def by_ffmpeg(path: Path, layer: Layer, alpha: bool) -> Tensor:
    """`read_exr` with FFmpeg."""
    if any(layer.display[:2]):
        raise OSError("its display window does not begin at 0, 0")  # FFmpeg would shift the pixels
    with open_container(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"part": str(layer.part), "layer": layer.prefix}
        frame = next(container.decode(stream))
        return rgba(frame, path) if alpha else rgb(frame, path)


def placed(stored: Tensor, data: Box, display: Box) -> Tensor:
    """Pixels ``[C, h, w]`` of the box ``data`` as a picture ``[C, H, W]`` of the box ``display``, 0 outside."""
    picture = stored.new_zeros(len(stored), display[3] - display[1] + 1, display[2] - display[0] + 1)
    left, top = data[0] - display[0], data[1] - display[1]
    seen = picture[:, max(top, 0) : max(top + stored.shape[1], 0), max(left, 0) : max(left + stored.shape[2], 0)]
    seen[:] = stored[:, max(-top, 0) :, max(-left, 0) :][:, : seen.shape[1], : seen.shape[2]]
    return picture


def choose(found: list[Layer], path: Path, wanted: str | None) -> Layer:
    """The layer called ``wanted``, or the picture itself: for the errors see `read_exr`."""
    if wanted is not None:
        named = [each for each in found if each.name == wanted]
        named = named or [each for each in found if each.name.endswith(f".{wanted}")]
        if len(named) != 1:
            raise MediaError(f"{path} has {len(named) or 'no'} layers called {wanted!r}; it holds {listed(found)}")
        if not named[0].colour:
            raise MediaError(f"the layer {named[0]} of {path} is no picture: it needs R, G and B, or a single channel")
        return named[0]
    coloured = [each for each in found if {"R", "G", "B"} <= set(each.channels) or set(each.channels) - {"A"} == {"Y"}]
    plain = [each for each in coloured if not each.prefix and each.part == 0]
    called = [each for each in coloured if each.name.rpartition(".")[2].lower() in MAIN]
    for candidates in (plain, coloured, called):
        if len(candidates) == 1:
            return candidates[0]
    raise MediaError(f"choose one of the layers of {path} (--layer NAME); it holds {listed(found)}")


def listed(things: Iterable[object]) -> str:
    """The first of ``things`` in words, and how many more there are."""
    words = [str(thing) for thing in things]
    more = [f"{len(words) - LISTED} more"] if len(words) > LISTED else []
    return ", ".join([*words[:LISTED], *more])


def layers_of(path: Path) -> list[Layer]:
    """All layers of a file, in its order.

    Raises:
        MediaError: If this is no EXR file, or its header is damaged.
    """
    try:
        headers = headers_of(path)
        return [layer for part, each in enumerate(headers) for layer in layers_in(each, part, len(headers) > 1)]
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        raise MediaError(f"{path} cannot be read as an EXR picture: {cause(error)}") from error


def layers_in(header: dict[bytes, bytes], part: int, several: bool) -> list[Layer]:
    """The layers of one part, which has its own name if there are several."""
    named: dict[str, dict[str, str]] = {}
    rest = header[b"channels"]
    while name := rest.partition(b"\0")[0].decode("utf-8", "replace"):
        _, _, rest = rest.partition(b"\0")
        prefix, _, letter = name.rpartition(".")
        if struct.unpack("<2i", rest[8:16]) != (1, 1):
            letter = "subsampled"  # so that luma without its chroma is not taken for a grey picture
        named.setdefault(prefix, {})[LETTERS.get(letter.lower(), letter.upper())] = name
        rest = rest[16:]
    title = header.get(b"name", b"").decode("utf-8", "replace") if several else ""
    data, display = (struct.unpack("<4i", header[window]) for window in (b"dataWindow", b"displayWindow"))
    return [
        Layer(prefix if prefix.startswith(title) else f"{title}.{prefix}".strip("."), part, prefix, each, data, display)
        for prefix, each in named.items()
    ]


def headers_of(path: Path) -> list[dict[bytes, bytes]]:
    """The attributes of every part, as they are stored."""
    headers: list[dict[bytes, bytes]] = []
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        magic, flags = struct.unpack("<4si", content[:8])
        if magic != MAGIC:
            raise ValueError("it does not begin as an EXR file does")
        at = 8
        while content[at]:
            headers.append({})
            while content[at]:
                name, kind, _ = content[at : at + LONGEST].split(b"\0", 2)
                at += len(name) + len(kind) + 6
                (size,) = struct.unpack("<I", content[at - 4 : at])
                headers[-1][name] = content[at : (at := at + size)]
            at += 1
            if not flags & MULTI_PART:
                break
    return headers
