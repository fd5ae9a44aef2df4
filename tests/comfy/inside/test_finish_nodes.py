"""The compositor's nodes in a real ComfyUI's process: what a user loses here is a finished shot."""

import json
import sys
from pathlib import Path

import folder_paths
import pytest
import torch
from comfy_api.latest import InputImpl, io
from support import moving_clip, write_video


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_composite_shows_the_subject_where_the_mask_is_one(run):
    batch, mask = noise(3, 16, 16, 3), torch.zeros(3, 16, 16)
    mask[:, :8] = 1
    out, rgba = run("GVMComposite", images=batch, mask=mask, background="colour", colour="#ff0000")
    assert torch.equal(out[:, :8], batch[:, :8])
    assert torch.equal(out[:, 8:], torch.tensor([1.0, 0, 0]).expand(3, 8, 16, 3))
    assert torch.equal(rgba, torch.cat([batch, mask[..., None]], dim=3)), "alpha as the fourth channel, 1 = subject"
    still, _ = run(
        "GVMComposite", images=batch, mask=mask[:1], background="image", background_images=torch.zeros(1, 4, 4, 3)
    )
    assert still.shape == batch.shape and still[:, 8:].max() == 0
    assert run("GVMComposite", images=batch, mask=mask)[0].shape == batch.shape
    light, _ = run(
        "GVMComposite", images=batch * 0 + 1, mask=mask * 0 + 0.5, background="colour", colour="#000", linear_light=True
    )
    assert abs(float(light.mean()) - 0.7354) < 1e-3
    for given, words in (
        ({"mask": mask[:2]}, "the mask has 2 frames, but there are 3; give 1, or one for each frame"),
        ({"background": "image"}, "nothing is connected to background_images"),
        ({"background": "video"}, "nothing is connected to background_video"),
        ({"background": "colour", "colour": "green"}, "#rrggbb"),
    ):
        with pytest.raises(ValueError, match=words):
            run("GVMComposite", **{"images": batch, "mask": mask, **given})


def test_premultiplied_images_get_no_dark_rims(run):
    batch, mask = noise(1, 8, 8, 3), noise(1, 8, 8, seed=1) * 0.9 + 0.1
    straight = run("GVMComposite", images=batch, mask=mask, background="colour", colour="#336699")
    multiplied = run(
        "GVMComposite", images=batch * mask[..., None], mask=mask, background="colour", colour="#336699",
        alpha_of_images="premultiplied",
    )  # fmt: skip
    for one, other in zip(straight, multiplied, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_background_of_any_length_and_shape_stands_behind_the_subject(run, tmp_path):
    batch, mask = noise(5, 8, 8, 3), torch.zeros(5, 8, 8)
    plate = torch.stack([torch.full((4, 16, 3), level) for level in (0.25, 0.75)])
    given = {"images": batch, "mask": mask, "background": "image", "background_images": plate}
    held, looped, trimmed = (run("GVMComposite", **given, length=name)[0] for name in ("hold", "loop", "trim"))
    assert held.mean((1, 2, 3)).tolist() == pytest.approx([0.25, 0.75, 0.75, 0.75, 0.75])
    assert looped.mean((1, 2, 3)).tolist() == pytest.approx([0.25, 0.75, 0.25, 0.75, 0.25])
    assert trimmed.mean((1, 2, 3)).tolist() == pytest.approx([0.25, 0.75])
    inside = run("GVMComposite", **given, fit="contain")[0]
    assert inside[:, :3].max() == 0 and inside[0, 4].mean() == pytest.approx(0.25)

    film = InputImpl.VideoFromFile(str(write_video(tmp_path / "plate.mkv", moving_clip(2, 32, 32))))
    frames = film.get_components().images
    given |= {"background": "video", "background_video": film}
    for name, order in (("hold", [0, 1, 1, 1, 1]), ("loop", [0, 1, 0, 1, 0]), ("trim", [0, 1])):
        made = run("GVMComposite", **given, length=name, fit="contain")[0]
        assert (made.mean((1, 2, 3)) - frames[order].mean((1, 2, 3))).abs().max() < 2 / 255, name


def test_light_of_the_background_wraps_over_the_edge(run):
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 16:] = 1
    given = {"images": torch.zeros(1, 32, 32, 3), "mask": mask, "background": "colour", "colour": "#fff"}
    plain, wrapped = (run("GVMComposite", **given, light_wrap=share, wrap_radius=4)[0] for share in (0.0, 0.5))
    assert torch.equal(plain[:, :, :16], wrapped[:, :, :16])
    assert wrapped[0, 16, 16, 0] > 0.1 > wrapped[0, 16, 30, 0]


