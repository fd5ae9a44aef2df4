"""Time and memory of one window with the bundled model: this pipeline and the published graph.

    python benchmarks/bench_cpu.py

The two take turns, each in its own process. Use only their ratio, because machines differ and may be busy.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from gvm_core import MatteSettings, MattingPipeline, TorchHost, load_model
from gvm_core.models.files import read_weights
from gvm_core.models.weights import SMALL_FOLDER


def plain(frames: torch.Tensor) -> torch.Tensor:
    """Alpha ``[T, 1, H, W]`` by diffusers' own classes: encode all, one step, decode all."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
    from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

    parts = {"unet": UNetSpatioTemporalConditionModel, "vae": AutoencoderKLTemporalDecoder}
    networks = {}
    for name, kind in parts.items():
        config = json.loads((SMALL_FOLDER / name / "config.json").read_text())
        networks[name] = kind.from_config({key: value for key, value in config.items() if key[0] != "_"})
        networks[name].load_state_dict(read_weights(SMALL_FOLDER / name, torch.float32), strict=False)
        networks[name].eval()
    unet, vae = networks["unet"], networks["vae"]
    # The published classes embed three numbers that the method does without.
    torch.nn.init.zeros_(unet.add_embedding.linear_2.weight)
    torch.nn.init.zeros_(unet.add_embedding.linear_2.bias)
    started = time.perf_counter()
    latents = vae.encode(frames * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    text = torch.zeros(1, 1, unet.config.cross_attention_dim)
    both = torch.cat([torch.zeros_like(latents), latents], dim=1)[None]
    found = unet(both, 999.0, text, torch.zeros(1, 3)).sample[0]
    pictures = vae.decode(found / vae.config.scaling_factor, num_frames=len(frames)).sample
    alpha = (pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5).clamp(0, 1)
    report(started)
    return alpha


def ours(frames: torch.Tensor) -> torch.Tensor:
    """The same by this pipeline, without what it does to edges."""
    pipeline = MattingPipeline(
        load_model("small"), MatteSettings(short_edge="own", max_edge="own", refine=0), TorchHost("cpu")
    )
    started = time.perf_counter()
    alpha = pipeline.matte(frames)
    report(started)
    return alpha


def report(started: float) -> None:
    """Print seconds since then, and this process's largest resident size in MiB."""
    print(json.dumps([time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main() -> None:
    """Run both ways in turns and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=[256, 448], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--way", choices=["plain", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        frames = torch.rand(options.frames, 3, *options.size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            alpha = {"plain": plain, "ours": ours}[options.way](frames)
        print(float(alpha.double().mean()))
        return
    rows: dict[str, list[list[float]]] = {"plain": [], "ours": []}
    means = set()
    for _ in range(options.times):
        for way, found in rows.items():
            size = map(str, options.size)
            command = [sys.executable, __file__, "--way", way, "--frames", str(options.frames), "--size", *size]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
            found.append(json.loads(lines[-2]))
            means.add(round(float(lines[-1]), 5))
    middle = {way: [statistics.median(column) for column in zip(*found, strict=True)] for way, found in rows.items()}
    result = {
        "size": [*options.size, options.frames],
        "times_faster": round(middle["plain"][0] / middle["ours"][0], 2),
        "share_of_memory": round(middle["ours"][1] / middle["plain"][1], 2),
        "same_mean_alpha": len(means) == 1,
        "seconds": {way: [round(row[0], 2) for row in found] for way, found in rows.items()},
        "resident_mib": {way: round(middle[way][1]) for way in rows},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
