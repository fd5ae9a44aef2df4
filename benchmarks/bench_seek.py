"""Frames decoded to read a video in ranges, as a farm or a resumed run does, and to read each range from the start.

    python benchmarks/bench_seek.py --frames 20000 --range 512 --gop 48

The video is small H.264 with B-frames and open groups of pictures. The time to decode a frame does not matter here.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from gvm_core import MatteSettings
from gvm_core.media import open_frames


def write_long_film(path: Path, count: int, gop: int) -> Path:
    """A film of ``count`` frames of 64x48, 24 a second."""
    options = {"g": str(gop), "bf": "3", "preset": "ultrafast", "x264-params": "open-gop=1:scenecut=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(count):
            levels = np.full((72, 64), index % 251, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def read(film: Path, first: int, last: int | None) -> int:
    """Frames decoded for a range with the context that its windows need."""
    begin, end = MatteSettings().context(first, last)
    with open_frames(film, begin, end) as reader:
        for _ in reader:
            pass
        return reader.decoded  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    """Read the film in ranges, and one gap in its middle. A JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--range", type=int, default=512)
    parser.add_argument("--gop", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        film = write_long_film(Path(place) / "film.mp4", options.frames, options.gop)
        ranges = [(first, first + options.range - 1) for first in range(0, options.frames, options.range)]
        middle = options.frames // 2
        for what, wanted in (("ranges", ranges), ("a gap of 32 frames", [(middle, middle + 31)])):
            began = time.perf_counter()
            decoded = sum(read(film, *each) for each in wanted)
            ends = [MatteSettings().context(*each)[1] or 0 for each in wanted]
            from_start = sum(min(end + 2, options.frames) for end in ends)
            row = {"what": what, "frames": options.frames, "range": options.range, "gop": options.gop}
            row |= {"decoded": decoded, "from_the_start": from_start, "seconds": round(time.perf_counter() - began, 1)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
