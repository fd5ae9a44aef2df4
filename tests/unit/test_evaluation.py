"""Evaluation: what a user loses here is a fair table, and the hours that went into it."""

import json
import shutil

import pytest
import torch
from PIL import Image

from gvm_core import TorchHost, WindowPlan
from gvm_core.cli import main
from gvm_core.errors import InputError, ModelError
from gvm_core.evaluation.cases import FIRST_SEED, Case, folder_cases, people_cases, synthetic_cases
from gvm_core.evaluation.contestants import BASELINES, Contestant, model_contestant
from gvm_core.evaluation.report import evaluate, score_case, table
from gvm_core.frames import Clip
from gvm_core.models.weights import ADVICE
from gvm_core.settings import MatteSettings

KEYS = {"mad", "mse", "grad", "conn", "dtssd", "seam"}


def disc(t, size=24):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((7 - ((y - 12) ** 2 + (x - 9 - t) ** 2).sqrt()) / 2 + 0.5).clamp(0, 1)[None]


def case(name="a", group="g", frames=5):
    return Case(name, group, lambda: ((disc(t).expand(3, -1, -1) * 0.8 + 0.1, disc(t)) for t in range(frames)))


def perfect(frames):
    for index, frame in enumerate(frames):
        yield Clip(((frame[:1] - 0.1) / 0.8)[None], index)


def write(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture.clamp(0, 1) * 255).round().byte().squeeze(0).numpy() if len(picture) == 1 else
                    (picture.clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()).save(path)  # fmt: skip


def test_a_perfect_matte_scores_nothing_and_a_seam_is_told_from_motion():
    scores = score_case(Contestant("perfect", perfect, WindowPlan(3, 1).joins), case())
    assert max(scores[name] for name in KEYS - {"seam"}) < 1e-3 and scores["frames"] == 5
    assert len(scores["per_frame"]["mad"]) == 5


def test_a_contestant_that_loses_frames_is_caught():
    def lazy(frames):
        yield from list(perfect(frames))[:-1]

    with pytest.raises(InputError, match="1 too few"):
        score_case(Contestant("lazy", lazy), case())


def test_what_was_scored_is_kept_and_not_done_again(tmp_path):
    file, runs = tmp_path / "deep" / "scores.json", []

    def counted(frames):
        runs.append(1)
        yield from perfect(frames)

    cases, said = [case("a", "x"), case("b", "y"), case("c", "y")], []

    def stop_after_two(line):
        said.append(line)
        if len(said) == 2:
            raise KeyboardInterrupt

    makers, kept = {"one": lambda: Contestant("one", counted)}, {"one": "aa"}
    with pytest.raises(KeyboardInterrupt):
        evaluate(makers, kept, cases, {"k": 1}, file, stop_after_two)
    report = evaluate(makers, kept, cases, {"k": 1}, file, said.append)
    assert len(runs) == 4  # the second case was scored but not yet kept when it was stopped
    assert json.loads(file.read_text()) == report and not list(tmp_path.rglob("*.part"))
    again = evaluate({"one": lambda: pytest.fail("loaded for nothing")}, kept, cases, {"k": 1}, file, said.append)
    assert again == report
    evaluate(makers, {"one": "bb"}, cases, {"k": 1}, file, said.append)
    assert len(runs) == 7  # other weights under the same name
    with pytest.raises(InputError, match="other settings"):
        evaluate(makers, kept, cases, {"k": 2}, file, said.append)
    file.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        evaluate(makers, kept, cases, {"k": 1}, file, said.append)


def test_cases_of_one_name_are_refused_rather_than_scored_as_one():
    with pytest.raises(InputError, match="two cases are called a"):
        evaluate({}, {}, [case("a"), case("b"), case("a")], {}, None, str)