def test_mattes_and_masks_are_combined(run, caplog):
    mask = noise(3, 8, 8)
    assert torch.equal(run("GVMCombineMattes", mask=mask), mask), "nothing connected changes nothing"
    small = torch.ones(1, 4, 4)
    assert run("GVMCombineMattes", mask=mask, holdout=small, garbage=small).max() == 0, "garbage wins"
    assert torch.equal(run("GVMCombineMattes", mask=mask, add=1 - mask, core=0.0), mask.maximum(1 - mask))
    with pytest.raises(ValueError, match="garbage has 2 frames, but there are 3"):
        run("GVMCombineMattes", mask=mask, garbage=mask[:2])


@pytest.mark.parametrize("background", ["checker", "colour", "plate, darkened"])
@pytest.mark.parametrize("view", ["over", "matte", "status", "edges", "difference", "side by side"])
def test_every_view_is_shown(run, view, background):
    batch, mask = noise(2, 16, 24, 3), noise(2, 16, 24, seed=1)
    shown = run("GVMPreviewMatte", images=batch, mask=mask, view=view, background=background)
    assert shown.shape == (2, 16, 72 if view == "side by side" else 24, 3)
    if view == "matte":
        assert torch.equal(shown, mask[..., None].expand(-1, -1, -1, 3))


@pytest.mark.parametrize("frames", [1, 3])
def test_the_player_gets_frames_above_their_mattes_in_a_file_that_browsers_play(pack, frames):
    clone = pack.nodes["GVMPreviewMatte"].PREPARE_CLASS_CLONE({})
    batch, mask = torch.full((frames, 15, 25, 3), 0.25), torch.full((frames, 15, 25), 0.75)
    given = {"images": batch, "mask": mask, "view": "over", "background": "checker", "colour": "#000", "fps": 23.976}
    with torch.inference_mode():
        (said,) = clone.EXECUTE_NORMALIZED(**given).ui["gvm_review"]
    said = json.loads(said)
    film = InputImpl.VideoFromFile(str(Path(folder_paths.get_temp_directory()) / said["filename"]))
    shown = film.get_components().images
    assert (said["frames"], said["fps"], said["type"], said["empty"]) == (frames, 23.976, "temp", False)
    assert shown.shape == (frames, 32, 26, 3)
    assert (shown[:, :16] - 0.25).abs().max() < 0.02 and (shown[:, 16:] - 0.75).abs().max() < 0.02


def test_the_player_says_that_a_matte_is_empty_as_the_mask_of_load_image_is(pack):
    clone = pack.nodes["GVMPreviewMatte"].PREPARE_CLASS_CLONE({})
    given = {"view": "over", "background": "checker", "colour": "#000", "fps": 24.0}
    with torch.inference_mode():
        made = clone.EXECUTE_NORMALIZED(images=noise(2, 16, 24, 3), mask=torch.zeros(1, 64, 64), **given)
    assert json.loads(made.ui["gvm_review"][0])["empty"] is True


