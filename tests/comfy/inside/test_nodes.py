"""The nodes in a real ComfyUI's process: what a user loses here is the pack."""

import asyncio
import importlib.util
import logging
import sys
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import av
import comfy.model_management as management
import folder_paths
import nodes
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from comfy_execution.graph_utils import ExecutionBlocker
from support import SAME_STORED, moving_clip, write_film

PACK = Path(__file__).parents[3]
VideoFromFile, VideoFromComponents = InputImpl.VideoFromFile, InputImpl.VideoFromComponents


def images(frames, height=32, width=48):
    return moving_clip(frames, height, width).movedim(1, -1).contiguous()


def own_size(core):
    """Settings under which the network sees frames at their own size."""
    return core("settings").MatteSettings(short_edge="own", max_edge="own")


def plain_of(hosted, core, **choices):
    """The same model in torch's own layers, with ComfyUI's attention: to the bit what the nodes give."""
    attend = core("host.comfy").host_attention
    return core("models.weights").load_model(hosted.model.config.folder, attend=attend, **choices)


def test_the_pack_loads_without_a_warning_and_with_the_nodes_it_promises(pack, node_list):
    assert pack.warnings == []
    assert set(pack.nodes) == set(node_list)
    for node_id, kind in pack.nodes.items():
        schema = kind.GET_SCHEMA()
        assert schema.category == "GVM" and schema.description
        assert all(entry.tooltip for entry in schema.inputs), node_id
        assert kind.GET_NODE_INFO_V1()["name"] == node_id


def test_a_rename_costs_nothing_where_a_script_uses_the_nodes_without_a_server(pack):
    renames = importlib.import_module(f"{pack.module}.nodes.renames")
    made_up = renames.Rename("GVMDrawClip", "GVMSyntheticClip", {"tier": "difficulty"})
    asyncio.run(renames.register_renames(list(pack.nodes.values()), [made_up]))
    told = renames.replacement(made_up, pack.nodes["GVMSyntheticClip"].GET_SCHEMA())
    assert {"new_id": "tier", "old_id": "difficulty"} in told["input_mapping"]


def test_importing_the_pack_adds_nothing_noticeable_to_comfyuis_start(pack):
    """Nothing is imported that is not there already but modules of Python's own, and nothing is opened but our sources."""
    before, opened = set(sys.modules), []
    sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
    place = importlib.util.spec_from_file_location(
        "imported_again", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
    )
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    here = list(opened)
    others = {name.partition(".")[0] for name in set(sys.modules) - before} - {"imported_again"}
    assert others <= sys.stdlib_module_names
    assert not [path for path in here if path.endswith((".safetensors", ".json", ".onnx", ".pt"))]
    assert sum(path.endswith((".py", ".pyc")) for path in here) < 120


def test_the_users_own_model_folder_comes_first_and_ours_is_added(pack):
    paths = folder_paths.get_folder_paths("gvm")
    assert paths[0] == str(pack.elsewhere)
    assert paths[-1].replace("\\", "/").endswith("models/gvm")


def test_the_bundled_and_the_users_models_can_be_chosen(pack):
    combo = next(entry for entry in pack.nodes["GVMLoadModel"].GET_SCHEMA().inputs if entry.id == "model")
    assert combo.options[:2] == ["small", "gvm"] and {"tiny", "half"} <= set(combo.options)
    assert "demo" not in combo.options


