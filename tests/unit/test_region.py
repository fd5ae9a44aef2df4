"""Where the network looks: what a user loses here is the subject, a steady picture, or the same matte twice."""

import logging
import weakref
from fractions import Fraction
from itertools import pairwise, repeat

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import moving_clip, own_size

from gvm_core import MattingPipeline, TorchHost, WindowPlan, load_model
from gvm_core.errors import InputError
from gvm_core.follow import context, follow, regions_in, subjects
from gvm_core.metrics import soft_mad
from gvm_core.post.reach import distance, grown, weights
from gvm_core.post.resize import Fit, resample, resize
from gvm_core.region import WHOLE, Box, Region, RegionSettings, box_of, from_masks, glide, neighbours
from gvm_core.synthesis.figure import Shot
from gvm_core.synthesis.scene import Scene

HEIGHT, WIDTH = 1080, 1920  # a frame to measure paths in
shares = st.floats(0, 1)


def boxes_in(draw):
    """A box somewhere in the frame."""
    (top, bottom), (left, right) = (sorted(draw(st.tuples(shares, shares))) for _ in range(2))
    return Box(top, left, min(bottom + 0.01, 1), min(right + 0.01, 1))


boxes = st.composite(boxes_in)()


def moved(before, after):
    """How far the centre of a crop moved, in pixels: down and right."""
    down, right = ([(box.top + box.bottom) / 2 * HEIGHT, (box.left + box.right) / 2 * WIDTH] for box in (before, after))
    return max(abs(a - b) for a, b in zip(down, right, strict=True))


def at(down, right, height=220, width=90):
    """The box of a subject of that many pixels whose corner is there, as far as it is in the frame; None outside."""
    top, left = max(down, 0), max(right, 0)
    bottom, end = min(down + height, HEIGHT), min(right + width, WIDTH)
    return Box(top / HEIGHT, left / WIDTH, bottom / HEIGHT, end / WIDTH) if bottom > top and end > left else None


# ---- the box around a mask -----------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_the_box_holds_all_of_a_mask_and_nothing_more(height, width, data):
    inside = data.draw(st.sets(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)), min_size=1))
    mask = torch.zeros(height, width)
    mask[tuple(zip(*inside, strict=True))] = 1
    rows, columns = zip(*inside, strict=True)
    found = box_of(mask)
    wanted = min(rows) / height, min(columns) / width, (max(rows) + 1) / height, (max(columns) + 1) / width
    assert (found.top, found.left, found.bottom, found.right) == pytest.approx(wanted)
    assert box_of(torch.zeros(height, width)) is None


def test_a_soft_edge_moves_the_box_by_parts_of_a_pixel():
    tops = []
    for shift in torch.linspace(0, 1, 11).tolist():
        line = (torch.arange(20) + 0.5 - 5 - shift).clamp(-0.5, 0.5) + 0.5  # an edge one pixel wide
        tops.append(box_of(line[:, None].expand(20, 4)).top * 20)
    assert tops == pytest.approx([5 + shift / 10 for shift in range(11)], abs=0.1)
    assert all(before < after for before, after in pairwise(tops))


def test_specks_do_not_move_the_box_and_parts_of_the_subject_do():
    alpha = torch.zeros(120, 200)
    alpha[40:80, 90:110] = 1
    alpha[81:100, 92:96] = 1  # a leg, apart
    assert torch.equal(subjects(alpha), alpha)
    alpha[5:8, 180:183] = 0.9
    alpha[110, 10] = 0.4  # below the threshold: no matter where
    found = box_of(subjects(alpha))
    assert (found.top * 120, found.bottom * 120, found.left * 200) == pytest.approx((40, 100, 90))
    assert box_of(subjects(torch.zeros(7, 5))) is None


# ---- its path ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), boxes), min_size=1, max_size=40), st.integers(0, 4), st.floats(0, 0.3))
def test_a_crop_holds_its_subject_stays_in_the_frame_and_has_its_aspect(path, radius, margin):
    crops = [*glide(path, RegionSettings(radius=radius, margin=margin))]
    assert len(crops) == len(path)
    for box, crop in zip(path, crops, strict=True):
        assert crop.top > -1e-9 and crop.left > -1e-9 and crop.bottom < 1 + 1e-9 and crop.right < 1 + 1e-9
        assert crop.height == pytest.approx(crop.width)
        if box is not None:
            assert crop.top <= box.top + 1e-9 and crop.bottom >= box.bottom - 1e-9
            assert crop.left <= box.left + 1e-9 and crop.right >= box.right - 1e-9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=80), st.data())
