"""Pictures to learn people from: cut out, put before places, composed by seed."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SAME, TINY_UNET, TINY_VAE

from gvm_core.cli import main
from gvm_core.datasets import cutouts as cutting
from gvm_core.datasets.backgrounds import Places, read_places
from gvm_core.datasets.chimeras import Chimera, find_head, read_chimeras
from gvm_core.datasets.clothes import dye, enlarge, find_shoulders
from gvm_core.datasets.cutouts import Cutout, cutout, read_cutouts
from gvm_core.datasets.drawn import Clips, drawn_layers
from gvm_core.datasets.hard_negatives import read_hard_negatives
from gvm_core.datasets.occluders import behind, occluder
from gvm_core.datasets.panorama import Panorama, camera_directions, read_hdr
from gvm_core.datasets.people import PeopleSource, Shares
from gvm_core.datasets.placing import grids, place
from gvm_core.datasets.sway import Sway
from gvm_core.errors import InputError, MediaError
from gvm_core.media.sequence import png16, read_picture
from gvm_core.models.layerwise import BY_ROWS
from gvm_core.models.vae import TemporalVAE
from gvm_core.synthesis.canvas import Canvas
from gvm_core.synthesis.surface import random_light
from gvm_core.training.config import Stage, TrainingConfig
from gvm_core.training.encoded import EncodedClips
from gvm_core.training.sources import stage_source
from gvm_core.training.train import Training

SIDES = ("top", "bottom", "left", "right")


def block(top=10, bottom=40, left=8, right=24, height=40, width=32, frames=1):
    """A red rectangle as a subject, ``[T, 4, H, W]`` bytes; where it reaches a border, that cuts it."""
    layers = np.zeros((frames, 4, height, width), np.uint8)
    layers[:, 0, top:bottom, left:right] = 200
    layers[:, 3, top:bottom, left:right] = 255
    return layers


def subject(**where) -> Cutout:
    made = cutout(block(**where))
    assert made is not None
    return made


@pytest.fixture(scope="module")
def places():
    generator = torch.Generator().manual_seed(0)
    pictures = tuple((torch.rand(3, 40, 60, generator=generator) * 255).byte() for _ in range(2))
    return Places((Panorama(torch.rand(3, 32, 64, generator=generator)),), pictures)


@pytest.fixture
def source(places):
    return PeopleSource([subject(), subject(left=0, right=32), subject(frames=4)], places)


def write_pictures(folder: Path, names=("a", "b"), size=(24, 20)) -> Path:
    for kind in ("original", "mask"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        colour = torch.rand(3, *size, generator=torch.Generator().manual_seed(number))
        alpha = torch.zeros(1, *size)
        alpha[:, 6:, 5:15] = 1
        (folder / "original" / f"{name}.png").write_bytes(png16(colour))
        (folder / "mask" / f"{name}.png").write_bytes(png16(alpha))
    return folder


def write_hdr(path: Path, light: np.ndarray) -> None:
    """``light`` ``[3, H, W]`` as runs of single values, as a Radiance file may hold them."""
    mantissa, exponent = np.frexp(light.max(axis=0))
    scale = np.where(light.max(axis=0) > 0, mantissa * 256 / light.max(axis=0).clip(1e-30), 0)
    rows = np.concatenate([light * scale, (exponent + 128)[None]]).astype(np.uint8).transpose(1, 0, 2)
    height, width = rows.shape[0], rows.shape[2]
    body = b""
    for row in rows:
        body += bytes([2, 2, width >> 8, width & 255])
        for channel in row:
            half = width // 2
            body += bytes([half]) + channel[:half].tobytes()
            body += b"".join(bytes([129, value]) for value in channel[half:])
    path.write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width) + body)


@pytest.mark.parametrize("frames", [1, 3])
def test_the_same_seed_gives_the_same_batch_and_another_seed_another(source, frames):
    one, two, other = (source.batch(3, 32, frames, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.images, other.images)
    assert one.images.shape == (3, frames, 3, 32, 32) and one.alpha.shape == (3, frames, 1, 32, 32)
    for part in one:
        assert part.isfinite().all() and part.min() >= 0 and part.max() <= 1


@pytest.mark.parametrize("seed", range(20))
def test_alpha_is_exact_before_the_camera_and_colour_never_exceeds_it(source, seed):
    made = source.compose(32, 3, np.random.default_rng(seed))
    again = made.colour + made.background * (1 - made.alpha)
    assert (made.image - again).abs().max() < 1e-5
    assert (made.colour <= made.alpha + 1e-6).all()


@given(seed=st.integers(0, 2**31), frames=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_what_stands_before_people_is_seen_and_is_no_part_of_their_matte(seed, frames):
    """A rail in front of a man was taken for the place where he ends."""
    random = np.random.default_rng(seed)
    cover = occluder(24, torch.arange(frames) / 24, Sway(random, 2, 0.02), random)
    assert cover.shape == (frames, 1, 24, 24) and cover.min() >= 0 and cover.max() <= 1
    front, people, place = torch.from_numpy(random.uniform(0, 1, (3, frames, 3, 24, 24)).astype(np.float32))
    alpha = torch.from_numpy(random.choice([0, 0.3, 1], (frames, 1, 24, 24)).astype(np.float32))
    colour = people * alpha
    seen = front * cover + (colour + place * (1 - alpha)) * (1 - cover)
    colour, alpha, background = behind(cover, front, colour, alpha, place)
    assert (colour + background * (1 - alpha) - seen).abs().max() < 1e-3
    assert bool((alpha[cover == 1] == 0).all()) and bool((colour <= alpha + 1e-6).all())


def test_things_stand_before_people_only_where_a_stage_asks_for_them(places):
    random = np.random.default_rng
    for share in (0.0, 1.0):
        source = PeopleSource([subject()], places, shares=Shares(nobody=0.0, occluded=share))
        plain = PeopleSource([subject()], places, shares=Shares(nobody=0.0))
        other = [(source.compose(24, 1, random(n)).alpha - plain.compose(24, 1, random(n)).alpha) for n in range(40)]
        assert all(float(each.max()) < 1e-6 for each in other)  # a thing only takes from a matte
        assert (sum(float(each.min()) < -0.5 for each in other) > 10) == bool(share)


def test_some_clips_have_nobody_in_them_and_their_mattes_are_nothing(source):
    random = np.random.default_rng(0)
    empty = [float(source.compose(16, 1, random).alpha.max()) == 0 for _ in range(300)]
    assert 0.02 < np.mean(empty) < 0.14


@pytest.mark.parametrize("side", SIDES)
def test_what_a_border_cuts_off_never_ends_inside_the_frame(side):
    """However it moves: where the frame shows the border of the picture, that is on the frame's edge or beyond."""
    whole = {"top": 10, "bottom": 30, "left": 8, "right": 24}
    cut = subject(**{**whole, side: {"top": 0, "bottom": 40, "left": 0, "right": 32}[side]})
    assert cut.cut == tuple(each == side for each in SIDES)
    for seed in range(60):
        random = np.random.default_rng(seed)
        times = torch.arange(6) / 24
        placing = place(cut, times, Sway(random, 2, 0.02), 2.0, random)
        used = (placing.rows, cut.layers.shape[-1])
        grid = grids(placing, 24, used)
        beyond = {"top": -grid[..., 1], "bottom": grid[..., 1], "left": -grid[..., 0], "right": grid[..., 0]}
        for each, cuts in zip(SIDES, placing.cut, strict=True):
            if cuts:
                assert beyond[each].max() <= 1 + 1e-4, (seed, each)