def test_means_are_over_clips_and_over_each_group():
    def shifted(frames):
        for clip in perfect(frames):
            yield clip.replace(clip.data * 0.5)

    cases = [case("a", "x", 2), case("b", "y", 4), case("c", "y", 6)]
    makers = {"half": lambda: Contestant("half", shifted), "perfect": lambda: Contestant("perfect", perfect)}
    report = evaluate(makers, {}, cases, {}, None, str)
    clips = report["models"]["half"]["clips"]
    assert report["mean"]["mad"] == pytest.approx(sum(clip["mad"] for clip in clips.values()) / 3)
    assert report["models"]["half"]["groups"]["y"]["mad"] == pytest.approx((clips["b"]["mad"] + clips["c"]["mad"]) / 2)
    assert report["mean"]["seam"] is None and set(report["clips"]) == {"a", "b", "c"}
    lines = table(report).splitlines()
    assert len(lines) == 2 + 2 * 3 and len({len(line) for line in lines}) == 1


def test_the_synthetic_benchmark_never_draws_what_training_saw():
    cases = synthetic_cases(("easy", "hard"), 3, 1, 16, 2)
    assert len({case.name for case in cases}) == 6
    assert all(int(case.name.split("-")[1]) >= FIRST_SEED for case in cases)
    first, again = list(cases[0].open()), list(cases[0].open())
    assert len(first) == 2 and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True)
    )
    for bad in (
        (("soft",), 1, 0, 16, 1),
        (("easy",), 0, 0, 16, 1),
        (("easy",), 1, -1, 16, 1),
        (("easy",), 1001, 0, 16, 1),
    ):
        with pytest.raises(InputError):
            synthetic_cases(*bad)


@pytest.fixture
def small_folder(tmp_path, tiny_folder):
    """The toy model with small frames: at the released model's size its evaluation would take minutes."""
    folder = shutil.copytree(tiny_folder, tmp_path / "small")
    (folder / ADVICE).write_text(json.dumps({"short_edge": 64, "max_edge": 96}))
    return folder


@pytest.mark.slow
def test_the_command_scores_models_and_baselines_side_by_side(tmp_path, small_folder, capsys):
    file, picture = tmp_path / "scores.json", tmp_path / "scores.png"
    command = ["evaluate", "synthetic", "--clips", "1", "--size", "32", "--frames", "4", "--tier", "easy"]
    command += ["--model", str(small_folder), "--model", f"{small_folder}@1", "--baseline", "background"]
    command += ["--baseline", "walker", "--baseline", "blurred-mask", "--device", "cpu", "--precision", "fp32"]
    assert main([*command, "--json", str(file), "--plot", str(picture)]) == 0
    report = json.loads(file.read_text())
    assert not KEYS - set(report["mean"]) and not KEYS - set(next(iter(report["clips"].values())))
    assert list(report["models"]) == [str(small_folder), f"{small_folder}@1", "background", "walker", "blurred-mask"]
    assert report["models"]["blurred-mask"]["mean"]["mad"] < report["models"]["background"]["mean"]["mad"]
    assert Image.open(picture).size[0] > 300
    assert "blurred-mask" in capsys.readouterr().out


def test_windows_of_one_frame_know_no_time(small_folder):
    frames = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    host, settings = TorchHost("cpu"), MatteSettings()
    one = model_contestant(f"{small_folder}@1", settings, torch.float32, host)
    forward = torch.cat([clip.data for clip in one.matte(frames)])
    backward = torch.cat([clip.data for clip in one.matte(frames.flip(0))])
    assert torch.allclose(forward, backward.flip(0), atol=1e-6)
    assert model_contestant(f"{small_folder}@4/2", settings, torch.float32, host).joins(8).any()
    with pytest.raises(ModelError):
        model_contestant(f"{small_folder}@many", settings, torch.float32, host)


def test_a_still_camera_lets_background_subtraction_work():
    still = Case("s", "g", lambda: ((disc(4 * t - 6).expand(3, -1, -1) * 0.6 + 0.2, disc(4 * t - 6)) for t in range(9)))
    assert score_case(BASELINES["background"], still)["mad"] < 80


