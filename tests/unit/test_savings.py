"""Folded weights and sliced layers: what a user loses here is the picture, on the card that is too small."""

import functools
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_UNET, TINY_VAE, moving_clip, stock_networks

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.errors import OutOfMemoryError
from gvm_core.models.fold import TOKENS, SlicedFeedForward, SubPixelUpsample, fold
from gvm_core.models.layerwise import Layers, Slicing, Statistics
from gvm_core.models.unet import MattingUNet
from gvm_core.models.vae import TemporalVAE


@functools.cache
def networks():
    """The published networks as diffusers runs them, and ours with everything folded."""
    stock = stock_networks()
    ours = MattingUNet(TINY_UNET), TemporalVAE(TINY_VAE)
    for network, published in zip(ours, stock, strict=True):
        weights = published.state_dict()
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
        network.requires_grad_(False).eval()
    fold(*ours)
    return stock, ours


SLICINGS = st.builds(
    Slicing,
    frames=st.integers(1, 4),
    rows=st.integers(1, 40),
    keep=st.booleans(),
    bands=st.none() | st.integers(1, 40),
    spill=st.booleans(),
)


@settings(deadline=None, max_examples=25)
@given(
    slicing=SLICINGS,
    frames=st.integers(1, 5),
    height=st.integers(2, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 9),
)
def test_a_sliced_decoder_gives_the_alpha_of_the_published_one(slicing, frames, height, width, seed):
    (_, stock), (_, vae) = networks()
    latents = torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        pictures = stock.decode(latents / stock.config.scaling_factor, num_frames=frames).sample
        alpha = vae.decode_sliced(latents, slicing)
    assert (alpha - (pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5)).abs().max() < 2e-5


@settings(deadline=None, max_examples=25)
@given(
    bands=st.integers(1, 40),
    spill=st.booleans(),
    height=st.integers(8, 31),
    width=st.integers(8, 31),
    frames=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_an_encoder_in_bands_gives_the_latents_of_the_published_one(bands, spill, height, width, frames, seed):
    (_, stock), (_, vae) = networks()
    images = 2 * torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(seed)) - 1
    with torch.no_grad():
        wanted = stock.encode(images).latent_dist.mode() * stock.config.scaling_factor
        latents = vae.encode_sliced(images, Slicing(bands=bands, spill=spill))
    assert (latents - wanted).abs().max() < 2e-5


