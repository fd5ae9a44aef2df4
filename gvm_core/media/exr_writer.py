"""Writes OpenEXR pictures: RGB and alpha, further mattes as layers, and what compositing programs read in the header.

Uncompressed and ZIP files are written here, so their bytes are the same whatever is installed. For PIZ and DWA it needs
the OpenEXR package. The layout is that of "OpenEXR File Layout" (openexr.com): a header of attributes, a table of
offsets, and blocks of lines.

Channels of a layer are called ``layer.A``, as "Reading and Writing OpenEXR Image Files" says ("channel C in layer L is
called L.C"). Nuke shows ``garbage.A`` as ``garbage.alpha`` and takes only letters, digits and underscores for the layer
(Foundry's ``ExrChannelNameToNuke``). Fusion and Resolve list every channel by its name (Format tab of the Loader).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import MediaError, MissingPackageError
from .colours import PRIMARIES
from .exr import MAGIC, library
from .timecode import UNLABELLED, Labels

NONE, ZIPS, ZIP, PIZ, DWAA, DWAB = "none", "zips", "zip", "piz", "dwaa", "dwab"
BLOCKS = {NONE: (0, 1), ZIPS: (2, 1), ZIP: (3, 16)}
"""The number of a compression that is written here, and its lines in a block."""
BY_PACKAGE = {PIZ: "PIZ_COMPRESSION", DWAA: "DWAA_COMPRESSION", DWAB: "DWAB_COMPRESSION"}
"""What the OpenEXR package calls the others. DWA changes R, G and B; channels called A come back as they were."""
COMPRESSIONS = [*BLOCKS, *BY_PACKAGE]
KINDS = {"half": ("<f2", 1), "float": ("<f4", 2)}
"""numpy's type and the file's number of the pixels."""
LARGEST = 65504.0
"""The largest half. What is larger would become infinite."""
SCANLINES, LONG_NAMES = 2, 1024
"""The version of the format, and the bit of files with names of more than 31 bytes."""
LAYER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TAKEN = {"rgb", "rgba", "alpha", "depth"}
"""Layers that Nuke has for other things."""
EFFORT = 4
"""Of zlib, 1 to 9. 9 takes ten times as long and saves 3 percent."""


def write_exr(
    path: Path,
    picture: Tensor,
    kind: str = "half",
    compression: str = ZIP,
    labels: Labels = UNLABELLED,
    *,
    rate: Fraction | None = None,
    layers: Mapping[str, Tensor] | None = None,
) -> None:
    """Write one picture. Colours are stored as they are given, values below 0 and above 1 too.

    EXR is linear light and premultiplied by convention: give such colours, and labels that say so.

    Args:
        path: The file.
        picture: A matte ``[1, H, W]``, written as R, G, B and A; a picture ``[3, H, W]``; or a subject ``[4, H, W]``.
        kind: Type of the pixels, "half" or "float".
        compression: One of `COMPRESSIONS`.
        labels: What the header says. Its timecode is that of this picture.
        rate: Frames per second of the clip; None to say none.
        layers: More mattes ``[1, H, W]`` by the name of their layer; each becomes one channel, ``name.A``.

    Raises:
        MediaError: If a name or the compression cannot be written, or a layer has another size.
        MissingPackageError: If the compression needs the OpenEXR package, and it is not installed.
    """
    channels = channels_for(picture, layers or {}, KINDS[kind][0])
    refuse_compression(compression)
    if compression in BY_PACKAGE:
        openexr = library()
        corner = np.array([picture.shape[2] - 1, picture.shape[1] - 1], np.int32)
        window = (np.zeros(2, np.int32), corner)  # OpenEXR 3.3 and 3.4 make none that is right
        header = {"compression": getattr(openexr, BY_PACKAGE[compression]), "type": openexr.scanlineimage}
        header |= {"dataWindow": window, "displayWindow": window} | package_attributes(openexr, labels, rate)
        with openexr.File(header, channels) as file:
            file.write(str(path))
        return
    with path.open("wb") as file:
        file.writelines(content_of(channels, KINDS[kind][1], compression, labels, rate))


def refuse_compression(compression: str) -> None:
    """Raise `MediaError` for a compression that is none, `MissingPackageError` for one that needs what is not installed."""
    if compression not in COMPRESSIONS:
        raise MediaError(f"EXR has no compression {compression!r} here; use {', '.join(COMPRESSIONS)}")
    if compression in BY_PACKAGE and library() is None:
        raise MissingPackageError(
            f"{compression} compression needs the OpenEXR package, 3.3 or later: pip install 'OpenEXR>=3.3'. zip, zips and "
            "none need nothing"
        )


def writer_version(compression: str) -> str:
    """The version of the OpenEXR package if it writes this compression, which others may pack otherwise; else empty."""
    return getattr(library(), "__version__", "") if compression in BY_PACKAGE else ""


def channels_for(picture: Tensor, layers: Mapping[str, Tensor], kind: str) -> dict[str, np.ndarray]:
    """Every channel ``[H, W]`` of the file by its name, in the order of the file."""
    letters = {1: "RGBA", 3: "RGB", 4: "RGBA"}.get(len(picture), "")
    if picture.ndim != 3 or not letters:
        raise MediaError(f"an EXR needs 1 channel (a matte), 3 (RGB) or 4 (RGB and alpha), not {list(picture.shape)}")
    named = dict(zip(letters, picture if len(picture) > 1 else [picture[0]] * 4, strict=True))
    for name, matte in layers.items():
        if not LAYER.fullmatch(name) or name.lower() in TAKEN:
            raise MediaError(
                f"{name!r} cannot be the name of an EXR layer: it must begin with a letter, have only letters, digits and "
                f"underscores, and not be {', '.join(sorted(TAKEN))}"
            )
        if matte.shape != (1, *picture.shape[1:]):
            raise MediaError(f"the layer {name} is {list(matte.shape)}, but must be {[1, *picture.shape[1:]]}")
        named[f"{name}.A"] = matte[0]
    most = LARGEST if kind == "<f2" else torch.finfo(torch.float32).max
    stored = {name: plane.detach().float().cpu().clamp(-most, most).numpy() for name, plane in named.items()}
    return {name: np.ascontiguousarray(stored[name].astype(kind)) for name in sorted(stored, key=str.encode)}


def content_of(
    channels: dict[str, np.ndarray], number: int, compression: str, labels: Labels, rate: Fraction | None
) -> list[bytes]:
    """The bytes of a file, piece by piece."""
    height, width = next(iter(channels.values())).shape
    method, lines = BLOCKS[compression]
    stacked = np.stack(list(channels.values()), 1)  # [H, C, W]: each line holds its channels one after another
    begins = range(0, height, lines)
    with ThreadPoolExecutor() as pool:
        packed = list(pool.map(lambda begin: block(stacked[begin : begin + lines], method), begins))
    blocks = [struct.pack("<2i", begin, len(data)) + data for begin, data in zip(begins, packed, strict=True)]
    long = LONG_NAMES if max(map(len, channels)) > 31 else 0
    head = MAGIC + struct.pack("<i", SCANLINES | long)
    head += header_of(list(channels), number, method, (width, height), labels, rate)
    offsets = accumulate(map(len, blocks[:-1]), initial=len(head) + 8 * len(blocks))
    return [head, struct.pack(f"<{len(blocks)}Q", *offsets), *blocks]


def block(lines: np.ndarray, method: int) -> bytes:
    """Lines ``[N, C, W]``, compressed if that makes them smaller.

    ZIP splits the values into their first and second bytes (or even and odd ones), and packs the differences.
    """
    plain = np.ascontiguousarray(lines).view(np.uint8).ravel()
    if not method:
        return plain.tobytes()
    split = np.concatenate([plain[::2], plain[1::2]])
    steps = split.copy()
    steps[1:] = split[1:] - split[:-1] + np.uint8(128)
    packed = zlib.compress(steps.tobytes(), EFFORT)
    return packed if len(packed) < plain.size else plain.tobytes()


def header_of(
    names: list[str], number: int, method: int, size: tuple[int, int], labels: Labels, rate: Fraction | None
) -> bytes:
    """All attributes, and the empty one that ends them."""
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3x2i", number, 0, 1, 1) for name in names) + b"\0"
    window = struct.pack("<4i", 0, 0, size[0] - 1, size[1] - 1)
    said: list[tuple[str, str, bytes]] = [
        ("channels", "chlist", listed),
        ("compression", "compression", bytes([method])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", labels.pixel_aspect)),
        ("screenWindowCenter", "v2f", bytes(8)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]
    if chromaticities := labels.chromaticities or PRIMARIES.get(labels.colour.primaries):
        said.append(("chromaticities", "chromaticities", struct.pack("<8f", *chromaticities)))
    if rate is not None:
        said.append(("framesPerSecond", "rational", struct.pack("<iI", *rate.as_integer_ratio())))
    if labels.timecode is not None and labels.timecode.clock is not None:
        said.append(("timeCode", "timecode", labels.timecode.clock.to_bytes(4, "big") + bytes(4)))
    texts = ({"reelName": labels.reel} if labels.reel else {}) | labels.notes
    said += [(name, "string", text.encode()) for name, text in texts.items()]
    return (
        b"".join(f"{name}\0{kind}\0".encode() + struct.pack("<i", len(data)) + data for name, kind, data in said)
        + b"\0"
    )


def package_attributes(openexr: Any, labels: Labels, rate: Fraction | None) -> dict[str, Any]:
    """The attributes of `header_of` that are not those of pixels, as the OpenEXR package takes them."""
    said: dict[str, Any] = {"pixelAspectRatio": float(labels.pixel_aspect), **labels.notes}
    if chromaticities := labels.chromaticities or PRIMARIES.get(labels.colour.primaries):
        said["chromaticities"] = chromaticities
    if rate is not None:
        said["framesPerSecond"] = rate
    if labels.timecode is not None and labels.timecode.clock is not None:
        clock = openexr.TimeCode()
        clock.hours, clock.minutes, clock.seconds, clock.frame, second = labels.timecode.counted
        clock.dropFrame = labels.timecode.drop
        setattr(clock, "bgf2" if labels.timecode.base == 50 else "fieldPhase", bool(second))
        said["timeCode"] = clock
    return said | ({"reelName": labels.reel} if labels.reel else {})
