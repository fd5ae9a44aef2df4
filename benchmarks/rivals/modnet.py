"""Matte exported cases with MODNet (Ke et al., AAAI 2022), frame by frame, for `gvm evaluate ... --result`.

    python benchmarks/rivals/modnet.py CASES OUT --model modnet.onnx

As its authors run it: RGB in -1..1, the shorter side 512 pixels, both sides cut to multiples of 32. Small frames are
enlarged by that, and `--short-edge` gives another size. Prints one line of JSON; seconds are what scaling and the network
took, without reading and writing. Needs onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gvm_core.errors import optional
from gvm_core.media import open_frames
from gvm_core.media.sequence import SequenceWriter
from gvm_core.post.resize import resize

MULTIPLE = 32


def network(file: Path, short_edge: int, threads: int) -> Callable[[Tensor], Tensor]:
    """A function from a frame ``[3, H, W]``, sRGB 0..1, to its alpha ``[1, H, W]``."""
    runtime = optional("onnxruntime", "onnxruntime")
    choices = runtime.SessionOptions()
    choices.intra_op_num_threads, choices.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(str(file), choices, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def matte(frame: Tensor) -> Tensor:
        height, width = frame.shape[-2:]
        across, down = (edge * short_edge // min(height, width) // MULTIPLE * MULTIPLE for edge in (width, height))
        scaled = resize(frame[None], (down, across)) * 2 - 1
        (alpha,) = session.run(None, {name: scaled.numpy()})
        return resize(torch.from_numpy(alpha), (height, width))[0].clamp(0, 1)

    return matte


def main() -> None:
    """Matte every case, then print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="what `gvm evaluate ... --export` wrote")
    parser.add_argument("out", type=Path, help="gets a folder of mattes for each case")
    parser.add_argument("--model", type=Path, required=True, help="the network as an ONNX file")
    parser.add_argument("--short-edge", type=int, default=512, help="pixels; at least 32")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    matte = network(options.model, options.short_edge, options.threads)
    clips = sorted(folder.parent for folder in options.cases.rglob("com"))
    frames, seconds = 0, 0.0
    for clip in clips:
        with (
            open_frames(clip / "com") as images,
            SequenceWriter(options.out / clip.relative_to(options.cases), images.names) as mattes,
        ):
            for image in images:
                started = time.perf_counter()
                alpha = matte(image)
                seconds += time.perf_counter() - started
                mattes.write(alpha)
                frames += 1
    row = {
        "cases": len(clips),
        "frames": frames,
        "seconds_a_frame": round(seconds / max(frames, 1), 4),
        "megabytes": round(options.model.stat().st_size / 1e6, 1),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