def test_a_subject_that_only_brushes_a_border_is_not_cut_by_it_and_leaves_nothing_there():
    layers = block()
    layers[:, :, 0, 3] = 40
    made = cutout(layers)
    assert made is not None and made.cut == (False, True, False, False)
    assert made.layers[:, :, 0].max() == 0
    assert cutout(np.zeros((1, 4, 8, 8), np.uint8)) is None


def test_figures_come_small_and_faces_come_close(places):
    source = PeopleSource([subject(height=80, width=80, top=20, bottom=60, left=30, right=50)], places)
    shares = []
    for seed in range(80):
        alpha = source.compose(32, 1, np.random.default_rng(seed)).alpha
        shares.append(float(alpha.mean()))
    assert min(share for share in shares if share) < 0.08 and max(shares) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_folders_are_cut_out_once_and_a_stopped_run_goes_on(own, tmp_path, monkeypatch):
    folder = write_pictures(tmp_path / "people", [f"p{number}" for number in range(5)])
    if own:
        (folder / "original").rename(folder / "fgr")
        (folder / "mask").rename(folder / "pha")
    monkeypatch.setattr(cutting, "TOGETHER", 2)
    if not own:
        pytest.importorskip("pymatting")
    told = []
    first = read_cutouts([folder], tmp_path / "pools", lambda done, total: told.append((done, total)))
    assert told[-1] == (5, 5) and sum(len(each.layers) for each in first) == 5
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "pools").iterdir()}
    assert len(written) == 3
    gone = min(written)
    gone.unlink()
    told.clear()
    again = read_cutouts([folder], tmp_path / "pools", lambda done, total: told.append((done, total)))
    assert all(np.array_equal(a.layers, b.layers) for a, b in zip(first, again, strict=True))
    assert all(path.stat().st_mtime_ns == when for path, when in written.items() if path != gone)
    assert len(told) == 1


