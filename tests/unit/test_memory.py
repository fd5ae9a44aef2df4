"""Memory over length: what a user loses here is the long clip."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

STREAM = """
import sys, threading, time
import torch
from gvm_core import MatteSettings, MattingPipeline, TorchHost, load_model
torch.set_num_threads(1)

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def frames(count):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.rand(3, 32, 32, generator=generator)

pipeline = MattingPipeline(load_model(sys.argv[1]), MatteSettings(), TorchHost("cpu"))
peaks, done = {}, 0
for clip in pipeline.stream(frames(2000)):
    done += len(clip)
    key = 200 if done <= 200 else 2000
    peaks[key] = max(peaks.get(key, 0), resident_bytes())
assert done == 2000
print((peaks[2000] - peaks[200]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_does_not_grow_from_200_to_2000_frames(tiny_folder):
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(tiny_folder)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    growth = float(done.stdout)
    print(f"peak memory grew by {growth:.2f} MiB from 200 to 2,000 frames")
    assert growth < 10
