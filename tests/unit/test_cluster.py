"""One shot over several workers: what a user loses here is frames, an hour of a farm's work, or a word on what is wrong."""

import os
import signal
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import moving_clip, own_size, read_levels, write_video

from gvm_core import WindowPlan
from gvm_core.cli import main
from gvm_core.errors import InputError, ModelError
from gvm_core.runs import cluster
from gvm_core.runs.cluster import Recipe, matte_shot_with_ray, pieces
from gvm_core.runs.matte import matte_shot
from gvm_core.runs.parts import FRAMES, Parts
from gvm_core.runs.resume import PARTS_FOLDER
from gvm_core.runs.shot import Shot

pytest.importorskip("ray", reason="shots over several workers are NOT tested: Ray is not installed")


@pytest.fixture(autouse=True)
def not_nice(monkeypatch):
    """Ray's workers give way to whatever else runs, which would be the rest of the tests, or a neighbour's."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_clip(7 * FRAMES + 5, 24, 40))


@pytest.fixture
def recipe(tiny_folder):
    settings = own_size(plan=WindowPlan(5, 2))
    threads = torch.get_num_threads()
    return Recipe(settings=settings, model=str(tiny_folder), device=torch.device("cpu"), threads=threads)


def levels(path):
    return [picture.tobytes() for picture in read_levels(path)]


def finished(folder):
    return [*folder.glob(f"{PARTS_FOLDER}/*/[0-9]*-*")]


class Crew:
    """Watches the crew that is hired, by their processes."""

    def __init__(self, monkeypatch):
        self.pids, common_key = [], cluster.common_key

        def watched(ray, crew):
            self.pids = ray.get([worker.__ray_call__.remote(lambda _: os.getpid()) for worker in crew])
            return common_key(ray, crew)

        monkeypatch.setattr(cluster, "common_key", watched)

    def kill_one_when(self, happened):
        def wait():
            while not (self.pids and happened()):
                time.sleep(0.01)
            os.kill(self.pids[0], signal.SIGKILL)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread


@pytest.mark.slow
def test_two_workers_one_killed_midway_give_the_frames_of_a_single_run(tmp_path, video, recipe, monkeypatch):
    alone, shared = tmp_path / "alone.mkv", tmp_path / "shared" / "matte.mkv"
    assert matte_shot(Shot(video, alone), recipe.pipeline()) == 7 * FRAMES + 5
    killer = Crew(monkeypatch).kill_one_when(lambda: finished(shared.parent))
    told = []
    count = matte_shot_with_ray(
        Shot(video, shared), recipe, lambda frames, alpha=None, *, resumed=False: told.append(frames), workers=2
    )
    killer.join(timeout=0)
    assert not killer.is_alive(), "nobody was killed: the run was over before"
    assert count == sum(told) == 7 * FRAMES + 5
    assert levels(shared) == levels(alone)
    assert not (shared.parent / PARTS_FOLDER).exists()


@pytest.mark.slow
def test_a_stopped_shared_run_goes_on_alone(tmp_path, video, recipe):
    alone, shared = tmp_path / "alone.mkv", tmp_path / "matte.mkv"
    matte_shot(Shot(video, alone), recipe.pipeline())

    def stop(frames, alpha=None, *, resumed=False):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        matte_shot_with_ray(Shot(video, shared), recipe, stop, workers=2)
    taken = []
    matte_shot(
        Shot(video, shared),
        recipe.pipeline(),
        lambda frames, alpha=None, *, resumed=False: taken.append(frames) if resumed else 0,
    )
    assert sum(taken) >= FRAMES
    assert levels(shared) == levels(alone)


@pytest.mark.slow
def test_the_command_shares_a_range_with_a_preview(tmp_path, video, tiny_folder, capsys):
    arguments = ["matte", str(video), str(tmp_path / "pictures"), "--model", str(tiny_folder), "--device", "cpu"]
    arguments += ["--frames", "30-70", "--short-edge", "own", "--max-edge", "own"]
    assert main([*arguments, "--ray", "--workers", "2", "--preview", str(tmp_path / "over.mp4")]) == 0
    assert len([*(tmp_path / "pictures").iterdir()]) == len(read_levels(tmp_path / "over.mp4")) == 41
    assert main([*arguments, "--ray", "--workers", "2"]) == 1, "what is there is not overwritten"
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_wrong_with_a_model_is_said_as_on_one_machine(tmp_path, video, recipe):
    broken = tmp_path / "broken"
    for part in ("unet", "vae"):
        (broken / part).mkdir(parents=True)
        (broken / part / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="weights"):
        matte_shot_with_ray(
            Shot(video, tmp_path / "matte.mkv"),
            Recipe(settings=recipe.settings, model=str(broken), device=recipe.device),
        )
    assert [path.name for path in tmp_path.glob("*.mkv")] == []


def test_no_workers_are_refused(tmp_path, video, recipe):
    with pytest.raises(InputError, match="at least one worker"):
        matte_shot_with_ray(Shot(video, tmp_path / "matte.mkv"), recipe, workers=0)


@given(
    first=st.integers(0, 3 * FRAMES),
    last=st.none() | st.integers(0, 40 * FRAMES),
    total=st.none() | st.integers(1, 40 * FRAMES),
    workers=st.integers(1, 5),
)
def test_pieces_hold_every_frame_once_and_begin_where_parts_do(first, last, total, workers):
    last = None if last is None else first + last
    shared = [*pieces(Parts(Path("none-there"), first, last), total, workers)]
    assert shared[0][0] == first and shared[-1][1] == last
    for (_, stop), (start, _) in pairwise(shared):
        assert start == stop + 1 and start % FRAMES == 0