def test_the_cut_out_of_a_picture_keeps_the_subjects_colours_and_drops_what_was_behind(tmp_path):
    pytest.importorskip("pymatting")
    picture, alpha = torch.zeros(3, 24, 20), torch.zeros(1, 24, 20)
    alpha[:, 6:, 5:15], alpha[:, 6:, 15] = 1, 0.5
    red, blue = torch.tensor([0.8, 0.1, 0.1])[:, None, None], torch.tensor([0.0, 0.2, 0.9])[:, None, None]
    picture = red * alpha + blue * (1 - alpha)
    straight = cutting.foreground_colours(picture, alpha)
    assert (straight[:, 10:, 15] - red[:, 0]).abs().max() < 0.05


def test_a_jpeg_of_odd_size_keeps_its_colours(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    pillow.new("RGB", (25, 31), (200, 60, 120)).save(tmp_path / "odd.jpg", quality=95)
    seen = read_picture(tmp_path / "odd.jpg").mean(dim=(1, 2)) * 255
    assert (seen - torch.tensor([200.0, 60.0, 120.0])).abs().max() < 3


def test_light_comes_back_from_a_radiance_file_and_a_broken_one_is_named(tmp_path):
    light = np.random.default_rng(0).uniform(0.01, 4, (3, 8, 16)).astype(np.float32)
    write_hdr(tmp_path / "sky.hdr", light)
    assert np.abs(read_hdr(tmp_path / "sky.hdr") - light).max() < 0.02
    (tmp_path / "torn.hdr").write_bytes((tmp_path / "sky.hdr").read_bytes()[:150])
    (tmp_path / "other.hdr").write_bytes(b"no light here")
    for name in ("torn", "other"):
        with pytest.raises(MediaError, match=f"{name}.hdr is no Radiance picture"):
            read_hdr(tmp_path / f"{name}.hdr")


def test_a_camera_in_a_panorama_sees_what_lies_where_it_looks():
    light = torch.zeros(3, 32, 64)
    light[0, :, 28:36] = 1  # red ahead
    light[1, :, 44:52] = 1  # green to the right
    light[2, :4] = 1  # blue overhead
    panorama = Panorama(light)

    def look(yaw, pitch, field, size):
        angles = (torch.tensor([value], dtype=torch.float32) for value in (yaw, pitch, 0.0, field))
        return panorama.view(camera_directions(*angles, size=size))

    for yaw, pitch, colour in ((0.0, 0.0, 0), (np.pi / 2, 0.0, 1), (0.0, np.pi / 2, 2)):
        seen = look(yaw, pitch, 0.2, 8).mean(dim=(0, 2, 3))
        assert int(seen.argmax()) == colour and seen[colour] > 0.2
    assert look(np.pi, 0.0, 1.0, 16).isfinite().all()  # across the seam behind


def test_backgrounds_are_pictures_and_panoramas(tmp_path):
    write_hdr(tmp_path / "sky.hdr", np.ones((3, 8, 16), np.float32))
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "wall.png").write_bytes(png16(torch.rand(3, 9, 12)))
    found = read_places([tmp_path])
    assert len(found.panoramas) == 1 and [tuple(each.shape) for each in found.pictures] == [(3, 9, 12)]
    assert len(read_places([tmp_path / "room" / "wall.png"]).pictures) == 1
    write_hdr(tmp_path / "room" / "flat.hdr", np.ones((3, 8, 8), np.float32))
    with pytest.raises(MediaError, match="twice as wide as high"):
        read_places([tmp_path])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda here: read_places([here / "none"]), "there is no folder"),
        (lambda here: read_places([here]), "holds no picture and no panorama"),
        (lambda here: read_cutouts([here / "none"], here), "there is no folder"),
        (lambda here: read_cutouts([here], here), "no folder holds frames"),
        (lambda here: read_hard_negatives(4, Places(), 24, brightness, here), "a folder of them with --backgrounds"),
        (lambda here: stage(hard_negatives=-1), "0 or more views"),
        (lambda here: stage(network="vae", hard_negatives=1), "only the unet"),
        (lambda here: stage_source(stage(hard_negatives=4), here, []), "needs people: give folders of subjects"),
        (lambda here: stage_source(stage(chimeras=4), here, []), "needs people: give folders of subjects"),
        (lambda here: PeopleSource([], Places()), "--subjects"),
        (lambda here: PeopleSource([subject()], Places()), "--backgrounds"),
    ],
)
def test_what_cannot_be_learned_from_is_said_in_plain_words(wrong, words, tmp_path):
    with pytest.raises(InputError, match=words):
        wrong(tmp_path)


