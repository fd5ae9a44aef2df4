"""Loading clips in a real ComfyUI's process: what a user loses here is what the camera saw."""

import logging
import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import comfy.model_management as management
import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from comfy_execution.graph_utils import ExecutionBlocker
from support import moving_clip, write_exr, write_film, write_video

VideoFromFile = InputImpl.VideoFromFile
PLACES = "give a whole path, one in ComfyUI's input folder, or one that begins with output/"


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def written(path, codec, pixels, levels, wide="rgb48le"):
    """``levels`` ``[H, W, C]`` of 16 bits as a picture."""
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = levels.shape[:2]
    encoder.pix_fmt, encoder.time_base = pixels, Fraction(1)
    frame = av.VideoFrame.from_ndarray(levels, format=wide).reformat(format=pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
    return path


@pytest.fixture
def inputs():
    """ComfyUI's input folder."""
    return Path(folder_paths.get_input_directory())


@pytest.fixture
def exrs(core, inputs):
    """The numbers of three EXR pictures with alpha: straight, with light beyond white on the left."""
    pictures = noise(3, 4, 16, 24)
    pictures[:, :3, :, :4] = 8.0
    pictures[:, 3] = pictures[:, 3].clamp(min=0.25)
    pictures[:, 3, :, :4] = 1
    for number, picture in zip((1001, 1002, 1004), pictures, strict=True):
        path = inputs / "plate" / f"shot.{number}.exr"
        path.parent.mkdir(exist_ok=True)
        stored = torch.cat([picture[:3] * picture[3:], picture[3:]])
        core("media.exr_writer").write_exr(path, stored, "float", "zip", rate=Fraction(25))
    return pictures


def test_exr_comes_with_its_own_numbers_its_alpha_its_rate_and_as_a_screen_shows_it(run, core, exrs, caplog):
    pictures = exrs
    images, mask, shown, fps, frames = run("GVMLoadClip", path="plate")
    held = pictures[[0, 1, 1, 2]]
    assert (images - held[:, :3].movedim(1, -1)).abs().max() < 1e-5 and (fps, frames) == (25.0, 4)
    assert (images[:, :, :4] == 8).all(), "light beyond white is not touched"
    assert torch.equal(mask, held[:, 3])
    light = core("post.light").LIGHTS["linear"]
    assert torch.allclose(shown[0], light.to_srgb(images[0].movedim(-1, 0)).movedim(0, -1), atol=1e-6)
    assert shown.max() <= 1 < images.max() and images.dtype == shown.dtype == torch.float32

    assert run("GVMLoadClip", path="plate/shot.####.exr", gaps="skip", fps=12.5)[3:] == (12.5, 3)
    some = run("GVMLoadClip", path="plate", first_frame=1, last_frame=2)
    assert torch.equal(some[0], images[1:3]) and some[4] == 2
    one = run("GVMLoadClip", path=f'"{Path(folder_paths.get_input_directory(), "plate", "shot.1002.exr")}"')
    assert torch.equal(one[0], images[1:2])


def test_what_was_saved_is_loaded_by_its_path_in_the_output_folder(run, exrs, inputs):
    shutil.copytree(inputs / "plate", Path(folder_paths.get_output_directory()) / "video" / "plate")
    assert torch.equal(run("GVMLoadClip", path="output/video/plate")[0], run("GVMLoadClip", path="plate")[0])


def test_a_layer_of_a_render_is_loaded_by_its_name(run, inputs):
    channels = {name: 8 * noise(8, 12, seed=index).numpy() for index, name in enumerate(("R", "G", "B", "A"))}
    channels |= {f"diffuse.{name}": 8 * noise(8, 12, seed=7 + ord(name)).numpy() for name in "RGB"}
    write_exr(inputs / "render.exr", channels)
    images, mask, *_ = run("GVMLoadClip", path="render.exr", layer=" diffuse ")
    assert np.array_equal(images[0].numpy(), np.stack([channels[f"diffuse.{name}"] for name in "RGB"], 2))
    assert (mask == 1).all(), "a layer without alpha"
    assert np.array_equal(run("GVMLoadClip", path="render.exr")[1][0].numpy(), channels["A"])
    with pytest.raises(OSError, match=r"has no layers called 'specular'; it holds no layer name .* diffuse"):
        run("GVMLoadClip", path="render.exr", layer="specular")


def test_a_plate_with_an_empty_alpha_is_seen_and_the_log_says_it(run, core, inputs, caplog):
    picture = torch.cat([noise(3, 8, 8), torch.zeros(1, 8, 8)])
    core("media.exr_writer").write_exr(inputs / "empty.exr", picture, "float", "zip")
    with caplog.at_level(logging.INFO):
        images, mask, *_ = run("GVMLoadClip", path="empty.exr")
    assert torch.equal(images[0].movedim(-1, 0), picture[:3]) and mask.max() == 0
    assert "it was saved empty" in caplog.text


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "bits", "channels"),
    [
        ("dpx/s.####.dpx", "dpx", "gbrp10be", 10, 3), ("tif/s.####.tif", "tiff", "rgb48le", 16, 3),
        ("tifa/s.####.tif", "tiff", "rgba64le", 16, 4), ("png/s.####.png", "png", "rgb48be", 16, 3),
        ("pnga/s.####.png", "png", "rgba64be", 16, 4),
    ],
)  # fmt: skip
def test_every_level_of_other_pictures_is_loaded(run, inputs, name, codec, pixels, bits, channels):
    random = np.random.default_rng(0)
    levels = random.integers(0, 2**bits, (2, 12, 20, channels)).astype(np.uint16)
    top = 2**bits - 1
    for number, each in enumerate(levels, 7):
        wide = {"gbrp10be": "gbrp10le"}.get(pixels, "rgba64le" if channels == 4 else "rgb48le")
        written(inputs / name.replace("####", f"{number:04}"), codec, pixels, each, wide)
    images, mask, shown, fps, frames = run("GVMLoadClip", path=name)
    wanted = torch.from_numpy(levels.astype(np.float32) / top)
    assert (images - wanted[..., :3]).abs().max() < 2e-5 and (fps, frames) == (24.0, 2)
    assert torch.equal(shown, images), "sRGB is shown as it is"
    assert (mask - (wanted[..., 3] if channels == 4 else 1)).abs().max() < 1e-6