@pytest.fixture
def people(tmp_path):
    """Two subjects in their own colours, and a place."""
    for name in ("anna", "ben"):
        write(tmp_path / "people" / "fgr" / f"{name}.png", disc(0).expand(3, -1, -1))
        write(tmp_path / "people" / "pha" / f"{name}.png", disc(0))
    write(tmp_path / "places" / "wall.png", torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0)))
    return [tmp_path / "people"], [tmp_path / "places"], tmp_path / "pools"


def test_people_in_motion_have_exact_mattes_and_places_alone_have_none(people):
    cases = people_cases(*people, clips=3, views=2, seed=1, size=32, frames=4)
    assert [case.group for case in cases] == ["motion"] * 3 + ["nobody"] * 2
    clips = [list(case.open()) for case in cases]
    assert [len(clip) for clip in clips] == [4, 4, 4, 1, 1]
    assert all(any(alpha.max() > 0.9 for _, alpha in clip) for clip in clips[:3])
    assert not any(alpha.any() for clip in clips[3:] for _, alpha in clip)
    for case, clip in zip(cases, clips, strict=True):
        assert all(torch.equal(a[0], b[0]) for a, b in zip(case.open(), clip, strict=True)), "the same each time"
    assert not torch.equal(clips[3][0][0], clips[4][0][0])
    other = people_cases(*people, clips=1, views=0, seed=2, size=32, frames=4)
    assert not torch.equal(next(other[0].open())[0], clips[0][0][0])


@pytest.mark.slow
def test_pictures_of_people_are_scored_as_they_are(people, tmp_path, monkeypatch):
    write(tmp_path / "portraits" / "original" / "carla.png", disc(0).expand(3, -1, -1))
    write(tmp_path / "portraits" / "mask" / "carla.png", disc(0))
    pytest.importorskip("pymatting")
    cases = people_cases([*people[0], tmp_path / "portraits"], *people[1:], clips=0, views=0, seed=0, size=32, frames=1)
    assert [(case.name, case.group) for case in cases] == [("all/carla", "still")]


