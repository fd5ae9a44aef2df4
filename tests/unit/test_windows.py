"""Windows over videos of any length: what a user loses here is frames."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gvm_core.errors import InputError
from gvm_core.frames import Clip
from gvm_core.windows import WindowPlan, around, crossfade, cut, gather


@st.composite
def plans_and_lengths(draw):
    length = draw(st.integers(1, 12))
    overlap = draw(st.integers(0, length - 1))
    return WindowPlan(length, overlap), draw(st.integers(1, 3 * length + 1))


def numbered(frames, start=0, pieces=None):
    """Clips whose every pixel is the frame's absolute index, grouped as ``pieces`` says."""
    data = torch.arange(start, start + frames, dtype=torch.float32).reshape(-1, 1, 1, 1)
    position = 0
    for size in pieces or [1] * frames:
        if position < frames:
            yield Clip(data[position : position + size], start + position)
            position += size


@given(plans_and_lengths())
def test_windows_of_a_stream_are_those_of_the_whole_video(case):
    plan, frames = case
    windows = list(cut(numbered(frames), plan))
    assert [(w.start, w.stop) for w in windows] == plan.spans(frames)
    for window in windows:
        assert window.data.flatten().tolist() == list(range(window.start, window.stop))


def test_every_frame_comes_out_once_and_in_order_for_every_length_and_overlap():
    for length in range(1, 10):
        for overlap in range(length):
            for frames in range(1, 3 * length + 2):
                clips = list(crossfade(cut(numbered(frames), WindowPlan(length, overlap))))
                assert [round(v, 3) for clip in clips for v in clip.data.flatten().tolist()] == list(range(frames))
                assert all(a.stop == b.start for a, b in pairwise(clips))


@given(plans_and_lengths(), st.lists(st.integers(1, 20), min_size=40, max_size=40), st.integers(0, 1000))
def test_how_frames_arrive_does_not_change_the_windows(case, pieces, start):
    plan, frames = case
    one_by_one = list(cut(numbered(frames, start), plan))
    grouped = list(cut(numbered(frames, start, pieces), plan))
    assert [(w.start, w.stop) for w in one_by_one] == [(w.start, w.stop) for w in grouped]


@given(plans_and_lengths())
def test_no_window_is_shorter_than_the_others_unless_the_video_is(case):
    plan, frames = case
    assert all(stop - start == min(plan.length, frames) for start, stop in plan.spans(frames))


@given(plans_and_lengths(), st.data())
def test_a_range_with_its_context_has_the_windows_of_the_whole_video(case, data):
    plan, frames = case
    first = data.draw(st.integers(0, frames - 1))
    last = data.draw(st.integers(first, frames - 1))
    begin, end = plan.context(first, last)
    end = min(end, frames - 1)
    assert begin <= first and begin % plan.stride == 0
    part = list(cut(numbered(end - begin + 1, begin), plan))
    touches = lambda start, stop: start <= last and stop > first  # noqa: E731
    whole = [span for span in plan.spans(frames) if touches(*span)]
    assert [(w.start, w.stop) for w in part if touches(w.start, w.stop)] == whole


def test_a_joint_is_mixed_evenly_and_never_shows_a_windows_edge_frame_alone():
    earlier, later = Clip(torch.zeros(6, 1, 1, 1)), Clip(torch.ones(6, 1, 1, 1), 3)
    mixed = torch.cat([clip.data for clip in crossfade([earlier, later])]).flatten()
    assert torch.allclose(mixed, torch.tensor([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]))


@given(st.integers(1, 30), st.integers(1, 9))
def test_regrouping_loses_nothing(frames, size):
    clips = list(gather(numbered(frames), size))
    assert torch.cat([clip.data for clip in clips]).flatten().tolist() == list(range(frames))
    assert all(len(clip) == size for clip in clips[:-1])


@pytest.mark.parametrize(("length", "overlap"), [(8, 8), (8, 9), (4, -1), (0, 0)])
def test_an_impossible_overlap_is_refused_with_its_numbers(length, overlap):
    with pytest.raises(InputError, match=str(overlap if length else length)):
        WindowPlan(length, overlap)


def test_a_gap_between_clips_is_noticed():
    with pytest.raises(InputError, match="does not follow"):
        list(cut([Clip(torch.zeros(2, 1, 1, 1), 0), Clip(torch.zeros(2, 1, 1, 1), 3)], WindowPlan(4, 1)))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 3), st.integers(0, 9))
def test_every_frame_comes_once_with_as_many_neighbours_as_there_are(lengths, margin, first):
    starts = [first + sum(lengths[:i]) for i in range(len(lengths))]
    stop, seen = first + sum(lengths), []
    clips = (Clip(torch.zeros(length, 1, 1, 1), start) for length, start in zip(lengths, starts, strict=True))
    for clip, new in around(clips, margin):
        seen += range(new.start, new.stop)
        assert clip.start <= max(new.start - margin, first) and clip.stop >= min(new.stop + margin, stop)
        assert len(clip) <= max(lengths) + 3 * margin
    assert seen == list(range(first, stop))