@pytest.mark.parametrize(("name", "tolerance"), [("vp9", 0.002), ("prores4444", 0.001), ("ffv1", 1e-5)])
def test_the_alpha_of_a_video_is_kept_by_its_path_and_through_load_video(run, core, inputs, name, tolerance):
    mask, batch = torch.linspace(0, 1, 64).expand(5, 48, 64), moving_clip(5, 48, 64).movedim(1, -1)
    title = core("media.formats").FORMATS[name].title
    path = run("GVMSaveMatte", mask=mask, images=batch, format=title, filename_prefix=f"alpha/{name}", fps=25.0)
    by_path = run("GVMLoadClip", path=path)
    assert (by_path[1] - mask).abs().max() <= tolerance and by_path[3:] == (25.0, 5)
    assert ((by_path[0] - batch).abs() * (mask > 0.1)[..., None]).mean() < 0.02
    connected = run("GVMLoadClip", path="", video=VideoFromFile(path))
    assert all(torch.equal(one, other) for one, other in zip(by_path[:3], connected[:3], strict=True))
    some = run("GVMLoadClip", path="not read", video=VideoFromFile(path), first_frame=2, last_frame=3)
    assert torch.equal(some[1], by_path[1][2:4])


def test_a_video_without_alpha_has_a_mask_of_ones_and_a_trimmed_one_its_range(run, film):
    images, mask, shown, fps, frames = run("GVMLoadClip", path=str(film))
    assert len(images) == frames == 44 and (mask == 1).all() and torch.equal(shown, images)
    assert abs(fps - 30000 / 1001) < 0.01
    whole = VideoFromFile(str(film))
    if not hasattr(whole, "as_trimmed"):
        return
    trimmed = run("GVMLoadClip", path="", video=whole.as_trimmed(10 * 1001 / 30000, 5 * 1001 / 30000), first_frame=1)
    assert torch.equal(trimmed[0], images[11:15])


def test_log_footage_keeps_its_numbers_and_is_shown_in_usual_colours(run, core, tmp_path):
    path = write_video(tmp_path / "log.mkv", moving_clip(2, 16, 24), "ffv1", "gbrp16le")
    plain, other = run("GVMLoadClip", path=str(path)), run("GVMLoadClip", path=str(path), light="slog3")
    assert torch.equal(plain[0], other[0]) and not torch.equal(plain[2], other[2])
    wanted = core("post.light").LIGHTS["slog3"].to_srgb(plain[0][0].movedim(-1, 0))
    assert torch.allclose(other[2][0], wanted.movedim(0, -1), atol=1e-6)


