"""LoRA files of every naming: what a user loses here is the hair training, silently."""

import json

import pytest
import torch
from safetensors.torch import save_file

from gvm_core import load_model
from gvm_core.errors import ModelError
from gvm_core.models.lora import check_lora, read_lora

RANK, ALPHA = 4, 2.0


@pytest.fixture(scope="module")
def updates(tiny_model):
    """A random update for every module that GVM's LoRA touches: ``{module: (down, up)}``."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, module in tiny_model.unet.named_modules():
        if name in ("conv_in", "conv_out") or name.endswith((".to_q", ".to_k", ".to_v")):
            shape = module.weight.shape
            down = torch.randn(RANK, *shape[1:], generator=generator) * 0.1
            up = torch.randn(shape[0], RANK, *[1] * (len(shape) - 2), generator=generator) * 0.1
            found[name] = (down, up)
    return found


NAMINGS = {
    "peft around the model": ("model.", "lora_A.weight", "lora_B.weight"),
    "peft saved": ("base_model.model.", "lora_A.weight", "lora_B.weight"),
    "peft with adapter name": ("base_model.model.", "lora_A.default.weight", "lora_B.default.weight"),
    "diffusers": ("unet.", "lora_A.weight", "lora_B.weight"),
    "older diffusers": ("unet.", "lora.down.weight", "lora.up.weight"),
}


def named(updates, naming):
    prefix, down_name, up_name = NAMINGS[naming]
    return {
        f"{prefix}{module}.{part}": tensor
        for module, (down, up) in updates.items()
        for part, tensor in ((down_name, down), (up_name, up))
    }


def write_config(folder, **fields):
    (folder / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA, **fields}))


def expected(tiny_model, updates, scale):
    weights = {key: value.clone() for key, value in tiny_model.unet.state_dict().items()}
    for module, (down, up) in updates.items():
        delta = (up.flatten(1).double() @ down.flatten(1).double()).reshape(weights[f"{module}.weight"].shape)
        weights[f"{module}.weight"] += scale * delta.float()
    return weights


def assert_weights(unet, weights):
    for key, value in unet.state_dict().items():
        assert torch.allclose(value, weights[key], atol=1e-6), key


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_usual_naming_is_merged_with_the_rank_and_alpha_of_the_file(
    tmp_path, tiny_folder, tiny_model, updates, naming
):
    save_file(named(updates, naming), tmp_path / "any.safetensors")
    write_config(tmp_path)
    model = load_model(tiny_folder, lora=tmp_path / "any.safetensors", lora_strength=0.7)
    assert_weights(model.unet, expected(tiny_model, updates, 0.7 * ALPHA / RANK))


def test_the_lora_beside_the_weights_is_found_as_pt_and_can_be_left_out(tmp_path, tiny_model, updates):
    import shutil

    folder = shutil.copytree(tiny_model.config.folder, tmp_path / "model")
    torch.save(named(updates, "peft around the model"), folder / "unet" / "pytorch_lora_weights.pt")
    write_config(folder / "unet")
    assert_weights(load_model(folder).unet, expected(tiny_model, updates, ALPHA / RANK))
    assert_weights(load_model(folder, lora=None).unet, tiny_model.unet.state_dict())
    assert_weights(load_model(folder, lora_strength=0).unet, tiny_model.unet.state_dict())


def test_alpha_inside_the_file_wins_and_no_alpha_means_scale_one(tmp_path, updates):
    tensors = named(updates, "diffusers")
    save_file(tensors, tmp_path / "plain.safetensors")
    assert {update.scale for update in read_lora(tmp_path / "plain.safetensors").values()} == {1.0}
    tensors |= {f"unet.{module}.alpha": torch.tensor(8.0) for module in updates}
    save_file(tensors, tmp_path / "alpha.safetensors")
    write_config(tmp_path)
    assert {update.scale for update in read_lora(tmp_path / "alpha.safetensors").values()} == {2.0}


def test_the_scale_of_a_lora_is_known_without_reading_its_matrices(tmp_path, tiny_model, updates):
    tensors = named(updates, "diffusers") | {f"unet.{module}.alpha": torch.tensor(8.0) for module in updates}
    save_file(tensors, tmp_path / "x.safetensors")
    whole, headers = read_lora(tmp_path / "x.safetensors"), read_lora(tmp_path / "x.safetensors", values=False)
    assert {name: (update.scale, update.down.shape, update.up.shape) for name, update in whole.items()} == {
        name: (update.scale, update.down.shape, update.up.shape) for name, update in headers.items()
    }
    assert {update.down.device.type for update in headers.values()} == {"meta"}
    check_lora(tiny_model.unet, headers)


def test_alpha_in_diffusers_metadata_is_read(tmp_path, updates):
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": RANK, "unet.lora_alpha": 1})}
    save_file(named(updates, "diffusers"), tmp_path / "meta.safetensors", metadata)
    assert {update.scale for update in read_lora(tmp_path / "meta.safetensors").values()} == {0.25}


def test_rank_stabilised_and_patterned_alphas_are_honoured(tmp_path, updates):
    save_file(named(updates, "diffusers"), tmp_path / "x.safetensors")
    write_config(tmp_path, use_rslora=True, alpha_pattern={"conv_in": 6})
    lora = read_lora(tmp_path / "x.safetensors")
    assert lora["conv_in"].scale == pytest.approx(3.0)
    assert lora["conv_out"].scale == pytest.approx(1.0)


def test_taking_the_lora_out_restores_the_weights_to_the_bit(tmp_path, tiny_folder, tiny_model, updates):
    save_file(named(updates, "diffusers"), tmp_path / "x.safetensors")
    model = load_model(tiny_folder, lora=tmp_path / "x.safetensors")
    model.apply_lora(tmp_path / "x.safetensors", 0.5)  # replaces, does not add
    assert_weights(model.unet, expected(tiny_model, updates, 0.5))
    model.remove_lora()
    for key, value in model.unet.state_dict().items():
        assert torch.equal(value, tiny_model.unet.state_dict()[key])


def test_a_lora_of_another_network_is_refused_and_changes_nothing(tmp_path, tiny_folder, tiny_model, updates):
    wrong = dict(updates)
    down, _ = wrong["conv_out"]
    wrong["conv_out"] = (down, torch.zeros(7, RANK, 1, 1))
    save_file(named(wrong, "diffusers"), tmp_path / "x.safetensors")
    model = load_model(tiny_folder)
    with pytest.raises(ModelError, match="another network"):
        model.apply_lora(tmp_path / "x.safetensors")
    assert_weights(model.unet, tiny_model.unet.state_dict())


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"something.else": torch.zeros(1)}, "is not the name of a LoRA tensor"),
        ({"unet.conv_in.lora_A.weight": torch.zeros(4, 8, 3, 3)}, "lacks an up or down matrix"),
    ],
)
def test_files_that_are_no_lora_say_so(tmp_path, tensors, sentence):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=sentence):
        read_lora(tmp_path / "x.safetensors")


def test_a_dora_is_refused(tmp_path, updates):
    save_file(named(updates, "diffusers"), tmp_path / "x.safetensors")
    write_config(tmp_path, use_dora=True)
    with pytest.raises(ModelError, match="DoRA"):
        read_lora(tmp_path / "x.safetensors")


class Trap:
    """What a malicious pickle would run."""

    ran = False

    def __reduce__(self):
        return (setattr, (Trap, "ran", True))


def test_a_pt_file_cannot_run_code(tmp_path):
    torch.save({"conv_in.lora_A.weight": Trap()}, tmp_path / "x.pt")
    with pytest.raises(ModelError, match="It was not opened for safety"):
        read_lora(tmp_path / "x.pt")
    assert not Trap.ran


def test_a_missing_lora_is_named(tmp_path, tiny_folder):
    with pytest.raises(ModelError, match="there is no LoRA file"):
        load_model(tiny_folder, lora=tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no LoRA in"):
        load_model(tiny_folder, lora=tmp_path)
