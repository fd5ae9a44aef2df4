"""Writes a clip from memory to a lossless file, for code that reads files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from .pixels import frame_for
from .video import usual_layout


def spool(path: Path, frames: Tensor, rate: Fraction, sound: Tensor | None = None, sound_rate: int = 0) -> None:
    """Write frames and audio to ``path``, an ``.avi``. The same clip always gives the same bytes.

    Args:
        path: The file to write.
        frames: ``[T, 3, H, W]``, sRGB 0..1; stored in 16 bits.
        rate: Frames per second.
        sound: The audio channels ``[C, N]``, -1..1; None for no audio.
        sound_rate: Audio samples per second.
    """
    import av

    with av.open(str(path), "w", options={"fflags": "bitexact"}) as container:
        stream: Any = container.add_stream("ffv1", rate=rate, options={"level": "3"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[-1], frames.shape[-2], "gbrp16le"
        audio: Any = None
        if sound is not None and sound.shape[-1]:
            audio = container.add_stream("pcm_f32le", rate=sound_rate, layout=usual_layout(len(sound)))
        for frame in frames:
            container.mux(stream.encode(frame_for(frame, "gbrp16le")))
        container.mux(stream.encode(None))
        if sound is not None and audio is not None:
            samples = sound.float().cpu().T.contiguous().flatten()[None].numpy()
            block = av.AudioFrame.from_ndarray(samples, format="flt", layout=audio.layout.name)
            block.sample_rate, block.pts, block.time_base = sound_rate, 0, Fraction(1, sound_rate)
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))
