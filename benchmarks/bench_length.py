"""Memory over the length of a video, and the result of a run that was killed several times.

    python benchmarks/bench_length.py --frames 100 1000 10000 --kills 5

Videos of 32x48 with audio go through the command line and a tiny network. The cost of a frame does not matter here,
only the memory that stays in use after it. Needs Linux, for /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import av

from gvm_core.runs.resume import PARTS_FOLDER

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = runpy.run_path(str(ROOT / "tests" / "support.py"))
write_film, write_tiny_model = SUPPORT["write_film"], SUPPORT["write_tiny_model"]
SETTLED = 500
"""Frames after which everything that a run keeps has been made."""


def start(film: Path, matte: Path, model: Path) -> subprocess.Popen:
    """Begin to matte ``film``, or go on with it."""
    command = [sys.executable, "-m", "gvm_core", "matte", film, matte, "--model", model, "--device", "cpu"]
    command += ["--window", "4", "--overlap", "1", "--short-edge", "own", "--max-edge", "own"]
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def watch(run: subprocess.Popen, folder: Path) -> Iterator[tuple[int, float]]:
    """Frames finished so far, and the process's resident MiB, ten times a second until it ends."""
    done = 0  # what is finished is tidied away at the end
    while run.poll() is None:
        stops = [int(part.name.partition(".")[0].partition("-")[2]) for part in folder.glob("*/[0-9]*-[0-9]*")]
        try:
            pages = int(Path(f"/proc/{run.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return
        done = max([done, *stops])
        yield done, pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        time.sleep(0.1)


def digests(path: Path) -> dict[str, str | int | float]:
    """A video's frames, sound and length, to be compared."""
    picture, sound, frames = hashlib.sha256(), hashlib.sha256(), 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            picture.update(frame.to_ndarray())
            frames += 1
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            sound.update(bytes(packet))
        return {
            "frames": frames,
            "pictures": picture.hexdigest()[:16],
            "sound": sound.hexdigest()[:16],
            "seconds": round(container.duration / av.time_base, 3),
        }


def measure(folder: Path, count: int, model: Path) -> tuple[Path, Path, dict]:
    """Matte a film of ``count`` frames without a pause: the film, its matte, and how memory went."""
    film, matte = folder / f"film_{count}.mp4", folder / f"matte_{count}.mp4"
    ticks = [index * 1001 for index in range(count)]
    write_film(film, ticks)
    began, before, after = time.perf_counter(), [], []
    settled = min(SETTLED, count // 2)
    run = start(film, matte, model)
    for done, resident in watch(run, folder / PARTS_FOLDER):
        (after if done >= settled else before).append(resident)
    if run.returncode or not after:
        raise SystemExit(f"the run over {count} frames failed, or was over before its memory could be looked at")
    row = {"frames": count, "peak_mib": round(max(before + after), 1), "grown_mib": round(max(after) - after[0], 1)}
    return film, matte, {**row, "from_frame": settled, "seconds": round(time.perf_counter() - began, 1)}


def kill_and_go_on(film: Path, matte: Path, model: Path, count: int, kills: int) -> list[int]:
    """Kill the run at ``kills`` random frames and start it again each time, the last time to the end."""
    points = sorted(random.sample(range(count // 20, count * 9 // 10), kills))
    for point in points:
        run = start(film, matte, model)
        for done, _ in watch(run, matte.parent / PARTS_FOLDER):
            if done >= point:
                run.send_signal(signal.SIGKILL)
                break
        run.wait()
    if start(film, matte, model).wait():
        raise SystemExit("the run that was killed could not be finished")
    return points


def main() -> None:
    """Measure every length; kill and compare the last. A JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--kills", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = write_tiny_model(folder / "model")
        for count in options.frames:
            film, matte, row = measure(folder, count, model)
            print(json.dumps(row), flush=True)
        if options.kills:
            broken = folder / "broken" / matte.name
            broken.parent.mkdir()
            points = kill_and_go_on(film, broken, model, count, options.kills)
            whole, again, source = digests(matte), digests(broken), digests(film)
            print(json.dumps({
                "frames": again["frames"], "killed_at": points,
                "same_frames": whole["pictures"] == again["pictures"] and again["frames"] == count,
                "same_sound_as_the_film": source["sound"] == again["sound"],
                "seconds": again["seconds"], "seconds_of_the_film": source["seconds"],
            }))  # fmt: skip


if __name__ == "__main__":
    main()
