"""Every pixel format beside FFmpeg's own tools: a user would lose the right colours of one camera or one program."""

import shutil
import subprocess
from contextlib import suppress

import av
import numpy as np
import pytest
import torch
from av.error import FFmpegError
from support import shown, with_matrix

from gvm_core.errors import MediaError
from gvm_core.media import open_frames
from gvm_core.media.orientation import EXIF
from gvm_core.media.pixels import MATRICES, rgb

FFMPEG = shutil.which("ffmpeg")
WIDTH, HEIGHT, BAR = 96, 32, 16
"""Bars of one colour, so that neither side interpolates chroma where it is looked at."""
NAMES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
WITHOUT = (
    "bayer",
    "pal8",
    "xyz",
    "mono",
    "_vld",
    "vaapi",
    "vdpau",
    "qsv",
    "cuda",
    "drm",
    "d3d",
    "dxva",
    "mmal",
    "vulkan",
)

WITH_EXIF = {"tiff"}
"""FFmpeg 8 gives their frames EXIF, and then PyAV 18 cannot read how they are mirrored, only how they are turned."""
HARDWARE = ("nvenc", "qsv", "vaapi", "vulkan", "_mf", "amf", "v4l2", "videotoolbox", "d3d12", "mediacodec", "omx")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FFMPEG is None, reason="pixel formats beside ffmpeg are NOT tested: there is no ffmpeg"),
]


def formats():
    """The formats that both FFmpegs can make: the command line's and PyAV's."""
    if FFMPEG is None:
        return ["none"]
    lines = subprocess.run([FFMPEG, "-v", "error", "-pix_fmts"], capture_output=True, text=True).stdout.splitlines()
    listed = [line.split() for line in lines if len(line.split()) >= 4 and line[0] in "I."]
    made = [name for flags, name, *_ in listed if flags[0] == "I" and flags[1] == "O" and "P" not in flags]
    return sorted(name for name in made if name in av.video.format.names and not any(part in name for part in WITHOUT))


