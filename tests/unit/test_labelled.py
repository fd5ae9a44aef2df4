"""Clips with mattes as training data: what a user loses here is a model that learned from wrong labels."""

import numpy as np
import pytest
import torch
from support import moving_clip

from gvm_core.cli import main as command
from gvm_core.datasets.labelled import LabelledSource
from gvm_core.datasets.pairs import find_labelled
from gvm_core.datasets.pseudo_labels import Doubt, believed, label_frames, write_labels
from gvm_core.errors import InputError
from gvm_core.media.sequence import SequenceWriter

SIZE = (48, 56)


def write(folder, pictures):
    with SequenceWriter(folder, "{:04}".format) as writer:
        for picture in pictures:
            writer.write(picture)


def square(left, top=12):
    """A grey ground with a textured square on it, and the square's mask."""
    random = torch.Generator().manual_seed(1)
    image = 0.4 + 0.1 * torch.rand(3, *SIZE, generator=random)
    mask = torch.zeros(1, *SIZE)
    mask[:, top : top + 24, left : left + 24] = 1
    pattern = 0.6 + 0.4 * torch.rand(3, 24, 24, generator=random)
    image[:, top : top + 24, left : left + 24] = pattern
    return image, mask


@pytest.fixture
def clips(tmp_path):
    for name, frames in (("a", 3), ("b", 6)):
        images = moving_clip(frames, 40, 52, seed=frames)
        alpha = images.mean(dim=1, keepdim=True)
        write(tmp_path / name / "com", images)
        write(tmp_path / name / "pha", alpha)
    write(tmp_path / "b" / "conf", [torch.cat([torch.ones(1, 40, 26), torch.zeros(1, 40, 26)], -1)] * 6)
    return find_labelled(tmp_path)


def test_batches_hold_frames_with_their_own_mattes_and_confidence(clips):
    source = LabelledSource(clips, largest=24, degrade=0.0)
    batch = source.batch(8, 24, 2, np.random.default_rng(0))
    assert batch.images.shape == (8, 2, 3, 24, 24) and batch.alpha.shape == batch.confidence.shape == (8, 2, 1, 24, 24)
    # Alpha was made the mean of the colours; cut, scaled and flipped alike it still is.
    torch.testing.assert_close(batch.images.mean(dim=2, keepdim=True), batch.alpha, rtol=0, atol=0.02)
    assert 0 < batch.confidence.mean() < 1
    again = source.batch(8, 24, 2, np.random.default_rng(0))
    assert torch.equal(batch.images, again.images)
    fresh = LabelledSource(clips, largest=24, degrade=0.0).batch(8, 24, 2, np.random.default_rng(0))
    assert torch.equal(batch.images, fresh.images)


def test_long_batches_come_from_clips_that_are_long_enough(clips):
    source = LabelledSource(clips, largest=24)
    assert source.batch(4, 24, 5, np.random.default_rng(0)).images.shape[1] == 5
    with pytest.raises(InputError, match="no clip has 7 frames; the longest has 6"):
        source.batch(1, 24, 7, np.random.default_rng(0))
    with pytest.raises(InputError, match="no clip to learn from"):
        LabelledSource([], 24)


def test_memory_for_frames_is_limited_and_changes_nothing(clips, monkeypatch):
    from gvm_core.datasets import labelled

    source = LabelledSource(clips, largest=24)
    wanted = source.batch(6, 24, 1, np.random.default_rng(3))
    monkeypatch.setattr(labelled, "KEPT", 1)
    small = LabelledSource(clips, largest=24)
    assert torch.equal(small.batch(6, 24, 1, np.random.default_rng(3)).images, wanted.images)
    assert len(small.held) == 1


def test_edges_and_soft_values_are_not_believed():
    mask = torch.zeros(1, 40, 40)
    mask[:, 10:30, 10:30] = 1
    mask[:, 20, 38] = 0.5
    sure = believed(mask, Doubt(edge=0.05, soft=0.02))
    assert sure[0, 20, 20] == 1 and sure[0, 2, 2] == 1
    assert sure[0, 20, 9] == 0 and sure[0, 20, 10] == 0 and sure[0, 20, 12] == 1
    assert sure[0, 20, 38] == 0 and sure[0, 20, 37] == 0
    assert bool((believed(torch.zeros(1, 8, 8), Doubt()) == 1).all())


