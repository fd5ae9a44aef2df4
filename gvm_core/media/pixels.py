"""Converts decoded frames to tensors, with every level exact, and tensors to frames.

FFmpeg's scaler only undoes chroma subsampling and packing here. Its own conversion to 16-bit RGB loses levels: 8-bit
white becomes 0.996, and a video's white 0.992 to 0.996.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import MediaError
from .colours import ATTRIBUTES, FULL_RANGE, UNSPECIFIED, ColourTags
from .orientation import upright

if TYPE_CHECKING:
    import av
    from av.video.plane import VideoPlane

BT601 = (0.299, 0.114)
BT709 = (0.2126, 0.0722)
BT2020 = (0.2627, 0.0593)
MATRICES = {1: BT709, 4: (0.30, 0.11), 5: BT601, 6: BT601, 7: (0.212, 0.087), 9: BT2020, 10: BT2020}
"""The weights of red and blue in luma, by the number of the file's colour matrix (ITU-T H.273, table 4)."""
YCGCO = 8
UNREADABLE = {11: "SMPTE ST 2085", 13: "chromaticity-derived constant luminance", 14: "ICtCp"}

REC709 = ColourTags()

SAME_RANGE = {"src_color_range": "MPEG", "dst_color_range": "MPEG", "interpolation": "BICUBIC"}
"""Options of a conversion that changes no level, for any range of the file."""


def rgb(frame: av.VideoFrame, path: Path, declared: int = UNSPECIFIED) -> Tensor:
    """A decoded frame of ``path`` as ``[3, H, W]`` float32, upright, in the light of the file; alpha is dropped.

    A frame without a colour tag has the matrix ``declared`` by its container. Without that it is read as BT.709 if it has
    720 lines or more, else as BT.601, as players do.

    Raises:
        MediaError: If the frame's colours are of a kind that cannot be read here.
    """
    return upright(channels(frame, path, declared, alpha=False), frame, path)


def rgba(frame: av.VideoFrame, path: Path, declared: int = UNSPECIFIED) -> Tensor:
    """A decoded frame with its alpha as ``[4, H, W]``, else like `rgb`; straight or premultiplied as it is stored.

    Raises:
        MediaError: If the frame of the file ``path`` has no alpha.
    """
    if not has_alpha(frame):
        raise MediaError(f"{path} has no alpha channel (its pixels are {frame.format.name})")
    return upright(channels(frame, path, declared, alpha=True), frame, path)


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether a decoded frame has an alpha channel."""
    return any(component.is_alpha for component in frame.format.components)


def channels(frame: av.VideoFrame, path: Path, declared: int = UNSPECIFIED, *, alpha: bool) -> Tensor:
    """A frame as ``[3, H, W]``, or as ``[4, H, W]`` with its alpha; 0..1 unless its pixels are floating-point."""
    layout = frame.format
    if "f16" in layout.name or "f32" in layout.name:
        return float_planes(frame, 4 if alpha else 3)
    if layout.is_rgb or layout.has_palette or layout.name.startswith("xyz"):
        return from_rgb(frame, alpha=alpha)
    luma = layout.components[0].bits
    if len(layout.components) < 3:
        grey, *rest = planes(frame, "ya16le" if len(layout.components) == 2 else "gray16le")
        return torch.stack([exact(grey, luma)] * 3 + [exact(plane, luma) for plane in rest if alpha])
    matrix = int(frame.colorspace)
    matrix = declared if matrix == UNSPECIFIED else matrix
    if matrix in UNREADABLE:
        raise MediaError(
            f"{path} has {UNREADABLE[matrix]} colours, which cannot be read; convert it to BT.2020 or BT.709"
        )
    y, u, v, *rest = planes(frame, "yuva444p16le" if alpha else "yuv444p16le")
    return torch.cat([from_yuv(frame, matrix, y, u, v), *(exact(plane, luma)[None] for plane in rest)])


def from_rgb(frame: av.VideoFrame, *, alpha: bool) -> Tensor:
    """An RGB picture of integers. FFmpeg expands 9 to 16 bits to 16 correctly, but not 8 bits, so those stay 8."""
    if frame.format.name.endswith(("555be", "565be")):  # FFmpeg 8 reads these as if they were little-endian
        frame = restated(frame, f"{frame.format.name.removesuffix('be')}le", ">u2", "<u2")
    shallow = max(component.bits for component in frame.format.components) <= 8
    wanted = ("rgba" if alpha else "rgb24") if shallow else ("rgba64le" if alpha else "rgb48le")
    levels = convert(frame, format=wanted).to_ndarray()  # [H, W, C]
    return torch.from_numpy(levels.astype(np.float32)).movedim(-1, 0) / (255 if shallow else 65535)


def from_yuv(frame: av.VideoFrame, matrix: int, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> Tensor:
    """RGB ``[3, H, W]`` from luma and chroma ``[H, W]``, stored in the upper bits of 16 (ITU-T H.273, section 8.3)."""
    bits = frame.format.components[0].bits
    unit = 1 << (bits - 8)
    full = int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj")
    black, luma_range, chroma_range = (
        (0, 256 * unit - 1, 256 * unit - 1) if full else (16 * unit, 219 * unit, 224 * unit)
    )
    luma = (torch.from_numpy((y >> (16 - bits)).astype(np.float32)) - black) / luma_range
    blue, red = (
        (torch.from_numpy(plane.astype(np.float32)) / (1 << (16 - bits)) - 128 * unit) / chroma_range
        for plane in (u, v)
    )
    if matrix == YCGCO:  # ``blue`` holds Cg, ``red`` Co
        return torch.stack([luma - blue + red, luma + blue, luma - blue - red]).clamp(0, 1)
    kr, kb = MATRICES.get(matrix, BT709 if frame.height >= 720 else BT601)
    red, blue = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return torch.stack([red, green, blue]).clamp(0, 1)


def exact(plane: np.ndarray, bits: int) -> Tensor:
    """Full-range levels in the upper bits of 16, as 0..1. The lower bits, which FFmpeg filled, are ignored."""
    return torch.from_numpy((plane >> (16 - bits)).astype(np.float32)) / ((1 << bits) - 1)


def planes(frame: av.VideoFrame, wide: str) -> list[np.ndarray]:
    """A frame's components ``[H, W]`` at full size, in the upper bits of 16, converted through the format ``wide``."""
    if frame.format.name.startswith("yuvj"):  # FFmpeg converts the range of these, whatever it is asked to do
        frame = restated(frame, frame.format.name.replace("yuvj", "yuv"))
    converted = convert(frame, format=wide, **SAME_RANGE)
    packed = 2 if wide == "ya16le" else 1
    return [
        row[:, part : plane.width * packed : packed] for plane, row in rows(converted, "<u2") for part in range(packed)
    ]


