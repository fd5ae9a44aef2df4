"""What can be written: every delivery format as data, and which of them a file name means."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ..errors import MediaError

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp", ".dpx"}
PICTURES |= {".tga", ".jp2", ".ppm", ".hdr"}
"""Suffixes of pictures that are read."""
FILMS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".gif", ".m4v", ".mxf", ".wmv", ".ts"}
"""Suffixes of videos. FFmpeg reads many more."""
MATTE, PICTURE, SUBJECT = 1, 3, 4
"""Channels of what is written: a matte alone, RGB, RGB and alpha."""
ONLY = {MATTE: "mattes", PICTURE: "pictures", SUBJECT: "subjects with alpha"}
KEYS = {"g": "32", "keyint_min": "32"}
"""A key frame in every 32 frames and no other, so that those of VP9's colour and of its alpha come together."""


@dataclass(frozen=True)
class Format:
    """One delivery format.

    Attributes:
        name: Its name in settings.
        title: Its name in menus.
        suffix: The suffix of its files.
        kind: One file ("video"), or one for each frame ("pictures").
        encoder: FFmpeg's name of the encoder; "exr" for our own.
        matte: Pixel format for mattes alone. For EXR all three are "half" or "float".
        picture: Pixel format for RGB.
        subject: Pixel format for RGB and alpha; None if the format has no alpha.
        alpha_bits: Bits in which the alpha of one pixel is stored; 0 without alpha. ProRes has 16, but FFmpeg gives it 10.
        options: The encoder's options.
        exact: More options for mattes alone and for alpha, which must come back as they are.
        odd: Pixel format for frames with an odd width or height; empty if they need no other.
        part_suffix: Suffix of the parts of a run, which chooses their container; empty for pictures.
        tag: The tag of its stream, where the encoder makes streams of several kinds; empty if it does not matter.
        usual_alpha: What most programs expect of its colour: "straight" or "premultiplied"; empty without alpha.
    """

    name: str
    title: str
    suffix: str
    kind: Literal["video", "pictures"]
    encoder: str
    matte: str
    picture: str
    subject: str | None
    alpha_bits: int = 0
    options: dict[str, str] = field(default_factory=dict)
    exact: dict[str, str] = field(default_factory=dict)
    odd: str = ""
    part_suffix: str = ""
    tag: str = ""
    usual_alpha: str = ""

    def pixels(self, channels: int, height: int, width: int) -> str:
        """The pixel format for frames ``[channels, height, width]``: 1 for a matte, 3 for RGB, 4 with alpha.

        Raises:
            MediaError: If the format cannot hold them.
        """
        found = {MATTE: self.matte, PICTURE: self.picture, SUBJECT: self.subject}.get(channels, "")
        if found is None:
            raise MediaError(f"{self.title} has no alpha. For the subject with its alpha take {listed_with_alpha()}")
        if not found:
            raise MediaError(f"frames need 1 channel (a matte), 3 (RGB) or 4 (RGB and alpha), not {channels}")
        return self.odd if self.odd and (height % 2 or width % 2) else found


