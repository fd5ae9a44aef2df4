"""What every pixel format becomes: white is 1, black is 0, and all levels between are where they should be."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from gvm_core.media.pixels import channels, convert, frame_for, rgb, rgba
from gvm_core.media.sequence import read_picture

GREY = ("gray", "gray9le", "gray10be", "gray12le", "gray14le", "gray16le", "gray16be", "ya8", "ya16le", "ya16be")
RGB = (
    *("rgb24", "bgr24", "rgb0", "rgba", "argb", "bgra", "gbrp", "gbrap", "rgb48le", "rgb48be", "rgba64le", "rgba64be"),
    *("gbrp9le", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16be", "gbrap10le", "gbrap12le", "gbrap16le"),
)
PLANAR_YUV = (
    *("yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv410p", "yuv440p", "yuva420p", "yuva422p", "yuva444p"),
    *(
        "yuvj420p",
        "yuvj444p",
        "yuv420p9le",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p10le",
        "yuv422p12le",
        "yuv444p12le",
        "yuv444p14le",
    ),
    *("yuv420p16le", "yuv444p16be", "yuva444p10le", "yuva420p10le", "yuva444p12le", "yuva444p16le"),
)
RAMP = 256
FILE = Path("clip.mkv")


def frame_of(name, levels, *, neutral=False):
    """A frame of a planar format whose components have ``levels`` in each row; with ``neutral`` only the first has."""
    frame = av.VideoFrame(len(levels), 8, name)
    bits = frame.format.components[0].bits
    order = ">" if name.endswith("be") else "<"
    kind = np.dtype("u1") if bits == 8 else np.dtype(f"{order}u2")
    for index, plane in enumerate(frame.planes):
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : plane.width] = 1 << (bits - 1) if neutral and index in (1, 2) else levels[: plane.width]
        plane.update(rows.tobytes())
    return frame


def ramp(bits, low=0, high=None):
    return np.round(np.linspace(low, (1 << bits) - 1 if high is None else high, RAMP)).astype(np.uint16)


@pytest.mark.parametrize(
    "name", ["gray", "gray10le", "gray12le", "gray16le", "gbrp", "gbrp10le", "gbrp12le", "gbrp16be"]
)
def test_every_level_of_a_grey_or_rgb_picture_is_what_it_says(name):
    bits = av.VideoFormat(name, 8, 8).components[0].bits
    levels = ramp(bits)
    expected = torch.from_numpy(levels / ((1 << bits) - 1)).float().expand(3, 8, RAMP)
    assert (rgb(frame_of(name, levels), FILE) - expected).abs().max() <= 1 / 65535  # FFmpeg rounds 10 bits to 16


@pytest.mark.parametrize("name", [*GREY, *RGB, "pal8", "monow", "monob"])
def test_white_is_one_and_black_is_nothing(name):
    for level in (0, 65535):
        deep = av.VideoFrame.from_ndarray(np.full((8, 8, 4), [level] * 3 + [65535], np.uint16), format="rgba64le")
        if name == "pal8":
            palette = np.full((256, 4), 255, np.uint8)
            palette[:, 1:] = level // 257
            indices: Any = (np.zeros((8, 8), np.uint8), palette)
            frame = av.VideoFrame.from_ndarray(indices, format="pal8")
        else:
            frame = convert(
                convert(deep, format="rgba") if av.VideoFormat(name, 8, 8).components[0].bits == 8 else deep,
                format=name,
            )
        assert (rgb(frame, FILE) - level / 65535).abs().max() < 1e-4  # older FFmpegs make 16-bit grey of RGB so
        if any(component.is_alpha for component in frame.format.components):
            assert (rgba(frame, FILE)[3] - 1).abs().max() == 0


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", PLANAR_YUV)
def test_every_level_of_a_videos_luma_is_what_it_says(name, full):
    bits = av.VideoFormat(name, 8, 8).components[0].bits
    full = full or "yuvj" in name
    low, high = (0, (1 << bits) - 1) if full else (16 << (bits - 8), 235 << (bits - 8))
    levels = ramp(bits, low, high)
    frame = frame_of(name, levels, neutral=True)
    frame.color_range = 2 if full else 1
    expected = torch.from_numpy((levels - low) / (high - low)).float()
    assert (rgb(frame, FILE) - expected).abs().max() < 1e-3  # neutral chroma comes out of interpolation a little off
    if "yuva" in name:
        alpha = torch.from_numpy(levels / ((1 << bits) - 1)).float()
        assert (channels(frame, FILE, alpha=True)[3] - alpha).abs().max() < 1e-6


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("tag", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (7, 0.212, 0.087), (9, 0.2627, 0.0593)]
)
def test_colours_of_a_video_follow_its_matrix_and_range(bits, full, tag, kr, kb):
    random = np.random.default_rng(bits)
    colours = random.random((3, RAMP))
    luma = kr * colours[0] + kb * colours[2] + (1 - kr - kb) * colours[1]
    chroma = [(colours[2] - luma) / (2 - 2 * kb), (colours[0] - luma) / (2 - 2 * kr)]
    top, unit = (1 << bits) - 1, 1 << (bits - 8)
    scale = (top, top) if full else (219 * unit, 224 * unit)
    levels = [luma * scale[0] + (0 if full else 16 * unit), *(plane * scale[1] + 128 * unit for plane in chroma)]
    frame = av.VideoFrame(RAMP, 8, "yuv444p" if bits == 8 else f"yuv444p{bits}le")
    for plane, row in zip(frame.planes, levels, strict=True):
        kind = "u1" if bits == 8 else "<u2"
        rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        rows[:, :RAMP] = np.round(row).clip(0, top)
        plane.update(rows.tobytes())
    frame.colorspace, frame.color_range = tag, 2 if full else 1
    step = 1.6 / scale[1] + 1e-5  # three components, each rounded to its level
    assert (rgb(frame, FILE)[:, 0] - torch.from_numpy(colours).float()).abs().max() < step


@pytest.mark.parametrize(("suffix", "encoder", "pixels"), [
    (".png", "png", "gray"), (".png", "png", "rgb24"), (".png", "png", "ya8"), (".bmp", "bmp", "bgr24"),
    (".tiff", "tiff", "gray"), (".tiff", "tiff", "rgb24"), (".webp", "libwebp", "bgra"),
])  # fmt: skip
def test_the_white_of_a_picture_file_is_one(tmp_path, suffix, encoder, pixels):
    white = np.full((16, 16), 255, np.uint8)
    codec = av.CodecContext.create(encoder, "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 16, 16, pixels, Fraction(1)
    frame = convert(av.VideoFrame.from_ndarray(white, format="gray"), format=pixels)
    path = tmp_path / f"white{suffix}"
    path.write_bytes(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)]))
    assert (read_picture(path) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "yuv444p10le", "gray16le"])
def test_a_matte_is_written_at_the_level_it_has(pixels):
    matte = torch.linspace(0, 1, 256).expand(1, 16, 256)
    back = rgb(frame_for(matte, pixels), FILE)
    bits = av.VideoFormat(pixels, 8, 8).components[0].bits
    assert (back - matte).abs().max() < (0.51 / (219 << (bits - 8)) + 1e-3 if "yuv" in pixels else 1e-5)
    assert back[:, :, 0].abs().max() < 1e-3 and (back[:, :, -1] - 1).abs().max() < 1e-3


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv444p10le", "gbrp16le", "rgb48be"])
def test_a_picture_is_written_in_the_colours_it_has(pixels):
    picture = torch.rand(3, 16, 64, generator=torch.Generator().manual_seed(0))
    frame = frame_for(picture, pixels)
    frame.colorspace = 1
    assert (rgb(frame, FILE) - picture).abs().max() < (1.2 / 112 if pixels == "yuv444p" else 0.3 / 112)
