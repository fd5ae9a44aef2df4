"""From file to delivered files: what an editor or compositor loses if these are wrong."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support import moving_clip, own_size, write_video

from gvm_core import MattingPipeline, TorchHost
from gvm_core.errors import InputError, MediaError
from gvm_core.media import exr, open_frames
from gvm_core.media.exr_writer import write_exr
from gvm_core.media.timecode import Labels
from gvm_core.post.color import srgb_to_linear
from gvm_core.post.foreground import ForegroundSettings
from gvm_core.post.light import LIGHTS, Light
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.outputs import PLAIN, Delivery, Given, Output, decoded, encoded, next_version
from gvm_core.runs.save import save_clip
from gvm_core.runs.shot import Shot, outputs_of
from gvm_core.windows import WindowPlan

SIZE = (24, 40)
PLATE = Delivery(colours="plate")


@pytest.fixture
def pipeline(tiny_model):
    return MattingPipeline(tiny_model, own_size(plan=WindowPlan(5, 2)), TorchHost("cpu"))


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mkv", moving_clip(5, *SIZE), "ffv1", "gbrp16le")


def frames_of(path, **options):
    with open_frames(path, **options) as reader:
        return torch.stack(list(reader)), reader


@pytest.mark.parametrize(
    ("name", "tolerance"), [("s.mkv", 2e-5), ("s.mov", 0.006), ("s/pictures", 2e-5), ("s/shot.####.png", 2e-5)]
)
def test_the_subject_comes_with_its_colours_and_its_alpha(tmp_path, video, pipeline, name, tolerance):
    shot = Shot(video, tmp_path / "m.mkv", subject=tmp_path / name, delivery=PLATE)
    assert matte_shot(shot, pipeline) == 5
    colour, _ = frames_of(video)
    alpha = pipeline.matte(colour)
    found, reader = frames_of(tmp_path / name, alpha=True)
    assert (found[:, 3:] - alpha).abs().max() < tolerance
    assert (found[:, :3] - colour).abs().max() < 4 * tolerance
    assert (frames_of(tmp_path / "m.mkv")[0][:, :1] - alpha).abs().max() < 2e-5
    assert reader.labels.alpha == "straight"


def test_linear_exr_is_premultiplied_says_so_and_numbers_its_frames_from_1001(tmp_path, video, pipeline):
    shot = Shot(video, tmp_path / "m.mkv", subject=tmp_path / "s" / "shot.####.exr", delivery=PLATE)
    matte_shot(shot, pipeline)
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == [f"shot.{number}.exr" for number in range(1001, 1006)]
    colour, _ = frames_of(video)
    alpha = pipeline.matte(colour)
    found, reader = frames_of(tmp_path / "s", alpha=True)
    assert (reader.labels.alpha, reader.labels.light, reader.light) == ("premultiplied", "linear", LIGHTS["linear"])
    assert (found[:, 3:] - alpha).abs().max() < 5e-4
    seen = found[:, :3] * found[:, 3:]
    assert (seen - srgb_to_linear(colour) * alpha).abs().max() < 1e-3


def test_light_of_eight_times_white_goes_through_to_the_subject(tmp_path, pipeline):
    folder = tmp_path / "plates"
    folder.mkdir()
    plate = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(2))
    plate[:, 5:9, 5:9] = 8.0
    for number in range(3):
        write_exr(folder / f"p.{number}.exr", plate, "float", "zip", Labels())
    straight = Delivery(colours="plate", alpha="straight", subject_format="exr_float")
    shot = Shot(folder, tmp_path / "m.mkv", subject=tmp_path / "s" / "s.####.exr", delivery=straight)
    matte_shot(shot, pipeline)
    found, _ = frames_of(tmp_path / "s", alpha=True)
    assert torch.equal(found[:, :3], plate.expand(3, -1, -1, -1)), "the plate's own numbers"
    seen, reader = frames_of(folder)
    assert (found[:, 3:] - pipeline.matte(torch.stack([*map(reader.shown, seen)]))).abs().max() < 1e-6


def test_foreground_colours_are_those_of_the_whole_clip_also_in_ranges_and_after_a_stop(tmp_path, pipeline):
    source = write_video(tmp_path / "long.mkv", moving_clip(40, *SIZE), "ffv1", "gbrp16le")
    whole = Shot(source, tmp_path / "a.mkv", subject=tmp_path / "whole.mkv")
    matte_shot(whole, pipeline)
    part = Shot(source, tmp_path / "b.mkv", subject=tmp_path / "part.mkv", first=30, last=36)
    matte_shot(part, pipeline)
    everything, _ = frames_of(tmp_path / "whole.mkv", alpha=True)
    assert torch.equal(everything[30:37], frames_of(tmp_path / "part.mkv", alpha=True)[0])
    assert (everything[:, :3] - frames_of(source)[0]).abs().max() > 0.01, "not the plate's"

    class Stopped(Exception):
        pass

    def stop(frames, alpha=None, *, resumed=False):
        if not resumed and alpha.stop > 35:
            raise Stopped

    again = Shot(source, tmp_path / "c.mkv", subject=tmp_path / "again.mkv")
    with pytest.raises(Stopped):
        matte_shot(again, pipeline, stop)
    assert not (tmp_path / "again.mkv").exists()
    matte_shot(again, pipeline)
    assert (tmp_path / "again.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_a_format_without_alpha_says_what_to_take(tmp_path, video):
    with pytest.raises(MediaError, match=r"H\.264 .* has no alpha.*prores4444"):
        Shot(video, tmp_path / "m.mkv", subject=tmp_path / "s.mp4")
    with pytest.raises(MediaError, match="cannot be both the matte and the subject"):
        Shot(video, tmp_path / "m.mkv", subject=tmp_path / "m.mkv")
    for wrong in ({"alpha": "multiplied"}, {"colours": "own"}, {"start": -1}):
        with pytest.raises(InputError):
            Delivery(**wrong)


def test_a_finished_subject_is_not_overwritten_and_half_a_run_leaves_none(tmp_path, video, pipeline):
    taken = tmp_path / "s" / "shot.1003.png"
    taken.parent.mkdir()
    taken.touch()
    shot = Shot(video, tmp_path / "m.mkv", subject=tmp_path / "s" / "shot.####.png")
    with pytest.raises(MediaError, match=r"shot\.1003\.png exists already"):
        matte_shot(shot, pipeline)
    assert not (tmp_path / "m.mkv").exists()
    other = Shot(video, tmp_path / "m.mkv", subject=tmp_path / "s" / "other.####.png")
    assert matte_shot(other, pipeline) == 5 and len(list(taken.parent.iterdir())) == 6


def test_versions_go_up_together_and_never_replace_each_other(tmp_path):
    def named(*names):
        return [path.name for path in next_version([tmp_path / name for name in names])]

    assert named("shot.mov") == ["shot_v001.mov"]
    for name in ("shot_v001.mov", "plate_v001.1001.exr", "plate_v002.1001.exr"):
        (tmp_path / name).touch()
    assert named("shot.mov") == ["shot_v002.mov"] and named("shot_v001.mov") == ["shot_v002.mov"]
    assert named("plate.####.exr") == ["plate_v003.####.exr"] and named("folder") == ["folder_v001"]
    assert named("shot.mov", "plate.####.exr") == ["shot_v003.mov", "plate_v003.####.exr"], "one version for all"


@pytest.mark.parametrize(
    ("light", "linear", "says"), [("hlg", False, "hlg"), ("hlg", True, "linear"), ("linear", False, "srgb")]
)
def test_a_subject_says_which_light_it_has(light, linear, says):
    form = outputs_of(Delivery(), subject=Path("s.####.exr"))[0].form
    output = Output("subject", Path("s.####.exr"), form, "straight", linear)
    labels = output.labels(PLAIN, LIGHTS[light])
    assert labels.light == says and labels.chromaticities == LIGHTS[light].primaries
    assert output.labels(PLAIN, Light()).alpha == "straight"
    plate, alpha = torch.rand(3, 4, 4), torch.rand(1, 4, 4)
    made = output.frame(plate, alpha, LIGHTS[light])
    same = linear == (light == "linear")
    assert torch.equal(made[:3], plate) == (same and light != "linear") and torch.equal(made[3:], alpha)


def test_frames_from_memory_are_saved_with_layers_and_sound_and_nothing_is_left(tmp_path):
    alpha, frames = torch.rand(40, 1, *SIZE), moving_clip(40, *SIZE)
    given = Given(Fraction(24000, 1001), 40)
    film = write_video(tmp_path / "source.mkv", moving_clip(2, *SIZE))
    outputs = outputs_of(Delivery(), tmp_path / "out" / "m.mov", subject=tmp_path / "out" / "s.mkv")
    save_clip(outputs, alpha, frames, given, sound=film)
    found, reader = frames_of(tmp_path / "out" / "s.mkv", alpha=True)
    assert (found - torch.cat([frames, alpha], 1)).abs().max() < 2e-5
    assert abs(reader.rate - given.rate) < 0.01
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m.mov", "s.mkv"]
    exr = outputs_of(Delivery(), subject=tmp_path / "exr" / "s.####.exr")
    save_clip(exr, alpha[:2], frames[:2], Given(Fraction(24), 2), layers={"garbage": 1 - alpha[:2]})
    layer, _ = frames_of(tmp_path / "exr", layer="garbage")
    assert (layer[:, :1] - (1 - alpha[:2])).abs().max() < 5e-4
    with pytest.raises(MediaError, match="exists already; choose another name"):
        save_clip(exr, alpha[:2], frames[:2], Given(Fraction(24), 2))


def test_colours_in_linear_light_come_back_where_nothing_was_estimated_and_lose_spill_as_others_do():
    plates = list(8 * torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)) - 0.1)
    even = torch.stack([encoded(plate, LIGHTS["linear"]) for plate in plates])
    assert torch.equal(decoded(even, plates, LIGHTS["linear"]), torch.stack(plates))
    changed = even.clone()
    changed[:, 1] *= 0.5
    found = decoded(changed, plates, LIGHTS["linear"])
    assert torch.equal(found[:, ::2], torch.stack(plates)[:, ::2])
    assert torch.equal(found[:, 1], srgb_to_linear(changed)[:, 1])
    assert decoded(changed, plates, Light()) is changed


def test_despill_reaches_the_delivered_subject(tmp_path, pipeline):
    green = torch.tensor([0.1, 0.8, 0.1]).view(1, 3, 1, 1).expand(3, 3, *SIZE).clone()
    source = write_video(tmp_path / "plate.mkv", green, "ffv1", "gbrp16le")
    found = {}
    for screen in ("off", "green"):
        how = Delivery(foreground=ForegroundSettings(screen=screen))
        matte_shot(
            Shot(source, tmp_path / f"{screen}.mkv", subject=tmp_path / f"s_{screen}.mkv", delivery=how), pipeline
        )
        found[screen] = frames_of(tmp_path / f"s_{screen}.mkv", alpha=True)[0]
    assert np.allclose(found["off"][:, 3], found["green"][:, 3])
    assert found["green"][:, 1].mean() < found["off"][:, 1].mean() - 0.1


def test_a_run_never_goes_on_with_pictures_that_another_openexr_has_written(monkeypatch):
    def facts(compression):
        (output,) = outputs_of(Delivery(compression=compression), Path("s.####.exr"))
        return output.facts

    pytest.importorskip("OpenEXR", reason="pictures of another OpenEXR are NOT tested: it is not installed")
    before = facts("piz"), facts("zip")
    monkeypatch.setattr(exr.library(), "__version__", "99.0")
    assert facts("piz") != before[0] and facts("zip") == before[1]
