"""Damaged and odd files: what a user loses here is a sentence about the file, the count and times of frames, or the machine.

The corpus is made by `damaged`. Every file is matted by the real command, in a process of its own, so that a crash or an
endless loop in FFmpeg is the failure of one file. ``GVM_FUZZ=1000`` adds a thousand files.
"""

import json
import os
import struct
import subprocess
import sys
from dataclasses import asdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import damaged
import pytest
import torch
from damaged import FRAMES, HOUR, MAKERS, Case, any_case, at_times, film, pictures, single

from gvm_core.errors import MediaError
from gvm_core.frames import Clip
from gvm_core.media import open_frames
from gvm_core.media.container import LARGE, most_pixels
from gvm_core.media.pixels import rgb
from gvm_core.media.sequence import read_picture
from gvm_core.post.resize import resize
from gvm_core.runs.resume import begin
from gvm_core.runs.shot import Shot
from gvm_core.runs.write import PartWriter, finish

DAMAGES = {
    "mp4": ["cut-40", "flips-20", "index-mp4", "words-mp4-9", "hole", "flips-end", "cut-99", "huge-mp4", "zeros-head"],
    "mkv": ["words-mkv-9", "cut-70", "flips-200", "back", "huge-mkv", "words-mkv", "zeros", "twice", "cut-95"],
    "avi": ["words-avi", "cut-99", "noise", "huge-avi", "words-avi-9", "flips-index", "zeros-head"],
    "stream": ["twice", "flips-200", "cut-70", "more-before", "hole", "back", "zeros", "more", "flips-head", "cut-10"],
    "picture": [
        "words-picture",
        "cut-40",
        "huge",
        "flips-3",
        "words-picture-2",
        "more-after",
        "flips-head",
        "all-zeros",
    ],
}
"""What is done, by turns, to files of each kind."""
KINDS = {"mov": "mp4", "webm": "mkv"} | {name: name for name in ("mp4", "mkv", "avi")}
KINDS |= dict.fromkeys(("ts", "mpg", "vob", "mxf", "nut", "flv", "wmv", "y4m", "h264"), "stream")
ODD = ("size-changes", "format-changes", "interlace-changes", "hours", "negative", "one-", "sizes", "late.mkv", "data")
"""Files that are odd without any damage."""
FOUND = [
    Case("faststart.mp4", ("index-mp4",), 44, 18),
    Case("negative.mov", ("zeros-head", "cut-95", "zeros-head"), 56, 21),
    Case("flv.flv", ("more-after", "cut-99", "flips-head"), 174, 13),
    Case("late.mov", ("words-mp4-9", "flips-20"), 214, 14),
    Case("hevc.mp4", ("words-mp4-9", "noise"), 235, 14),
]
"""Files with which something was wrong once."""


MORE = int(os.environ.get("GVM_FUZZ", "0"))


def corpus():
    """A damage for each maker, the odd files as they are, some with a wrong suffix, and those that found something."""
    cases, used = [], dict.fromkeys(DAMAGES, 0)
    for maker in MAKERS:
        kind = KINDS.get(Path(maker).suffix[1:], "picture")
        whole = maker.startswith((*ODD, "empty", "text", "list", "song"))
        damage = "whole" if whole else DAMAGES[kind][used[kind] % len(DAMAGES[kind])]
        used[kind] += not whole
        cases.append(Case(maker, (damage,), turn=len(cases)))
    for maker, suffix in (("h264.mov", ".png"), ("photo.jpg", ".mp4"), ("vp8.webm", ".gif"), ("anim.gif", ".webp")):
        cases.append(Case(maker, ("whole",), turn=len(cases), suffix=suffix))
    return list(dict.fromkeys([*cases, *FOUND, *(any_case(number) for number in range(MORE))]))


CASES = corpus()


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory, tiny_folder):
    """What is wrong with each case, by its number, for those of this module's cases that were asked for."""
    here = [each.callspec.params for each in request.session.items if hasattr(each, "callspec")]
    numbers = sorted({each["damaged_file"] for each in here if "damaged_file" in each})
    folder = tmp_path_factory.mktemp("damaged")
    results = folder / "results"
    results.touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    wrong = {}
    while todo := [number for number in numbers if number not in wrong]:
        asked = {"cases": [(n, asdict(CASES[n])) for n in todo], "folder": str(folder), "model": str(tiny_folder)}
        (folder / "asked").write_text(json.dumps(asked))
        command, limit = [sys.executable, damaged.__file__, str(folder / "asked")], 120 + 20 * len(todo)
        process = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=limit, check=False
        )
        for line in results.read_text().splitlines():
            result = json.loads(line)
            wrong[result["number"]] = [*result["wrong"], result["said"]] if result["wrong"] else []
        if rest := [number for number in todo if number not in wrong]:  # the first of them is the one that ended it
            wrong[rest[0]] = [f"the process ended ({process.returncode}) or hung", process.stderr[-4000:]]
    return wrong


