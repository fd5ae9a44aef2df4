"""Memory over length: what a user loses here is the long clip."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file
from support import TINY_UNET, write_tiny_model

from gvm_core.models.fold import published_weights
from gvm_core.models.unet import MattingUNet

ROOT = Path(__file__).parents[2]

RESIDENT = """
import sys
import torch
torch.set_num_threads(1)

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

"""
STREAM = (
    RESIDENT
    + """
from gvm_core import MatteSettings, MattingPipeline, TorchHost, load_model

def frames(count):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.rand(3, 32, 32, generator=generator)

pipeline = MattingPipeline(load_model(sys.argv[1]), MatteSettings(short_edge="own", max_edge="own"), TorchHost("cpu"))
peaks, done = {}, 0
for clip in pipeline.stream(frames(2000)):
    done += len(clip)
    key = 200 if done <= 200 else 2000
    peaks[key] = max(peaks.get(key, 0), resident_bytes())
assert done == 2000
print((peaks[2000] - peaks[200]) / 2**20)
"""
)

STUDIO = (
    RESIDENT
    + """
from gvm_core.synthesis.scene import draw_frames

peaks = {}
for index, _ in enumerate(draw_frames(3, (48, 48), int(sys.argv[1]), tier="medium")):
    key = index >= 30
    peaks[key] = max(peaks.get(key, 0), resident_bytes())
print((peaks[True] - peaks[False]) / 2**20)
"""
)


def growth(script, *arguments):
    """What the script prints, in a process that gives memory back at once."""
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_does_not_grow_from_200_to_2000_frames(tiny_folder):
    grown = growth(STREAM, tiny_folder)
    print(f"peak memory grew by {grown:.2f} MiB from 200 to 2,000 frames")
    assert grown < 10


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_drawn_clip_of_any_length_needs_no_more_memory_than_its_first_frames():
    assert growth(STUDIO, 240) < 5


LOADING = (
    RESIDENT
    + """
from gvm_core import load_model

def most_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget what importing took
before = most_mib()
model = load_model(sys.argv[1])
total = sum(float(parameter.sum()) for parameter in model.unet.parameters())  # brings in every page of the file
print(most_mib() - before)
"""
)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads what Linux counts")
def test_loading_needs_the_weights_once_not_twice(tmp_path):
    wide = {**TINY_UNET, "block_out_channels": [256, 256, 256], "num_attention_heads": [4, 4, 4]}
    folder = write_tiny_model(tmp_path / "wide")
    network = MattingUNet(wide)
    save_file(published_weights(network), folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "unet" / "config.json").write_text(json.dumps(wide))
    size = sum(parameter.numel() * 4 for parameter in network.parameters()) / 2**20
    grown = growth(LOADING, folder)
    print(f"loading {size:.0f} MiB of float32 weights took {grown:.0f} MiB")
    assert 0.5 * size < grown < 1.25 * size
