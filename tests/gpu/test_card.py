"""On a card: what a user loses here is the matte, or the card that was big enough."""

import argparse

import bench_card
import pytest
import torch
from support import moving_clip, own_size

from gvm_core import MattingPipeline, TorchHost, load_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="mattes on a card are NOT tested: there is no CUDA device"
    ),
]


def options(**given):
    return argparse.Namespace(device="cuda", small=False, frames=10, **given)


@pytest.mark.parametrize(
    ("dtype", "refine", "tolerance"), [(torch.float32, 0, 1e-3), (torch.float16, 0, 2e-2), (torch.float32, 2, 5e-3)]
)
def test_a_card_gives_the_processors_matte(dtype, refine, tolerance):
    frames, settings = moving_clip(12, 96, 128), own_size(refine=refine)
    wanted = MattingPipeline(load_model("small"), settings, TorchHost("cpu")).matte(frames)
    alpha = MattingPipeline(load_model("small", dtype), settings, TorchHost("cuda")).matte(frames)
    assert (alpha - wanted).abs().max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("size", [(576, 1024), (1024, 1824)])
def test_the_released_size_fits_into_eight_gigabytes_with_the_same_matte(size):
    _, within = bench_card.limited(options(limits=[8]), size, 8, "fp16")
    assert within["peak_gib"] < 8 and within["difference"] < 2e-3, within


@pytest.mark.slow
def test_it_is_ahead_of_the_published_way():
    ours = bench_card.ours(options(), (576, 1024), 8, "fp16", False)["seconds_a_frame"]
    plain = {copies: bench_card.plain(options(), (576, 1024), 8, "fp16", copies) for copies in (1, 3)}
    assert plain[1]["seconds_a_frame"] > 1.5 * ours and plain[3]["seconds_a_frame"] > 4 * ours


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_memory_is_counted_on_a_card_with_and_without_a_number(device):
    free = TorchHost(device).free_bytes()
    assert free is not None and 0 < free <= torch.cuda.get_device_properties(0).total_memory
