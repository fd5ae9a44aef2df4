"""Ranges of a video: what a user loses here is the right frame, or the time to decode all frames before it."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gvm_core.errors import MediaError, NoSuchFrameError
from gvm_core.media import index as indexing
from gvm_core.media import open_frames
from gvm_core.media.video import frames_between

FRAMES = 90
KINDS = {
    "b-frames.mp4": ("libx264", {"g": "20", "bf": "3", "x264-params": "scenecut=0"}),
    "open-gop.mp4": ("libx264", {"g": "20", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "open-gop.ts": ("libx264", {"g": "20", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "refresh.mkv": ("libx264", {"g": "30", "bf": "0", "x264-params": "intra-refresh=1"}),
    "one-key-frame.mp4": ("libx264", {"g": "1000", "bf": "2", "x264-params": "scenecut=0"}),
    "hevc.mkv": ("libx265", {"x265-params": "keyint=20:bframes=3:open-gop=1:log-level=none"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", {"g": "16", "lag-in-frames": "8", "cpu-used": "8"}),
    "all-key.mov": ("prores_ks", {}),
    "lossless.mkv": ("ffv1", {}),
}


def write(path, codec, options, rate=24, times=range(FRAMES)):
    """Frames that say which they are: a bar that grows, at ``times`` in units of 1/rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = 192, 64
        stream.pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
        if codec != "mpeg2video":
            stream.codec_context.time_base = Fraction(1, rate)
        for index, time in enumerate(times):
            levels = np.full((64, 192, 3), 40, np.uint8)
            levels[:, : 2 * index + 2] = 200
            frame = av.VideoFrame.from_ndarray(levels, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module", params=KINDS)
def film(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / request.param
    try:
        write(path, *KINDS[request.param])
    except av.error.FFmpegError as error:
        pytest.skip(f"ranges of {request.param} are NOT tested: {error}")
    with open_frames(path) as reader:
        frames = torch.stack(list(reader))
        return path, frames, list(reader.times)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_a_range_has_the_frames_and_times_of_the_whole_film(film, data):
    path, frames, times = film
    first = data.draw(st.integers(0, len(frames) - 1))
    last = data.draw(st.one_of(st.none(), st.integers(first, len(frames) + 3)))
    with open_frames(path, first, last) as reader:
        part = torch.stack(list(reader))
    stop = len(frames) if last is None else min(last + 1, len(frames))
    assert len(reader.times) == stop
    assert torch.equal(part, frames[first:stop])
    assert list(reader.times) == times[:stop]


def test_a_range_is_decoded_from_the_key_frame_before_it(film):
    path, frames, _ = film
    with open_frames(path, 85, 87) as reader:
        assert len(list(reader)) == 3
    gap = {"b-frames.mp4": 20, "open-gop.mp4": 20, "open-gop.ts": 20, "hevc.mkv": 20, "mpeg2.mpg": 12, "vp9.webm": 16}
    gap |= {"all-key.mov": 1, "lossless.mkv": 13}
    allowed = gap.get(path.name, len(frames))
    assert reader.decoded <= 2 * allowed + 12


def test_a_frame_beyond_the_end_is_refused_with_the_number_of_frames(film):
    path, frames, _ = film
    with open_frames(path, 500) as reader, pytest.raises(NoSuchFrameError, match=f"has {len(frames)} frames") as error:
        list(reader)
    assert error.value.count == len(frames)


def test_frames_of_varying_length_keep_their_times(tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, FRAMES)).tolist()
    path = write(tmp_path / "vfr.mkv", "libx264", {"g": "10", "bf": "2"}, rate=1000, times=times)
    with open_frames(path) as reader:
        frames = list(reader)
    assert len(frames) == FRAMES
    with open_frames(path, 40, 44) as part:
        assert torch.equal(torch.stack(list(part)), torch.stack(frames[40:45]))
    assert list(part.times) == list(reader.times[:45]) and part.decoded < 40


def test_a_long_film_in_many_ranges_is_looked_through_a_few_times_only(tmp_path, monkeypatch):
    path = write(tmp_path / "long.mp4", "libx264", {"g": "20"}, times=range(400))
    scans, original = [], indexing.scan
    monkeypatch.setattr(indexing, "scan", lambda *given: scans.append(given[1]) or original(*given))
    decoded = 0
    for first in range(0, 400, 20):
        with open_frames(path, first, first + 19) as reader:
            assert len(list(reader)) == 20
        decoded += reader.decoded
    assert len(scans) <= 6 and decoded < 2.5 * 400
    path.write_bytes(write(tmp_path / "other.mp4", "libx264", {"g": "20"}, times=range(30)).read_bytes())
    with open_frames(path, 300) as reader, pytest.raises(NoSuchFrameError, match="has 30 frames"):
        list(reader)


def test_damage_further_on_costs_a_range_nothing(tmp_path, monkeypatch):
    path = write(tmp_path / "film.mp4", "libx264", {"g": "10"})
    with open_frames(path) as reader:
        frames = torch.stack(list(reader))

    def damaged(*_):
        raise MediaError("it cannot be looked through")

    monkeypatch.setattr(indexing, "scan", damaged)
    with open_frames(path, 50, 54) as reader:
        assert torch.equal(torch.stack(list(reader)), frames[50:55])


def test_a_range_is_still_exact_where_seeking_fails(tmp_path, monkeypatch):
    path = write(tmp_path / "film.mp4", "libx264", {"g": "10"})
    with open_frames(path) as reader:
        frames = torch.stack(list(reader))
    index = indexing.frame_index(path, 50)
    nowhere = replace(index, keys=tuple((time, 10**15) for time, _ in index.keys))
    monkeypatch.setattr("gvm_core.media.video.frame_index", lambda *_: nowhere)
    with open_frames(path, 50, 54) as reader:
        assert torch.equal(torch.stack(list(reader)), frames[50:55])


def test_finding_a_time_and_reading_from_it_look_through_the_file_once(tmp_path, monkeypatch):
    path = write(tmp_path / "film.mp4", "libx264", {"g": "10"})
    scans, original = [], indexing.scan
    monkeypatch.setattr(indexing, "scan", lambda *given: scans.append(given) or original(*given))
    first, last = frames_between(path, 2.0, 2.5)
    with open_frames(path, first, last) as reader:
        assert len(list(reader)) == 12
    assert (first, last) == (48, 59) and len(scans) == 1
