"""Matte a clip into a sequence of EXR files with one 16-bit float channel, for compositing programs.

    python demos/clip_to_exr.py [CLIP] [FOLDER] [--model gvm]

CLIP is a video, a picture or a folder of pictures. Without it, the first frames of the bundled sample are used.
The EXR encoder is FFmpeg's, which comes with PyAV.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.media import open_frames

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "web" / "samples" / "gvm_sample_walker.mp4"


def main() -> None:
    """Matte the clip and write each matte as soon as it is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "output" / "exr")
    parser.add_argument("--model", default="small")
    options = parser.parse_args()
    pipeline = MattingPipeline(load_model(options.model), host=TorchHost())
    options.folder.mkdir(parents=True, exist_ok=True)
    with open_frames(options.clip, last=7 if options.clip == SAMPLE else None) as frames:
        for clip in pipeline.stream(map(frames.shown, frames)):  # clip.data: [T, 1, H, W], 0..1
            for index, alpha in enumerate(clip.data, clip.start):
                (options.folder / f"matte.{index:06}.exr").write_bytes(exr(alpha))
            print(f"{clip.start + len(clip)} frames", flush=True)
    print(f"mattes in {options.folder}")


def exr(alpha: Tensor) -> bytes:
    """Encode a matte ``[1, H, W]`` as an EXR file. Alpha has no transfer curve, so its values stay as they are."""
    frame = av.VideoFrame(alpha.shape[-1], alpha.shape[-2], "grayf32le")
    plane = frame.planes[0]
    rows = alpha.new_zeros(alpha.shape[-2], plane.line_size // 4)  # rows may be padded
    rows[:, : alpha.shape[-1]] = alpha[0]
    plane.update(rows.float().cpu().numpy().tobytes())
    encoder = av.CodecContext.create("exr", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "grayf32le"
    encoder.time_base, encoder.options = Fraction(1), {"format": "half", "compression": "zip16"}
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


if __name__ == "__main__":
    main()