def test_a_lora_of_ones_own_can_be_chosen_and_is_merged(run, pack, tiny, core):
    training = core("training.lora")
    folder, name = tiny.model.config.folder, "my hair.safetensors"
    weights = training.add_lora(core("models.weights").load_model(folder).unet, 2)
    with torch.no_grad():
        for weight in weights.values():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    path = pack.elsewhere / "loras" / name
    training.write_lora(path, weights)
    combo = next(entry for entry in pack.nodes["GVMLoadModel"].GET_SCHEMA().inputs if entry.id == "lora")
    assert combo.options == ["auto", "none", name]

    batch = images(3)

    def mask(**choice):
        model = run("GVMLoadModel", model="tiny", precision="fp32", **choice)
        return run("GVMMatte", model=model, images=batch, resolution="as the frames are")

    host = core("host.torch_host").TorchHost("cpu")
    merged = plain_of(tiny, core, lora=path)
    alpha = core("pipeline").MattingPipeline(merged, own_size(core), host).matte(batch.movedim(-1, 1))
    assert torch.equal(mask(lora=name), alpha[:, 0])
    assert torch.equal(mask(lora="none"), mask(lora=name, lora_strength=0.0))
    assert (mask(lora="none") - alpha[:, 0]).abs().max() > 1e-3
    with pytest.raises(Exception, match="there is no LoRA 'gone"):
        mask(lora="gone.safetensors")


def test_the_mask_is_the_cores_matte(run, tiny, core):
    batch = images(11)
    mask = run("GVMMatte", model=tiny, images=batch, resolution="as the frames are")
    assert mask.shape == (11, 32, 48) and mask.dtype == torch.float32 and mask.min() >= 0 and mask.max() <= 1
    host = core("host.torch_host").TorchHost("cpu")
    alpha = core("pipeline").MattingPipeline(plain_of(tiny, core), own_size(core), host).matte(batch.movedim(-1, 1))
    assert torch.equal(mask, alpha[:, 0])


def test_the_three_stages_are_the_one_node(run, tiny):
    batch, size = images(9), {"resolution": "as the frames are"}
    latents = run("GVMEncode", model=tiny, images=batch, **size)
    alpha_latents = run("GVMDenoise", model=tiny, latents=latents)
    mask = run("GVMDecode", model=tiny, alpha_latents=alpha_latents)
    assert torch.equal(mask, run("GVMMatte", model=tiny, images=batch, **size))


def test_edges_are_refined_by_the_frames_as_in_the_core(run, tiny, core):
    batch = images(9)
    shrunk = {"resolution": "custom", "short_edge": 32, "max_edge": 32}
    model = plain_of(tiny, core)
    host, settings = core("host.torch_host").TorchHost("cpu"), core("settings").MatteSettings
    masks = {}
    for refine, setting in ((-1, "auto"), (0, 0), (3, 3)):
        masks[refine] = run("GVMMatte", model=tiny, images=batch, refine=refine, **shrunk)
        chosen = settings(short_edge=32, max_edge=32, refine=setting)
        alpha = core("pipeline").MattingPipeline(model, chosen, host).matte(batch.movedim(-1, 1))
        assert torch.equal(masks[refine], alpha[:, 0])
    assert (masks[-1] - masks[0]).abs().max() > 1e-3 and (masks[3] - masks[0]).abs().max() > 1e-3

    latents = run("GVMEncode", model=tiny, images=batch, **shrunk)
    alpha_latents = run("GVMDenoise", model=tiny, latents=latents)
    decoded = {"model": tiny, "alpha_latents": alpha_latents}
    assert torch.equal(run("GVMDecode", **decoded, images=batch), masks[-1])
    assert torch.equal(run("GVMDecode", **decoded, images=batch, refine=3), masks[3])
    assert torch.equal(run("GVMDecode", **decoded), masks[0])
    with pytest.raises(Exception, match="connect the frames that were encoded"):
        run("GVMDecode", **decoded, images=batch[:4])
    alone = {"window": 1, "overlap": 0}
    stills = run("GVMDenoise", model=tiny, latents=latents, **alone)
    mask = run("GVMDecode", model=tiny, alpha_latents=stills, images=batch, **alone)
    assert torch.equal(mask, run("GVMMatte", model=tiny, images=batch, **alone, **shrunk))


