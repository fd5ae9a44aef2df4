"""Training: what a user loses here is a night of computing, or a model that learned something else."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support import SAME, TINY_UNET, TINY_VAE, moving_clip, our_networks, own_size, stock_networks, write_tiny_model

from gvm_core import MatteSettings, MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.datasets.backgrounds import Places
from gvm_core.datasets.batch import Batch, Mixture
from gvm_core.datasets.cutouts import cutout
from gvm_core.datasets.drawn import ClipPool, Clips, draw_layers
from gvm_core.datasets.labelled import LabelledSource
from gvm_core.datasets.pairs import find_labelled
from gvm_core.datasets.panorama import Panorama
from gvm_core.errors import InputError, ModelError
from gvm_core.models.lora import read_lora
from gvm_core.models.unet import MattingUNet
from gvm_core.models.vae import TemporalVAE
from gvm_core.models.weights import read_network
from gvm_core.synthesis.scene import Frame
from gvm_core.synthesis.write import write_clip
from gvm_core.training import train
from gvm_core.training.config import Stage, TrainingConfig, bundled_configs, read_config
from gvm_core.training.encoded import EncodedClips, encode_batch
from gvm_core.training.layers import is_temporal, zero_temporal_layers
from gvm_core.training.loader import StepDataset, load_steps
from gvm_core.training.lora import write_lora
from gvm_core.training.losses import gradient_loss, laplacian_loss, latent_loss, matte_losses
from gvm_core.training.sources import stage_source
from gvm_core.training.start import starting_networks
from gvm_core.training.train import LossTable, Training


@pytest.fixture(scope="module")
def pool():
    clips = Clips(count=3, size=32, frames=4)
    return ClipPool(np.stack([draw_layers(clips, number) for number in range(3)]))


def config(*stages, **more):
    return TrainingConfig(unet=TINY_UNET, vae=TINY_VAE, stages=stages, **more)


def stage(name="s", **changes):
    return Stage(**{"name": name, "sizes": (32,), "batch": 2, "steps": 4, "rate": 1e-3, **changes})


def losses(folder):
    header, *rows = (line.split(",", 3) for line in (folder / "losses.csv").read_text().splitlines())
    assert header == ["stage", "step", "seconds", "losses"]
    return [(row[0], row[1], row[3]) for row in rows]


class KilledError(Exception):
    pass


STAGES = {
    "vae": stage(network="vae", frames=2, steps=5),
    "vae in time": stage(network="vae", learn="temporal", frames=2, steps=5),
    "still": stage(still=True, steps=5, encoded=4),
    "spatial": stage(learn="spatial", frames=2, steps=5, checkpointing=True),
    "flow": stage(objective="flow", frames=2, sizes=(32, 24), steps=5),
    "pixels": stage(
        frames=2, steps=5, decoded=16, losses={"latent": 0.3, "l1": 1.0, "laplacian": 0.1, "gradient": 0.5}
    ),
    "refined": stage(frames=2, steps=5, encoded=4, decoded=16, refine=1, losses={"latent": 0.3, "soft": 1.0}),
    "lora": stage(learn="lora", rank=4, steps=5, losses={"latent": 1.0, "l1": 1.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    # bfloat16 differs in the networks and the weights, of which there are three kinds; processors without it are slow
    [*((name, torch.float32) for name in STAGES), *((name, torch.bfloat16) for name in ("vae", "spatial", "lora"))],
)
def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(name, dtype, pool, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    wanted = config(stage("before", steps=2, frames=2), STAGES[name])
    whole = Training(tmp_path / "whole", wanted, lambda *_: pool, dtype=dtype)
    result = whole.run()

    def kill(done, _):
        if done == 6:
            raise KilledError

    with pytest.raises(KilledError):
        Training(tmp_path / "parts", wanted, lambda *_: pool, dtype=dtype, progress=kill).run()
    again = Training(tmp_path / "parts", wanted, lambda *_: pool, dtype=dtype)
    assert again.run().name == result.name
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for a, b in ((whole.unet, again.unet), (whole.vae, again.vae)):
        assert all(torch.equal(x, b.state_dict()[key]) for key, x in a.state_dict().items())
    kept = [tmp_path / each / "lora.safetensors" for each in ("whole", "parts")]
    assert name != "lora" or kept[0].read_bytes() == kept[1].read_bytes()
    assert (tmp_path / "whole" / "samples" / f"1_s_{5:06}.png").stat().st_size > 500


def test_a_finished_model_can_be_the_mean_of_several_stages(pool, tmp_path):
    stages = stage("first", steps=2, frames=2), stage("between", steps=2, frames=2), stage("last", steps=2, frames=2)
    wanted = replace(config(*stages), average=("first", "last"))
    training = Training(tmp_path, wanted, lambda *_: pool)
    folder = training.run()
    found, _ = read_network(MattingUNet, folder / "unet", torch.float32, torch.nn)
    kept = [torch.load(training.weights_after(name), weights_only=True) for name in wanted.average]
    assert any(not torch.equal(value, kept[1][key]) for key, value in kept[0].items())
    for key, value in found.state_dict().items():
        assert torch.allclose(value, (kept[0][key] + kept[1][key]) / 2, rtol=2e-3, atol=1e-3), key  # half precision
    before = (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert Training(tmp_path, wanted, lambda *_: pool).run() == folder  # finished: nothing changes
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="average"):
        replace(wanted, average=("other",))


def test_a_stage_can_start_from_the_mean_of_earlier_ones(pool, tmp_path):
    first, second = stage("first", steps=2, frames=2), stage("second", steps=2, frames=2)
    last = stage("last", steps=1, frames=2, rate=1e-9, start=("first", "second"))
    training = Training(tmp_path, config(first, second, last), lambda *_: pool)
    training.run()
    kept = [torch.load(training.weights_after(name), weights_only=True) for name in last.start]
    for key, value in training.unet.state_dict().items():
        torch.testing.assert_close(value, (kept[0][key] + kept[1][key]) / 2, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="earlier stages that train the whole unet; 'last' is none"):
        config(first, second, replace(last, start=("last",)))


@pytest.mark.slow
def test_hard_negatives_are_found_once_by_the_weights_before_the_stage(tmp_path, monkeypatch):
    """A stage that was stopped must not search again with the weights that it has changed by then."""
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 2)
    panorama = torch.rand(3, 32, 64, generator=torch.Generator().manual_seed(0))
    places = Places((Panorama(panorama),))
    person = cutout(np.full((1, 4, 40, 30), 200, np.uint8))
    found: list[int] = []

    def source(wanted, find):
        def counted(given):
            views = find(given)
            found.append(len(views))
            return views

        return stage_source(wanted, tmp_path, [], cutouts=[person], places=places, hard_negatives=counted)

    def kill(done, _):
        if done == 6:
            raise KilledError

    wanted = config(stage("before", steps=2), stage("hard", learn="spatial", steps=5, hard_negatives=20))
    whole = Training(tmp_path / "whole", wanted, source)
    whole.run()
    with pytest.raises(KilledError):
        Training(tmp_path / "parts", wanted, source, progress=kill).run()
    again = Training(tmp_path / "parts", wanted, source)
    again.run()
    assert found[0] > 0 and found == found[:1] * 3
    assert len([*(tmp_path / "parts" / "pools").iterdir()]) == 1
    assert all(torch.equal(value, again.unet.state_dict()[key]) for key, value in whole.unet.state_dict().items())


def test_encoded_clips_are_made_again_for_other_hard_negatives(pool, tmp_path):
    wanted = stage("hard", encoded=4, hard_negatives=20)
    training = Training(tmp_path, config(wanted), lambda *_: pool)
    for weights in (5, 6, 5):  # checksums of the weights that searched
        training.source_of(wanted, 0, weights)
    assert len([*(tmp_path / "pools").iterdir()]) == 2


def test_the_time_of_a_resumed_stage_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=iter([1000.0, 1007.0]).__next__))
    rows = ["vae,50,900,{}", "s,50,100,{}", "s,100,200,{}", "s,150,300,{}"]
    (tmp_path / "losses.csv").write_text("\n".join(rows))
    LossTable(tmp_path / "losses.csv", stage(steps=150), 100).add(150, {"loss": torch.tensor(0.5)})
    header, *lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert header == "stage,step,seconds,losses" and lines[:3] == rows[:3]
    assert lines[3:] == ['s,150,207,"{""loss"": 0.5}"']


@pytest.mark.parametrize("learn", ["all", "spatial", "temporal"])
def test_only_a_vae_that_learns_to_encode_gives_latents_another_scale(learn, pool, tmp_path):
    training = Training(tmp_path, config(stage(network="vae", learn=learn, frames=2, steps=2)), lambda *_: pool)
    before = training.vae.scaling_factor
    training.run()
    assert (training.vae.scaling_factor == before) == (learn == "temporal")


def test_clips_encoded_by_another_encoder_or_of_another_pool_are_not_taken_for_these(pool, tmp_path):
    wanted = stage(encoded=2)
    torch.manual_seed(0)
    vae = TemporalVAE(TINY_VAE)

    def files(source, seed):
        EncodedClips(tmp_path, vae, source, wanted, [seed], torch.float32)
        return len([*tmp_path.iterdir()])

    assert [files(pool, 0), files(pool, 0), files(pool, 1)] == [1, 1, 2]
    assert files(ClipPool(pool.layers // 2), 0) == 3
    with torch.no_grad():
        vae.quant_conv.bias += 0.1
    assert files(pool, 0) == 4


@pytest.mark.parametrize(
    ("changes", "learns"),
    [
        ({"learn": "spatial"}, lambda name: not is_temporal(name)),
        ({"learn": "temporal"}, is_temporal),
        ({"still": True, "frames": 1}, lambda name: not is_temporal(name)),
        ({"learn": "all"}, lambda name: True),
    ],
)
def test_what_is_frozen_stays_frozen(changes, learns, pool, tmp_path):
    training = Training(tmp_path, config(stage(**{"frames": 2, **changes})), lambda *_: pool)
    before = {name: value.clone() for name, value in training.unet.state_dict().items()}
    fixed = {name: value.clone() for name, value in training.vae.state_dict().items()}
    training.run()
    after = training.unet.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and all(learns(name) for name in changed)
    assert all(torch.equal(value, training.vae.state_dict()[name]) for name, value in fixed.items())


def test_a_new_network_may_learn_from_single_frames_without_its_layers_over_time(tmp_path, pool):
    training = Training(tmp_path, config(stage()), lambda *_: pool)
    unet, vae = training.unet.double(), training.vae.double()
    latents = torch.randn(2, 3, 2 * TINY_VAE["latent_channels"], 8, 8, dtype=torch.double)
    runs = {
        unet: lambda **which: unet(latents, torch.tensor(999), **which),
        vae: lambda **which: vae.decode(latents[:, :, : TINY_VAE["latent_channels"]], **which),
    }
    for network, run in runs.items():
        with torch.no_grad():
            single = run(spatial_only=True)
            assert (run() - single).abs().max() < SAME
            for name, parameter in network.named_parameters():
                if is_temporal(name) and "time_conv_out" not in name:
                    parameter.add_(0.05 * torch.randn_like(parameter))
            assert torch.equal(run(spatial_only=True), single)
            assert (run() - single).abs().max() > 1e-3


@pytest.mark.slow
def test_a_lora_halves_the_error_on_the_users_clips_and_loads_like_any_other(tmp_path):
    clips, mine = Clips(count=4, size=64, first_seed=50, tiers=(0, 0, 1)), []
    for number in range(4):
        layers = torch.from_numpy(draw_layers(clips, number)).float() / 255
        image, alpha = layers[:, :3] + layers[:, 4:] * (1 - layers[:, 3:4]), layers[:, 3:4]
        mine.append((image, alpha))
        frames = [Frame(image[0], alpha[0], image[0], image[0])]
        assert list(write_clip(tmp_path / "mine" / str(number), frames)) == [0]
    source = LabelledSource(find_labelled(tmp_path / "mine"), 64, closest=1.0, degrade=0.0)
    pixels = {"latent": 1.0, "l1": 1.0}
    learn = stage(learn="lora", rank=16, steps=120, batch=4, rate=1e-2, sizes=(64,), losses=pixels)
    training = Training(tmp_path / "out", TrainingConfig(start="small", stages=(learn,)), lambda *_: source)
    before = {name: value.clone() for name, value in training.unet.state_dict().items()}
    path = training.run()
    assert not (tmp_path / "out" / "model").exists()
    assert all(torch.equal(value, training.unet.state_dict()[name]) for name, value in before.items())

    def error(model):
        pipeline = MattingPipeline(model, own_size(), TorchHost("cpu"))
        return torch.stack([(pipeline.matte(image) - alpha).abs().mean() for image, alpha in mine]).mean()

    model = load_model("small")
    plain = error(model)
    model.apply_lora(path)
    assert error(model) < 0.5 * plain
    assert all(update.scale == 1 for update in read_lora(path).values())


@pytest.mark.slow
def test_a_lora_learned_beside_the_models_own_lora_loads_as_both(pool, tmp_path):
    """The released UNet has one beside it, and only one LoRA can be loaded: without both, learning would make it worse."""
    write_tiny_model(tmp_path / "tiny")
    unet = load_model(tmp_path / "tiny").unet
    places = [
        name for name, module in unet.named_modules() if name.endswith(("to_q", "proj_in")) and module.weight.ndim == 2
    ]
    own = {}
    for number, name in enumerate(places):
        shape, generator = unet.get_submodule(name).weight.shape, torch.Generator().manual_seed(number)
        own[f"{name}.lora_A.weight"] = torch.randn(2, shape[1], generator=generator)
        own[f"{name}.lora_B.weight"] = torch.randn(shape[0], 2, generator=generator)
    write_lora(tmp_path / "tiny" / "unet" / "pytorch_lora_weights.safetensors", own)
    (tmp_path / "tiny" / "unet" / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 1}))  # scale 0.5
    learn = stage(learn="lora", rank=4, steps=3, rate=1e-2)
    training = Training(
        tmp_path / "out", TrainingConfig(start=str(tmp_path / "tiny"), stages=(learn,)), lambda *_: pool
    )
    path = training.run()
    loaded, written = load_model(tmp_path / "tiny", lora=path).unet, read_lora(path)
    for name in places:
        began, update = training.unet.get_submodule(name).weight, written[name]
        learned = update.up[:, :-2].float() @ update.down[:-2].float()
        assert learned.any() or name.endswith("proj_in")
        torch.testing.assert_close(loaded.get_submodule(name).weight, began + learned, rtol=2e-3, atol=2e-3)


def test_flow_matching_gives_back_the_matte_when_the_velocity_is_right(pool, tmp_path):
    training = Training(tmp_path, config(stage(objective="flow")), lambda *_: pool)
    batch = encode_batch(training.vae, pool.batch(2, 32, 2, np.random.default_rng(0)))
    inputs = []

    def velocity(latents, timestep, spatial_only):
        inputs.append((latents, timestep))
        channels = latents.shape[2] // 2
        sigma = timestep[:, None, None, None, None] / 1000
        return (latents[:, :, :channels] - batch.wanted) / sigma

    training.unet.forward = velocity
    parts = training.unet_losses(replace(stage(objective="flow"), losses={"latent": 1.0, "l1": 1.0}), batch)
    returned = training.vae.decode_alpha(batch.wanted)
    assert parts["latent"] < 1e-6
    torch.testing.assert_close(parts["l1"], (returned - batch.alpha).abs().mean(), rtol=1e-3, atol=1e-4)
    assert torch.equal(inputs[0][0][:, :, TINY_VAE["latent_channels"] :], batch.known)


@pytest.mark.parametrize("frames", [1, 4])
def test_losses_see_the_refined_mattes_that_matting_will_give(frames, pool, tmp_path):
    write_tiny_model(tmp_path / "tiny")
    wanted = stage(frames=frames, refine=2, losses={"l1": 1.0})
    training = Training(tmp_path, TrainingConfig(start=str(tmp_path / "tiny"), stages=(wanted,)), lambda *_: pool)
    batch = pool.batch(2, 32, frames, np.random.default_rng(0))
    weights = training.learning(wanted)
    parts = training.unet_losses(wanted, encode_batch(training.vae, batch))
    parts["loss"].backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in weights.values())

    asked = MatteSettings(plan=WindowPlan(frames, 0), short_edge=32, max_edge=32, pad_multiple=16, refine=2)
    pipeline = MattingPipeline(load_model(str(tmp_path / "tiny")), asked, TorchHost("cpu"))
    mattes = []
    for images in batch.images:
        fit, clips = pipeline.fit(images)
        alpha = pipeline.decode(pipeline.denoise(pipeline.encode(clips)))
        mattes.append(torch.cat([clip.data for clip in pipeline.refine(alpha, fit)]))
    torch.testing.assert_close(parts["l1"], (torch.stack(mattes) - batch.alpha).abs().mean(), rtol=0, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3), st.integers(5, 40), st.integers(5, 40), st.integers(0, 99))
def test_losses_vanish_where_nothing_differs_and_where_nothing_is_believed(frames, height, width, seed):
    random = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(2, frames, 1, height, width, generator=random) for _ in range(2))
    everywhere, nowhere = torch.ones_like(a), torch.zeros_like(a)
    for loss in (laplacian_loss, gradient_loss, latent_loss):
        assert float(loss(a, a, everywhere)) == 0
        assert float(loss(a, b, everywhere)) > 0
        assert float(loss(a, b, nowhere)) == 0
    left = everywhere.clone()
    left[..., width // 2 :] = 0
    changed = torch.where(left > 0, a, b)
    assert float(matte_losses(changed, a, left)["l1"]) == 0
    assert float(latent_loss(changed, a, left)) == 0


def test_drawn_batches_are_decided_by_the_seed_and_stay_in_range(pool):
    photographs = (torch.rand(3, 50, 40),)
    for source in (pool, ClipPool(pool.layers, photographs, 0.3), Mixture(pool, ClipPool(pool.layers, photographs))):
        a, b, other = (source.batch(3, 24, 2, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert isinstance(a, Batch) and torch.equal(a.images, b.images) and torch.equal(a.alpha, b.alpha)
        assert not torch.equal(a.images, other.images)
        assert a.images.shape == (3, 2, 3, 24, 24) and a.alpha.shape == a.confidence.shape == (3, 2, 1, 24, 24)
        assert a.images.min() >= 0 and a.images.max() <= 1 and a.alpha.min() >= 0 and a.alpha.max() <= 1


def test_most_subjects_keep_the_background_they_were_drawn_with():
    """Their own shadows and spilt light; the others learn that any background may come."""
    layers = np.zeros((3, 1, 7, 8, 8), np.uint8)
    for number in range(3):  # alpha says which subject, grey which background
        layers[number, :, 3], layers[number, :, 4:] = 20 * number, 40 + 80 * number
    pool, own = ClipPool(layers), 0
    for seed in range(120):
        image, alpha = pool.compose(8, 1, np.random.default_rng(seed))
        subject = round(float(alpha.mean()) * 255 / 20)
        grey = float((image / (1 - alpha)).mean()) * 255
        own += round((grey - 40) / 80) == subject
    assert 60 < own < 100  # 80 expected, less what a bad camera makes unrecognisable


def test_batches_prepared_by_workers_are_those_a_single_process_makes(pool):
    draws = StepDataset(pool, stage(sizes=(16, 24), steps=7, frames=2), [3, 1], 0)
    alone, helped = (list(load_steps(draws, 2, workers, torch.device("cpu"))) for workers in (0, 2))
    assert [draw.seed for draw in alone] == [draw.seed for draw in helped] and len(alone) == 5
    for a, b in zip(alone, helped, strict=True):
        assert isinstance(b.batch, Batch) and all(torch.equal(x, y) for x, y in zip(a.batch, b.batch, strict=True))
    assert {draw.batch.images.shape[-1] for draw in alone} <= {16, 24}
    other = StepDataset(pool, draws.stage, [3, 1], 1)[2].batch
    assert other.images.shape == alone[0].batch.images.shape and not torch.equal(other.images, alone[0].batch.images)


def test_a_fast_card_gets_each_clip_in_several_steps_in_new_company(pool):
    draws = StepDataset(pool, stage(sizes=(16, 24), steps=11, frames=2, batch=3, repeats=4), [3, 1], 0)
    steps = [data.batch for data in load_steps(draws, 0, 0, torch.device("cpu"))]
    assert len(steps) == 11
    made = [draws[number].batch for number in range(3)]  # 12 clips for 33 places
    known = {clip.numpy().tobytes(): number for number, batch in enumerate(made) for clip in batch.images}
    for step, batch in enumerate(steps):
        assert batch.images.shape == made[step // 4].images.shape == (3, 2, 3, *batch.alpha.shape[-2:])
        assert all(known[clip.numpy().tobytes()] <= step // 4 for clip in batch.images)
        for image, alpha in zip(batch.images, batch.alpha, strict=True):  # a clip keeps its own matte
            source = made[known[image.numpy().tobytes()]]
            own = [index for index, other in enumerate(source.images) if torch.equal(image, other)]
            assert any(torch.equal(alpha, source.alpha[index]) for index in own)
    resumed = [data.batch for data in load_steps(draws, 6, 2, torch.device("cpu"))]
    assert len(resumed) == 5 and all(torch.equal(a.images, b.images) for a, b in zip(resumed, steps[6:], strict=True))


@pytest.mark.slow
def test_stable_video_diffusions_own_weights_are_a_start(tmp_path):
    unet, vae = stock_networks()
    for name, network in (("unet", unet), ("vae", vae)):
        network.save_pretrained(tmp_path / "svd" / name)
    assert any(key.startswith("add_embedding.") for key in unet.state_dict())
    networks = starting_networks(TrainingConfig(start=str(tmp_path / "svd"), stages=(stage(),)))
    for found, wanted in zip(networks, our_networks(), strict=False):
        assert all(torch.equal(value, wanted.state_dict()[name]) for name, value in found.state_dict().items())
    assert networks[2].unet["block_out_channels"] == TINY_UNET["block_out_channels"]


def test_widened_latents_begin_as_the_same_networks(tiny_folder):
    config = TrainingConfig(start=str(tiny_folder), stages=(stage(),))
    unet, vae, _ = starting_networks(config)
    wide_unet, wide_vae, widened = starting_networks(replace(config, latent_channels=7))
    for network in (unet, vae, wide_unet, wide_vae):
        network.double()
    assert widened.unet["in_channels"] == 14 and widened.vae["latent_channels"] == 7
    images = moving_clip(3, 16, 24)[None].double() * 2 - 1
    with torch.no_grad():
        latents, wide = (network.encode(images[0])[None] for network in (vae, wide_vae))
        assert wide.shape[2] == 7
        assert (wide[:, :, :4] - latents).abs().max() < SAME
        assert wide[:, :, 4:].abs().amax(dim=(0, 1, 3, 4)).min() > 0, "new channels see something"
        assert (wide_vae.decode(wide) - vae.decode(latents)).abs().max() < SAME
        known, wide_known = (torch.cat([torch.zeros_like(each), each], dim=2) for each in (latents, wide))
        first = wide_unet(wide_known, torch.tensor(999))[:, :, :4]
        assert (first - unet(known, torch.tensor(999))).abs().max() < SAME


def test_latents_do_not_shrink(tiny_folder):
    config = TrainingConfig(start=str(tiny_folder), latent_channels=3, stages=(stage(),))
    with pytest.raises(InputError, match="can only grow"):
        starting_networks(config)


def test_weights_whose_input_holds_no_matte_are_refused_as_a_start(tmp_path):
    write_tiny_model(tmp_path / "other")
    path = tmp_path / "other" / "unet" / "config.json"
    path.write_text(json.dumps({**TINY_UNET, "in_channels": 4}))
    weights = tmp_path / "other" / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({**state, "conv_in.weight": state["conv_in.weight"][:, :4].contiguous()}, weights)
    with pytest.raises(ModelError, match="takes 4 channels; matting needs twice"):
        starting_networks(TrainingConfig(start=str(tmp_path / "other"), stages=(stage(),)))


@pytest.mark.parametrize("name", bundled_configs())
def test_every_bundled_configuration_can_be_read(name):
    assert read_config(name).stages


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ('{"stages": []}', "at least one stage"),
        (
            json.dumps({"stages": [{"name": "a", "sizes": [64], "batch": 1, "steps": 1, "rate": 1}] * 2}),
            "'a' is repeated",
        ),
        ("[]", "is not a training configuration"),
        ("{", "is not a training configuration"),
        (
            '{"stages": [{"name": "a", "sizes": [64], "batch": 1, "steps": 1, "rate": 1, "size": 3}]}',
            "has no key 'size'",
        ),
        ('{"stages": [{"name": "a", "sizes": [64], "batch": 0, "steps": 1, "rate": 1}]}', "above 0"),
        ('{"stages": [{"name": "a", "sizes": [64], "batch": 1, "steps": 1, "rate": 1}]}', "from scratch needs"),
        ('{"stages": [{"name": "a", "sizes": [64], "batch": 1, "steps": 1, "rate": 1, "learn": "x"}]}', "one of all"),
        (
            '{"stages": [{"name": "a", "sizes": [64], "batch": 1, "steps": 1, "rate": 1, "losses": {"x": 1}}]}',
            "no loss",
        ),
        ('{"stages": [{"name": "a", "sizes": [64], "batch": 1, "steps": 1, "rate": 1, "refine": 2}]}', "needs a loss"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_before_anything_runs(content, hint, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(InputError, match=hint):
        read_config(str(path))


def test_an_unknown_configuration_names_those_there_are():
    with pytest.raises(InputError, match="quick"):
        read_config("nonsense")


def test_new_layers_over_time_begin_as_doing_nothing():
    torch.manual_seed(0)
    vae = TemporalVAE(TINY_VAE).double()
    zero_temporal_layers(vae)
    latents = torch.randn(1, 3, TINY_VAE["latent_channels"], 8, 8, dtype=torch.double)
    with torch.no_grad():
        together = vae.decode(latents)
        alone = torch.cat([vae.decode(latents[:, i : i + 1]) for i in range(3)], dim=1)
    assert (together - alone).abs().max() < SAME


PAIR = """
import json
import sys
from pathlib import Path
import numpy as np
import torch
from gvm_core.training.config import Stage, TrainingConfig
from gvm_core.datasets.drawn import ClipPool
from gvm_core.training.processes import join_processes
from gvm_core.training.train import Training