def test_a_crop_moves_two_pixels_at_most_for_a_pixel_of_its_subject(steps, data):
    place = [data.draw(st.integers(-300, HEIGHT)), data.draw(st.integers(-300, WIDTH))]
    path = []
    for down, right in steps:
        place = [min(max(place[0] + down, -200), HEIGHT - 20), min(max(place[1] + right, -80), WIDTH - 10)]
        path.append(at(*place))
    fastest = max(max(abs(down), abs(right)) for down, right in steps)
    assert max(moved(a, b) for a, b in pairwise(glide(path))) <= 2 * fastest + 1e-6


@settings(max_examples=40, deadline=None)
@given(st.tuples(st.integers(0, 860), st.integers(0, 1830)), st.tuples(st.integers(0, 860), st.integers(0, 1830)))
def test_a_jump_is_spread_over_many_frames(here, there):
    radius = RegionSettings().radius
    path = [at(*here)] * 3 * radius + [at(*there)] * 3 * radius
    distance = max(abs(a - b) for a, b in zip(here, there, strict=True))
    assert max(moved(a, b) for a, b in pairwise(glide(path))) <= 2 * distance / (2 * radius + 1) + 1e-6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=80), st.integers(1, 8))
def test_a_subject_that_comes_and_goes_never_makes_the_crop_jump(there, radius):
    path = [at(500, 900) if each else None for each in there]
    crops = [*glide(path, RegionSettings(radius=radius))]
    for before, after in pairwise(crops):
        assert abs(after.top - before.top) <= 1 / radius and abs(after.height - before.height) <= 2 / radius


def test_where_nobody_is_near_in_time_the_network_looks_everywhere():
    radius = RegionSettings().radius
    crops = [*glide([at(500, 900)] * 10 + [None] * 60 + [at(200, 100)] * 10)]
    assert crops[0].height < 0.3 and crops[9].height < 0.3
    assert crops[10 + 2 * radius : 70 - 2 * radius] == [WHOLE] * (60 - 4 * radius)
    assert [*glide([None, None])] == [WHOLE, WHOLE]


def test_a_slow_subject_moves_the_crop_smoothly_and_not_pixel_by_pixel():
    masks = []
    for index in range(60):  # a hard mask, so its edges are at whole pixels
        masks.append(torch.zeros(108, 192))
        masks[-1][40:62, 80 + round(0.3 * index) : 90 + round(0.3 * index)] = 1
    path = [region.box.left * 192 for region in from_masks(masks)]
    steps = torch.tensor(path[20:40]).diff()
    assert (steps - 0.3).abs().max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), boxes), min_size=1, max_size=50), st.integers(0, 3), st.data())
def test_a_range_has_the_crops_of_the_whole_clip_to_the_bit(path, radius, data):
    chosen = RegionSettings(radius=radius)
    first = data.draw(st.integers(0, len(path) - 1))
    last = data.draw(st.integers(first, len(path) - 1))
    start, stop = chosen.context(first, last)
    part = [*glide(path[start : stop + 1], chosen)][first - start : last + 1 - start]
    assert part == [*glide(path, chosen)][first : last + 1]


@given(st.lists(st.integers(), max_size=9), st.integers(0, 4))
def test_neighbours_are_all_within_reach_and_no_others(items, radius):
    found = [*neighbours(items, radius)]
    assert found == [items[max(i - radius, 0) : i + radius + 1] for i in range(len(items))]


