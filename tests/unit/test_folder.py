"""The clips of a folder, and `gvm matte` on a folder of clips."""

import pytest

from gvm_core.errors import MediaError
from gvm_core.media.folder import clips_in, is_folder_of_clips
from gvm_core.media.png import png16


def picture(path):
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png16(torch.zeros(1, 4, 4)))


def test_every_clip_is_found_in_order_and_nothing_else_is(tmp_path):
    for name in ("shot10.mov", "shot2.MP4", "b.mp4", "b.mov", ".hidden.mp4", "notes.txt"):
        (tmp_path / name).touch()
    picture(tmp_path / "plates" / "a.0001.png")
    picture(tmp_path / ".gvm-parts" / "a.0001.png")
    (tmp_path / "empty").mkdir()
    assert list(clips_in(tmp_path)) == ["b.mov", "b.mp4", "plates", "shot2", "shot10"]
    assert clips_in(tmp_path)["shot2"] == tmp_path / "shot2.MP4" and is_folder_of_clips(tmp_path)


def test_a_folder_of_one_sequence_stays_one_clip(tmp_path):
    picture(tmp_path / "a.0001.png")
    (tmp_path / "making_of.mp4").touch()
    assert not is_folder_of_clips(tmp_path) and not is_folder_of_clips(tmp_path / "a.0001.png")


def test_a_folder_without_clips_is_a_sentence(tmp_path):
    assert not is_folder_of_clips(tmp_path)
    with pytest.raises(MediaError, match="there are no clips in"):
        clips_in(tmp_path)
    with pytest.raises(MediaError, match="there is no folder"):
        clips_in(tmp_path / "nowhere")