folder, layers, networks = Path(sys.argv[1]), np.load(sys.argv[2]), json.loads(sys.argv[3])
stage = Stage(name="s", sizes=(32,), batch=1, steps=3, rate=1e-3, frames=2)
processes = join_processes("cpu")
training = Training(folder, TrainingConfig(**networks, stages=(stage,)), lambda *_: ClipPool(layers), processes=processes)
training.run()
torch.save(training.unet.state_dict(), folder / f"member{processes.index}.pt")
"""


@pytest.mark.slow
def test_processes_that_train_together_keep_the_same_weights(pool, tmp_path):
    pytest.importorskip("accelerate")
    script = tmp_path / "pair.py"
    script.write_text(PAIR)
    np.save(tmp_path / "layers.npy", pool.layers)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    networks = json.dumps({"unet": TINY_UNET, "vae": TINY_VAE})
    arguments = [*launch, str(script), str(tmp_path / "out"), str(tmp_path / "layers.npy"), networks]
    done = subprocess.run(arguments, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / "out" / f"member{i}.pt", weights_only=True) for i in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    alone = Training(tmp_path / "alone", config(stage(batch=1, steps=3, frames=2)), lambda *_: pool)
    alone.run()
    weights = alone.unet.state_dict()
    assert any(not torch.equal(value, weights[name]) for name, value in first.items())  # the other's batches count


def test_a_training_leaves_the_callers_random_state_as_it_was(pool, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Training(tmp_path / "out", config(stage(steps=2), stage("lora", learn="lora", steps=2)), lambda *_: pool).run()
    assert torch.equal(torch.get_rng_state(), before)
