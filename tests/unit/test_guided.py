"""Edges brought to where the frames have them: what a user loses here is hair."""

import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support import moving_clip, own_size

from gvm_core import MatteSettings, MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.errors import InputError
from gvm_core.post import guided
from gvm_core.post.guided import refined
from gvm_core.post.resize import Fit
from gvm_core.settings import AROUND
from gvm_core.synthesis.scene import Scene


def shrunk(frames, factor):
    return F.interpolate(frames, scale_factor=1 / factor, mode="area")


def test_every_pixels_function_is_the_weighted_ridge_regression_of_its_neighbourhood():
    torch.manual_seed(0)
    frames, alpha = torch.rand(1, 3, 5, 6) * 0.7 + torch.rand(3, 3, 5, 6) * 0.3, torch.rand(3, 1, 5, 6)
    radius, fits = 1, torch.zeros(3, 4, 5, 6, dtype=torch.double)

    def near(y, x):
        return (..., slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1))

    def share(t, y, x):
        """How much each frame counts at a place of frame ``t``."""
        colours = frames[near(y, x)].double().mean(dim=(2, 3))
        like = torch.exp(-(colours - colours[t]).square().sum(dim=1) / guided.ALIKE**2)
        return like * torch.tensor([abs(other - t) <= 1 for other in range(3)])

    places = [(t, y, x) for t in range(3) for y in range(5) for x in range(6)]
    assert 0.1 < torch.stack([share(*place) for place in places]).mean() < 0.7  # frames that are neither alike nor not
    for t, y, x in places:
        colour = frames[near(y, x)].movedim(1, -1).reshape(-1, 3).double()
        level = alpha[near(y, x)].reshape(3, -1).double()
        weight = (((2 * level - 1) ** 2 + guided.LEAST_TRUST) * share(t, y, x)[:, None]).flatten()
        weight, level = weight / weight.sum(), level.flatten()
        apart = colour - weight @ colour
        matrix = apart.T @ (weight[:, None] * apart) + guided.EPSILON * torch.eye(3).double()
        slope = torch.linalg.solve(matrix, apart.T @ (weight * (level - weight @ level)))
        fits[t, :, y, x] = torch.cat([slope, (weight @ level - slope @ (weight @ colour))[None]])
    for t, y, x in places:
        weight = share(t, y, x) / share(t, y, x).sum()
        mean = weight @ fits[near(y, x)].mean(dim=(2, 3))
        found = guided.alpha_by_colour(frames, alpha, radius)[t, :, y, x]
        torch.testing.assert_close(found.double(), mean, rtol=1e-5, atol=1e-5)


def test_at_a_cut_each_side_has_the_edges_it_would_have_alone(monkeypatch):
    sides = [Scene(seed, (96, 96), "easy") for seed in (3, 4)]
    frames, alpha, alone = [], [], []
    for scene in sides:
        drawn = [scene.frame(index) for index in range(3)]
        frames.append(torch.stack([frame.image for frame in drawn]))
        alpha.append(F.avg_pool2d(torch.stack([frame.alpha for frame in drawn]), 5, 1, 2))
        alone.append(refined(frames[-1], alpha[-1], 2))
    assert (frames[0][-1] - frames[1][0]).abs().mean() > 0.15

    def error():
        """Of the worst frame."""
        joined = refined(torch.cat(frames), torch.cat(alpha), 2)
        return (joined - torch.cat(alone)).abs().mean(dim=(1, 2, 3)).max()

    heeding = error()
    monkeypatch.setattr(guided, "ALIKE", float("inf"))
    assert heeding < 0.2 * error() and heeding < 0.004


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_strands_over_a_plain_background_come_back_though_the_network_saw_a_blur(factor):
    torch.manual_seed(factor)
    truth = F.interpolate(torch.rand(2, 1, 24, 24) ** 2, (48, 48), mode="bilinear")
    truth[..., :16], truth[..., -16:] = 0, 1  # one side is background for certain, the other subject
    front, back = torch.tensor([0.8, 0.5, 0.3])[:, None, None], torch.tensor([0.1, 0.3, 0.4])[:, None, None]
    frames = front * truth + back * (1 - truth)
    seen = shrunk(frames, factor)
    vague = F.avg_pool2d(F.pad(shrunk(truth, factor), (2, 2, 2, 2), mode="replicate"), 5, 1)
    functions = F.interpolate(guided.alpha_by_colour(seen, vague, 8), (48, 48), mode="bilinear")
    blurred = F.interpolate(vague, (48, 48), mode="bilinear")
    soft = (truth > 0.05) & (truth < 0.95)
    before, after = ((matte - truth).abs()[soft].mean() for matte in (blurred, guided.alpha_of(functions, frames)))
    assert after < 0.5 * before