def test_a_mask_that_moves_with_its_subject_is_believed_and_one_that_jumps_is_not():
    frames, masks = zip(*(square(10 + 2 * step) for step in range(6)), strict=True)
    labels = list(label_frames(frames, masks, Doubt(edge=0.02)))
    assert all(label.steady for label in labels)
    inside = [label.confidence[(mask > 0.5)].mean() for label, mask in zip(labels, masks, strict=True)]
    assert min(inside) > 0.6
    jumped = [*masks[:3], torch.zeros_like(masks[3]), *masks[4:]]  # the segmenter lost the subject for a frame
    labels = list(label_frames(frames, jumped, Doubt(edge=0.02)))
    assert [label.steady for label in labels] == [True, True, True, False, False, True]
    leaking = [*masks[:3], *(mask.clone() for mask in masks[3:])]
    leaking[3][:, 40:46, 2:12] = 1  # a small piece of the ground, for one frame
    label = list(label_frames(frames, leaking, Doubt(edge=0.02, most=1.0)))[3]
    assert label.steady and label.confidence[:, 42:44, 5:9].max() == 0


def test_masks_that_do_not_fit_are_refused():
    frames, masks = zip(*(square(10) for _ in range(3)), strict=True)
    with pytest.raises(InputError, match="only 2 masks"):
        list(label_frames(frames, masks[:2]))
    with pytest.raises(InputError, match="its mask"):
        list(label_frames(frames, [mask[:, :20] for mask in masks]))
    with pytest.raises(InputError, match="least length"):
        Doubt(least=0)


def test_only_steady_stretches_become_clips(tmp_path):
    frames, masks = zip(*(square(10 + step) for step in range(9)), strict=True)
    lost = [*masks[:4], torch.zeros_like(masks[4]), *masks[5:]]
    assert list(write_labels(tmp_path, "walk", label_frames(frames, lost), least=3)) == list(range(1, 10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk_0000", "walk_0006"]
    first, second = find_labelled(tmp_path)
    assert len(first.frames) == 4 and len(second.frames) == 3 and first.confidence
    image, alpha = first.read(2)
    torch.testing.assert_close(image, frames[2], rtol=0, atol=1e-4)
    assert torch.equal(alpha, masks[2])


@pytest.mark.slow
def test_label_then_train_from_the_command_line(tmp_path, capsys):
    frames, masks = zip(*(square(10 + step) for step in range(6)), strict=True)
    write(tmp_path / "shots" / "walk", frames)
    write(tmp_path / "masks" / "walk", masks)
    labels = tmp_path / "labels"
    arguments = ["label", str(tmp_path / "shots" / "walk"), str(labels), "--masks", str(tmp_path / "masks")]
    assert command([*arguments, "--least", "3"]) == 0
    config = tmp_path / "mine.json"
    config.write_text(
        '{"start": "small", "stages": [{"name": "lora", "learn": "lora", "rank": 2, "sizes": [32], "frames": 2,'
        ' "batch": 1, "steps": 2, "rate": 0.001}]}'
    )
    out = tmp_path / "out"
    assert command(["train", str(out), "--config", str(config), "--clips", str(labels)]) == 0
    assert (out / "lora.safetensors").is_file() and "lora.safetensors" in capsys.readouterr().out
    matted = tmp_path / "matted"
    assert (
        command(["matte", str(tmp_path / "shots" / "walk"), str(matted), "--lora", str(out / "lora.safetensors")]) == 0
    )
    assert len(list(matted.iterdir())) == 6
    assert command(["train", str(tmp_path / "none"), "--config", "lora", "--start", "small"]) == 1
    assert "--clips" in capsys.readouterr().err
    assert command([*arguments[:2], str(tmp_path / "x"), "--masks", str(tmp_path / "shots" / "walk")]) == 1


def test_the_bundled_model_labels_where_there_are_no_masks(tmp_path):
    write(tmp_path / "walk", moving_clip(3, 40, 52))
    arguments = ["label", str(tmp_path / "walk"), str(tmp_path / "out"), "--model", "small", "--least", "1"]
    assert command([*arguments, "--device", "cpu", "--short-edge", "32"]) == 0