def test_what_cannot_be_loaded_says_why(run, exrs, film, inputs):
    (inputs / "broken.mp4").write_bytes(b"no video")
    (inputs / "nothing").mkdir(exist_ok=True)
    for given, words in (
        ({"path": "  "}, f"path is empty: {PLACES}, or connect a video"),
        ({"path": "missing.mov"}, r"there is no file or folder .*missing\.mov"),
        ({"path": "plate/none.####.exr"}, r"is called none.####.exr; there are shot.####.exr \(1001-1004\)"),
        ({"path": "nothing"}, "there are no pictures in .*nothing"),
        ({"path": "broken.mp4"}, r"broken\.mp4 cannot be read as a video"),
        ({"path": "plate", "layer": "diffuse"}, "has no layers called 'diffuse'"),
        ({"path": str(film), "layer": "core"}, "has its own times and no layers"),
        ({"path": str(film), "fps": 25.0}, "has its own times and no layers"),
        ({"path": "plate", "gaps": "refuse"}, r"shot.####.exr lacks 1003"),
        ({"path": "plate", "first_frame": 9}, "has 4 pictures; there is no frame 9"),
        ({"path": str(film), "first_frame": 90}, "has 44 frames; there is no frame 90"),
        ({"path": "plate", "first_frame": 3, "last_frame": 2}, "frames 3 to 2 are not a range"),
    ):
        with pytest.raises((ValueError, OSError), match=words):
            run("GVMLoadClip", **given)


def test_a_changed_file_is_loaded_again_and_an_unchanged_one_is_not(pack, exrs, inputs):
    stamped = pack.nodes["GVMLoadClip"].fingerprint_inputs
    folder, one = stamped(path="plate"), stamped(path="plate/shot.1001.exr")
    assert folder == stamped(path="plate") != one == stamped(path="plate/shot.1001.exr")
    (inputs / "plate" / "notes.txt").write_text("not a frame")
    assert folder == stamped(path="plate") == stamped(path="plate/shot.####.exr")
    os.utime(inputs / "plate" / "shot.1001.exr", (1, 1))
    assert folder != stamped(path="plate") and one != stamped(path="plate/shot.1001.exr")
    assert stamped(path="later.mov") == stamped(path="later.mov")
    missing = stamped(path="later.mov")
    (inputs / "later.mov").write_bytes(b"here")
    assert missing != stamped(path="later.mov")


def test_loading_can_be_cancelled(run, film):
    management.interrupt_current_processing()
    try:
        with pytest.raises(management.InterruptProcessingException):
            run("GVMLoadClip", path=str(film))
    finally:
        management.interrupt_current_processing(False)


@pytest.mark.usefixtures("exrs")
def test_linear_exr_goes_through_to_exr_with_the_plates_numbers(run):
    images, mask, *_ = run("GVMLoadClip", path="plate", gaps="skip")
    given = {"mask": mask, "images": images, "format": "OpenEXR, half (.exr)", "images_light": "linear"}
    path = run("GVMSaveMatte", **given, filename_prefix="linear/a", compression="none")
    back, alpha, *_ = run("GVMLoadClip", path=path)
    half = images.half().float()
    assert (alpha - mask).abs().max() <= 2**-11
    error = (back - images).abs() / images.abs().clamp(min=2**-14)
    assert error.max() < 2**-9, "half of what was multiplied by half an alpha"
    assert torch.equal(back[mask == 1], half[mask == 1])
    straight = run("GVMSaveMatte", **given, filename_prefix="linear/b", compression="none", alpha="straight")
    assert torch.equal(run("GVMLoadClip", path=straight)[0], half)
    picture = run("GVMSaveMatte", **given | {"format": "16-bit PNG"}, filename_prefix="linear/c")
    seen = run("GVMLoadClip", path=picture)[0]
    assert (seen[:, :, 4:] - run("GVMLoadClip", path="plate", gaps="skip")[2][:, :, 4:]).abs().mean() < 0.1


@pytest.mark.parametrize("despill", ["off", "green"])
def test_colours_of_linear_images_are_estimated_in_an_even_light(run, core, despill):
    color = core("post.color")
    batch, mask = noise(3, 24, 32, 3) * torch.tensor([0.2, 0.8, 0.2]), torch.zeros(3, 24, 32)
    batch[:, :, :8] = 8
    mask[:, 4:20, 4:28] = 1
    mask[:, :, 12] = 0.5
    light = color.srgb_to_linear(batch)
    given = {"mask": mask, "despill": despill}
    made = run("GVMForeground", images=light, images_light="linear", **given)
    plain = run("GVMForeground", images=color.linear_to_srgb(light), **given)
    assert (made - color.srgb_to_linear(plain)).abs().max() < 1e-4
    if despill == "off":
        assert torch.equal(made[mask == 1], light[mask == 1]), "to the bit"
    assert torch.equal(run("GVMForeground", images=light, images_light="linear", mask=mask * 0 + 1), light)


