"""A shot, file to file: what a user loses here is hours of finished work, frames, their timing, the sound, or a file."""

import os
import shutil
import threading
from collections import namedtuple
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import moving_clip, own_size, read_levels, write_film, write_picture, write_tiny_model, write_video

from gvm_core import MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.errors import InputError, MediaError
from gvm_core.frames import Clip
from gvm_core.lock import lock_file, locked
from gvm_core.media import open_frames
from gvm_core.media.sequence import png16, read_picture
from gvm_core.media.spool import spool
from gvm_core.media.video import frames_between
from gvm_core.runs import parts as parts_module
from gvm_core.runs import resume as resume_module
from gvm_core.runs import write as write_module
from gvm_core.runs.makers import Matting
from gvm_core.runs.matte import do_nothing, fill, matte_shot
from gvm_core.runs.parts import FRAMES, Parts, make_room
from gvm_core.runs.resume import PARTS_FOLDER, adopt, begin, begun_otherwise, parts_folder, run_key
from gvm_core.runs.shot import Shot, with_handles
from gvm_core.runs.write import PartWriter, finish


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", moving_clip(7, 24, 40))


@pytest.fixture
def pipeline(tiny_model):
    return MattingPipeline(tiny_model, own_size(plan=WindowPlan(5, 2)), TorchHost("cpu"))


def write(shot, alpha):
    """``alpha`` through the parts of ``shot`` to its outputs."""
    parts = Parts(shot.matte.parent / PARTS_FOLDER / "run")
    with open_frames(shot.source) as reader, PartWriter(shot.outputs, parts, reader, 0) as writer:
        writer.write((Clip(alpha, 0), list(reader)))
        writer.keep(last=True)
    assert finish(shot, parts) == len(alpha)


@pytest.mark.parametrize(
    ("wanted", "handles", "sentence"),
    [
        ((5, 3), 0, "not a range"),
        ((-1, None), 0, "not a range"),
        ((0, 9), -1, "handles must be"),
        ((60, 70), 0, "there are 51"),
    ],
)
def test_a_range_that_is_none_is_refused(wanted, handles, sentence):
    with pytest.raises(InputError, match=sentence):
        with_handles(wanted, handles, there=(100, 150))


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_handles_never_lead_out_of_the_film(first, length, handles, frames):
    there = (0, first + frames)
    begin, end = with_handles((first, first + length), handles, there)
    assert end is not None and 0 <= begin <= first and begin <= end <= there[1]
    assert first - begin == min(handles, first) and end == min(first + length + handles, there[1])


def test_a_photograph_in_is_a_picture_out(tmp_path, pipeline):
    photograph = write_picture(tmp_path / "face.jpg", moving_clip(1, 31, 25)[0], "yuvj444p")
    shot = Shot(photograph, tmp_path / "out" / "face.png", tmp_path / "out" / "over.png")
    assert matte_shot(shot, pipeline) == 1
    matte_shot(Shot(photograph, tmp_path / "folder"), pipeline)
    assert shot.matte.read_bytes() == next((tmp_path / "folder").iterdir()).read_bytes()
    assert read_picture(shot.preview).shape == (3, 31, 25)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["face.png", "over.png"]
    with pytest.raises(MediaError, match=r"face.png exists already"):
        matte_shot(shot, pipeline)
    matte_shot(shot, pipeline, overwrite=True)


def test_one_frame_of_a_video_may_be_a_picture_and_more_may_not(tmp_path, pipeline, video):
    assert matte_shot(Shot(video, tmp_path / "third.png", first=2, last=2), pipeline) == 1
    matte_shot(Shot(video, tmp_path / "all"), pipeline)
    assert (tmp_path / "third.png").is_file() and len(list((tmp_path / "all").iterdir())) == 7
    for more in ({}, {"first": 2, "last": 3}):
        with pytest.raises(MediaError, match="holds a single picture"):
            Shot(video, tmp_path / "some.png", **more)
    with pytest.raises(MediaError, match="holds a single picture"):
        Shot(tmp_path / "all", tmp_path / "some.mkv", tmp_path / "some.png")