def moving_box(frames, height=32, width=48):
    """A MASK with a box that moves to the right."""
    masks = torch.zeros(frames, height, width)
    for index in range(frames):
        masks[index, 8:20, 8 + index // 3 : 20 + index // 3] = 1
    return masks


def test_a_region_says_which_subject_and_follow_finds_it_as_in_the_core(run, tiny, core):
    batch, masks, own = images(9), moving_box(9), {"resolution": "as the frames are"}
    frames, region = batch.movedim(-1, 1), core("region")
    host = core("host.torch_host").TorchHost("cpu")
    pipeline = core("pipeline").MattingPipeline(plain_of(tiny, core), own_size(core), host)
    mask = run("GVMMatte", model=tiny, images=batch, region=masks, **own)
    assert torch.equal(mask, pipeline.matte(frames, regions=region.from_masks(masks))[:, 0])
    assert not mask[:, 26:].any() and mask[:, 8:20, 12:20].any()
    still = run("GVMMatte", model=tiny, images=batch, region=masks[:1], **own)
    assert torch.equal(still, pipeline.matte(frames, regions=region.from_masks(masks[:1].expand(9, -1, -1)))[:, 0])
    found = run("GVMMatte", model=tiny, images=batch, follow=True, **own)
    assert torch.equal(found, pipeline.matte(frames, regions=core("follow").follow(pipeline, frames))[:, 0])
    for choice, sentence in (
        ({"region": masks[:4]}, "9 frames but 4 masks"),
        ({"region": masks * 0}, "is empty in every frame"),
        ({"region": masks, "follow": True}, "use one of them"),
    ):
        with pytest.raises(Exception, match=sentence):
            run("GVMMatte", model=tiny, images=batch, **choice, **own)


@pytest.mark.parametrize("node", ["GVMMatte", "GVMMatteVideo"])
def test_where_to_look_comes_last_so_that_saved_workflows_still_load(pack, node):
    ids = [entry.id for entry in pack.nodes[node].GET_SCHEMA().inputs]
    added = ["region", "follow"]
    if node == "GVMMatteVideo":
        added += ["subject", "despill", "light", "if_it_fails"]
    assert ids[-len(added) :] == added
    assert all(entry.optional for entry in pack.nodes[node].GET_SCHEMA().inputs if entry.id in added)


@pytest.mark.parametrize("node", ["GVMMatte", "GVMMatteVideo"])
def test_a_newcomer_sees_no_input_that_has_no_effect_by_default(pack, node):
    described = pack.nodes[node].INPUT_TYPES()
    advanced = {name for group in ("required", "optional") for name, (_, *facts) in described.get(group, {}).items()
                if facts and facts[0].get("advanced")}  # fmt: skip
    assert advanced == {"short_edge", "max_edge", "noise", "steps", "seed"}


def test_the_bundled_model_mattes_under_its_earlier_name_too(run, pack):
    batch = images(3, 64, 64)
    masks = [run("GVMMatte", model=run("GVMLoadModel", model=name), images=batch) for name in ("small", "demo")]
    assert masks[0].shape == (3, 64, 64) and torch.equal(*masks)


def test_earlier_names_of_models_are_accepted_and_others_are_refused_with_a_sentence(pack):
    validate = pack.nodes["GVMLoadModel"].validate_inputs
    assert all(validate(name) is True for name in ("small", "demo", "gvm", "tiny"))
    assert validate() is True, "another node gives the name"
    assert "there is no model 'gone'; choose one of small, gvm" in validate("gone")


def test_comfyuis_castable_layers_change_nothing_to_the_bit(run, tiny, core):
    plain = plain_of(tiny, core)
    batch = images(5)
    alpha = (
        core("pipeline")
        .MattingPipeline(plain, own_size(core), core("host.torch_host").TorchHost("cpu"))
        .matte(batch.movedim(-1, 1))
    )
    assert torch.equal(alpha[:, 0], run("GVMMatte", model=tiny, images=batch, resolution="as the frames are"))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_partly_loaded_network_gives_the_same_matte_to_the_bit(run, tiny, core, share):
    batch = images(5)
    whole = run("GVMMatte", model=tiny, images=batch, resolution="as the frames are")
    management.unload_all_models()
    for patcher in tiny.patchers.values():
        patcher.partially_load(patcher.load_device, extra_memory=int(share * patcher.model_size()) + 1)
        cast = sum(bool(getattr(module, "comfy_cast_weights", False)) for module in patcher.model.modules())
        assert cast > 50 and patcher.loaded_size() < 0.6 * patcher.model_size()

    class Resting(core("host.comfy").ComfyHost):
        """Leaves what is loaded as it is."""

        def resident(self, *_):
            return nullcontext()

    settings = own_size(core)
    with torch.inference_mode():
        alpha = core("pipeline").MattingPipeline(tiny.model, settings, Resting(tiny)).matte(batch.movedim(-1, 1))
    assert torch.equal(alpha[:, 0], whole)
    management.unload_all_models()


def test_unloading_and_loading_again_changes_nothing(run, tiny):
    batch = images(3)
    first = run("GVMMatte", model=tiny, images=batch, resolution="as the frames are")
    management.unload_all_models()
    assert torch.equal(first, run("GVMMatte", model=tiny, images=batch, resolution="as the frames are"))


def test_models_that_are_dropped_are_freed(run):
    import gc
    import weakref

    hosted = run("GVMLoadModel", model="tiny")
    run("GVMMatte", model=hosted, images=images(2), resolution="as the frames are")
    gone = weakref.ref(hosted.model.unet)
    management.unload_all_models()
    del hosted
    gc.collect()
    management.cleanup_models()
    gc.collect()
    assert gone() is None


def test_a_mix_factor_that_stayed_behind_follows_its_input(tiny):
    """It is the only weight outside ComfyUI's castable layers."""
    loose = {
        name: module
        for name, module in tiny.model.unet.named_modules()
        if [*module.parameters(recurse=False)] and not getattr(module, "comfy_cast_weights", False)
    }
    assert len(loose) > 4 and all(name.endswith("time_mixer") for name in loose)
    away = torch.zeros(1, 2, 3, device="meta", dtype=torch.half)
    assert all(mixer(away, away).is_meta and mixer(away, away).dtype == torch.half for mixer in loose.values())


def test_a_half_precision_overflow_is_repeated_in_float32_over_half_weights(run, caplog):
    hosted = run("GVMLoadModel", model="half", precision="fp16")
    with torch.inference_mode():
        hosted.model.unet.conv_norm_out.weight.fill_(6e4)
    with caplog.at_level(logging.WARNING):
        mask = run("GVMMatte", model=hosted, images=images(3), resolution="as the frames are")
    assert mask.isfinite().all() and any("repeating in float32" in r.message for r in caplog.records)
    assert hosted.model.unet.weight_dtype == torch.float16 == hosted.model.unet.dtype


def test_cancel_stops_before_the_next_network_call(run, tiny):
    calls = []
    hook = tiny.model.vae.encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    nodes.interrupt_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        run("GVMMatte", model=tiny, images=images(30), resolution="as the frames are")
    nodes.interrupt_processing(False)
    hook.remove()
    assert calls == []  # asked before the first network was called, not somewhere inside it


def test_images_that_cannot_be_matted_say_why(run, tiny):
    for batch, sentence in (
        (torch.rand(2, 8, 8, 4), "Split Image with Alpha"),
        (torch.rand(0, 8, 8, 3), "empty"),
        (torch.full((1, 8, 8, 3), float("nan")), "NaN"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run("GVMMatte", model=tiny, images=batch)
    with pytest.raises(ValueError, match="smaller than the window"):
        run("GVMMatte", model=tiny, images=images(2), window=4, overlap=4)


def test_the_released_weights_show_size_and_licence_then_come_on_request(run, pack, monkeypatch):
    from hub import HubServer

    with pytest.raises(
        Exception,
        match=r"(?s)6\.5 GB.*Press Download.*choose 'small'.*switch 'download' on.*Stability AI Community License",
    ):
        run("GVMLoadModel", model="gvm")
    tiny = pack.elsewhere / "tiny"
    files = {str(path.relative_to(tiny)): path.read_bytes() for path in tiny.rglob("*") if path.is_file()}
    with HubServer(files) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        held = hub.files.pop("vae/diffusion_pytorch_model.safetensors")
        with pytest.raises(OSError, match="could not be downloaded"):
            run("GVMLoadModel", model="gvm", download=True)
        hub.files["vae/diffusion_pytorch_model.safetensors"] = held  # half a model is not taken for a whole one
        hosted = run("GVMLoadModel", model="gvm", download=True)
    assert hosted.model.config.folder == pack.elsewhere / "gvm"
    assert run("GVMLoadModel", model="gvm").model.config.folder == pack.elsewhere / "gvm"


def test_a_drawn_clip_has_layers_that_make_it_up_and_scores_itself_perfectly(run):
    images_, mask, foreground, background = run("GVMSyntheticClip", seed=3, tier="hard", frames=3, width=64, height=48)
    assert images_.shape == foreground.shape == background.shape == (3, 48, 64, 3) and mask.shape == (3, 48, 64)
    alpha = mask[..., None]
    assert (foreground * alpha + background * (1 - alpha) - images_).abs().max() < 1 / 255
    *scores, plot = run("GVMCompareMattes", mask=mask, reference=mask)
    assert scores == [0.0] * 5 and plot.ndim == 4 and plot.shape[-1] == 3 and plot.max() <= 1


def test_mattes_are_compared_frame_by_frame_at_the_references_size(run):
    truth = torch.zeros(4, 32, 32)
    truth[:, 8:24, 8:24] = 1
    mad, mse, _, _, dtssd, _ = run("GVMCompareMattes", mask=truth * 0.5, reference=truth)
    assert abs(mad - 125) < 1e-6 and abs(mse - 62.5) < 1e-6 and dtssd == 0
    larger = torch.nn.functional.interpolate(truth[:, None], (64, 64))[:, 0]
    assert run("GVMCompareMattes", mask=larger, reference=truth)[0] < 20
    assert run("GVMCompareMattes", mask=truth, reference=truth[:1])[0] == 0
    with pytest.raises(Exception, match="4 masks but 3 references"):
        run("GVMCompareMattes", mask=truth, reference=truth[:3])


def matte_video(run, model, video, **choice):
    """The matte's levels ``[T, H, W]`` of a lossless matte, its path, and both videos."""
    choice = {"format": "lossless (.mkv)", "resolution": "as the frames are", "filename_prefix": "shots/take", **choice}
    matte, path, preview = run("GVMMatteVideo", model=model, video=video, **choice)
    with av.open(path) as container:
        levels = np.stack([frame.to_ndarray() for frame in container.decode(video=0)])  # gray16le
    return levels, path, matte, preview


def test_a_video_becomes_files_with_its_sound_frame_for_frame_the_cores_matte(run, tiny, core, film):
    video = VideoFromFile(str(film))
    levels, path, matte, preview = matte_video(run, tiny, video)
    assert Path(path).parent == Path(folder_paths.get_output_directory(), "shots") and path.endswith("take_00001_.mkv")
    with core("media").open_frames(film) as frames:
        model = plain_of(tiny, core)
        pipeline = core("pipeline").MattingPipeline(model, own_size(core), core("host.torch_host").TorchHost("cpu"))
        alpha = torch.cat([clip.data for clip in pipeline.stream(frames)])
    assert np.abs(levels / 65535 - alpha[:, 0].numpy()).max() < 1e-4
    assert matte.get_components().images.shape == preview.get_components().images.shape == (44, 32, 48, 3)
    assert preview.get_components().audio is not None and abs(preview.get_duration() - video.get_duration()) < 0.05
    again = matte_video(run, tiny, video)
    assert again[1].endswith("take_00002_.mkv") and (again[0] == levels).all()


def test_a_cancelled_video_goes_on_where_it_was_when_queued_again(run, tiny, tmp_path, caplog):
    film = write_film(tmp_path / "film.mp4", [1001 * i for i in range(90)])
    whole, _, *_ = matte_video(run, tiny, VideoFromFile(str(film)), filename_prefix="whole")
    calls = []

    def cancel(*_):
        calls.append(1)
        if len(calls) == 70:
            nodes.interrupt_processing(True)

    hook = tiny.model.vae.encoder.register_forward_pre_hook(cancel)
    with pytest.raises(management.InterruptProcessingException):
        matte_video(run, tiny, VideoFromFile(str(film)), filename_prefix="stopped")
    nodes.interrupt_processing(False)
    hook.remove()
    folder = Path(folder_paths.get_output_directory())
    assert not list(folder.glob("stopped*"))
    (folder / "stopped_00007_.mkv").write_bytes(b"something else, made since")
    with caplog.at_level(logging.INFO):
        levels, path, *_ = matte_video(run, tiny, VideoFromFile(str(film)), filename_prefix="stopped")
    assert any("32 frames were matted before" in record.message for record in caplog.records)
    assert path.endswith("stopped_00008_.mkv") and (levels == whole).all()


def test_every_kind_of_video_and_every_range_gives_the_same_frames(run, tiny, film):
    whole = matte_video(run, tiny, VideoFromFile(str(film)))[0]
    assert (matte_video(run, tiny, VideoFromFile(BytesIO(film.read_bytes())))[0] == whole).all()
    components = VideoFromFile(str(film)).get_components()
    levels, _, _, preview = matte_video(run, tiny, VideoFromComponents(components))
    mask = run("GVMMatte", model=tiny, images=components.images[..., :3], resolution="as the frames are")
    assert np.abs(levels / 65535 - mask.numpy()).max() < 1e-3
    assert preview.get_components().audio is not None
    part = matte_video(run, tiny, VideoFromFile(str(film)), first_frame=10, last_frame=12, handles=2)[0]
    assert (part == whole[8:15]).all()
    assert not list(Path(folder_paths.get_temp_directory()).glob("gvm_[0-9a-f]*"))
    with pytest.raises(Exception, match="no frame 99"):
        matte_video(run, tiny, VideoFromFile(str(film)), first_frame=99)
    with pytest.raises(Exception, match="frames 5 to 3 are not a range"):
        matte_video(run, tiny, VideoFromFile(str(film)), first_frame=5, last_frame=3)


def test_a_trimmed_video_is_matted_as_trimmed(run, tiny, film):
    video = VideoFromFile(str(film))
    if not hasattr(video, "as_trimmed"):
        pytest.skip("this ComfyUI does not trim videos")
    whole = matte_video(run, tiny, video)[0]
    trimmed = video.as_trimmed(0.5, 0.5)
    begin, end = 15, 15 + len(trimmed.get_components().images)
    levels, _, matte, _ = matte_video(run, tiny, trimmed, last_frame=100)
    assert (levels == whole[begin:end]).all() and abs(matte.get_duration() - 0.5) < 0.1
    handles = matte_video(run, tiny, trimmed, first_frame=2, last_frame=4, handles=8)[0]
    assert (handles == whole[begin : begin + 13]).all()


def test_a_video_with_a_region_has_the_mattes_of_its_frames_with_that_region(run, tiny, film):
    video, masks = VideoFromFile(str(film)), moving_box(44)
    components = video.get_components()
    levels = matte_video(run, tiny, VideoFromComponents(components), region=masks)[0]
    mask = run("GVMMatte", model=tiny, images=components.images[..., :3], region=masks, resolution="as the frames are")
    assert np.abs(levels / 65535 - mask.numpy()).max() < 1e-3
    whole = matte_video(run, tiny, video, region=masks)[0]
    part = matte_video(run, tiny, video, region=masks, first_frame=20, last_frame=22)[0]
    assert (part == whole[20:23]).all()
    assert (matte_video(run, tiny, video, region=masks[:1], last_frame=2)[0][:, 26:] == 0).all()
    assert not list(Path(folder_paths.get_temp_directory()).glob("gvm_[0-9a-f]*"))
    with pytest.raises(Exception, match="has 9 frames, fewer than"):
        matte_video(run, tiny, video, region=masks[:9])
    if hasattr(video, "as_trimmed"):
        trimmed = video.as_trimmed(0.5, 0.5)
        count = len(trimmed.get_components().images)
        levels = matte_video(run, tiny, trimmed, region=masks[:count])[0]
        assert levels.shape[0] == count and levels[0, 8:20, 8:20].any() and (levels[:, :, 36:] == 0).all()
    found = matte_video(run, tiny, VideoFromComponents(components), follow=True, preview=False)[0]
    mask = run("GVMMatte", model=tiny, images=components.images[..., :3], follow=True, resolution="as the frames are")
    assert np.abs(found / 65535 - mask.numpy()).max() < 1e-3


def test_another_region_never_goes_on_from_the_parts_of_a_cancelled_video(run, tiny, tmp_path, caplog):
    film = write_film(tmp_path / "film.mp4", [1001 * i for i in range(72)])
    calls, masks = [], moving_box(72)

    def cancel(*_):
        calls.append(1)
        if len(calls) == 68:
            nodes.interrupt_processing(True)

    hook = tiny.model.vae.encoder.register_forward_pre_hook(cancel)
    with pytest.raises(management.InterruptProcessingException):
        matte_video(run, tiny, VideoFromFile(str(film)), filename_prefix="looked", region=masks)
    nodes.interrupt_processing(False)
    hook.remove()
    with caplog.at_level(logging.INFO):
        matte_video(run, tiny, VideoFromFile(str(film)), filename_prefix="looked", region=masks.flip(2))
        assert not any("were matted before" in record.message for record in caplog.records)
        matte_video(run, tiny, VideoFromFile(str(film)), filename_prefix="looked", region=masks.clone())
    assert any("32 frames were matted before" in record.message for record in caplog.records)


def test_pngs_are_no_video_and_nothing_goes_on_from_there(run, tiny, film):
    matte, path, preview = run(
        "GVMMatteVideo",
        model=tiny,
        video=VideoFromFile(str(film)),
        format="16-bit PNGs",
        preview=False,
        last_frame=2,
        resolution="as the frames are",
    )
    assert isinstance(matte, ExecutionBlocker) and isinstance(preview, ExecutionBlocker)
    assert sorted(file.name for file in Path(path).iterdir()) == [f"film_matte.{i:06d}.png" for i in range(3)]


@pytest.mark.parametrize("stage", ["encoder", "unet", "decoder"])
@pytest.mark.parametrize("call", ["first", "middle"])
def test_running_out_of_memory_costs_a_line_in_the_log_not_the_matte(run, tiny, core, caplog, stage, call):
    # In double precision, in which all ways of computing agree on any processor.
    tiny = core("host.comfy").load_hosted(tiny.model.config.folder, dtype=torch.double)
    batch = images(20)
    whole = run("GVMMatte", model=tiny, images=batch, resolution="as the frames are")
    networks = {"encoder": tiny.model.vae.encoder, "unet": tiny.model.unet, "decoder": tiny.model.vae.decoder}
    calls, at = [], {"first": 1, "middle": 3}[call]

    def burst(*_):
        calls.append(1)
        if len(calls) == at:
            raise torch.OutOfMemoryError("injected")

    hook = networks[stage].conv_in.register_forward_pre_hook(burst)
    with caplog.at_level(logging.WARNING):
        mask = run("GVMMatte", model=tiny, images=batch, resolution="as the frames are")
    hook.remove()
    lines = [record.message for record in caplog.records if "out of memory in" in record.message]
    assert len(lines) == 1 and "the same picture" in lines[0]
    assert (mask - whole).abs().max() < SAME_STORED