def test_the_corpus_is_large_and_the_same_every_time():
    assert len(CASES) >= 60 + MORE // 2
    assert MORE or len({case.name for case in CASES}) == len(CASES)
    assert {damage for kind in DAMAGES.values() for damage in kind} <= set(damaged.EVERY)
    assert any_case(5) == any_case(5) != any_case(6)


@pytest.mark.slow
@pytest.mark.parametrize("damaged_file", range(len(CASES)), ids=[case.name for case in CASES])
def test_a_damaged_file_is_matted_frame_by_frame_or_refused_in_a_sentence(outcomes, damaged_file):
    assert not outcomes[damaged_file], "\n".join(outcomes[damaged_file])


# ---- what becomes of some of them ----------------------------------------------------------------------------------


def read(path, *span, **options):
    """All frames and their times."""
    with open_frames(path, *span, **options) as reader:
        return torch.stack(list(reader)), list(reader.times)


def decoded(path):
    """What FFmpeg decodes, frame by frame, as RGB."""
    with av.open(str(path)) as container:
        return [rgb(frame, path) for frame in container.decode(video=0)]


def matte_of(source, output):
    """Write a matte of random levels for ``source`` into ``output``. Return its frames' times in seconds."""
    shot = Shot(source, output)
    with begin(shot, "0" * 16) as parts:
        with open_frames(source) as reader, PartWriter(shot.outputs, parts, reader, 0) as writer:
            for index, frame in enumerate(reader):
                writer.write((Clip(torch.rand(1, 1, *frame.shape[-2:]), index), [frame]))
            writer.keep(last=True)
        finish(shot, parts)
    with av.open(str(output)) as container:
        return [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", ["size-changes.ts", "size-changes.mov", "size-changes.mpg", "interlace-changes.mpg"])
def test_frames_of_another_size_are_scaled_to_the_first_frames_size(tmp_path, name, caplog):
    path = MAKERS[name](tmp_path / name)
    found, _ = read(path)
    stored = decoded(path)
    assert found.shape == (len(stored), 3, 32, 48)
    assert caplog.text.count("changes its size") == 1
    if "interlace" not in name:
        assert torch.equal(found, torch.stack([resize(each[None], (32, 48))[0] for each in stored]))
    half = [each.shape[1:] == (32, 48) for each in stored].index(False)
    for first in (1, half, half + 1, len(stored) - 1):
        assert torch.equal(read(path, first)[0], found[first:]), "a range has the frames of the whole, and their size"


def test_a_picture_of_another_size_among_pictures_is_named(tmp_path):
    path = MAKERS["sizes"](tmp_path / "pictures")
    with pytest.raises(MediaError, match=r"f\.001\.png is 40x24 pixels, but f\.000\.png is 48x32"):
        read(path)


def test_films_that_were_put_together_go_on_where_the_clock_begins_again(tmp_path):
    one = film(tmp_path / "one.ts", "mpeg2video", levels=pictures(50), g="6", bf="2")
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    frames, times = read(both)
    assert len(frames) == 100 and times == [times[0] + 3600 * index for index in range(100)]
    for first in (3, 49, 50, 60, 99):
        part, until = read(both, first)
        assert torch.equal(part, frames[first:]) and until == times


def test_an_hour_without_a_frame_is_kept_and_a_week_is_a_mistake(tmp_path):
    hour, week = [0, 40, 80, HOUR, HOUR + 40, 20 * HOUR], [0, 40, 80, 170 * HOUR, 170 * HOUR + 40]
    for suffix in (".nut", ".mkv"):
        path, other = at_times(tmp_path / f"hour{suffix}", hour), at_times(tmp_path / f"week{suffix}", week)
        for output in (".mov", ".mp4", ".mkv"):
            found = matte_of(path, tmp_path / f"matte-{suffix[1:]}{output}")
            assert all(abs(a - Fraction(b, 1000)) <= Fraction(1, 1000) for a, b in zip(found, hour, strict=True))
        with open_frames(other) as reader:
            frames = list(reader)
            gaps = [float((b - a) * reader.time_base) for a, b in pairwise(reader.times)]
        assert len(frames) == 5 and gaps[:2] + gaps[3:] == [0.04, 0.04, 0.04]
        assert gaps[2] == pytest.approx(1 / reader.rate, abs=0.001)


def test_frames_nearer_than_a_tick_of_matroska_have_times_of_their_own(tmp_path):
    near = [0, 1, 2, 3, 4, 3600, 3601, 7200]  # in 1/90000 s
    chunks = damaged.raw_pictures("mjpeg", "yuvj420p", pictures(len(near)))
    source = damaged.packed(
        tmp_path / "near.mov", chunks, "mjpeg", pixels="yuvj420p", times=near, time_base=Fraction(1, 90000)
    )
    assert matte_of(source, tmp_path / "m.mkv") == [Fraction(each, 1000) for each in (0, 1, 2, 3, 4, 40, 41, 80)]
    assert matte_of(source, tmp_path / "m.mov") == [Fraction(each, 90000) for each in near]


def test_a_range_of_a_film_whose_times_are_out_of_order_has_the_frames_of_the_whole(tmp_path):
    content = bytearray(MAKERS["h264.mov"](tmp_path / "good.mov").read_bytes())
    at = damaged.found(content, b"ctts")[0] + 8
    seen = set()
    for entry in range(4):
        changed = bytearray(content)
        changed[at + 8 * entry + 4 : at + 8 * entry + 8] = (1).to_bytes(4, "big")
        path = tmp_path / f"bad-{entry}.mov"
        path.write_bytes(changed)
        frames, times = read(path)
        seen.add(tuple(times))
        for first in range(1, len(frames)):
            part, until = read(path, first)
            assert torch.equal(part, frames[first:]) and until[first:] == times[first:]
    assert len(seen) > 2, "the damage changed the times"


def test_a_track_in_an_unknown_codec_is_refused_in_a_sentence_or_passed_by(tmp_path):
    content = film(tmp_path / "good.mov", "png", "rgb24", copies=2).read_bytes()
    both, first = tmp_path / "both.mov", tmp_path / "first.mov"
    at = content.find(b"png ")  # in the header's list of the first track's formats
    first.write_bytes(content[:at] + b"zzzz" + content[at + 4 :])
    assert read(first)[0].shape == (FRAMES, 3, 16, 24), "the other track is read"
    both.write_bytes(content.replace(b"png ", b"zzzz"))
    with pytest.raises(MediaError, match="a codec that FFmpeg does not know"):
        read(both)


def test_a_header_that_says_billions_of_frames_costs_neither_the_run_nor_the_room(tmp_path, monkeypatch):
    path = MAKERS["mjpeg.avi"](tmp_path / "film.avi")
    content = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 20), (b"strh", 36)):
        at = damaged.found(content, tag)[0] + offset
        content[at : at + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with open_frames(path) as reader:
        assert FRAMES < reader.count <= len(content) // 4 and reader.counted() == FRAMES
    with open_frames(path, 3, 7) as reader:
        assert reader.counted() == 5
    asked = []

    def little_room(shot, parts, trial, frames):
        asked.append(frames)
        if frames > 100:
            raise MediaError("there is no room")

    monkeypatch.setattr("gvm_core.runs.plan.refuse_without_room", little_room)
    assert len(matte_of(path, tmp_path / "m.mkv")) == FRAMES
    assert asked[0] > 100 and asked[1] == FRAMES


def test_a_picture_that_its_file_cannot_hold_is_refused_before_there_is_memory_for_it(tmp_path):
    path = MAKERS["picture.exr"](tmp_path / "picture.exr")
    content = bytearray(path.read_bytes())
    for window in ((0, 0, 29999, 19999), (0, 0, -9, 31)):
        at = content.find(b"displayWindow\0box2i\0") + 24
        content[at : at + 16] = b"".join(each.to_bytes(4, "little", signed=True) for each in window)
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"picture\.exr is damaged: its header says"):
            read_picture(path)
    path = MAKERS["one-pixel.avi"](tmp_path / "huge.avi")
    content = bytearray(path.read_bytes())
    at = damaged.found(content, b"strf")[0] + 8
    content[at : at + 8] = struct.pack("<2i", 30000, 20000)
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"huge\.avi is damaged"):
        read(path)


