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
        with open_frames(source) as reader, PartWriter(shot, parts, reader, 0) as writer:
            for index, frame in enumerate(reader):
                writer.write(Clip(torch.rand(1, 1, *frame.shape[-2:]), index))
            writer.keep(last=True)
        finish(shot, parts)
    with av.open(str(output)) as container:
        return [packet.pts * packet.time_base for packet in container.demux(video=0) if packet.size]


def test_a_track_in_an_unknown_codec_is_refused_in_a_sentence_or_passed_by(tmp_path):
    content = film(tmp_path / "good.mov", "png", "rgb24", copies=2).read_bytes()
    both, first = tmp_path / "both.mov", tmp_path / "first.mov"
    at = content.find(b"png ")  # in the header's list of the first track's formats
    first.write_bytes(content[:at] + b"zzzz" + content[at + 4 :])
    assert read(first)[0].shape == (FRAMES, 3, 16, 24), "the other track is read"
    both.write_bytes(content.replace(b"png ", b"zzzz"))
    with pytest.raises(MediaError, match="a codec that FFmpeg does not know"):
        read(both)