def test_a_perfect_small_matte_of_a_drawn_person_comes_back_nearer_to_its_strands():
    frames, truth = zip(*((f.image, f.alpha) for f in map(Scene(5, (192, 192), "medium").frame, range(4))), strict=True)
    frames, truth = torch.stack(frames), torch.stack(truth)
    small = shrunk(truth, 3)
    functions = guided.alpha_by_colour(shrunk(frames, 3), small, 1)
    soft = (truth > 0.05) & (truth < 0.95)
    plain, better = (
        matte.clamp(0, 1) - truth
        for matte in (
            F.interpolate(small, (192, 192), mode="bilinear"),
            guided.alpha_of(F.interpolate(functions, (192, 192), mode="bilinear"), frames),
        )
    )
    assert better.abs()[soft].mean() < 0.75 * plain.abs()[soft].mean()
    assert better.abs().mean() < 0.85 * plain.abs().mean()
    assert better.diff(dim=0).square().mean() < 0.6 * plain.diff(dim=0).square().mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 32), st.data())
def test_no_picture_gives_wild_values(seed, frames, height, width, radius, data):
    generator = torch.Generator().manual_seed(seed)
    noise = data.draw(st.sampled_from([0.0, 1e-4, 1.0, 60.0]))
    picture = data.draw(st.floats(-1, 70)) + noise * torch.randn(frames, 3, height, width, generator=generator)
    alpha = torch.rand(frames, 1, height, width, generator=generator)
    alpha = data.draw(st.sampled_from([alpha, alpha.round(), alpha * 0 + 0.5]))
    assert refined(picture, alpha, radius).abs().max() < 50


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([0.0, 1.0]), st.integers(1, 4), st.integers(1, 5))
def test_inside_and_outside_stay_exactly_as_they_are(level, frames, radius):
    alpha = torch.full((frames, 1, 12, 15), level)
    assert (refined(moving_clip(frames, 12, 15), alpha, radius) - level).abs().max() < 1e-5


def test_rounding_of_the_rough_matte_stays_rounding():
    frame = Scene(7, (96, 96), "easy").frame(0)
    rough = F.avg_pool2d(frame.alpha[None], 5, 1, 2)
    shaken = rough + 1e-5 * torch.randn(rough.shape, generator=torch.Generator().manual_seed(0))
    one, other = (refined(frame.image[None], matte, 2) for matte in (rough, shaken))
    assert (one - other).abs().max() < 1e-4 and (one - other).std() < 1e-5


def test_what_lies_far_away_in_place_or_time_changes_nothing():
    torch.manual_seed(0)
    frames, alpha = torch.rand(7, 3, 20, 20), torch.rand(7, 1, 20, 20)
    before = refined(frames, alpha, 2)
    changed, other = frames.clone(), alpha.clone()
    changed[:, :, 10:], other[:, :, 10:] = 0.5, 0.0
    changed[6], other[6] = 0.1, 1.0
    after = refined(changed, other, 2)
    same = (before == after).all(dim=(0, 1, 3))
    assert torch.equal(before[: 6 - AROUND, :, :6], after[: 6 - AROUND, :, :6])
    assert not same[6:].any()