def stage(**changes):
    return Stage(**{"name": "s", "sizes": (32,), "batch": 2, "steps": 4, "rate": 1e-3, **changes})


def test_a_stage_mixes_its_sources_by_their_shares(places, tmp_path):
    clips = Clips(count=2, size=32)
    wanted = stage(clips=clips, sources={"people": 3, "drawn": 1})
    mixture: Any = stage_source(wanted, tmp_path, [], cutouts=[subject()], places=places)
    counted = sum(int(np.random.default_rng(seed).binomial(8, mixture.share)) for seed in range(200)) / 1600
    assert mixture.share == pytest.approx(0.25) and counted == pytest.approx(0.25, abs=0.05)
    assert mixture.second.places.drawn is not None  # drawn backdrops serve people, too
    assert isinstance(stage_source(stage(), tmp_path, [], cutouts=[subject()], places=places), PeopleSource)


def test_a_stage_shows_as_many_clips_without_people_as_it_asks_for(places, tmp_path):
    """Without them, a network learns that there is always somebody."""
    for share in (0.0, 0.5, 1.0):
        source = stage_source(stage(nobody=share), tmp_path, [], cutouts=[subject()], places=places)
        batch = source.batch(60, 32, 1, np.random.default_rng(0))
        assert float((batch.alpha.amax(dim=(1, 2, 3, 4)) == 0).float().mean()) == pytest.approx(share, abs=0.15)
    with pytest.raises(InputError, match=r"nobody must be between 0 and 1, got 1\.5"):
        stage(nobody=1.5)


