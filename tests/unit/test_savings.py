"""Folded weights and sliced layers: what a user loses here is the picture, on the card that is too small.

Everything is compared in double precision, where ways that compute the same agree on any processor.
"""

import functools
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import (
    SAME,
    SAME_STORED,
    TINY_UNET,
    TINY_VAE,
    assert_rounds_like,
    moving_clip,
    our_networks,
    own_size,
    stock_networks,
    write_tiny_model,
)

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.errors import OutOfMemoryError
from gvm_core.models.fold import fold, publish
from gvm_core.models.layerwise import BY_ROWS, Layers, Slicing, Statistics
from gvm_core.models.unet import FeedForward
from gvm_core.models.vae import TemporalVAE, sub_pixel


@functools.cache
def networks():
    """The published networks as diffusers runs them, and ours, in double precision."""
    return tuple(network.double() for network in stock_networks()), our_networks(dtype=torch.double)


SLICINGS = st.builds(
    Slicing,
    frames=st.integers(1, 4),
    rows=st.integers(1, 40),
    keep=st.booleans(),
    bands=st.none() | st.integers(1, 40),
    spill=st.booleans(),
)


@pytest.mark.slow
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
    latents = torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    with torch.no_grad():
        pictures = stock.decode(latents / stock.config.scaling_factor, num_frames=frames).sample
        alpha = vae.decode_sliced(latents, slicing)
    assert (alpha - (pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5)).abs().max() < SAME


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
    images = (
        2 * torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.double) - 1
    )
    with torch.no_grad():
        wanted = stock.encode(images).latent_dist.mode() * stock.config.scaling_factor
        latents = vae.encode(images, Slicing(bands=bands, spill=spill))
    assert (latents - wanted).abs().max() < SAME


