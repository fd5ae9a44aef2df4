"""Our networks against diffusers' own: what a user loses here is the published model."""

import json
import math
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import (
    SAME_STORED,
    TINY_UNET,
    TINY_VAE,
    assert_rounds_like,
    moving_clip,
    own_size,
    stock_networks,
    write_tiny_model,
)

from gvm_core import MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.errors import MissingPackageError, ModelError
from gvm_core.models.files import INDICES, WEIGHTS, WEIGHTS_FP16, read_header
from gvm_core.models.fold import published_shapes
from gvm_core.models.unet import MattingUNet
from gvm_core.sampling import flow_scheduler, frame_noise

FULL_UNET = {
    **TINY_UNET,
    "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3 + ["DownBlockSpatioTemporal"],
    "up_block_types": ["UpBlockSpatioTemporal"] + ["CrossAttnUpBlockSpatioTemporal"] * 3,
    "block_out_channels": [320, 640, 1280, 1280],
    "num_attention_heads": [5, 10, 20, 20],
    "layers_per_block": 2,
    "transformer_layers_per_block": 1,
    "cross_attention_dim": 1024,
}


@pytest.fixture(scope="module")
def stock():
    return stock_networks()


@pytest.fixture(scope="module")
def exact():
    return tuple(network.double() for network in stock_networks())


def oracle_matte(stock, frames):
    """GVM's one step over one window, written with nothing but stock diffusers."""
    unet, vae = stock
    scale, t = vae.config["scaling_factor"], len(frames)
    frames = frames.to(unet.dtype)
    with torch.no_grad():
        rgb = vae.encode(frames * 2 - 1).latent_dist.mode() * scale
        latents = torch.cat([torch.zeros_like(rgb), rgb], dim=1)[None]
        alpha_latents = unet(latents, 999, rgb.new_zeros(1, 1, 16), rgb.new_zeros(1, 3), return_dict=False)[0]
        pictures = vae.decode(alpha_latents[0] / scale, num_frames=t).sample
    return rgb, alpha_latents[0], (pictures.mean(1, keepdim=True) * 0.5 + 0.5).clamp(0, 1)


def stages(model, frames):
    """Image latents, alpha latents and alpha of one window, by the pipeline."""
    pipeline = MattingPipeline(model, own_size(plan=WindowPlan(8, 2), pad_multiple=4), TorchHost("cpu"))
    image_latents = next(pipeline.encode(pipeline.fit(frames)[1]))
    return image_latents.data, next(pipeline.denoise([image_latents])).data, pipeline.matte(frames)


@pytest.mark.slow
@pytest.mark.parametrize(("frames", "height", "width"), [(6, 32, 96), (1, 32, 32), (5, 40, 56), (3, 36, 20)])
def test_latents_and_matte_equal_those_of_stock_diffusers(stock, exact, tiny_model, tiny_folder, frames, height, width):
    clip = moving_clip(frames, height, width)
    wanted, plain = oracle_matte(exact, clip), oracle_matte(stock, clip)
    for found, float32, true in zip(stages(tiny_model, clip), plain, wanted, strict=True):
        assert_rounds_like(found, float32, true)
    for found, true in zip(stages(load_model(tiny_folder, torch.double), clip), wanted, strict=True):
        assert (found - true).abs().max() < SAME_STORED


def test_gaussian_steps_equal_diffusers_scheduler(exact, tiny_folder, cpu):
    from diffusers import FlowMatchEulerDiscreteScheduler

    model = load_model(tiny_folder, torch.double)
    pipeline = MattingPipeline(model, own_size(noise="gaussian", steps=3, seed=5, pad_multiple=4), cpu)
    image_latents = next(pipeline.encode(pipeline.fit(moving_clip(4))[1]))
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    scheduler.set_timesteps(3)
    noise = torch.stack([frame_noise(5, index, tuple(image_latents.data.shape[1:])) for index in range(4)])
    x, known = noise[None].double(), image_latents.data[None].double()
    with torch.no_grad():
        for t in scheduler.timesteps:
            v = exact[0](torch.cat([x, known], 2), t, x.new_zeros(1, 1, 16), x.new_zeros(1, 3)).sample
            x = scheduler.step(v, t, x).prev_sample
    assert (next(pipeline.denoise([image_latents])).data - x[0]).abs().max() < SAME_STORED * x.abs().max()