def one_side_is_bright() -> Places:
    """A panorama in which a quarter of the directions is white, and the rest black."""
    pixels = torch.zeros(3, 64, 128)
    pixels[..., :32] = 1
    return Places((Panorama(pixels),))


def brightness(pictures):
    """A network that takes whatever is white for somebody."""
    return pictures.mean(dim=1, keepdim=True)


def test_places_in_which_somebody_is_found_by_mistake_are_searched_for_and_shown(tmp_path):
    """They are rare: without a search, a network does not see them often enough to learn that nobody is there."""
    places = one_side_is_bright()
    found = read_hard_negatives(40, places, 24, brightness, tmp_path)
    assert 8 < len(found) < 32 and found[0].shape == (3, 384, 384)
    assert all(view.float().mean() > 0.005 * 255 for view in found)
    wanted = stage(nobody=1.0, hard_negatives=40)
    source: Any = stage_source(
        wanted,
        tmp_path,
        [],
        cutouts=[subject()],
        places=places,
        hard_negatives=lambda given: found[: len(given.panoramas)],
    )
    assert len(source.places.hard) == 1
    grey = Places(places.panoramas, hard=(torch.full((3, 8, 8), 128, dtype=torch.uint8),))

    def share(of: Places) -> float:
        still = Sway(np.random.default_rng(0), 2, 0)
        views = [of.view(8, torch.zeros(1), still, np.random.default_rng(number)) for number in range(300)]
        return sum(bool((view - 128 / 255).abs().max() < 1e-3) for view in views) / len(views)

    assert share(grey) > 0.3 and share(replace(grey, hard=())) == 0


def test_a_search_for_hard_negatives_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("gvm_core.datasets.hard_negatives.TOGETHER", 8)
    places, seen = one_side_is_bright(), []

    def stopped(pictures):
        seen.append(len(pictures))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return brightness(pictures)

    whole = read_hard_negatives(30, places, 24, brightness, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        read_hard_negatives(30, places, 24, stopped, tmp_path / "parts")
    reports: list[int] = []
    again = read_hard_negatives(30, places, 24, brightness, tmp_path / "parts", reports.append)
    assert reports == [24, 30]
    assert len(whole) == len(again) and all(map(torch.equal, whole, again))


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"people": 1}, "give folders of subjects with --subjects"),
        ({"clips": 1}, "with --clips"),
        ({"actors": 1}, "there is no source 'actors'"),
        ({"people": -1}, "0 or more"),
        ({"people": 0}, "one above 0"),
        ({"drawn": 1}, "needs the key clips"),
    ],
)
def test_a_source_that_is_not_there_is_said_in_plain_words(sources, words, tmp_path):
    with pytest.raises(InputError, match=words):
        stage_source(stage(sources=sources), tmp_path, [])


def portrait() -> Cutout:
    """A head on a neck on shoulders that the sides cut."""
    down, across = np.mgrid[:120, :100]
    head = ((down - 45) / 34) ** 2 + ((across - 50) / 22) ** 2 < 1
    inside = head | ((abs(across - 50) < 12) & (down > 70)) | (down > 95)
    layers = np.zeros((1, 4, 120, 100), np.uint8)
    layers[0, :, inside] = [210, 160, 130, 255]
    made = cutout(layers)
    assert made is not None
    return made