# ---- sampling ------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([None, 16, 48]), boxes, st.sampled_from([(1, 1), (2, 1)])
)
def test_a_crop_shows_the_place_it_says_and_comes_back_to_it(height, width, edge, box, aspect):
    """A picture whose values are positions stays one, wherever it is cut and however it is scaled."""
    fit = Fit.plan((height, width), edge, edge and 2 * edge, 8, Fraction(*aspect))
    if max(fit.padded) > 500:
        return
    view = fit.at(Region(box))
    down = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    right = ((torch.arange(width) + 0.5) / width).expand(height, width)
    seen = view.fit(torch.stack([down, right])[None])
    assert seen.shape == (1, 2, *fit.padded)
    crop, (rows, columns) = view.box or WHOLE, view.place
    assert crop.height >= max(box.height, box.width) - 1e-9
    for axis, (begin, length, own) in enumerate(((crop.top, crop.height, height), (crop.left, crop.width, width))):
        count = view.scaled[axis]
        wanted = begin + (torch.arange(count) + 0.5) / count * length
        reach = max(1 / own, length / count)  # nearer to the frame's edge there are fewer pixels to weigh
        clear = (wanted > reach) & (wanted < 1 - reach)
        found = view.unpadded(seen)[0, axis].select(1 - axis, 0)  # a bilinear filter is off by parts of a pixel
        assert not clear.any() or (found - wanted)[clear].abs().max() < 0.1 * reach
    back = view.restore(seen)
    assert back.shape == (1, 2, height, width)
    outside = torch.ones(height, width, dtype=torch.bool)
    outside[rows, columns] = False
    assert not back[:, :, outside].any()
    assert torch.equal(view.placed(view.inside(seen)), back)


def test_restored_positions_are_those_of_the_frames_pixels():
    frames = torch.stack(torch.meshgrid(torch.arange(90.0), torch.arange(160.0), indexing="ij"))[None]
    view = Fit.plan((90, 160), 40, 80).at(Region(Box(0.213, 0.307, 0.713, 0.807)))
    rows, columns = view.place
    back = view.restore(view.fit(frames))[0, :, rows, columns][:, 2:-2, 2:-2]
    assert (back - frames[0, :, rows, columns][:, 2:-2, 2:-2]).abs().max() < 0.1  # of a pixel


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_pixels_that_are_sampled_where_they_are_stay_exact(height, width, data):
    frames = torch.rand(2, 3, height, width)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    found = resample(frames, (top, 1, rows), (left, 1, columns))
    assert torch.equal(found, frames[:, :, top : top + rows, left : left + columns])


@pytest.mark.parametrize("size", [(20, 36), (7, 5), (60, 90), (130, 31)])
def test_sampling_all_of_a_frame_is_scaling_it(size):
    frames = torch.rand(1, 3, 60, 90)
    found = resample(frames, *((0, own / new, new) for own, new in zip((60, 90), size, strict=True)))
    assert (found - resize(frames, size)).abs().max() < 1e-5


# ---- where alpha may be --------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 14), st.data())
def test_distances_to_a_mask_are_exact_as_far_as_they_are_asked_for(height, width, limit, data):
    inside = data.draw(st.sets(st.tuples(st.integers(0, height - 1), st.integers(0, width - 1)), min_size=1))
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[tuple(zip(*inside, strict=True))] = True
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), -1).double()
    true = torch.cdist(places.reshape(-1, 2), places[mask]).amin(1).reshape(height, width)
    found = distance(mask, limit).double()
    near = true <= limit
    assert torch.allclose(found[near], true[near], atol=1e-5) and (found[~near] > limit).all()
    weight = grown(mask, limit, limit / 2)
    assert (weight[mask] == 1).all() and (weight[true >= limit] == 0).all() and (weight[true < limit * 0.49] == 1).all()


def test_alpha_fades_at_the_rim_of_a_crop_but_not_at_the_edge_of_the_frame():
    view = Fit.plan((90, 160)).at(Region(Box(0.5, 0.2, 1.0, 0.7)))
    weight = weights(Region(Box(0.5, 0.2, 1.0, 0.7)), view, RegionSettings())[0, 0]
    assert weight.shape == (45, 80)
    assert (weight[-1, 10:-10] == 1).all() and (weight[0] < 0.5).all() and (weight[:, 0] < 0.5).all()
    assert (weight[10:, 10:-10] == 1).all()


def pipeline(model, **changes):
    return MattingPipeline(
        model, own_size(**{"plan": WindowPlan(3, 1), "pad_multiple": 8, **changes}), TorchHost("cpu")
    )


