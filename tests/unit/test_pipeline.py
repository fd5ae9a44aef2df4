"""The whole method on toy networks: what a user loses here is frames, sizes, or the same matte twice."""

import logging
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAME_STORED, moving_clip, own_size

from gvm_core import GVMError, MatteSettings, MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.errors import InputError
from gvm_core.execution import Executor


def pipeline(model, **changes):
    return MattingPipeline(model, own_size(**changes), TorchHost("cpu"))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 13), st.integers(1, 5), st.data())
def test_every_frame_gets_one_matte_of_its_own_size(tiny_model, frames, length, data):
    overlap = data.draw(st.integers(0, length - 1))
    height, width = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    run = pipeline(tiny_model, plan=WindowPlan(length, overlap), max_edge=32)
    clips = list(run.stream(moving_clip(frames, height, width)))
    assert [i for clip in clips for i in range(clip.start, clip.stop)] == list(range(frames))
    for clip in clips:
        assert clip.data.shape[1:] == (1, height, width)
        assert clip.data.dtype == torch.float32 and clip.data.min() >= 0 and clip.data.max() <= 1


def test_the_same_clip_gives_the_same_matte_whatever_ran_before(tiny_model):
    pytest.importorskip("diffusers")
    clip, run = moving_clip(9), pipeline(tiny_model, noise="gaussian", steps=2, seed=3, plan=WindowPlan(4, 1))
    first = run.matte(clip)
    torch.manual_seed(99)
    run.matte(moving_clip(3, seed=1))
    assert torch.equal(first, run.matte(clip))
    assert not torch.equal(first, pipeline(tiny_model, noise="gaussian", steps=2, plan=WindowPlan(4, 1)).matte(clip))


def test_the_one_step_mode_has_no_randomness_at_all(tiny_model):
    clip = moving_clip(5)
    assert torch.equal(pipeline(tiny_model, seed=1).matte(clip), pipeline(tiny_model, seed=2).matte(clip))


def test_global_random_state_is_left_alone(tiny_model):
    pytest.importorskip("diffusers")
    state = torch.get_rng_state()
    pipeline(tiny_model, noise="gaussian", steps=1).matte(moving_clip(3))
    assert torch.equal(state, torch.get_rng_state())


def test_a_frame_keeps_its_noise_whichever_window_sees_it(tiny_model):
    pytest.importorskip("diffusers")
    clip, run = moving_clip(9), pipeline(tiny_model, noise="gaussian", plan=WindowPlan(3, 0))
    whole = run.matte(clip)
    for start in (3, 6):
        assert torch.equal(next(run.stream(clip[start:], start)).data, whole[start : start + 3])
    assert not torch.equal(next(run.stream(clip[3:], 0)).data, whole[3:6])


def test_encoding_several_frames_in_a_call_changes_nothing(exact_model, monkeypatch):
    clip = moving_clip(7)
    alone = pipeline(exact_model).matte(clip)
    monkeypatch.setattr(Executor, "frames_at_once", lambda *_: 4)  # as on a card
    assert (pipeline(exact_model).matte(clip) - alone).abs().max() < SAME_STORED


def test_a_window_longer_than_the_clip_is_one_window(tiny_model):
    clip = moving_clip(5)
    alphas = [pipeline(tiny_model, plan=WindowPlan(length, 2)).matte(clip) for length in (5, 8, 64)]
    assert torch.equal(alphas[0], alphas[1]) and torch.equal(alphas[1], alphas[2])


def test_thresholds_are_off_unless_asked_for(tiny_model):
    soft = pipeline(tiny_model).matte(moving_clip(3))
    hard = pipeline(tiny_model, low=25 / 255, high=240 / 255).matte(moving_clip(3))
    assert ((soft > 0) & (soft <= 25 / 255)).any()
    assert torch.equal(hard, soft.masked_fill(soft <= 25 / 255, 0).masked_fill(soft >= 240 / 255, 1))


def test_frames_are_read_only_a_few_windows_ahead(tiny_model):
    read = []

    def frames():
        for index, frame in enumerate(moving_clip(40)):
            read.append(index)
            yield frame

    for clip in pipeline(tiny_model, plan=WindowPlan(4, 1)).stream(frames()):
        assert len(read) - clip.stop <= 4 * 4


def test_leaving_early_closes_the_reader(tiny_model):
    closed = []

    def frames():
        try:
            yield from moving_clip(40)
        finally:
            closed.append(True)

    clips = pipeline(tiny_model).stream(frames())
    next(clips)
    clips.close()
    del clips
    assert closed