def in_a_suit() -> Cutout:
    """The `portrait` in a black suit, with a white shirt in its middle."""
    cut = portrait()
    clothes = cut.layers[0, :, 96:]
    clothes[:3] = 20
    clothes[:3, :, 42:58] = 240
    return cut


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_clothes_get_every_colour_and_faces_keep_theirs(seed):
    """Most portraits show dark suits; with nothing else to learn from, an orange suit is background."""
    layers = torch.from_numpy(portrait().layers).float() / 255
    row = find_shoulders(portrait())
    assert row is not None and 80 < row < 96
    dyed = dye(layers, row, np.random.default_rng(seed))
    assert torch.equal(dyed[:, 3:], layers[:, 3:]) and bool((dyed[:, :3] <= dyed[:, 3:] + 1e-6).all())
    torch.testing.assert_close(dyed[..., : row - 40, :], layers[..., : row - 40, :], rtol=0, atol=1e-3)
    cloth = dyed[0, :3, -1][:, layers[0, 3, -1] > 0]
    assert float(cloth.std(dim=1).max()) < 1e-3 < float((cloth - layers[0, :3, -1, 50:51]).abs().max())
    stripes = torch.zeros(3, 60, 50, dtype=torch.uint8)
    stripes[:, :, ::10] = 255
    printed = dye(layers, row, np.random.default_rng(seed), stripes)
    assert torch.equal(printed[:, 3:], layers[:, 3:]) and bool((printed[:, :3] <= printed[:, 3:] + 1e-6).all())
    torch.testing.assert_close(printed[..., : row - 40, :], layers[..., : row - 40, :], rtol=0, atol=1e-3)
    assert float(printed[0, :3, -1][:, layers[0, 3, -1] > 0].std(dim=1).max()) > 0.02


def test_black_suits_become_bright_though_a_white_shirt_is_beside_them():
    """They became at most half as bright as the shirt, so no bright suit was ever learned from."""
    cut = in_a_suit()
    row = find_shoulders(cut)
    assert row is not None
    layers = torch.from_numpy(cut.layers).float() / 255
    suits = [dye(layers, row, np.random.default_rng(seed))[0, :3, 105:, :30].amax(dim=0).mean() for seed in range(40)]
    assert sum(float(each) > 0.6 for each in suits) > 8 and min(suits) < 0.4