def bars(path):
    """Bars of many colours, as a 16-bit PNG."""
    colours = np.random.RandomState(0).randint(0, 65536, (2, WIDTH // BAR, 3)).astype(np.uint16)
    colours[0, 0], colours[0, 1] = 65535, 0
    levels = colours.repeat(HEIGHT // 2, 0).repeat(BAR, 1)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, "rgb48be", 1
    frame = av.VideoFrame.from_ndarray(levels, format="rgb48le").reformat(format="rgb48be")
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


def raw_frame(path, name):
    """The frame in a file without a header."""
    options = {"pixel_format": name, "video_size": f"{WIDTH}x{HEIGHT}"}
    with av.open(str(path), format="rawvideo", options=options) as container:
        return next(container.decode(video=0))


def centres(picture):
    """The middle of each bar."""
    return picture[:, HEIGHT // 4 :: HEIGHT // 2, BAR // 2 :: BAR]


def variants(frame):
    """The colour matrices and ranges that make a difference to ``frame``."""
    layout = frame.format
    if layout.is_rgb or layout.name.startswith("yuvj"):
        return [(2, 2 if layout.name.startswith("yuvj") else 0)] if layout.is_rgb else [(tag, 2) for tag in NAMES]
    if len(layout.components) < 3:
        return [(1, 2)]
    return [(tag, full) for tag in NAMES for full in (1, 2)]


def as_ffmpeg_shows(path, name, cases, deep, tmp_path):
    """What the command line makes of the same bytes: ``[3, H, W]`` for each of ``cases``."""
    if deep:
        path, name = as_zscale_reads(path, name, tmp_path)
    command = [FFMPEG, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", name, "-s", f"{WIDTH}x{HEIGHT}", "-i", path]
    for number, (tag, full) in enumerate(cases):
        spread = "full" if full == 2 else "limited"
        if deep and tag in NAMES:
            tags = f"colorspace={NAMES[tag]}:range={spread}:color_trc=bt709:color_primaries=bt709"
            chain = f"setparams={tags},zscale=m=gbr:r=full,format=gbrpf32le"
        elif tag in NAMES and full:
            chain = f"scale=in_color_matrix={NAMES[tag]}:in_range={spread}:flags=accurate_rnd+full_chroma_int"
        else:
            chain = "null"
        pixels = "gbrpf32le" if deep else "rgb48le"
        command += ["-vf", chain, "-pix_fmt", pixels, "-f", "rawvideo", tmp_path / f"{number}.rgb"]
    subprocess.run(command, check=True, capture_output=True)
    for number in range(len(cases)):
        content = (tmp_path / f"{number}.rgb").read_bytes()
        if deep:
            green, blue, red = np.frombuffer(content, "<f4").reshape(3, HEIGHT, WIDTH).copy()
            yield torch.from_numpy(np.stack([red, green, blue])).clamp(0, 1)
        else:
            levels = np.frombuffer(content, "<u2").reshape(HEIGHT, WIDTH, 3).astype(np.float32)
            yield torch.from_numpy(levels).movedim(-1, 0) / 65535


def as_zscale_reads(path, name, tmp_path):
    """The same levels, planar and little-endian: others reach zscale by way of another filter, a level off."""
    kind, order = ("f4" if "f32" in name else "u2"), (">" if name.endswith("be") else "<")
    levels = np.fromfile(path, f"{order}{kind}").astype(f"<{kind}")
    planar, size = f"{name.removesuffix('be').removesuffix('le')}le", WIDTH * HEIGHT
    if name.startswith(("p0", "p2", "p4")):  # luma, then chroma in pairs
        pairs = levels[size:].reshape(-1, 2)
        levels = np.concatenate([levels[:size], pairs[:, 0], pairs[:, 1]])
        planar = {"p0": "yuv420p16le", "p2": "yuv422p16le", "p4": "yuv444p16le"}[name[:2]]
    elif name.startswith("ayuv64"):
        levels, planar = levels.reshape(-1, 4).T[1:].flatten(), "yuv444p16le"
    levels.tofile(tmp_path / "planar.raw")
    return tmp_path / "planar.raw", planar


@pytest.mark.parametrize("name", formats())
def test_a_pixel_format_has_the_colours_that_ffmpeg_shows(tmp_path, name):
    picture, raw = tmp_path / "bars.png", tmp_path / "frame.raw"
    bars(picture)
    made = [FFMPEG, "-v", "error", "-y", "-i", picture, "-pix_fmt", name, "-f", "rawvideo", raw]
    subprocess.run(made, check=True, capture_output=True)
    frame = raw_frame(raw, name)
    bits = max(component.bits for component in frame.format.components)
    yuv = not frame.format.is_rgb and len(frame.format.components) > 2
    exact = bits >= 16  # float, too
    deep = exact and (yuv or name.startswith(("gbrpf32", "gbrapf32")))
    cases = variants(frame)
    least = min(component.bits for component in frame.format.components if not component.is_alpha)
    step = 0.2 / 255 if exact else max(1.5 / 255, 1.5 / (2**least - 1) if least < 8 else 0)
    for (tag, full), wanted in zip(cases, as_ffmpeg_shows(raw, name, cases, deep, tmp_path), strict=True):
        frame = raw_frame(raw, name)
        frame.colorspace, frame.color_range = tag, full
        found = rgb(frame, raw)
        assert (centres(found) - centres(wanted)).abs().max() <= step, (tag, full)


def encoders():
    """Every software encoder for pictures."""
    for name in sorted(av.codecs_available):
        with suppress(ValueError):
            codec = av.Codec(name, "w")
            if (
                name not in WITH_EXIF
                and codec.type == "video"
                and codec.video_formats
                and not any(part in name for part in HARDWARE)
            ):
                yield name, [layout.name for layout in codec.video_formats]


def noise(path, encoder, pixels):
    """One frame of noise in a .mov; nothing if this encoder or the container does not take the format."""
    width, height = (720, 576) if encoder == "dvvideo" else (96, 64)
    levels = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    with suppress(FFmpegError, ValueError, OSError), av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode(None))


def first(path):
    with open_frames(path) as reader:
        return next(iter(reader))


@pytest.mark.parametrize(("encoder", "layouts"), list(encoders()))
def test_what_every_encoder_writes_is_upright_in_all_eight_orientations(tmp_path, encoder, layouts):
    for pixels in layouts:
        path = tmp_path / f"{pixels}.mov"
        noise(path, encoder, pixels)
        try:
            stored = first(path)
        except MediaError:  # this .mov cannot be read back, by FFmpeg's own tools neither
            assert subprocess.run([FFMPEG, "-v", "error", "-i", path, "-f", "null", "-"]).returncode
            continue
        for matrix in EXIF:
            with_matrix(path, matrix)
            assert torch.equal(first(path), shown(stored, matrix)), (pixels, matrix)


@pytest.mark.parametrize("matrix", EXIF)
def test_upright_is_what_ffmpeg_calls_upright(tmp_path, matrix):
    path, raw = tmp_path / "v.mov", tmp_path / "v.rgb"
    noise(path, "png", "rgb24")
    with_matrix(path, matrix)
    subprocess.run([FFMPEG, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", raw], check=True)
    found = first(path)
    wanted = np.fromfile(raw, np.uint8).reshape(*found.shape[1:], 3)
    assert np.array_equal((found.movedim(0, -1) * 255).round().numpy(), wanted)


def test_all_matrices_are_compared():
    assert set(NAMES) | {10} == set(MATRICES), "10 is 9 with constant luminance, which FFmpeg's scaler reads as 9"