def test_without_diffusers_the_gaussian_mode_says_how_to_get_it_and_all_else_works(tiny_model, cpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers.schedulers.scheduling_flow_match_euler_discrete", None)
    MattingPipeline(tiny_model, own_size(), cpu).matte(moving_clip(2))
    with pytest.raises(MissingPackageError, match="pip install 'diffusers"):
        MattingPipeline(tiny_model, own_size(noise="gaussian"), cpu)


def test_published_timesteps_and_sigmas(tiny_model):
    scheduler = flow_scheduler(tiny_model.config.scheduler)
    scheduler.set_timesteps(3)
    assert scheduler.timesteps.tolist() == pytest.approx([1000, 751.12109, 8.92857], abs=1e-3)
    assert scheduler.sigmas.tolist() == pytest.approx([1, 0.75112110, 0.00892857, 0], abs=1e-6)


def test_normalisation_epsilons_are_those_the_weights_were_trained_with():
    with torch.device("meta"):
        unet = MattingUNet(FULL_UNET)
    epsilons = {name: m.eps for name, m in unet.named_modules() if isinstance(m, torch.nn.GroupNorm)}
    resnets = {name: eps for name, eps in epsilons.items() if ".resnets." in name}
    assert {eps for name, eps in resnets.items() if name.startswith(("down_blocks.3", "mid_block"))} == {1e-5}
    assert {eps for name, eps in resnets.items() if not name.startswith(("down_blocks.3", "mid_block"))} == {1e-6}
    assert epsilons["conv_norm_out"] == 1e-5
    assert {eps for name, eps in epsilons.items() if ".attentions." in name} == {1e-6}
    assert {m.eps for m in unet.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}
    assert len(resnets) == 4 * 22


def test_vae_epsilons_are_those_the_weights_were_trained_with(tiny_model):
    vae = tiny_model.vae
    epsilons = {name: m.eps for name, m in vae.named_modules() if isinstance(m, torch.nn.GroupNorm)}
    temporal = {name for name in epsilons if "temporal_res_block" in name}
    assert temporal and {epsilons[name] for name in temporal} == {1e-5}
    assert {eps for name, eps in epsilons.items() if name not in temporal} == {1e-6}


def test_the_real_network_has_the_published_number_of_parameters():
    with torch.device("meta"):
        unet = MattingUNet(FULL_UNET)
    published = published_shapes(unet)
    assert sum(math.prod(shape) for shape in published.values()) == 1_521_999_082
    assert len(published) == 1424


@pytest.mark.slow
def test_half_precision_sharded_weights_load_as_well(tmp_path, tiny_model):
    folder = write_tiny_model(tmp_path / "sharded", dtype=torch.float16)
    weights = load_file(folder / "unet" / WEIGHTS)
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, keys in parts.items():
        save_file({key: weights[key] for key in keys}, folder / "unet" / part)
    index = {"weight_map": {key: part for part, keys in parts.items() for key in keys}}
    (folder / "unet" / INDICES[0]).write_text(json.dumps(index))
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "vae" / WEIGHTS).rename(folder / "vae" / WEIGHTS_FP16)
    loaded = load_model(folder)
    for key, value in tiny_model.unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[key], value)


@pytest.fixture
def broken(tmp_path, tiny_folder):
    """A copy of the toy model to damage."""
    return shutil.copytree(tiny_folder, tmp_path / "broken")


def test_half_a_weight_file_is_called_that(broken):
    path = broken / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match=r"incomplete or damaged.*download it again"):
        load_model(broken)


def test_a_header_tells_shapes_and_types_and_whether_the_file_is_whole(broken):
    path = broken / "unet" / WEIGHTS
    header, weights = read_header(path), load_file(path)
    assert {key: (value.shape, value.dtype) for key, value in header.items()} == {
        key: (value.shape, value.dtype) for key, value in weights.items()
    }
    assert {value.device.type for value in header.values()} == {"meta"}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"incomplete or damaged.*download it again"):
        read_header(path)


def test_an_empty_weight_file_is_called_that(broken):
    (broken / "vae" / WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelError, match="incomplete or damaged"):
        load_model(broken)


def test_weights_of_plain_stable_video_diffusion_are_recognised(broken):
    path = broken / "unet" / WEIGHTS
    weights = load_file(path)
    save_file(weights | {"add_embedding.linear_1.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="Stable Video Diffusion"):
        load_model(broken)


def test_missing_tensors_are_named(broken):
    path = broken / "vae" / WEIGHTS
    weights = load_file(path)
    del weights["quant_conv.bias"]
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"1 missing \(first quant_conv.bias\)"):
        load_model(broken)


def test_weights_of_another_width_are_refused(broken):
    config = {**TINY_VAE, "block_out_channels": [32, 32, 64]}
    (broken / "vae" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="of another shape"):
        load_model(broken)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cross_attention_dim": [16, 16, 16, 16]},
        {"num_attention_heads": 0},
        {"num_attention_heads": [-4] * 4},
        {"block_out_channels": [-32] * 4},
        {"block_out_channels": None},
        {"layers_per_block": "two"},
        {"down_block_types": ["Unknown"] * 4},
    ],
)
def test_a_config_of_no_network_is_named(broken, wrong):
    (broken / "unet" / "config.json").write_text(json.dumps({**TINY_UNET, **wrong}))
    with pytest.raises(ModelError, match=r"config\.json.* does not describe a GVM network"):
        load_model(broken)


@pytest.mark.parametrize("wrong", [{"short_edge": 0}, {"max_edge": "512"}, {"refine": 1.5}, {"edge": 512}])
def test_advice_that_cannot_be_followed_is_named(broken, wrong):
    (broken / "gvm.json").write_text(json.dumps(wrong))
    with pytest.raises(ModelError, match=rf"gvm\.json may hold .* it holds {min(wrong)}"):
        load_model(broken)


def test_a_broken_config_is_named(broken):
    (broken / "unet" / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        load_model(broken)


def test_a_missing_folder_is_named_with_what_to_give(tmp_path):
    with pytest.raises(ModelError, match="there is no model folder"):
        load_model(tmp_path / "nowhere")


def test_a_folder_of_something_else_says_what_it_lacks(tmp_path):
    with pytest.raises(ModelError, match=r"it lacks unet/config\.json and vae/config\.json"):
        load_model(tmp_path)


def test_released_weights_that_are_not_there_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("GVM_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="gvm fetch"):
        load_model("gvm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_loading_in_every_precision_gives_weights_of_that_precision(tiny_folder, dtype):
    model = load_model(tiny_folder, dtype)
    assert {p.dtype for p in [*model.unet.parameters(), *model.vae.parameters()]} == {dtype}
    assert not any(p.requires_grad for p in model.unet.parameters())


def test_half_precision_mattes_stay_close_to_full_ones(tiny_folder, tiny_model):
    clip = moving_clip(4)
    full = MattingPipeline(tiny_model, own_size(), TorchHost("cpu")).matte(clip)
    half = MattingPipeline(load_model(tiny_folder, torch.float16), own_size(), TorchHost("cpu")).matte(clip)
    assert (full - half).abs().mean() < 0.01
