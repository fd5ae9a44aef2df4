"""Encodes frames into a video, and labels it: colours, pixel aspect, timecode, kind of alpha."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ..errors import MediaError, cause
from .colours import ATTRIBUTES, FULL_RANGE, VIDEO_RANGE
from .container import open_container
from .formats import PICTURE, SUBJECT, Format, refuse_missing
from .pixels import frame_for, tagged
from .timecode import UNLABELLED, Labels

ALPHA_DATA = "matroska_block_additional"
"""Where a packet of WebM carries its alpha."""
ANY_TAG = {".mov", ".mp4"}
"""Containers that keep tags of any name only if they are asked to."""


class VideoWriter:
    """Encodes consecutive frames into a file that `join_videos` can join with other files, or that is delivered as it is.

    Mattes become grey in the format's range. Pictures and subjects have the colours that ``labels`` say. The file is not
    whole until the writer is closed, so a file to deliver is written with `atomic`.

    Args:
        path: The file to write. Its suffix is that of the format, or its ``part_suffix``.
        form: From `FORMATS`, of the kind "video".
        rate: Frames per second.
        labels: What the file says about its frames; the timecode is that of the first one.

    Raises:
        MediaError: If this FFmpeg does not have the encoder, before anything is written. While writing, if the encoder or
            the disk refuses, or the format cannot hold such frames.
    """

    def __init__(self, path: Path, form: Format, rate: Fraction, labels: Labels = UNLABELLED) -> None:
        self.path, self.form, self.rate, self.labels = path, form, rate, labels
        self.container: Any = None
        self.stream: Any = None
        self.alpha: AlphaTrack | None = None
        self.shape, self.count = torch.Size(), 0
        refuse_missing(form)

    def write(self, picture: Tensor) -> None:
        """Append a matte ``[1, H, W]``, a picture ``[3, H, W]``, or a subject ``[4, H, W]`` with its alpha, in 0..1.

        Colours are final: in the light of the labels, straight or premultiplied. All frames of a file are of one kind.
        """
        from av.error import FFmpegError

        container = self.container or self.open(picture.shape)
        if picture.shape != self.shape:
            raise MediaError(f"{self.path} has frames {list(self.shape)}; one of {list(picture.shape)} cannot follow")
        rgb = self.stream.format.is_rgb
        try:
            shown = picture[:PICTURE] if self.alpha is not None else picture
            frame = frame_for(shown, self.stream.pix_fmt, self.labels.colour)
            frame = tagged(frame, self.labels.colour.written(rgb=rgb))
            frame.pts, frame.time_base = self.count, 1 / self.rate
            packets = self.stream.encode(frame)
            container.mux(packets if self.alpha is None else self.alpha.joined(packets, picture[PICTURE]))
            self.count += 1
        except (FFmpegError, OSError) as error:
            raise self.failed(error) from error

    def open(self, shape: torch.Size) -> Any:
        """Open the container and its stream for frames of this shape. Return the container."""
        from av.error import FFmpegError

        self.shape, (channels, height, width) = shape, shape
        pixels = self.form.pixels(channels, height, width)
        refuse_missing(self.form, channels)
        options = self.form.options | (self.form.exact if channels != PICTURE else {})
        if channels == SUBJECT and self.form.exact and AlphaTrack.possible():
            self.alpha = AlphaTrack(self.form, pixels, height, width, self.rate)
            pixels, options = self.form.picture, self.form.options
        try:
            self.container = open_container(self.path, "w", metadata_options(self.path, self.labels))
            stream = self.stream = self.container.add_stream(self.form.encoder, rate=self.rate, options=dict(options))
        except (FFmpegError, OSError, ValueError) as error:
            raise self.failed(error) from error
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        label(self.container, stream, self.labels, alpha=channels == SUBJECT)
        return self.container

    def failed(self, error: Exception) -> MediaError:
        """What the user is told if the encoder or the disk refuses."""
        return MediaError(f"{self.path} cannot be written with {self.form.encoder}: {cause(error)}")

    def finish(self) -> None:
        """Write what the encoder holds back, and the end of the file."""
        packets = self.stream.encode(None)
        self.container.mux(packets if self.alpha is None else self.alpha.joined(packets, None))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        from av.error import FFmpegError

        if self.container is None:
            return
        try:
            if kind is None:
                self.finish()
            self.container.close()
        except (FFmpegError, OSError) as error:
            if kind is None:
                raise self.failed(error) from error


class AlphaTrack:
    """Alpha of VP9 in its own encoder, so that it is exact beside colours that are not.

    FFmpeg's encoder makes colour and alpha with the same options. So a second one makes the alpha, beside colour of one
    grey, and its alpha is moved to the packets of the first.

    Args:
        form: The format.
        pixels: Its pixel format with alpha.
        height: Height of the frames.
        width: Width of the frames.
        rate: Frames per second.
    """

    def __init__(self, form: Format, pixels: str, height: int, width: int, rate: Fraction) -> None:
        import av

        self.encoder: Any = av.CodecContext.create(form.encoder, "w")
        self.encoder.width, self.encoder.height, self.encoder.pix_fmt = width, height, pixels
        self.encoder.framerate, self.encoder.time_base = rate, 1 / rate
        self.encoder.options = form.options | form.exact
        self.colours, self.alphas = deque[Any](), deque[Any]()

    @staticmethod
    def possible() -> bool:
        """Whether this PyAV can move alpha to other packets (16 and later). Else colour is as exact as alpha, and larger."""
        import av

        return hasattr(av.Packet, "set_sidedata")

    def joined(self, packets: list[Any], alpha: Tensor | None) -> list[Any]:
        """Packets of colour with their alpha, as many as are complete now.

        Args:
            packets: Those of the encoder of colours.
            alpha: The next alpha, ``[H, W]``; None after the last one.
        """
        frame = None
        if alpha is not None:
            grey = torch.full_like(alpha, 0.5).expand(PICTURE, -1, -1)
            frame = frame_for(torch.cat([grey, alpha[None]]), self.encoder.pix_fmt)
        self.colours.extend(packets)
        self.alphas.extend(self.encoder.encode(frame))
        ready = []
        while self.colours and self.alphas:
            packet = self.colours.popleft()
            packet.set_sidedata(self.alphas.popleft().get_sidedata(ALPHA_DATA))
            ready.append(packet)
        return ready


def metadata_options(path: Path, labels: Labels) -> dict[str, str]:
    """Options under which the container of ``path`` keeps the notes of ``labels``."""
    return {"movflags": "+use_metadata_tags"} if labels.notes and path.suffix.lower() in ANY_TAG else {}


def label(container: Any, stream: Any, labels: Labels, *, alpha: bool) -> None:
    """Write ``labels`` into the headers of ``container`` and its picture track, as far as the container holds them.

    Args:
        container: The file, before its header is written. To keep all notes it needs `metadata_options`.
        stream: Its picture track.
        labels: What to write.
        alpha: Whether its frames have alpha.
    """
    rgb = stream.format.is_rgb
    colour = labels.colour.written(rgb=rgb)
    for name, attribute in ATTRIBUTES.items():
        setattr(stream.codec_context, attribute, getattr(colour, name))
    stream.codec_context.color_range = VIDEO_RANGE if stream.format.name.startswith("yuv") else FULL_RANGE
    stream.codec_context.sample_aspect_ratio = labels.pixel_aspect
    if labels.timecode is not None:
        stream.codec_context.framerate = labels.timecode.rate  # .mov counts by it
        stream.metadata["timecode"] = str(labels.timecode)
    if labels.reel:
        stream.metadata["reel_name"] = labels.reel
    if alpha and "vp9" in stream.codec_context.name:
        stream.metadata["alpha_mode"] = "1"  # without it, players do not look for alpha
    container.metadata.update(labels.notes)