def test_mattes_made_elsewhere_are_scored_in_the_same_table(people, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GVM_HOME", str(tmp_path / "home"))
    command = ["evaluate", "people", str(people[0][0]), "--backgrounds", str(people[1][0]), "--clips", "2"]
    command += ["--views", "1", "--size", "32", "--frames", "3"]
    assert main([*command, "--export", str(tmp_path / "cases")]) == 0
    assert "3 cases" in capsys.readouterr().out
    for clip in (tmp_path / "cases").rglob("pha"):
        shutil.copytree(clip, tmp_path / "mine" / clip.parent.relative_to(tmp_path / "cases"))
    file = tmp_path / "scores.json"
    chosen = ["--result", f"mine={tmp_path / 'mine'}", "--baseline", "blurred-mask", "--json", str(file)]
    assert main([*command, *chosen]) == 0
    report = json.loads(file.read_text())
    mine = report["models"]["mine"]
    assert mine["mean"]["mad"] < 0.1 and mine["mean"]["iou"] == 1 and mine["mean"]["seconds"] is None
    assert set(mine["groups"]) == {"motion", "nobody"} and report["models"]["blurred-mask"]["mean"]["mad"] > 0.1
    assert report["models"]["blurred-mask"]["mean"]["seconds"] > 0
    last = max((tmp_path / "mine").rglob("*.png"))
    last.unlink()
    capsys.readouterr()
    assert main([*command, "--result", f"mine={tmp_path / 'mine'}"]) == 1
    assert last.parent.name in capsys.readouterr().err
    for wrong in ("mine", f"mine={tmp_path / 'none'}"):
        assert main([*command, "--result", wrong]) == 1
        assert "NAME=FOLDER" in capsys.readouterr().err


def test_a_model_is_scored_with_its_size_and_its_speed(small_folder):
    contestant = model_contestant(str(small_folder), MatteSettings(), torch.float32, TorchHost("cpu"))
    report = evaluate({"tiny": lambda: contestant}, {}, [case()], {}, None, str)
    assert 1 < report["models"]["tiny"]["megabytes"] < 50 and report["mean"]["seconds"] > 0
    assert "| MB" in table(report)


# -------------------------------------------------------------------------------------------------- folders of others


def layout(root, kind):
    """A benchmark in miniature, as it is published."""
    for k in range(2):
        if kind == "VideoMatte240K":
            for t in range(3):
                write(root / "videomatte_motion" / f"{k:04}" / "com" / f"{t:04}.png", disc(t).expand(3, -1, -1))
                write(root / "videomatte_motion" / f"{k:04}" / "pha" / f"{t:04}.png", disc(t))
        elif kind == "V-HIM60":
            for t in range(3):
                write(root / "comp_easy" / "images" / f"clip{k}" / f"{t:02}.jpg", disc(t).expand(3, -1, -1))
                for person in range(2):
                    half = disc(t) * (torch.arange(24) < 12 if person else torch.arange(24) >= 12)
                    write(root / "comp_easy" / "alphas" / f"clip{k}" / f"{t:02}" / f"{person}.png", half)
        elif kind == "P3M-500":
            write(root / "P3M-500-NP" / "original_image" / f"p_{k}.jpg", disc(k).expand(3, -1, -1))
            write(root / "P3M-500-NP" / "mask" / f"p_{k}.png", disc(k))
            write(root / "P3M-500-NP" / "trimap" / f"p_{k}.png", disc(k))
        else:
            write(root / "validation" / "original" / f"m_{k}.jpg", disc(k).expand(3, -1, -1))
            write(root / "validation" / "mask" / f"m_{k}.png", disc(k))
    return root


@pytest.mark.parametrize("kind", ["VideoMatte240K", "V-HIM60", "P3M-500", "AM-2K"])
def test_a_published_benchmark_is_found_and_scored_with_one_command(tmp_path, kind, capsys):
    root, file = layout(tmp_path / "set", kind), tmp_path / "scores.json"
    command = ["evaluate", "folder", str(root), "--baseline", "blurred-mask", "--json", str(file)]
    assert main(command) == 0
    report = json.loads(file.read_text())
    assert len(report["clips"]) == 2
    assert {clip["frames"] for clip in report["clips"].values()} == {1 if kind in ("P3M-500", "AM-2K") else 3}
    assert report["mean"]["mad"] < 40  # each truth met its own frame, and people's mattes were put together
    assert len({clip["group"] for clip in report["clips"].values()}) == 1


def test_other_names_and_fewer_frames_can_be_asked_for(tmp_path):
    for t in range(5):
        write(tmp_path / "plates" / f"{t}.png", disc(t).expand(3, -1, -1))
        write(tmp_path / "roto" / f"{t}.png", disc(t))
    (found,) = folder_cases(tmp_path, frames=2, names=("plates", "roto"))
    assert len(list(found.open())) == 2


def test_folders_that_do_not_match_are_named(tmp_path):
    with pytest.raises(InputError, match="no folder holds frames"):
        folder_cases(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        folder_cases(tmp_path / "none")
    write(tmp_path / "a" / "com" / "0.png", disc(0))
    write(tmp_path / "a" / "pha" / "0.png", disc(0, 20))
    (one,) = folder_cases(tmp_path)
    with pytest.raises(InputError, match=r"24, 24.*20, 20"):
        list(one.open())
    write(tmp_path / "a" / "pha" / "1.png", disc(0))
    with pytest.raises(InputError, match=r"1 frames and .* 2 mattes"):
        folder_cases(tmp_path)
    write(tmp_path / "p" / "original" / "x.jpg", disc(0).expand(3, -1, -1))
    (tmp_path / "p" / "mask").mkdir()
    with pytest.raises(InputError, match=r"no matte for x\.jpg"):
        folder_cases(tmp_path / "p")