def restated(frame: av.VideoFrame, pixels: str, kind: str = "u1", ours: str = "u1") -> av.VideoFrame:
    """A frame of another pixel format with the same numbers: of numpy's type ``kind``, and there of the type ``ours``."""
    import av

    same = av.VideoFrame(frame.width, frame.height, pixels)
    for plane, (_, row) in zip(same.planes, rows(frame, kind), strict=True):
        store(plane, row[:, : plane.width].astype(ours))
    return same


def rows(frame: av.VideoFrame, kind: str) -> list[tuple[VideoPlane, np.ndarray]]:
    """Each plane of a frame, and its values as numpy type ``kind``, with the padding on the right."""
    return [(plane, np.frombuffer(bytes(plane), kind).reshape(plane.height, -1)) for plane in frame.planes]


def float_planes(frame: av.VideoFrame, count: int) -> Tensor:
    """A floating-point picture as ``[C, H, W]``, unclamped: FFmpeg's own conversion would clamp it to 1."""
    order = "<" if frame.format.name.endswith("le") else ">"
    kind, parts = f"{order}f{2 if 'f16' in frame.format.name else 4}", len(frame.format.components)
    if len(frame.planes) == 1:  # packed: red, green, blue, or grey, then alpha
        found = [row[:, part : parts * frame.width : parts] for _, row in rows(frame, kind) for part in range(parts)]
    else:
        green, blue, red, *rest = (row[:, : plane.width] for plane, row in rows(frame, kind))
        found = [red, green, blue, *rest]
    found = [found[0]] * 3 + found[1:] if parts < 3 else found
    return torch.stack([torch.from_numpy(each.astype(np.float32)) for each in found[:count]])


def deep_frame(picture: Tensor) -> av.VideoFrame:
    """A matte ``[1, H, W]``, picture ``[3, H, W]`` or subject ``[4, H, W]`` in 0..1 as 16-bit grey, RGB or RGBA."""
    import av

    count, height, width = picture.shape
    levels = (picture.clamp(0, 1) * 65535).round().movedim(0, -1).reshape(height, width * count)
    frame = av.VideoFrame(width, height, {1: "gray16le", 3: "rgb48le", 4: "rgba64le"}[count])
    store(frame.planes[0], levels.contiguous().cpu().numpy().astype("<u2"))
    return frame