H264 = {"crf": "12", "preset": "medium", "bf": "0", "mbtree": "0"}
"""x264's ``mbtree`` is off. With it, the same small frames (48x32, 96x64) gave other bytes in one of twenty runs on a busy
machine, but a resumed run must give the same bytes."""
VP9 = {"crf": "16", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "0", "auto-alt-ref": "0", **KEYS}
"""Without alternative reference frames, which lose alpha. Threads for rows are off: with them, bytes depend on threads."""
PRORES = {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"}
DEEP_444, DEEP_444_ALPHA = "yuv444p10le", "yuva444p10le"

ALL = (
    Format(
        name="prores4444",
        title="ProRes 4444 (.mov)",
        suffix=".mov",
        kind="video",
        encoder="prores_ks",
        matte=DEEP_444,
        picture=DEEP_444,
        subject=DEEP_444_ALPHA,
        alpha_bits=16,
        options=PRORES,
        part_suffix=".mov",
        tag="ap4h",
        usual_alpha="straight",
    ),
    Format(
        name="prores4444xq",
        title="ProRes 4444 XQ (.mov)",
        suffix=".mov",
        kind="video",
        encoder="prores_ks",
        matte=DEEP_444,
        picture=DEEP_444,
        subject=DEEP_444_ALPHA,
        alpha_bits=16,
        options={**PRORES, "profile": "5"},
        part_suffix=".mov",
        tag="ap4x",
        usual_alpha="straight",
    ),
    Format(
        name="vp9",
        title="VP9 (.webm)",
        suffix=".webm",
        kind="video",
        encoder="libvpx-vp9",
        matte="yuv420p",
        picture="yuv420p",
        subject="yuva420p",
        alpha_bits=8,
        options=VP9,
        exact={"lossless": "1", "crf": "-1", "cpu-used": "5"},
        part_suffix=".webm",
        usual_alpha="straight",
    ),
    Format(
        name="ffv1",
        title="FFV1, lossless (.mkv)",
        suffix=".mkv",
        kind="video",
        encoder="ffv1",
        matte="gray16le",
        picture="gbrp16le",
        subject="gbrap16le",
        alpha_bits=16,
        options={"level": "3"},
        part_suffix=".nut",
        usual_alpha="straight",
    ),
    Format(
        name="h264",
        title="H.264 (.mp4)",
        suffix=".mp4",
        kind="video",
        encoder="libx264",
        matte="yuv420p",
        picture="yuv420p",
        subject=None,
        options=H264,
        odd="yuv444p",
        part_suffix=".nut",
    ),
    Format(
        name="h264_10bit",
        title="H.264, 10 bits (.mp4)",
        suffix=".mp4",
        kind="video",
        encoder="libx264",
        matte="yuv420p10le",
        picture="yuv420p10le",
        subject=None,
        options={**H264, "crf": "4"},
        odd=DEEP_444,
        part_suffix=".nut",
    ),
    Format(
        name="png16",
        title="16-bit PNG",
        suffix=".png",
        kind="pictures",
        encoder="png",
        matte="gray16be",
        picture="rgb48be",
        subject="rgba64be",
        alpha_bits=16,
        usual_alpha="straight",
    ),
    Format(
        name="exr_half",
        title="OpenEXR, half (.exr)",
        suffix=".exr",
        kind="pictures",
        encoder="exr",
        matte="half",
        picture="half",
        subject="half",
        alpha_bits=16,
        options={"compression": "zip"},
        usual_alpha="premultiplied",
    ),
    Format(
        name="exr_float",
        title="OpenEXR, float (.exr)",
        suffix=".exr",
        kind="pictures",
        encoder="exr",
        matte="float",
        picture="float",
        subject="float",
        alpha_bits=32,
        options={"compression": "zip"},
        usual_alpha="premultiplied",
    ),
)
FORMATS = {form.name: form for form in ALL}
"""All formats, by name. No encoder here reorders frames, and each frame is one packet."""
PNG16 = FORMATS["png16"]
REVIEW = replace(
    FORMATS["h264"], name="review", title="H.264, for review", options={**H264, "preset": "ultrafast", "g": "12"}
)
"""For looking at a matte, not for delivery: written quickly, and a player finds each frame quickly."""
BY_SUFFIX = {".mp4": "h264", ".mov": "prores4444", ".mkv": "ffv1", ".webm": "vp9", ".png": "png16", ".exr": "exr_half"}
"""The format that a suffix means if none is named. A folder holds 16-bit PNGs."""
ENDING = re.compile(r"\.[a-z]{2,4}")
"""Looks like the ending of a file. In a name that does not exist, an unknown one is a mistake rather than a folder's dot."""


def format_for(path: str | Path, name: str | None = None, *, compression: str | None = None) -> Format:
    """The format of the output ``path``: a file, a folder, or a pattern such as ``shot.####.exr``.

    Args:
        path: The output. It does not need to exist.
        name: Name of the format, a key of `FORMATS`; None chooses it by the suffix. A name without a suffix is a folder.
        compression: Compression of EXR pictures; None for that of the format.

    Raises:
        MediaError: If there is no such format, the name and the suffix do not go together, or only EXR has compressions.

    Example:
        >>> format_for("a.mov").name, format_for("a.mov", "prores4444xq").name, format_for("shot.####.exr").name
        ('prores4444', 'prores4444xq', 'exr_half')
        >>> format_for("folder").name, format_for("folder", "exr_float").title
        ('png16', 'OpenEXR, float (.exr)')
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        named = FORMATS.get(BY_SUFFIX.get(suffix, ""), PNG16).kind == "video"
    else:
        named = suffix in FILMS | PICTURES or ENDING.fullmatch(suffix)
    if not named:
        suffix = ""  # a folder's name may hold dots
    if name is None:
        if suffix and suffix not in BY_SUFFIX:
            raise MediaError(f"{suffix} is not written; use {', '.join(BY_SUFFIX)}, or a folder for 16-bit PNGs")
        form = FORMATS[BY_SUFFIX.get(suffix, PNG16.name)]
    elif name not in FORMATS:
        raise MediaError(f"there is no format {name!r}; there are {', '.join(FORMATS)}")
    else:
        form = FORMATS[name]
        if suffix != form.suffix and not (form.kind == "pictures" and not suffix):
            place = "a folder name, or a name" if form.kind == "pictures" else "a name"
            raise MediaError(f"{form.title} does not go into {path.name!r}; give it {place} that ends in {form.suffix}")
    if compression is None:
        return form
    if form.encoder != "exr":
        raise MediaError(f"{form.title} has no choice of compression ({compression!r}); only EXR has one")
    return replace(form, options={"compression": compression})


def listed_with_alpha() -> str:
    """The formats that hold alpha, as a sentence names them."""
    return ", ".join(form.name for form in FORMATS.values() if form.subject is not None)


def refuse_missing(form: Format, channels: int | None = None) -> None:
    """Raise `MediaError` if this FFmpeg cannot write ``form``, or its frames of so many ``channels``; see `available`."""
    import av

    if available(form, channels):
        return
    others = [each.name for each in FORMATS.values() if each.suffix == form.suffix and available(each, channels)]
    others += [each.name for each in FORMATS.values() if each.suffix != form.suffix and available(each, channels)]
    kind = "" if channels is None else f" for {ONLY[channels]}"
    raise MediaError(
        f"{form.title} cannot be written: PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info} lacks the encoder "
        f"{form.encoder}{f' ({form.tag})' if form.tag else ''}{kind}. Choose another format ({', '.join(others)}), or "
        "install the newest PyAV from PyPI: pip install --upgrade --force-reinstall av"
    )


@cache
def known_pixels(encoder: str, options: tuple[tuple[str, str], ...], tag: str) -> frozenset[str] | None:
    """The pixel formats of ``encoder``, empty if it does not say; None if it is not there, or makes no streams of ``tag``."""
    import av
    from av.error import FFmpegError

    try:
        codec: Any = av.Codec(encoder, "w")
    except ValueError:  # PyAV's error of an unknown codec
        return None
    known = frozenset(layout.name for layout in codec.video_formats or ())
    if tag:  # FFmpeg 7.1.0 does not hear the option ``profile``, and makes other streams
        trial: Any = av.CodecContext.create(encoder, "w")
        trial.width, trial.height, trial.pix_fmt = 64, 64, DEEP_444
        trial.time_base, trial.options = Fraction(1, 24), dict(options)
        try:
            trial.open()
        except (FFmpegError, ValueError):
            return None
        return known if trial.codec_tag == tag else None
    return known


def available(form: Format, channels: int | None = None) -> bool:
    """Whether this FFmpeg has the encoder of ``form`` and, if ``channels`` is given, writes frames of so many."""
    wanted = {MATTE: form.matte, PICTURE: form.picture, SUBJECT: form.subject}.get(channels or MATTE)
    if form.encoder == "exr" or wanted is None:
        return wanted is not None
    known = known_pixels(form.encoder, tuple(form.options.items()), form.tag)
    return known is not None and (channels is None or not known or wanted in known)