def test_a_folded_decoder_run_whole_gives_it_too():
    (_, stock), (_, vae) = networks()
    latents = torch.randn(3, 4, 6, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pictures = stock.decode(latents / stock.config.scaling_factor, num_frames=3).sample
        alpha = vae.decode_alpha(latents[None])[0]
    assert (alpha - (pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5)).abs().max() < 2e-5


@pytest.mark.parametrize("timestep", [999.0, 500.0])
def test_the_folded_unet_gives_the_published_ones_latents_at_any_step(timestep):
    (stock, _), (unet, _) = networks()
    latents = torch.randn(2, 5, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        text, ids = torch.zeros(2, 1, TINY_UNET["cross_attention_dim"]), torch.zeros(2, 3)
        published = stock(latents, timestep, text, ids).sample
        ours = unet(latents, torch.tensor(timestep))
    assert (ours - published).abs().max() < 2e-5 * published.abs().max()


def test_a_folded_model_is_smaller():
    (stock, _), (unet, _) = networks()
    count = lambda network: sum(parameter.numel() for parameter in network.parameters())  # noqa: E731
    assert count(unet) < 0.97 * (count(stock) - count(stock.add_embedding))
    assert not any("attn2" in name for name, _ in unet.named_parameters())


def test_feed_forward_in_slices_is_feed_forward():
    layer = SlicedFeedForward(8)
    tokens = torch.randn(3, TOKENS // 2, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens), super(SlicedFeedForward, layer).forward(tokens), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_doubling_by_sub_pixels_is_doubling_and_filtering(height, width, seed):
    torch.manual_seed(seed)
    conv, x = torch.nn.Conv2d(3, 5, 3, padding=1), torch.randn(2, 3, height, width)
    with torch.no_grad():
        wanted = conv(torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        torch.testing.assert_close(SubPixelUpsample(conv)(x), wanted, rtol=0, atol=2e-6)


def test_statistics_gathered_in_pieces_are_those_of_the_whole():
    """Also where the mean is large beside the spread, as in a flat bright picture."""
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(4, 16)
    x = 100 + torch.randn(1, 16, 9, 13)
    gathered = Statistics(norm)
    for piece in x.split(2, dim=2):
        gathered.add(piece)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        wanted = torch.nn.functional.silu(norm(x.double().float()))
        torch.testing.assert_close(gathered.activate(x), wanted, rtol=0, atol=1e-4)


def test_one_frame_is_decoded_as_a_window_of_one():
    _, (_, vae) = networks()
    latents = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        layers = Layers(Slicing(bands=7), torch.device("cpu")).decode(vae.decoder, latents / vae.scaling_factor)
        torch.testing.assert_close(layers, vae.decode(latents[None])[0], rtol=0, atol=2e-5)


STAGES = {"encoding": "vae.encoder.conv_in", "denoising": "unet.conv_in", "decoding": "vae.decoder.conv_in"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("refused", [1, 2, 3])
def test_running_out_of_memory_costs_one_line_in_the_log_and_nothing_of_the_picture(
    stage, refused, tiny_folder, caplog
):
    frames = moving_clip(20, 24, 32)
    wanted = MattingPipeline(load_model(tiny_folder), host=TorchHost("cpu")).matte(frames)
    model, calls = load_model(tiny_folder), []

    def refuse(*_):
        calls.append(1)
        if len(calls) == refused:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hooked = (model.vae if stage != "denoising" else model.unet).get_submodule(STAGES[stage].partition(".")[2])
    hooked.register_forward_pre_hook(refuse)
    with caplog.at_level("WARNING"):
        alpha = MattingPipeline(model, host=TorchHost("cpu")).matte(frames)
    assert (alpha - wanted).abs().max() < 2e-5
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and f"out of memory in {stage}" in lines[0] and "the same picture" in lines[0]
    assert len(calls) > refused


def test_a_window_that_fits_in_no_way_says_what_to_lower(tiny_folder):
    model = load_model(tiny_folder)

    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model.vae.decoder.conv_in.register_forward_pre_hook(refuse)
    with pytest.raises(OutOfMemoryError, match="Lower max_edge or the window"):
        MattingPipeline(model, host=TorchHost("cpu")).matte(moving_clip(3, 24, 32))


class Small(TorchHost):
    """A CPU that says it has little room, and keeps account of what it was asked for."""

    def __init__(self, free):
        super().__init__("cpu")
        self.free, self.asked = free, []

    def free_bytes(self):
        return self.free

    def resident(self, network, activation_bytes):
        self.asked.append(activation_bytes)
        return super().resident(network, activation_bytes)


def test_little_memory_chooses_a_leaner_way_at_once_and_the_same_picture(tiny_folder, caplog):
    frames = moving_clip(9, 48, 64)
    model = load_model(tiny_folder)
    plenty, little = Small(None), Small(400_000)
    wanted = MattingPipeline(model, host=plenty).matte(frames)
    alpha = MattingPipeline(model, host=little).matte(frames)
    assert (alpha - wanted).abs().max() < 2e-5 and not caplog.records
    assert max(little.asked) < 0.5 * max(plenty.asked)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiled networks are NOT tested: there is no C++ compiler")
def test_compiled_networks_give_the_same_matte_and_survive_other_sizes(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # a killed run leaves halves of files in the usual one
    plain, compiled = load_model(tiny_folder), load_model(tiny_folder)
    compiled.compile()
    for frames, height, width in ((8, 24, 40), (5, 64, 48)):
        clip = moving_clip(frames, height, width)
        wanted, alpha = (MattingPipeline(model, host=TorchHost("cpu")).matte(clip) for model in (plain, compiled))
        assert (alpha - wanted).abs().max() < 5e-5  # fused kernels round otherwise
    assert not torch._dynamo.utils.counters["unimplemented"], "parts of the networks are not compiled"