@given(seed=st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_an_enlarged_body_ends_at_no_side_and_its_head_stays_as_it_is(seed):
    """Portraits end at the chest, and their sides cut the shoulders: a body in half of the frame was background."""
    cut = in_a_suit()
    row = find_shoulders(cut)
    assert row is not None and cut.cut == (False, True, True, True)
    large = enlarge(cut, row, np.random.default_rng(seed))
    assert large.cut == (False, True, False, False)
    height, width = large.layers.shape[2:]
    assert 1.3 <= round((height - row) / (120 - row), 1) <= 2.6 and 1.1 <= round(width / 100, 1) <= 1.8
    assert (large.layers[:, :3].max(axis=1) <= large.layers[:, 3]).all()
    heads = [each.layers[0, :, :row] for each in (cut, large)]
    before, after = (head[:, :, head[3].any(axis=0)].astype(int) for head in heads)
    assert before.shape == after.shape and abs(before - after).max() <= 1
    body = large.layers[0, 3, -1] > 127
    assert 0.75 * width < body.sum() < width and not body[[0, -1]].any()
    floating = subject(top=10, bottom=30)
    assert enlarge(floating, 20, np.random.default_rng(seed)) is floating


def test_only_the_share_that_a_stage_names_gets_other_clothes_or_a_drawn_body(places, tmp_path):
    wanted = stage(dyed=0.5, patterned=0.3, enlarged=0.2, drawn_bodies=0.4, nobody=0.0, occluded=0.1)
    source: Any = stage_source(wanted, tmp_path, [], cutouts=[portrait(), subject()], places=places)
    assert source.shares == Shares(nobody=0.0, drawn_bodies=0.4, dyed=0.5, patterned=0.3, enlarged=0.2, occluded=0.1)
    assert len(source.shoulders) == 1  # a box has none
    plain = PeopleSource([in_a_suit()], places, shares=Shares(nobody=0.0)).compose(24, 1, np.random.default_rng(3))
    for shares in (Shares(nobody=0.0, dyed=1.0), Shares(nobody=0.0, enlarged=1.0)):
        other = PeopleSource([in_a_suit()], places, shares=shares).compose(24, 1, np.random.default_rng(3))
        assert not torch.equal(other.colour, plain.colour)
    blue = cutout(np.ascontiguousarray(block()[:, [2, 1, 0, 3]]))
    assert blue is not None
    for share in (0.0, 0.5, 1.0):
        mixed = PeopleSource([subject()], places, [blue], shares=Shares(nobody=0.0, drawn_bodies=share))
        colours = [mixed.compose(24, 1, np.random.default_rng(seed)).colour.sum(dim=(0, 2, 3)) for seed in range(60)]
        assert sum(bool(each[2] > each[0]) for each in colours) / 60 == pytest.approx(share, abs=0.15)
    for name in ("dyed", "enlarged"):
        with pytest.raises(InputError, match=rf"{name} must be between 0 and 1, got 1\.5"):
            stage(**{name: 1.5})


@pytest.mark.slow
def test_a_portraits_head_is_found_and_walks_on_a_drawn_body(places, tmp_path, monkeypatch):
    monkeypatch.setattr("gvm_core.datasets.chimeras.TOGETHER", 2)
    head = find_head(portrait())
    assert head is not None and 70 < head.neck[0] < 96 and abs(head.skin * 255 - [210, 160, 130]).max() < 3
    assert find_head(subject()) is None  # a box has no neck
    made = read_chimeras(3, [portrait()], places.pictures, tmp_path)
    assert [each.layers.shape for each in made] == [(8, 4, 256, 256)] * 3
    for each in made:
        alpha = each.layers[:, 3].astype(int)
        assert (each.layers[:, :3].max(axis=1) <= alpha + 1).all() and (alpha == 255).any()
        assert np.abs(np.diff(alpha, axis=0)).max() > 0  # moves
    (tmp_path / min(path.name for path in tmp_path.iterdir())).unlink()
    again = read_chimeras(3, [portrait()], places.pictures, tmp_path)
    assert all(np.array_equal(a.layers, b.layers) for a, b in zip(made, again, strict=True))


def test_people_in_thick_clothes_are_wider_and_have_sleeves():
    """Coats and overalls were taken for background: all drawn bodies were slim."""
    head, light = find_head(portrait()), random_light(np.random.default_rng(0))
    assert head is not None
    for seed in range(4):
        person, covered = Chimera(np.random.default_rng(seed), head, ()), []
        person.thicken(np.random.default_rng(seed))
        for _ in range(2):
            canvas = Canvas((48, 48))
            person.draw(canvas, light, 0.0)
            covered.append(float(canvas.alpha.sum()))
            person.thicken(np.random.default_rng(seed))
        assert covered[1] > 1.03 * covered[0] and person.sleeve == 2 and not person.bare_legs


def test_subjects_without_places_are_refused_before_anything_is_cut_out(tmp_path, capsys):
    assert main(["train", str(tmp_path / "out"), "--config", "small", "--subjects", str(tmp_path)]) == 1
    assert "--subjects and --backgrounds go together" in capsys.readouterr().err


@pytest.mark.slow
def test_subjects_and_places_train_a_model_from_the_command_line(tmp_path, capsys):
    for name, layer in (("fgr", 3), ("pha", 1)):
        (tmp_path / "people" / name).mkdir(parents=True)
        picture = torch.zeros(layer, 24, 20)
        picture[:, 6:, 5:15] = 0.8
        (tmp_path / "people" / name / "anna.png").write_bytes(png16(picture))
    (tmp_path / "places").mkdir()
    (tmp_path / "places" / "wall.png").write_bytes(png16(torch.rand(3, 40, 60)))
    (tmp_path / "places" / "panoramas").mkdir()
    (tmp_path / "places" / "panoramas" / "field.png").write_bytes(png16(torch.rand(3, 32, 64)))
    config = tmp_path / "mine.json"
    stages = [{"name": "s", "still": True, "sizes": [32], "batch": 1, "steps": 2, "rate": 0.001}]
    stages[0] |= {"hard_negatives": 8, "drawn_bodies": 0.5, "dyed": 0.5}
    config.write_text(json.dumps({"unet": TINY_UNET, "vae": TINY_VAE, "stages": stages}))
    chosen = ["--subjects", str(tmp_path / "people"), "--backgrounds", str(tmp_path / "places")]
    for _ in range(2):  # the second time from what was kept
        assert main(["train", str(tmp_path / "out"), "--config", str(config), *chosen]) == 0
    shown = capsys.readouterr().err
    assert "1/1 subjects [" in shown and "8/8 views [" in shown
    assert (tmp_path / "out" / "model" / "unet" / "config.json").is_file()


class StoppedError(Exception):
    pass


@pytest.mark.slow
def test_drawing_that_was_stopped_goes_on_and_gives_the_same_clips(tmp_path, monkeypatch):
    monkeypatch.setattr("gvm_core.datasets.drawn.KEPT_TOGETHER", 2)
    clips, seen = Clips(count=5, size=16), []

    def stop(done):
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        drawn_layers(tmp_path / "parts", clips, stop)
    stopped = drawn_layers(tmp_path / "parts", clips, seen.append)
    assert seen == [3, 4, 5]  # two were noted as kept
    assert np.array_equal(stopped, drawn_layers(tmp_path / "whole", clips))
    assert [path.name for path in (tmp_path / "parts").iterdir()] == [clips.name]


def test_encoding_that_was_stopped_goes_on_with_the_part_that_is_missing(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("gvm_core.training.encoded.TOGETHER", 2)
    caplog.set_level(logging.INFO)
    torch.manual_seed(0)
    vae, asked = TemporalVAE(TINY_VAE), []

    class Stopping:
        def __init__(self, after):
            self.after = after

        def batch(self, count, size, frames, random):
            asked.append(count)
            if len(asked) > self.after:
                raise StoppedError
            return source.batch(count, size, frames, random)

    def encode(folder, after=99):
        asked.clear()
        return EncodedClips(folder, vae, Stopping(after), stage(encoded=7), [0], torch.float32)

    with pytest.raises(StoppedError):
        encode(tmp_path / "parts", after=3)
    stopped = encode(tmp_path / "parts")
    assert asked == [1, 2, 1]  # the example, and the parts that were missing
    whole = encode(tmp_path / "whole")
    for name, values in whole.parts[32].items():
        assert len(values) == 7 and np.array_equal(values, stopped.parts[32][name])
    assert "7/7" in caplog.text


def test_a_vae_that_folds_pixels_trains_and_gives_back_frames_of_their_size(source, tmp_path):
    folding = {**TINY_VAE, "in_channels": 48, "out_channels": 48, "down_block_types": TINY_VAE["down_block_types"][:2]}
    folding["block_out_channels"] = [32, 32]
    config = TrainingConfig(
        unet=TINY_UNET, vae=folding, stages=(stage(name="vae", network="vae", still=True, steps=2), stage())
    )
    training = Training(tmp_path, config, lambda *_: source)
    assert training.vae.factor == 8
    training.run()
    vae, images = training.vae.double(), torch.rand(2, 3, 32, 48, dtype=torch.double) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(images)
        assert latents.shape == (2, 4, 4, 6) and vae.decode(latents[None]).shape == (1, 2, 3, 32, 48)
        assert (latents - vae.encode(images, BY_ROWS)).abs().max() < SAME
        alpha = vae.decode_alpha(latents[None])
        assert alpha.shape == (1, 2, 1, 32, 48) and (alpha[0] - vae.decode_sliced(latents, BY_ROWS)).abs().max() < SAME