@pytest.mark.parametrize("node", ["GVMSaveMatte", "GVMForeground", "GVMMatteVideo"])
def test_new_widgets_come_last_and_are_optional_so_that_saved_workflows_still_load(pack, node):
    last = pack.nodes[node].GET_SCHEMA().inputs[-1]
    assert last.optional and last.default == ("stop" if node == "GVMMatteVideo" else "sRGB")


# ---- folders of clips ----------------------------------------------------------------------------------------------


@pytest.fixture
def clips(inputs):
    """A folder with two videos, a broken one between them, and a folder of pictures."""
    folder = inputs / "clips"
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for name in ("a 10.mp4", "a 2.mp4"):
        write_film(folder / name, [1001 * i for i in range(9)])
    (folder / "a 5.mp4").write_bytes(b"no video")
    written(folder / "pictures" / "p.png", "png", "rgb48be", np.zeros((8, 8, 3), np.uint16))
    return folder


def test_a_folder_gives_its_videos_in_order_and_says_what_it_left_out(run, pack, clips, caplog):
    with caplog.at_level(logging.INFO):
        videos, names = run("GVMLoadClips", folder="clips")
    assert names == ["a 2", "a 5", "a 10"]
    assert [Path(video.get_stream_source()).name for video in videos] == [f"{name}.mp4" for name in names]
    assert "left out, because they hold pictures: pictures. Use GVM Load Clip" in caplog.text
    assert pack.nodes["GVMLoadClips"].GET_SCHEMA().outputs[0].is_output_list
    stamped = pack.nodes["GVMLoadClips"].fingerprint_inputs
    before = stamped(folder="clips")
    assert before == stamped(folder=str(clips))
    os.utime(clips / "a 2.mp4", (1, 1))
    assert before != stamped(folder="clips")


def test_a_folder_without_videos_says_why(run, clips, inputs):
    (inputs / "only" / "one").mkdir(parents=True, exist_ok=True)
    written(inputs / "only" / "one" / "p.png", "png", "rgb48be", np.zeros((8, 8, 3), np.uint16))
    for folder, words in (
        ("", f"folder is empty: {PLACES}; a dot is"),
        ("missing", "there is no folder .*missing"),
        ("clips/pictures", "there are no clips in"),
        ("only", "there are no videos in .*only, only folders of pictures: one; load each with GVM Load Clip"),
    ):
        with pytest.raises((ValueError, OSError), match=words):
            run("GVMLoadClips", folder=folder)


def test_a_clip_that_fails_blocks_only_the_nodes_behind_it_if_the_user_wants_it(run, pack, tiny, clips, caplog):
    videos, names = run("GVMLoadClips", folder="clips")
    small = {"model": tiny, "resolution": "as the frames are", "last_frame": 3}
    with pytest.raises(Exception, match=r"Invalid data|cannot be read|no video"):
        run("GVMMatteVideo", video=videos[1], filename_prefix="list/stop", **small)
    with caplog.at_level(logging.ERROR):
        made = [
            run("GVMMatteVideo", video=video, filename_prefix=f"list/{name}", if_it_fails="go on", **small)
            for video, name in zip(videos, names, strict=True)
        ]
    assert [isinstance(each[0], ExecutionBlocker) for each in made] == [False, True, False]
    assert all(isinstance(each, ExecutionBlocker) and each.message is None for each in made[1])
    assert [Path(each[1]).name for each in made[::2]] == ["a 2_00001_.mov", "a 10_00001_.mov"]
    assert "GVM Matte Video: a 5.mp4 failed: " in caplog.text
    assert len(made[0][0].get_components().images) == 4


def test_settings_that_cannot_be_are_told_for_each_clip_and_a_cancel_is_never_swallowed(run, tiny, film, caplog):
    given = {"model": tiny, "video": VideoFromFile(str(film)), "filename_prefix": "list/no", "if_it_fails": "go on"}
    run("GVMMatteVideo", **given, window=4, overlap=4)
    assert "film.mp4 failed: " in caplog.text and "smaller than the window's length (4)" in caplog.text
    management.interrupt_current_processing()
    try:
        with pytest.raises(management.InterruptProcessingException):
            run("GVMMatteVideo", **given, resolution="as the frames are")
    finally:
        management.interrupt_current_processing(False)