def test_a_large_plain_picture_is_not_taken_for_damage(tmp_path):
    path = single(tmp_path / "plain.png", levels=torch.zeros(1, 9000, 7600, 3, dtype=torch.uint8).numpy())
    assert LARGE < 9000 * 7600 <= most_pixels(path) and path.stat().st_size < 10**6


def test_a_picture_that_pillow_takes_for_an_attack_is_read(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image", reason="pictures too large for Pillow are NOT tested: no Pillow")
    path = single(tmp_path / "p.png")
    monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", 100)
    assert read(path)[0].shape == (1, 3, 32, 48)
    with pytest.raises(MediaError, match=r"anim\.webp is damaged at frame 0"):
        read(MAKERS["anim.webp"](tmp_path / "anim.webp"))


def test_lines_too_few_to_deinterlace_stay_as_they_are(tmp_path):
    levels = pictures(4, 64, 2)
    path = film(tmp_path / "thin.mpg", "mpeg2video", levels=levels, flags="+ilme+ildct", alternate_scan="1")
    assert read(path)[0].shape == (len(decoded(path)), 3, 2, 64)


def test_sound_whose_clock_is_damaged_neither_fills_the_disk_with_silence_nor_is_lost(tmp_path):
    content = bytearray(MAKERS["mpeg4.avi"](tmp_path / "film.avi").read_bytes())
    at = damaged.found(content, b"auds")[0] + 16
    content[at : at + 8] = struct.pack("<2I", 2**31, 16000)  # a packet of sound would last a day and a half
    (tmp_path / "bad.avi").write_bytes(content)
    for source, suffix in (("film", ".mov"), ("bad", ".mov"), ("bad", ".mp4")):
        output = tmp_path / f"{source}{suffix}"
        assert len(matte_of(tmp_path / f"{source}.avi", output)) == FRAMES and output.stat().st_size < 10**6
        with av.open(str(output)) as container:
            heard = sum(frame.samples for frame in container.decode(audio=0))
        assert 0.6 < heard / 48000 < 0.8