def test_a_decoder_run_whole_gives_it_too():
    (_, stock), (_, vae) = networks()
    latents = torch.randn(3, 4, 6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    with torch.no_grad():
        pictures = stock.decode(latents / stock.config.scaling_factor, num_frames=3).sample
        alpha = vae.decode_alpha(latents[None])[0]
    assert (alpha - (pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5)).abs().max() < SAME


@pytest.mark.parametrize("timestep", [999.0, 500.0])
def test_the_folded_unet_gives_the_published_ones_latents_at_any_step(timestep):
    (stock, _), (unet, _) = networks()
    latents = torch.randn(2, 5, 8, 9, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    with torch.no_grad():
        text, ids = latents.new_zeros(2, 1, TINY_UNET["cross_attention_dim"]), latents.new_zeros(2, 3)
        published = stock(latents, timestep, text, ids).sample
        ours = unet(latents, torch.tensor(timestep))
    assert (ours - published).abs().max() < SAME


def test_a_folded_model_is_smaller():
    (stock, _), (unet, _) = networks()
    count = lambda network: sum(parameter.numel() for parameter in network.parameters())  # noqa: E731
    assert count(unet) < 0.97 * (count(stock) - count(stock.add_embedding))
    assert not any("attn2" in name for name, _ in unet.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_published_again_is_what_was_folded_to_the_bit(which):
    """A model that was trained further must load as what it was, here and in other tools."""
    stock, ours = (both[which] for both in networks())
    published = publish(ours.state_dict(), TINY_UNET["cross_attention_dim"])
    alive = {name for name in stock.state_dict() if not name.startswith("add_embedding.")}
    assert published.keys() == alive
    assert all(value.shape == stock.state_dict()[name].shape for name, value in published.items())
    again, shares = fold(published, mixes_in_time=which == 1)
    assert set(shares.values()) == {0.5}
    assert again.keys() == ours.state_dict().keys()
    assert all(torch.equal(value, again[name]) for name, value in ours.state_dict().items())


def test_other_tools_run_what_is_published_again_alike():
    (unet, vae), ours = (network.double() for network in stock_networks(1)), our_networks(2, torch.double)
    with torch.no_grad():
        for network, mine in zip((unet, vae), ours, strict=True):
            network.load_state_dict(publish(mine.state_dict(), TINY_UNET["cross_attention_dim"]), strict=False)
        latents = torch.randn(1, 3, 8, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.double)
        wanted = unet(latents, 999.0, latents.new_zeros(1, 1, 16), latents.new_zeros(1, 3)).sample
        assert (ours[0](latents, torch.tensor(999.0)) - wanted).abs().max() < SAME
        wanted = vae.decode(latents[0, :, :4] / vae.config.scaling_factor, num_frames=3).sample
        assert (ours[1].decode(latents[:, :, :4])[0] - wanted).abs().max() < SAME


@pytest.mark.parametrize("depth", [2, 3])
def test_a_vae_of_any_depth_is_the_published_one(depth):
    """Only from two layers on does the decoder come to its attention."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(depth)
    config = {**{key: value for key, value in TINY_VAE.items() if key != "_class_name"}, "layers_per_block": depth}
    stock, ours = diffusers.AutoencoderKLTemporalDecoder(**config).double(), TemporalVAE(config).double()
    with torch.no_grad():
        for parameter in stock.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        ours.load_state_dict(fold(stock.state_dict(), mixes_in_time=True)[0])
        latents, images = torch.randn(3, 4, 5, 6).double(), torch.rand(2, 3, 20, 24).double() * 2 - 1
        pictures = stock.decode(latents / stock.config.scaling_factor, num_frames=3).sample
        known = stock.encode(images).latent_dist.mode() * stock.config.scaling_factor
        assert (ours.decode(latents[None])[0] - pictures).abs().max() < SAME
        alpha = pictures.mean(dim=1, keepdim=True) * 0.5 + 0.5
        assert (ours.decode_sliced(latents, BY_ROWS) - alpha).abs().max() < SAME
        assert (ours.encode(images) - known).abs().max() < SAME
        assert (ours.encode(images, BY_ROWS) - known).abs().max() < SAME


@pytest.mark.slow
def test_folding_leaves_the_weights_it_is_given_alone():
    (stock, _), _ = networks()
    before = {name: value.clone() for name, value in stock.state_dict().items()}
    fold(stock.state_dict(), mixes_in_time=False)
    assert all(torch.equal(value, stock.state_dict()[name]) for name, value in before.items())


def test_feed_forward_in_slices_is_feed_forward():
    layer = FeedForward(torch.nn, 8).double()
    tokens = torch.randn(3, 50, 8, dtype=torch.double)
    with torch.no_grad():
        whole = layer(tokens)
        layer.tokens_at_once = 37
        assert (layer(tokens) - whole).abs().max() < SAME
        with torch.autocast("cpu", torch.bfloat16):
            assert layer.float()(tokens.float()).dtype == torch.bfloat16


def test_feed_forward_in_slices_is_not_compiled_for_every_size():
    from torch._dynamo.testing import CompileCounter

    layer, counter = FeedForward(torch.nn, 8).double(), CompileCounter()
    compiled = torch.compile(layer, backend=counter)
    layer.tokens_at_once = 37
    with torch.no_grad():
        for length in (50, 70, 90, 130, 200, 333):
            tokens = torch.randn(3, length, 8, dtype=torch.double)
            assert (compiled(tokens) - layer(tokens)).abs().max() < SAME
    assert counter.frame_count <= 2, "once for the first size, once for any"


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_doubling_by_sub_pixels_is_doubling_and_filtering(height, width, seed):
    torch.manual_seed(seed)
    conv, x = torch.nn.Conv2d(3, 3, 3, padding=1).double(), torch.randn(2, 3, height, width, dtype=torch.double)
    double = sub_pixel(torch.nn, 3).double()
    double.load_state_dict(conv.state_dict())
    wanted = conv(torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    found = double(x)
    assert (found - wanted).abs().max() < SAME
    for one, other in zip(
        *(torch.autograd.grad(y.square().sum(), net.parameters()) for y, net in ((found, double), (wanted, conv))),
        strict=True,
    ):
        assert (one - other).abs().max() < SAME * 100, "and learns the same"


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
        exact = torch.nn.functional.silu(norm.double()(x.double()))
        assert_rounds_like(gathered.activate(x), torch.nn.functional.silu(norm.float()(x)), exact)


def test_one_frame_is_decoded_as_a_window_of_one():
    _, (_, vae) = networks()
    latents = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    with torch.no_grad():
        layers = Layers(Slicing(bands=7), torch.device("cpu")).decode(vae.decoder, latents / vae.scaling_factor)
        assert (layers - vae.decode(latents[None])[0]).abs().max() < SAME


STAGES = {"encoding": "vae.encoder.conv_in", "denoising": "unet.conv_in", "decoding": "vae.decoder.conv_in"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("refused", [1, 2, 3])
def test_running_out_of_memory_costs_one_line_in_the_log_and_nothing_of_the_picture(
    stage, refused, tiny_folder, caplog
):
    frames = moving_clip(20, 24, 32)
    wanted = MattingPipeline(load_model(tiny_folder, torch.double), own_size(), TorchHost("cpu")).matte(frames)
    model, calls = load_model(tiny_folder, torch.double), []

    def refuse(*_):
        calls.append(1)
        if len(calls) == refused:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hooked = (model.vae if stage != "denoising" else model.unet).get_submodule(STAGES[stage].partition(".")[2])
    hooked.register_forward_pre_hook(refuse)
    with caplog.at_level("WARNING"):
        alpha = MattingPipeline(model, own_size(), TorchHost("cpu")).matte(frames)
    assert (alpha - wanted).abs().max() < SAME_STORED
    lines = [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()]
    assert len(lines) == 1 and f"out of memory in {stage}" in lines[0] and "the same picture" in lines[0]
    assert len(calls) > refused


@pytest.mark.slow
@pytest.mark.parametrize("short", [2, 40])
def test_a_device_that_was_full_for_a_moment_does_not_slow_down_the_rest_of_the_run(short, exact_model, caplog):
    """The quicker way comes back, is asked for ever more seldom while there is no room, and the log says both."""
    run = MattingPipeline(exact_model, own_size(), TorchHost("cpu"))
    tried, frames = [], moving_clip(200, 4, 4)
    encode = exact_model.vae.encode

    def encoding(images, slicing=None):
        tried.append(slicing is None)
        if slicing is None and len(tried) <= short:
            raise torch.OutOfMemoryError("injected")
        return encode(images, slicing)

    exact_model.vae.encode = encoding
    try:
        with caplog.at_level("WARNING"):
            alpha = torch.cat([clip.data for clip in run.encode(run.fit(frames)[1])])
    finally:
        del exact_model.vae.encode
    refused = sum(tried[:short])
    lines = [record.getMessage() for record in caplog.records]
    assert refused == sum("out of memory in encoding" in line for line in lines) <= 3
    assert "there is memory for it now" in lines[-1] and len(lines) == refused + 1
    assert all(tried[-100:]) and tried[:short].count(False) >= short - 3
    wanted = torch.cat(
        [clip.data for clip in MattingPipeline(exact_model, own_size(), TorchHost("cpu")).encode(run.fit(frames)[1])]
    )
    assert (alpha - wanted).abs().max() < SAME_STORED


def test_a_window_that_fits_in_no_way_says_what_to_lower(tiny_folder):
    model = load_model(tiny_folder)

    def refuse(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model.vae.decoder.conv_in.register_forward_pre_hook(refuse)
    with pytest.raises(OutOfMemoryError, match="Lower max_edge or the window"):
        MattingPipeline(model, own_size(), TorchHost("cpu")).matte(moving_clip(3, 24, 32))


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


@pytest.mark.slow
def test_little_memory_chooses_a_leaner_way_at_once_and_the_same_picture(tiny_folder, caplog):
    frames = moving_clip(9, 48, 64)
    model = load_model(tiny_folder, torch.double)
    plenty, little = Small(None), Small(800_000)
    wanted = MattingPipeline(model, own_size(), plenty).matte(frames)
    alpha = MattingPipeline(model, own_size(), little).matte(frames)
    assert (alpha - wanted).abs().max() < SAME_STORED and not caplog.records
    assert max(little.asked) < 0.5 * max(plenty.asked)


TWO_LEVELS = TINY_UNET | {
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 4],
}
TWO_BLOCKS = {"down_block_types": ["DownEncoderBlock2D"] * 2, "block_out_channels": [32, 64]}
"""Every kind of block, with fewer kernels to compile."""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiled networks are NOT tested: there is no C++ compiler")
def test_compiled_networks_give_the_same_matte_and_survive_other_sizes(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # a killed run leaves halves of files in the usual one
    folder = write_tiny_model(tmp_path / "two levels", unet=TWO_LEVELS, vae=TINY_VAE | TWO_BLOCKS)
    plain, compiled = load_model(folder), load_model(folder)
    compiled.compile()
    exact = load_model(folder, torch.double)
    for frames, height, width in ((8, 24, 40), (5, 64, 48)):
        clip = moving_clip(frames, height, width)
        mattes = [
            MattingPipeline(model, own_size(), TorchHost("cpu")).matte(clip) for model in (compiled, plain, exact)
        ]
        assert_rounds_like(*mattes)  # fused kernels round otherwise
    assert not torch._dynamo.utils.counters["unimplemented"], "parts of the networks are not compiled"