def test_an_animated_picture_does_not_become_its_last_frame(tmp_path, pipeline):
    pillow = pytest.importorskip("PIL.Image")
    first, *others = (pillow.new("RGB", (32, 24), (80 * number, 50, 50)) for number in range(3))
    first.save(tmp_path / "moving.png", save_all=True, append_images=others, duration=100)
    with pytest.raises(MediaError, match=r"matte\.png holds one picture, but .*moving\.png has 3 frames"):
        matte_shot(Shot(tmp_path / "moving.png", tmp_path / "matte.png"), pipeline)
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["moving.png"]
    assert matte_shot(Shot(tmp_path / "moving.png", tmp_path / "folder"), pipeline) == 3


def contents(path):
    """The bytes of every frame, or of every file of a folder."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.iterdir())}
    return [levels.tobytes() for levels in read_levels(path)]


def shown(path):
    """When every frame is shown, in seconds."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def heard(path):
    """The samples of the first audio stream."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


class Stopped(Exception):
    """Someone pressed stop."""


def stop_after(count):
    """A callback that stops a run after so many new frames."""
    seen = 0

    def advance(frames, alpha=None, *, resumed=False):
        nonlocal seen
        seen += 0 if alpha is None else frames
        if seen > count:
            raise Stopped

    return advance


# ---- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mkv", 1), (".mov", 300), (".mp4", 2500), (".webm", 600)])
@pytest.mark.parametrize("size", [(24, 40), (23, 41)])
def test_a_matte_video_keeps_frames_rate_size_and_levels(tmp_path, suffix, tolerance, size):
    source = write_video(tmp_path / "long.mp4", moving_clip(FRAMES + 5, *size))
    alpha = torch.linspace(0, 1, size[1]).expand(FRAMES + 5, 1, *size)
    path = tmp_path / f"matte{suffix}"
    write(Shot(source, path), alpha)
    levels = read_levels(path)
    wanted = (alpha[0, 0] * 65535).round().numpy()
    assert len(levels) == FRAMES + 5 and levels[0].shape == size
    assert np.abs(np.stack(levels).astype(float) - wanted).max() <= tolerance
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate or container.streams.video[0].guessed_rate
        assert abs(rate - Fraction(30000, 1001)) < 0.01


def test_png_mattes_keep_sixteen_bits_and_the_names_of_their_frames(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2):
        write_picture(folder / f"shot.{number:04d}.png", torch.rand(3, 8, 300))
    ramp = torch.linspace(0, 1, 300).expand(2, 1, 8, 300)
    write(Shot(folder, tmp_path / "out_v1.2"), ramp)
    assert sorted(p.name for p in (tmp_path / "out_v1.2").iterdir()) == ["shot.0001.png", "shot.0002.png"]
    assert len(np.unique(read_levels(tmp_path / "out_v1.2" / "shot.0001.png")[0])) == 300
    assert png16(ramp[0])[:4] == b"\x89PNG"


def test_the_preview_shows_subject_and_checkerboard_in_the_sources_colours(tmp_path):
    red = torch.tensor([0.8, 0.2, 0.1])[:, None, None].expand(6, 3, 32, 48)
    source = write_video(tmp_path / "red.mkv", red, "ffv1", "gbrp16le")
    alpha = torch.cat([torch.ones(6, 1, 32, 24), torch.zeros(6, 1, 32, 24)], dim=-1)
    write(Shot(source, tmp_path / "m.mkv", tmp_path / "p.mp4"), alpha)
    with open_frames(tmp_path / "p.mp4") as reader:
        frames = torch.stack(list(reader))
    assert (frames[..., 4:20] - red[..., 4:20]).abs().max() < 0.03
    assert (frames[:, :, 4:12, 36:44] - 0.6).abs().max() < 0.03
    with av.open(str(tmp_path / "p.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1


def test_nothing_is_overwritten_unless_allowed(tmp_path, video, pipeline):
    taken = tmp_path / "matte.mp4"
    taken.write_text("precious")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "other.txt").write_text("precious")
    for shot in (Shot(video, taken), Shot(video, folder), Shot(video, tmp_path / "new.mov", taken)):
        with pytest.raises(MediaError, match="--overwrite"):
            matte_shot(shot, pipeline)
    assert taken.read_text() == "precious" and not (tmp_path / PARTS_FOLDER).exists()
    matte_shot(Shot(video, taken), pipeline, overwrite=True)
    assert taken.read_bytes()[:8] != b"precious"


def test_farm_jobs_share_a_folder_but_not_a_frame(tmp_path, video, pipeline):
    matte_shot(Shot(video, tmp_path / "out", first=0, last=3), pipeline)
    matte_shot(Shot(video, tmp_path / "out", first=4, last=6), pipeline)
    with pytest.raises(MediaError, match=r"clip_matte\.000003\.png exists"):
        matte_shot(Shot(video, tmp_path / "out", first=3, last=5), pipeline)
    matte_shot(Shot(video, tmp_path / "whole"), pipeline)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_unknown_suffix_lists_the_known_ones(tmp_path, video):
    with pytest.raises(MediaError, match=r"\.avi is not written; use \.mp4, \.mov, \.mkv, \.webm"):
        Shot(video, tmp_path / "matte.avi")
    with pytest.raises(MediaError, match=r"preview must be \.mp4"):
        Shot(video, tmp_path / "matte.mov", tmp_path / "p.gif")


# ---- time, sound, colour -------------------------------------------------------------------------------------------

STEADY = [1001 * i for i in range(40)]
VARIABLE = [3003 + 1001 * i + 700 * (i // 3) for i in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("times", [STEADY, VARIABLE], ids=["steady", "variable"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_frame_keeps_its_time_and_the_sound_is_the_sources(tmp_path, pipeline, suffix, times):
    source = write_film(tmp_path / "film.mp4", times)
    matte_shot(Shot(source, tmp_path / f"m{suffix}"), pipeline)
    begin = Fraction(times[0], 30000)  # becomes 0
    ours, theirs = shown(tmp_path / f"m{suffix}"), [Fraction(time, 30000) - begin for time in times]
    with av.open(str(source)) as a, av.open(str(tmp_path / f"m{suffix}")) as b:
        if suffix in (".mkv", ".webm"):  # milliseconds, and nothing before zero
            assert ours[0] == 0
            assert max(abs(x - y) for x, y in zip(ours, theirs, strict=True)) <= Fraction(1, 2000)
            wanted = [bytes(p) for p in a.demux(audio=0) if p.size and p.pts * p.time_base >= begin]
            if suffix == ".webm":  # which takes no AAC
                assert b.streams.audio[0].codec_context.codec.canonical_name == "opus"
                assert abs(a.duration - begin * 1_000_000 - b.duration) < 50_000
            else:
                assert [bytes(p) for p in b.demux(audio=0) if p.size] == wanted
        else:
            assert ours == theirs and abs(a.duration - begin * 1_000_000 - b.duration) < 100
            wanted, found = heard(source)[:, round(begin * 48000) :], heard(tmp_path / f"m{suffix}")
            assert wanted.shape == found.shape
            # AAC draws its noise anew from where a decoder begins
            assert np.abs(wanted - found).max() <= (0.02 if begin else 0)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_frame_range_starts_at_zero_with_its_own_sound(tmp_path, pipeline, suffix):
    source = write_film(tmp_path / "film.mp4", VARIABLE)
    matte_shot(Shot(source, tmp_path / f"m{suffix}", first=10, last=36), pipeline)
    wanted = [Fraction(time - VARIABLE[10], 30000) for time in VARIABLE[10:37]]
    assert shown(tmp_path / f"m{suffix}") == wanted
    with av.open(str(tmp_path / f"m{suffix}")) as container:
        sound = container.streams.audio[0]
        assert 0 <= (sound.start_time or 0) * sound.time_base < Fraction(1, 20)
        assert abs(sound.duration * sound.time_base - wanted[-1]) < Fraction(1, 10)


def test_sound_that_the_container_refuses_is_converted(tmp_path, pipeline):
    source = write_film(tmp_path / "film.mkv", STEADY, sound="flac")
    matte_shot(Shot(source, tmp_path / "m.mov"), pipeline)
    with av.open(str(tmp_path / "m.mov")) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"
    assert np.array_equal(heard(source), heard(tmp_path / "m.mov"))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_mattes_say_which_colours_they_are_written_in(tmp_path, pipeline, suffix):
    source = write_film(tmp_path / "film.mp4", STEADY[:5])
    matte_shot(Shot(source, tmp_path / f"m{suffix}"), pipeline)
    with av.open(str(tmp_path / f"m{suffix}")) as container:
        next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        assert [context.color_primaries, context.color_trc, context.colorspace] == [1, 1, 1]


# ---- stopping and going on -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "long.mp4", [1001 * i for i in range(150)])


@pytest.fixture(scope="module")
def unbroken(long_film, tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    pipeline = MattingPipeline(tiny_model, own_size(plan=WindowPlan(5, 2)), TorchHost("cpu"))
    matte_shot(Shot(long_film, folder / "pictures"), pipeline)
    matte_shot(Shot(long_film, folder / "m.mp4", folder / "p.mp4"), pipeline)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stops", [[40], [20, 70, 33]])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(tmp_path, long_film, unbroken, pipeline, stops):
    for shot in (
        Shot(long_film, tmp_path / "pictures"),
        Shot(long_film, tmp_path / "m.mp4", tmp_path / "p.mp4"),
    ):
        for count in stops:
            with pytest.raises(Stopped):
                matte_shot(shot, pipeline, stop_after(count))
            assert not shot.matte.exists()
        done = {True: 0, False: 0}

        def count_frames(frames, alpha=None, *, resumed=False, done=done):
            done[resumed] += frames

        assert matte_shot(shot, pipeline, count_frames) == 150
        assert done[True] >= FRAMES and sum(done.values()) == 150
        for path in (output.path for output in shot.outputs):
            assert contents(path) == contents(unbroken / path.name)
    assert (tmp_path / "m.mp4").read_bytes() == (unbroken / "m.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.mp4", "p.mp4", "pictures"]


@pytest.mark.slow
def test_a_run_stopped_while_pictures_are_put_in_place_goes_on(tmp_path, long_film, unbroken, pipeline, monkeypatch):
    shot = Shot(long_film, tmp_path / "pictures")
    replace, moved = os.replace, []

    def give_up(picture, target):
        moved.append(target)
        if len(moved) == 50:
            raise Stopped
        return replace(picture, target)

    monkeypatch.setattr("gvm_core.runs.write.Path.replace", give_up)
    with pytest.raises(Stopped):
        matte_shot(shot, pipeline)
    monkeypatch.undo()
    matte_shot(shot, pipeline)
    assert contents(tmp_path / "pictures") == contents(unbroken / "pictures")


@pytest.mark.slow
@pytest.mark.parametrize("change", ["settings", "input", "weights"])
def test_other_settings_input_or_weights_begin_anew_and_say_so(
    tmp_path, long_film, pipeline, tiny_model, change, caplog
):
    source = shutil.copy(long_film, tmp_path / "long.mp4")
    shot = Shot(source, tmp_path / "m.mkv")
    with pytest.raises(Stopped):
        matte_shot(shot, pipeline, stop_after(70))
    if change == "settings":
        pipeline = MattingPipeline(tiny_model, own_size(plan=WindowPlan(5, 1)), TorchHost("cpu"))
    elif change == "input":
        os.utime(source, (1, 1))
    else:
        others = load_model(write_tiny_model(tmp_path / "model", seed=1))
        pipeline = MattingPipeline(others, pipeline.settings, pipeline.host)
    taken_over = []
    with caplog.at_level("INFO"):
        matte_shot(shot, pipeline, lambda frames, alpha=None, *, resumed=False: taken_over.append(resumed))
    assert not any(taken_over) and "starting from the beginning" in caplog.text


def abandoned(folder):
    """Three runs of a thousand bytes that nobody is at, and their names, the oldest first."""
    names = [f"{name}.mov-{age:016x}" for age, name in enumerate(["new", "older", "oldest"])]
    for age, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(bytes(1000))
        os.utime(folder / name / "file", (10**9 - age, 10**9 - age))
    return names[::-1]


@pytest.fixture
def free(monkeypatch):
    """A disk of ten thousand bytes that holds what is in a folder and ``filled[0]`` bytes more."""
    filled, usage = [0], namedtuple("usage", "total used free")

    def disk_usage(folder):
        used = filled[0] + sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        return usage(10_000, used, 10_000 - used)

    monkeypatch.setattr(parts_module.shutil, "disk_usage", disk_usage)
    return filled


def test_abandoned_runs_stay_while_there_is_room(tmp_path, free, caplog):
    names = abandoned(tmp_path)
    (tmp_path / "gone-halfway").mkdir()
    free[0] = 5_900
    make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names) and not caplog.messages


def test_a_disk_that_is_short_of_room_loses_the_oldest_runs_and_says_which(tmp_path, free, caplog):
    oldest, older, new = abandoned(tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(bytes(10))
    free[0] = 6_900
    make_room(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([new, older, "precious"])
    (message,) = caplog.messages
    assert oldest in message and "almost full" in message and "0.0 GB" in message
    free[0] = 9_990
    with locked(tmp_path / older):
        make_room(tmp_path)
        assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {older, "precious"}
    make_room(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"], "it is not a run"


def test_on_a_disk_without_locks_a_run_that_may_be_alive_is_left_alone(tmp_path, free, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="disks without locks are NOT tested")
    oldest, *others = abandoned(tmp_path)
    lock_file(tmp_path / oldest).write_text(f"{os.getpid()}\nanother-machine\n")

    def flock(*_):
        raise OSError(95, "this disk knows no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    free[0] = 9_990
    with locked(tmp_path / others[0]) as mine:
        assert mine
        make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {oldest, others[0]}


@pytest.mark.slow
def test_asking_for_other_runs_never_refuses_one_that_begins(tmp_path, video, pipeline, monkeypatch):
    """A job of a farm starts while others look whether it is there, and make room."""
    shot = Shot(video, tmp_path / "m.mkv")
    key, failed, over = run_key(shot, Matting(pipeline)), [], threading.Event()
    folder, neighbour = parts_folder(shot, key), parts_folder(shot, "0" * 16)
    monkeypatch.setattr(parts_module, "is_short", lambda _: True)

    def ask():
        try:
            while not over.is_set():
                begun_otherwise(shot, neighbour)
                make_room(folder.parent)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    with locked(neighbour):
        [each.start() for each in asking]
        try:
            for _ in range(20):
                folder.mkdir(parents=True, exist_ok=True)
                with begin(shot, key):
                    folder.mkdir(parents=True, exist_ok=True)
        finally:
            over.set()
            [each.join() for each in asking]
    assert failed == []


def test_a_run_waits_for_who_looks_after_it_and_refuses_who_is_at_it(tmp_path, video, pipeline, monkeypatch):
    shot = Shot(video, tmp_path / "m.mkv")
    key = run_key(shot, Matting(pipeline))
    holding = locked(parts_folder(shot, key))
    holding.__enter__()
    timer = threading.Timer(0.3, holding.__exit__, (None, None, None))
    timer.start()
    with begin(shot, key):
        monkeypatch.setattr(resume_module, "PATIENCE", 0.1)
        with pytest.raises(MediaError, match=r"another process is matting .*m\.mkv"), begin(shot, key):
            pass
    assert not (tmp_path / PARTS_FOLDER).exists()


@given(
    st.integers(0, 100),
    st.none() | st.integers(0, 200),
    st.lists(st.integers(0, 8), unique=True),
    st.integers(1, 250),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_missing_is_done_once_and_nothing_else(tmp_path_factory, first, length, there, count):
    last = None if length is None else first + length
    parts = Parts(tmp_path_factory.mktemp("run") / "run", first, last)
    stop = count if last is None else min(count, last + 1)

    def keep(start):
        end = min(parts.stop_of(start), stop)
        parts.keep(parts.stage(), start, range(start, end), Fraction(1, 24), last=end == count)

    starts = [start for start in {first, *range(0, 300, FRAMES)} if first <= start < stop]
    for each in there:
        if each < len(starts):
            keep(sorted(starts)[each])
    for gap, end in parts.missing():
        begins = [start for start in starts if start >= gap and (end is None or start <= end)]
        assert gap >= stop or gap in begins
        for start in begins:
            keep(start)
    finished = parts.finished()
    frames = [frame for part in finished for frame in range(part.start, part.stop)]
    assert frames == list(range(first, stop))


@pytest.mark.slow
def test_a_video_that_ends_where_a_part_does_is_finished_by_jobs_that_do_not_know(tmp_path, pipeline):
    source = write_video(tmp_path / "even.mkv", moving_clip(2 * FRAMES), "ffv1", "gbrp16le")
    shot = Shot(source, tmp_path / "m.mkv")
    parts = Parts(tmp_path / PARTS_FOLDER / "run")
    fill(shot, Matting(pipeline), parts, 0, FRAMES - 1, do_nothing)
    fill(shot, Matting(pipeline), parts, FRAMES, 2 * FRAMES - 1, do_nothing)
    assert parts.missing() == [(2 * FRAMES, None)]
    fill(shot, Matting(pipeline), parts, 2 * FRAMES, None, do_nothing)
    assert parts.missing() == [] and finish(shot, parts) == 2 * FRAMES


def test_a_clip_in_memory_is_spooled_without_loss_and_always_to_the_same_bytes(tmp_path):
    frames, wave = moving_clip(5, 30, 50), torch.sin(torch.arange(9600) * 0.05).repeat(2, 1)
    for name in ("one.avi", "two.avi"):
        spool(tmp_path / name, frames, Fraction(30000, 1001), wave, 48000)
    assert (tmp_path / "one.avi").read_bytes() == (tmp_path / "two.avi").read_bytes()
    with open_frames(tmp_path / "one.avi") as reader:
        read = torch.stack(list(reader))
        assert reader.rate == Fraction(30000, 1001) and reader.count == 5
        assert [time * reader.time_base for time in reader.times] == [i * Fraction(1001, 30000) for i in range(5)]
    assert (read - frames).abs().max() <= 1 / 65535
    import av

    with av.open(str(tmp_path / "one.avi")) as container:
        heard = torch.cat([torch.from_numpy(f.to_ndarray()) for f in container.decode(audio=0)], dim=-1)
    assert torch.equal(heard.reshape(-1, 2).T, wave)


def test_sound_that_does_not_say_where_its_channels_are_is_taken_for_the_usual(tmp_path, pipeline):
    spool(tmp_path / "clip.avi", moving_clip(5), Fraction(24), torch.rand(2, 9600) - 0.5, 48000)
    matte_shot(Shot(tmp_path / "clip.avi", tmp_path / "matte.mp4"), pipeline)
    import av

    with av.open(str(tmp_path / "matte.mp4")) as container:
        assert container.streams.audio[0].layout.name == "stereo"
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 9600


@pytest.mark.parametrize(
    ("begin", "end", "expected"), [(0, None, (0, None)), (0.1, None, (3, None)), (0.1, 0.2, (3, 5))]
)
def test_a_trimmed_video_is_the_frames_that_are_shown_in_that_time(tmp_path, begin, end, expected):
    film = write_film(tmp_path / "film.mp4", [1001 * i for i in range(12)])  # B-frames: packets come out of order
    assert frames_between(film, begin, end) == expected
    with pytest.raises(MediaError, match="no frame between 99 and its end"):
        frames_between(film, 99)


@pytest.mark.slow
def test_a_stopped_run_is_gone_on_with_under_another_name(tmp_path, pipeline):
    source = write_film(tmp_path / "film.mp4", [1001 * i for i in range(70)])
    stopped, named = Shot(source, tmp_path / "a_00001_.mkv"), Shot(source, tmp_path / "a_00002_.mkv")

    def stop(done, _alpha):
        counted.append(done)
        if sum(counted) > 40:
            raise KeyboardInterrupt

    counted = []
    with pytest.raises(KeyboardInterrupt):
        matte_shot(stopped, pipeline, stop)
    assert adopt(named, Matting(pipeline)) == named.matte
    taken_over = []
    matte_shot(
        named, pipeline, lambda frames, alpha=None, *, resumed=False: taken_over.append(frames) if resumed else None
    )
    assert taken_over == [32] and named.matte.exists() and not stopped.matte.exists()


@pytest.mark.slow
def test_a_run_stopped_while_it_was_put_together_ends_under_its_own_name(tmp_path, pipeline, monkeypatch):
    source = write_film(tmp_path / "film.mp4", [1001 * i for i in range(40)])
    stopped, named = (Shot(source, tmp_path / f"a_0000{i}_.mkv", tmp_path / f"a_0000{i}_preview.mp4") for i in (1, 2))
    join = write_module.join_videos

    def full(finished, name, path, *rest, **more):
        if path.suffix == ".mp4":
            raise MediaError("the disk is full")
        join(finished, name, path, *rest, **more)

    monkeypatch.setattr(write_module, "join_videos", full)
    with pytest.raises(MediaError, match="full"):
        matte_shot(stopped, pipeline)
    assert stopped.matte.exists() and not stopped.preview.exists()
    monkeypatch.undo()
    assert adopt(named, Matting(pipeline)) == stopped.matte
    taken_over = []
    matte_shot(
        stopped, pipeline, lambda frames, alpha=None, *, resumed=False: taken_over.append(frames) if resumed else None
    )
    assert taken_over == [40] and stopped.preview.exists()


@pytest.mark.slow
def test_a_part_that_the_disk_refuses_is_an_error_not_a_hole(tmp_path, long_film, pipeline, monkeypatch):
    rename = Path.rename

    def refuse(self, target):
        if "00000032-" in str(target):
            raise PermissionError(13, "a scanner is looking at it")
        return rename(self, target)

    monkeypatch.setattr(parts_module, "PAUSE", 0)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(MediaError, match="cannot be written: a scanner"):
        matte_shot(Shot(long_film, tmp_path / "m.mkv"), pipeline)
    assert not (tmp_path / "m.mkv").exists()


def test_a_hole_is_never_joined_over(tmp_path, video):
    shot = Shot(video, tmp_path / "m.mkv")
    parts = Parts(tmp_path / PARTS_FOLDER / "run")
    parts.keep(parts.stage(), FRAMES, range(FRAMES), Fraction(1, 24), last=True)
    with pytest.raises(MediaError, match=r"frame 0 of .* is missing"):
        finish(shot, parts)
    assert not shot.matte.exists()


@pytest.mark.slow
def test_a_second_process_at_the_same_run_is_refused_and_disturbs_nothing(tmp_path, long_film, pipeline):
    shot, tried = Shot(long_film, tmp_path / "m.mkv"), []

    def again(frames, alpha):
        if not tried:
            tried.append(1)
            with pytest.raises(MediaError, match="another process is matting"):
                matte_shot(shot, pipeline)

    count = matte_shot(shot, pipeline, again)
    assert tried and len(read_levels(shot.matte)) == count


@pytest.mark.slow
def test_a_run_killed_while_it_tidied_up_leaves_nothing_that_counts(tmp_path, long_film, pipeline, monkeypatch):
    shot = Shot(long_film, tmp_path / "m.mkv")

    def killed(*_, **__):
        raise Stopped

    def kill_later(frames, alpha=None, *, resumed=False):
        monkeypatch.setattr(parts_module.shutil, "rmtree", killed)

    with pytest.raises(Stopped):
        matte_shot(shot, pipeline, kill_later)
    assert shot.matte.exists()
    monkeypatch.undo()
    taken_over = []
    matte_shot(shot, pipeline, lambda frames, alpha=None, *, resumed=False: taken_over.append(resumed), overwrite=True)
    assert not any(taken_over) and not (tmp_path / PARTS_FOLDER).exists()


def test_pictures_are_safe_where_the_video_does_not_say_how_many_frames_it_has(tmp_path, pipeline):
    source = write_video(tmp_path / "clip.mkv", moving_clip(12), "ffv1", "gbrp16le")
    shot = Shot(source, tmp_path / "pictures", first=2, last=7)
    assert matte_shot(shot, pipeline) == 6
    before = contents(shot.matte)
    for first, last in ((2, 7), (7, None), (0, 2)):
        with pytest.raises(MediaError, match="exists already"):
            matte_shot(Shot(source, shot.matte, first=first, last=last), pipeline)
    assert contents(shot.matte) == before
    assert matte_shot(Shot(source, shot.matte, first=8), pipeline) == 4