def frame_for(picture: Tensor, pixels: str, colour: ColourTags = REC709) -> av.VideoFrame:
    """A matte ``[1, H, W]``, a picture ``[3, H, W]`` or a subject ``[4, H, W]`` as a frame of an encoder's pixel format.

    Values are 0..1, alpha is last. RGB, grey and alpha use full range. Planar YUV uses video range (16 to 235 in 8 bits)
    and the matrix of ``colour``; a matte's chroma is neutral. FFmpeg only subsamples here: its own conversion from 16 bits
    makes white 236. The frame has no tags; see `tagged`.
    """
    import av

    layout = av.VideoFormat(pixels, picture.shape[-1], picture.shape[-2])
    if layout.is_rgb or len(layout.components) < 3:
        return convert(deep_frame(picture), format=pixels)
    levels = yuv_levels(picture, *MATRICES[colour.written(rgb=False).matrix])
    return frame_from_yuv(levels, pixels, picture[3] if len(picture) == 4 else None)


def yuv_levels(picture: Tensor, kr: float, kb: float) -> list[Tensor]:
    """Luma and chroma ``[H, W]`` of a matte or of a picture's first three channels, as levels of 8 bits with fractions.

    A matte has no chroma: its list has one entry.
    """
    if len(picture) == 1:
        return [16 + 219 * picture[0].clamp(0, 1)]
    red, green, blue = picture[:3].clamp(0, 1)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    return [16 + 219 * luma, *(128 + 112 * part for part in ((blue - luma) / (1 - kb), (red - luma) / (1 - kr)))]


def frame_from_yuv(levels: list[Tensor], pixels: str, alpha: Tensor | None) -> av.VideoFrame:
    """A frame of the planar YUV format ``pixels`` from `yuv_levels`, and alpha ``[H, W]`` if the format has it."""
    import av

    height, width = levels[0].shape
    opaque = pixels.replace("yuva", "yuv")
    chroma = av.VideoFormat(opaque, width, height).components[1]
    whole = len(levels) == 1 or (chroma.width, chroma.height) == (width, height)
    frame = av.VideoFrame(width, height, opaque if whole else "yuv444p16le")
    bits = frame.format.components[0].bits
    neutral = [torch.full((plane.height, plane.width), 128.0) for plane in frame.planes[len(levels) :]]
    for plane, values in zip(frame.planes, [*levels, *neutral], strict=True):
        fill(plane, values / 256, bits)
    frame = convert(frame, format=opaque, **SAME_RANGE)
    if opaque == pixels:
        return frame
    both = av.VideoFrame(width, height, pixels)
    bits = both.format.components[3].bits
    kind = "u1" if bits == 8 else "<u2"
    for plane, (_, row) in zip(both.planes, rows(frame, kind), strict=False):
        store(plane, row[:, : plane.width])
    full = torch.ones(height, width) if alpha is None else alpha.clamp(0, 1)
    fill(both.planes[3], full * (1 - 0.5**bits), bits)
    return both


def tagged(frame: av.VideoFrame, colour: ColourTags) -> av.VideoFrame:
    """``frame`` with these colour tags. Older PyAV cannot set them all, so FFmpeg's ``setparams`` does."""
    try:
        for name, attribute in ATTRIBUTES.items():
            setattr(frame, attribute, getattr(colour, name))
    except AttributeError:
        pass
    else:
        return frame
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    tags = f"color_primaries={colour.primaries}:color_trc={colour.transfer}:colorspace={colour.matrix}"
    graph.link_nodes(source, graph.add("setparams", tags), graph.add("buffersink")).configure()
    frame.colorspace = UNSPECIFIED
    graph.push(frame)
    done: Any = graph.pull()
    return done


def fill(plane: VideoPlane, levels: Tensor, bits: int) -> None:
    """Write ``levels`` ``[H, W]``, fractions of ``2 ** bits``, into a plane: one byte for 8 bits, two for more."""
    whole = (levels * (1 << bits)).round().clamp(0, (1 << bits) - 1)
    store(plane, whole.numpy().astype("u1" if bits == 8 else "<u2"))


def store(plane: VideoPlane, values: np.ndarray) -> None:
    """Write ``values`` ``[H, W]``, of the plane's own type, into a plane, whose lines have padding on the right.

    A packed plane has so many values for each pixel as it has components.
    """
    padded = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
    padded[:, : values.shape[1]] = values
    plane.update(padded.tobytes())


def convert(frame: av.VideoFrame, **options: Any) -> av.VideoFrame:
    """``frame.reformat`` on one thread, if PyAV has this option.

    With several threads, FFmpeg's scaler sometimes writes wrong pixels where the rows of two threads meet (seen with
    FFmpeg 8.1 on small grey frames: eight pixels in a row at mid grey, once in a dozen frames).
    """
    try:
        return frame.reformat(**options, threads=1)
    except TypeError:  # older PyAV has no ``threads`` here
        return frame.reformat(**options)