def test_a_slider_shows_what_a_run_would_give_and_says_when_it_cannot(pack):
    core = sys.modules[pack.nodes["GVMRefineMatte"].__module__.rpartition(".")[0] + ".review"]
    mask, batch, settings = noise(5, 16, 24), noise(5, 16, 24, 3), {"chatter": 1, "clean_black": 0.2, "expand": 0.5}
    sliders = {
        each.id: each.default for each in pack.nodes["GVMRefineMatte"].GET_SCHEMA().inputs if hasattr(each, "default")
    }
    sliders = {name: value for name, value in sliders.items() if value is not None} | settings
    known = core.Refinable()
    known.keep("7", mask, batch)
    clone = pack.nodes["GVMRefineMatte"].PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: "1"}})
    with torch.inference_mode():
        run = clone.EXECUTE_NORMALIZED(mask=mask, images=batch, **sliders).args[0]
    for frame in (0, 2, 4):
        assert torch.equal(known.refined("7", frame, settings)[0], run[frame])
    for wrong, sentence in (
        ({"node_id": "8", "frame": 0, "settings": {}}, "run the node once more"),
        ({"node_id": "7", "frame": 5, "settings": {}}, "there is no frame 5: there are 5"),
        ({"node_id": "7", "frame": 0, "settings": {"mix": 3.0}}, "mix"),
    ):
        with pytest.raises(ValueError, match=sentence):
            known.refined(**wrong)
    del mask, batch
    with pytest.raises(ValueError, match="run the node once more"):
        known.refined("7", 0, settings)


def test_the_refine_node_changes_nothing_until_a_slider_is_moved(run):
    mask, batch = noise(3, 16, 24), noise(3, 16, 24, 3)
    assert torch.equal(run("GVMRefineMatte", mask=mask), mask)
    cleaned = run("GVMRefineMatte", mask=mask, clean_black=0.2, clean_white=0.2)
    assert (cleaned[mask <= 0.2] == 0).all() and (cleaned[mask >= 0.8] == 1).all()
    assert torch.equal(run("GVMRefineMatte", mask=mask, clean_black=0.2, mix=0.0), mask)
    moved = run("GVMRefineMatte", mask=mask, images=batch, guided=4, chatter=1, expand=1.5, feather=2.0, despeckle=20)
    assert moved.shape == mask.shape and moved.min() >= 0 and moved.max() <= 1
    with pytest.raises(ValueError, match="chatter and guided need the frames: connect them to images"):
        run("GVMRefineMatte", mask=mask, chatter=1)
    with pytest.raises(ValueError, match="the mask has 2 frames, but there are 3"):
        run("GVMRefineMatte", mask=mask[:2], images=batch, guided=2)


@pytest.mark.parametrize("despill", ["off", "auto", "green", "blue"])
def test_the_foreground_is_the_plate_where_the_mask_is_one(run, despill):
    batch, mask = noise(3, 16, 24, 3), torch.zeros(3, 16, 24)
    mask[:, 4:12, 4:12] = 1
    mask[:, 3] = 0.5
    made = run("GVMForeground", images=batch, mask=mask, despill=despill)
    assert made.shape == batch.shape
    if despill in ("off", "auto"):
        assert torch.equal(made[mask == 1], batch[mask == 1]), "noise is no screen"
    assert torch.equal(run("GVMForeground", images=batch, mask=mask * 0 + 1), batch)


@pytest.mark.parametrize("content", ["matte", "subject with alpha", "both"])
def test_every_format_is_saved_listed_by_comfyui_and_can_be_read_back(run, executed, pack, core, content):
    formats = core("media.formats").FORMATS
    open_frames, kind = core("media").open_frames, pack.nodes["GVMSaveMatte"]
    mask, batch = torch.linspace(0, 1, 24).expand(3, 16, 24), moving_clip(3, 16, 24).movedim(1, -1)
    assert set(next(each for each in kind.GET_SCHEMA().inputs if each.id == "format").options) == {
        form.title for form in formats.values()
    }
    for form in formats.values():
        given = {"mask": mask, "images": batch, "format": form.title, "content": content}
        if form.subject is None and content != "matte":
            with pytest.raises(OSError, match="has no alpha"):
                run("GVMSaveMatte", **given, filename_prefix="saved/none")
            continue
        made = executed("GVMSaveMatte", **given, filename_prefix=f"saved/{form.name}_{content[:4]}")
        path, listed = Path(made.result[0]), made.ui["video"]
        assert len(listed) == 1 + (content == "both") and all(file_of(entry).is_file() for entry in listed)
        with open_frames(path, alpha=content == "subject with alpha") as reader:
            found = torch.stack(list(reader))[:, -1]
        assert found.shape == mask.shape and (found - mask).abs().max() < 0.08, form.name
        assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]