def disc(frames, height, width, down=0.5, right=0.5, radius=0.15):
    """Masks of a disc, ``[T, H, W]``."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return ((y / height - down).hypot((x / width - right) * width / height) < radius).float().expand(frames, -1, -1)


@pytest.mark.parametrize("refine", [0, 2])
def test_alpha_is_nothing_outside_the_grown_region_and_as_found_in_it(tiny_model, refine):
    clip, masks = moving_clip(5, 64, 96), disc(5, 64, 96)
    run = pipeline(tiny_model, refine=refine)
    chosen = run.settings.region
    regions = [*from_masks(masks)]
    alpha = run.matte(clip, regions=regions)
    crop = Fit.plan((64, 96)).at(regions[0]).box
    allowed = distance(masks[0] > 0, 40) < chosen.grown * crop.height * 64 + 2
    assert not alpha[:, :, ~allowed].any()
    anywhere = run.matte(clip, regions=[Region(region.box) for region in regions])
    inside = masks[0] > 0
    assert torch.equal(alpha[:, :, inside], anywhere[:, :, inside]) and (alpha[:, :, inside] > 0).any()


def test_a_region_that_is_the_whole_frame_changes_nothing_to_the_bit(tiny_model):
    clip = moving_clip(6, 40, 56)
    for refine in (0, 2):
        run = pipeline(tiny_model, refine=refine, max_edge=32)
        assert torch.equal(run.matte(clip, regions=repeat(Region(WHOLE))), run.matte(clip))


@pytest.mark.parametrize("size", [(48, 64), (65, 41), (33, 77)])
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.02, 0.98)], ids=["middle", "corner"])
def test_masks_of_any_size_put_the_crop_at_the_same_place(tiny_model, size, place):
    clip = moving_clip(3, *size)
    run = pipeline(tiny_model, max_edge=32)
    large, small = (disc(3, *(edge * factor for edge in size), *place, radius=0.2) for factor in (12, 1))
    alphas = [run.matte(clip, regions=from_masks(masks)) for masks in (large, small)]
    assert alphas[0].shape == (3, 1, *size)
    for region, other in zip(from_masks(large), from_masks(small), strict=True):
        assert abs(region.box.top - other.box.top) < 0.05 and abs(region.box.height - other.box.height) < 0.1


def test_one_frame_portrait_and_squeezed_pixels_have_regions_too(tiny_model):
    clip, masks = moving_clip(1, 96, 48), disc(1, 96, 48, radius=0.05)
    run = pipeline(tiny_model, max_edge=64)
    alpha = torch.cat([c.data for c in run.stream(clip, regions=from_masks(masks), pixel_aspect=Fraction(2))])
    assert alpha.shape == (1, 1, 96, 48) and 0 < (alpha > 0).float().mean() < 0.3


def test_frames_with_an_empty_mask_have_an_empty_matte(tiny_model):
    masks = disc(4, 32, 48).clone()
    masks[2] = 0
    alpha = pipeline(tiny_model).matte(moving_clip(4, 32, 48), regions=from_masks(masks))
    assert not alpha[2].any() and all(alpha[i].any() for i in (0, 1, 3))


RANGE = {"plan": WindowPlan(3, 1), "refine": 1, "pad_multiple": 8, "max_edge": 16, "region": RegionSettings(radius=1)}


def part_of(run, clip, first, last, regions):
    """The mattes of a range alone; ``regions`` gives those of the frames that the range depends on."""
    begin, end = run.settings.context(first, last)
    alphas = run.stream(iter(clip[begin : end + 1]), begin, regions=regions(begin, end))
    return torch.cat([alpha.data for alpha in alphas])[first - begin : last + 1 - begin]


@pytest.mark.parametrize(("first", "last"), [(0, 2), (13, 14), (21, 21)])
def test_a_range_with_a_region_equals_the_whole_run_to_the_bit(tiny_model, first, last):
    clip, run = moving_clip(22, 24, 32), pipeline(tiny_model, **RANGE)
    masks = torch.cat([disc(1, 24, 32, 0.3 + 0.01 * i, 0.3 + 0.015 * i) for i in range(22)])

    def regions(begin, end):
        start, stop = run.settings.region.context(begin, end)
        return from_masks(masks[start : stop + 1], run.settings.region, begin)

    whole = run.matte(clip, regions=from_masks(masks, run.settings.region))
    assert torch.equal(part_of(run, clip, first, last, regions), whole[first : last + 1])


def test_a_followed_range_equals_the_whole_run_to_the_bit(tiny_model):
    clip, run = moving_clip(24, 24, 32), pipeline(tiny_model, **{**RANGE, "plan": WindowPlan(2, 1), "refine": 0})

    def regions(begin, end):
        start, stop = context(run.settings, begin, end)
        assert start > 0 and stop < 24, "nothing was left out"
        return follow(run, iter(clip[start : stop + 1]), begin)

    whole = run.matte(clip, regions=follow(run, clip))
    assert torch.equal(part_of(run, clip, 12, 12, regions), whole[12:13])


def test_too_few_or_too_many_regions_are_refused_in_a_sentence(tiny_model):
    run, clip = pipeline(tiny_model), moving_clip(5, 16, 16)
    for count in (2, 7):
        with pytest.raises(InputError, match=f"5 frames but {count} regions"):
            run.matte(clip, regions=[Region(WHOLE)] * count)
    with pytest.raises(InputError, match="frame 2 has no region"):
        run.matte(clip, regions=iter([Region(WHOLE)] * 2))
    with pytest.raises(InputError, match=r"is \[H, W\], got \[1, 4, 4\]"):
        next(from_masks([torch.zeros(1, 4, 4)]))
    for masks, sentence in ((torch.ones(3, 8, 8), "5 frames but 3 masks"), (torch.zeros(5, 8, 8), "is empty")):
        with pytest.raises(InputError, match=sentence):
            regions_in(run, clip, masks)
    with pytest.raises(InputError, match="use one of them"):
        regions_in(run, clip, torch.ones(5, 8, 8), find=True)
    assert regions_in(run, clip) is None and len([*regions_in(run, clip, torch.ones(1, 8, 8))]) == 5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"margin": 0.5}, "margin"),
        ({"feather": 0.2}, "feather <= grown"),
        ({"feather": 0}, "feather"),
        ({"radius": -1}, "radius"),
    ],
)
def test_impossible_region_settings_are_refused_at_once(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        RegionSettings(**changes)


# ---- finding the subject -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_small_person_gets_finer_edges_with_a_region_and_when_followed():
    scene = Scene(7, (270, 480), "easy")
    scene.people = scene.people[-1:]
    scene.people[0].shot = Shot(0.34, (-0.3, 0.2))
    drawn = [scene.frame(index) for index in range(3)]
    frames, truth = (torch.stack([getattr(frame, name) for frame in drawn]) for name in ("image", "alpha"))
    run = MattingPipeline(load_model("small"), host=TorchHost("cpu"))
    masks = (truth[:, 0] > 0.5).float()
    ways = {"whole": None, "region": from_masks(masks), "follow": follow(run, frames)}
    errors = {name: float(soft_mad(run.matte(frames, regions=way), truth).mean()) for name, way in ways.items()}
    assert max(errors["region"], errors["follow"]) < 0.7 * errors["whole"]


def test_no_more_than_a_few_windows_of_either_pass_are_in_memory(tiny_model):
    run = pipeline(tiny_model, **RANGE)
    alive = {"first": weakref.WeakSet(), "second": weakref.WeakSet()}

    def frames(which):
        for index in range(32):
            frame = torch.full((3, 16, 16), index / 100)
            alive[which].add(frame.untyped_storage())
            yield frame

    most = 0
    for _ in run.stream(frames("second"), regions=follow(run, frames("first"))):
        most = max(most, sum(len(each) for each in alive.values()))
    assert most < 24


def test_if_nobody_is_found_whole_frames_are_matted_and_the_log_says_so(tiny_folder, caplog):
    model = load_model(tiny_folder)
    with torch.no_grad():
        model.vae.decoder.time_conv_out.weight.zero_()
        model.vae.decoder.time_conv_out.bias.fill_(-1)
    run, clip = MattingPipeline(model, own_size(refine=0), TorchHost("cpu")), moving_clip(3)
    with caplog.at_level(logging.WARNING):
        assert [*follow(run, clip)] == [Region(WHOLE)] * 3
    assert "nobody was found in frames 0 to 2" in caplog.text