def test_the_host_hears_of_every_frame_once_and_can_stop_the_run(tiny_model):
    class Enough(Exception):
        pass

    seen = []

    def watch(clip):
        seen.extend(range(clip.start, clip.stop))
        if len(seen) >= 6:
            raise Enough

    run = MattingPipeline(tiny_model, own_size(plan=WindowPlan(4, 1)), TorchHost("cpu", watch))
    with pytest.raises(Enough):
        run.matte(moving_clip(30))
    assert seen == list(range(len(seen))) and len(seen) < 12


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([], "no frames"),
        (torch.rand(0, 3, 8, 8), "no frames"),
        (torch.rand(2, 1, 8, 8), r"frame 0 has 1 channels.*repeat it"),
        (torch.rand(2, 2, 8, 8), "frame 0 has 2 channels"),
        (torch.rand(2, 4, 8, 8), r"frame 0 has 4 channels.*alpha"),
        (torch.rand(2, 8, 8), r"a video \[T, 3, H, W\]"),
        (torch.rand(3, 8, 8, 3), "frame 0 has 8 channels"),
        (torch.full((2, 3, 8, 8), 255, dtype=torch.uint8), r"uint8.*divide bytes by 255"),
        (torch.rand(2, 3, 8, 8).index_fill(0, torch.tensor(1), float("nan")), "frame 1 has NaN"),
        ([torch.rand(3, 8, 8), torch.rand(3, 8, 9)], r"frame 1 is 9x8 pixels but the first was 8x8"),
        (["a.png"], "frame 0 is a str"),
        (torch.rand(1, 3, 0, 8), "no pixels"),
    ],
)
def test_unusable_frames_get_the_sentence_they_deserve(tiny_model, frames, sentence):
    with pytest.raises(InputError, match=sentence):
        pipeline(tiny_model).matte(frames)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"short_edge": 0}, "short_edge must be at least 8"),
        ({"max_edge": -5}, "max_edge must be at least 8"),
        ({"max_edge": None}, "'own' for the frames' own size"),
        ({"refine": "much"}, "refine must be 0 to 32 pixels, or 'auto'"),
        ({"noise": "pink"}, "'zeros' or 'gaussian'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"low": 0.5, "high": 0.4}, "low < high"),
        ({"pad_multiple": 0}, "pad_multiple"),
    ],
)
def test_impossible_settings_are_refused_at_once(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        MatteSettings(**changes)


class Still(TorchHost):
    """A host whose networks are where they shall be."""

    def __init__(self, host):
        super().__init__(host.device)

    def resident(self, network, activation_bytes):
        return nullcontext()


def overflowing(folder):
    """The toy model in half precision, with one layer whose result half precision cannot hold."""
    model = load_model(folder, torch.float16)
    with torch.no_grad():
        model.unet.conv_norm_out.weight.fill_(6e4)
    return model


def test_a_half_precision_overflow_is_repeated_in_float32_and_said(tiny_folder, caplog):
    model, clip = overflowing(tiny_folder), moving_clip(5)
    with caplog.at_level(logging.WARNING):
        alpha = pipeline(model).matte(clip)
    assert alpha.isfinite().all() and model.unet.dtype == torch.float16
    assert any("repeating in float32" in record.message for record in caplog.records)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["widening", "narrowing"])
def test_running_out_of_memory_while_widening_leaves_a_network_that_works(tiny_folder, caplog, when):
    """Half of its weights in float32 would end this run and every later one with a riddle."""
    wanted = pipeline(overflowing(tiny_folder)).matte(moving_clip(3))
    model = overflowing(tiny_folder)
    last, calls = model.unet.up_blocks[-1], []
    apply = last._apply

    def full(*arguments, **options):
        calls.append(1)
        if len(calls) == (1 if when == "widening" else 2):
            raise torch.OutOfMemoryError("injected")
        return apply(*arguments, **options)

    host = TorchHost("cpu")
    with host.resident(model.unet, 0):  # there already: what follows is only the widening
        last._apply = full
    alpha = MattingPipeline(model, own_size(), Still(host)).matte(moving_clip(3))
    assert {parameter.dtype for parameter in model.unet.parameters()} == {torch.float16}
    assert torch.equal(alpha, wanted) and ("out of memory in denoising" in caplog.text) == (when == "widening")


def test_damaged_weights_raise_instead_of_giving_black(tiny_folder):
    model = load_model(tiny_folder)
    with torch.no_grad():
        model.unet.conv_out.bias.fill_(float("nan"))
    with pytest.raises(GVMError, match="even in float32"):
        pipeline(model).matte(moving_clip(2))


@pytest.mark.parametrize("refine", [0, 2])
def test_frames_come_along_with_their_mattes_where_they_are_asked_for(tiny_model, refine):
    clip = moving_clip(11, 48, 64)
    run = pipeline(tiny_model, refine=refine, max_edge=32)
    for part in run.stream(clip, originals=True):
        assert len(part.originals) == len(part)
        for index, original in enumerate(part.originals, part.start):
            assert torch.equal(original.pixels, clip[index])
    assert all(not part.originals for part in run.stream(clip))
    assert torch.equal(run.matte(clip), torch.cat([part.data for part in run.stream(clip, originals=True)]))


def test_progress_is_known_before_the_first_window_is_finished(tiny_model):
    clip, passed = moving_clip(19), []

    def between(clips):
        passed.append([])
        return map(partial(noted, passed[-1]), clips)

    def noted(parts, part):
        parts.append(part)
        return part

    run = pipeline(tiny_model).stream(clip, between=between)
    first = next(run)
    encoded, denoised, decoded = (parts[-1].stop for parts in passed)
    assert encoded >= denoised >= decoded == first.stop
    assert torch.equal(torch.cat([first.data, *(part.data for part in run)]), pipeline(tiny_model).matte(clip))
    for parts in passed:
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])] and parts[-1].stop == 19


def test_auto_is_what_suits_the_model_and_own_the_frames_size(tiny_model):
    clip = moving_clip(3, 24, 32)
    model = replace(tiny_model, config=replace(tiny_model.config, short_edge=16, max_edge=20, refine=0))

    def matte(**changes):
        return MattingPipeline(model, MatteSettings(**changes), TorchHost("cpu")).matte(clip)

    assert torch.equal(matte(), matte(short_edge=16, max_edge=20, refine="auto"))
    assert torch.equal(matte(max_edge="own"), matte(short_edge=16, max_edge="own"))
    assert torch.equal(matte(short_edge="own", max_edge="own"), matte(short_edge=24, max_edge=32))
    assert not torch.equal(matte(), matte(short_edge="own", max_edge="own"))