def test_frames_by_themselves_do_not_look_at_each_other():
    frames, alpha = moving_clip(4, 32, 48), torch.rand(4, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    together = refined(frames, alpha, 2, neighbours=False)
    alone = torch.cat([refined(frame[None], matte[None], 2) for frame, matte in zip(frames, alpha, strict=True)])
    assert torch.equal(together, alone) and not torch.equal(together, refined(frames, alpha, 2))


# In the pipeline


def pipeline(model, **changes):
    return MattingPipeline(model, own_size(**{"max_edge": 32, "plan": WindowPlan(4, 1), **changes}), TorchHost("cpu"))


def test_released_mattes_are_refined_where_frames_were_shrunk_and_only_there(tiny_model):
    large = moving_clip(3, 48, 64)
    for same in (moving_clip(3, 24, 32), moving_clip(3, 27, 36)):
        assert torch.equal(pipeline(tiny_model).matte(same), pipeline(tiny_model, refine=0).matte(same))
    found = pipeline(tiny_model).matte(large)
    assert torch.equal(found, pipeline(tiny_model, refine=1).matte(large))
    assert not torch.equal(found, pipeline(tiny_model, refine=0).matte(large))


def test_the_bundled_model_says_itself_how_far_its_edges_are_off():
    model, clip = load_model("small"), moving_clip(2, 64, 64)
    assert torch.equal(*(pipeline(model, max_edge="own", refine=value).matte(clip) for value in ("auto", 2)))


def test_refining_uses_the_frames_each_matte_belongs_to(tiny_model):
    clip, fit = moving_clip(11, 48, 64), Fit.plan((48, 64), max_edge=32)
    rough = pipeline(tiny_model, refine=0)
    small = torch.cat([part.data for part in rough.decode(rough.denoise(rough.encode(rough.fit(clip)[1])))])
    functions = guided.alpha_by_colour(fit.fit(clip), small.clamp(0, 1), 3)
    wanted = guided.alpha_of(fit.restore(functions), clip).clamp(0, 1)
    assert (pipeline(tiny_model, refine=3).matte(clip) - wanted).abs().max() < 1e-5


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_a_range_alone_has_the_edges_of_the_full_run(tiny_model, data):
    clip = moving_clip(30, 48, 64)
    first = data.draw(st.integers(0, 29))
    last = data.draw(st.integers(first, 29))
    run = pipeline(tiny_model, refine=2)
    whole = run.matte(clip)
    begin, end = run.settings.context(first, last)
    part = torch.cat([each.data for each in run.stream(clip[begin : end + 1], begin)])[first - begin :]
    assert torch.equal(part[: last - first + 1], whole[first : last + 1])


def test_edges_are_the_same_in_thin_bands_and_after_the_device_ran_out_of_memory(tiny_model, monkeypatch, caplog):
    clip = moving_clip(9, 48, 64)
    wanted, original, calls = pipeline(tiny_model, refine=3).matte(clip), guided.alpha_by_colour, []

    def out_of_memory(*arguments, **options):
        calls.append(arguments[0].shape)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(*arguments, **options)

    monkeypatch.setattr("gvm_core.post.edges.PIXELS_AT_ONCE", 16 * 6 * 32 * 3)
    monkeypatch.setattr(guided, "alpha_by_colour", out_of_memory)
    alpha = pipeline(tiny_model, refine=3).matte(clip)
    assert (alpha - wanted).abs().max() < 2e-5
    assert "out of memory in refining" in caplog.text and min(shape[2] for shape in calls) < 16


def test_windows_of_one_frame_mean_every_frame_by_itself(tiny_model):
    clip = moving_clip(5, 48, 64)
    run = pipeline(tiny_model, plan=WindowPlan(1, 0), refine=2)
    alone = torch.cat([run.matte(frame[None]) for frame in clip])
    assert torch.equal(run.matte(clip), alone)


def test_pictures_brighter_than_white_are_refined_like_white(tiny_model):
    clip = moving_clip(3, 48, 64) + 0.7
    functions = guided.alpha_by_colour(clip, torch.rand(3, 1, 48, 64), 2)
    assert torch.equal(guided.alpha_of(functions, clip), guided.alpha_of(functions, clip.clamp(0, 1)))


@pytest.mark.parametrize("value", [-1, 33])
def test_a_radius_that_makes_no_sense_is_refused(value):
    with pytest.raises(InputError, match="refine must be 0 to 32 pixels"):
        MatteSettings(refine=value)


@pytest.mark.slow
@pytest.mark.parametrize(("refine", "least", "most"), [(0, 0, 4), ("auto", 8, 20)])
def test_full_frames_are_held_only_to_refine_and_then_for_a_few_windows(tiny_model, refine, least, most):
    run, held = pipeline(tiny_model, refine=refine), []

    def frames():
        alive = []
        for frame in moving_clip(60, 48, 64):
            pixels = frame.numpy().copy()
            alive.append(weakref.ref(pixels))
            copy = torch.from_numpy(pixels)  # which keeps the pixels as long as anything does
            del pixels
            yield copy
            del copy
            held.append(sum(reference() is not None for reference in alive))

    run.matte(frames())
    assert least <= max(held) <= most


def test_on_a_card_without_room_the_processor_refines(tiny_model, monkeypatch, caplog):
    clip = moving_clip(5, 48, 64)
    wanted, run = pipeline(tiny_model, refine=3).matte(clip), pipeline(tiny_model, refine=3)
    original, calls = guided.alpha_by_colour, []

    def full(*arguments, **options):
        calls.append(1)
        if len(calls) < 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(*arguments, **options)

    monkeypatch.setattr(guided, "alpha_by_colour", full)
    assert (run.matte(clip) - wanted).abs().max() < 2e-5
    assert "trying again in thin bands on the CPU" in caplog.text