@pytest.mark.parametrize("form", ["16-bit PNG", "OpenEXR, half (.exr)"])
def test_a_photograph_is_saved_as_one_picture_not_as_a_folder_with_a_number(run, form):
    batch, mask, given = noise(2, 16, 24, 3), noise(2, 16, 24), {"format": form, "filename_prefix": f"saved/{form[:4]}"}
    first, second = (run("GVMSaveMatte", images=batch[:1], mask=mask[:1], **given) for _ in range(2))
    assert Path(first).is_file() and Path(second).is_file() and first != second
    assert [Path(each).stem for each in (first, second)] == [f"{form[:4]}_0000{n}_" for n in (1, 2)]
    assert "####" in run("GVMSaveMatte", images=batch, mask=mask, **given)


def file_of(entry):
    """The file that ComfyUI shows for an entry in its list of results."""
    assert entry["type"] == "output"
    return Path(folder_paths.get_output_directory()) / entry["subfolder"] / entry["filename"]


def test_a_saved_clip_has_the_rate_the_sound_and_the_timecode_of_its_source(run, core, film):
    mask, batch = noise(3, 16, 24), noise(3, 16, 24, 3)
    source = InputImpl.VideoFromFile(str(film))
    path = run("GVMSaveMatte", mask=mask, images=batch, video=source, filename_prefix="saved/sound")
    made = InputImpl.VideoFromFile(path)
    assert made.get_components().audio is not None
    assert abs(made.get_components().frame_rate - source.get_components().frame_rate) < 0.01
    sound = {"waveform": noise(1, 2, 4800), "sample_rate": 48000}
    other = run("GVMSaveMatte", mask=mask, images=batch, audio=sound, filename_prefix="saved/own")
    assert InputImpl.VideoFromFile(other).get_components().audio is not None


def test_what_cannot_be_saved_says_why_and_leaves_nothing(run, pack, tmp_path):
    mask, batch, ask = noise(2, 8, 8), noise(2, 8, 8, 3), pack.nodes["GVMSaveMatte"].check_lazy_status
    usual = {"format": "16-bit PNG", "mask": None}
    with pytest.raises(ValueError, match="needs the subject's colours: connect GVM Foreground to images"):
        ask(content="both", **usual)
    with pytest.raises(ValueError, match="needs the subject's colours: connect GVM Foreground to images"):
        run("GVMSaveMatte", mask=mask, filename_prefix="refused/a")
    with pytest.raises(OSError, match="has no alpha"):
        ask(content="both", images=None, mask=None, format="H.264 (.mp4)")
    assert ask(content="both", images=None, **usual) == ["mask", "images"] and ask(content="matte", **usual) == ["mask"]
    with pytest.raises(OSError, match="has no layers for garbage; EXR has them"):
        run("GVMSaveMatte", mask=mask, images=batch, mask_2=mask, format="16-bit PNG", filename_prefix="refused/a")
    with pytest.raises(ValueError, match="mask_3 needs a name in 'layers'"):
        run("GVMSaveMatte", mask=mask, images=batch, mask_3=mask, layers="one", filename_prefix="refused/a")
    folder = Path(folder_paths.get_output_directory()) / "refused"
    assert not [each for each in folder.rglob("*") if each.is_file()]


def test_a_video_is_matted_into_a_subject_that_drops_on_the_timeline(run, tiny, core, film):
    for subject, suffix in (("ProRes 4444 (.mov)", ".mov"), ("EXR, half", "")):
        _, path, _ = run(
            "GVMMatteVideo", model=tiny, video=InputImpl.VideoFromFile(str(film)), filename_prefix=f"subject/{suffix}x",
            resolution="as the frames are", last_frame=4, subject=subject,
        )  # fmt: skip
        made = Path(path.replace("_.mov", f"_subject{suffix}"))
        with core("media").open_frames(made, alpha=True) as reader:
            assert len(list(reader)) == 5
