"""Make the pictures of the nodes' help pages: drawn clips with exact mattes, and what each node does with them.

    python demos/help_pictures.py [FOLDER]

Without FOLDER, they go to web/docs/pictures, and the thumbnail of the template that needs SAM's model to workflows. The picture of
GVM Load Model and the other thumbnails are screenshots: tests/comfy/test_browser.py takes them.
"""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gvm_core import MattingPipeline, TorchHost, load_model
from gvm_core.media import open_frames
from gvm_core.metrics import MatteScorer
from gvm_core.post.color import srgb_to_linear
from gvm_core.post.combine import combine
from gvm_core.post.composite import checker, light_wrap, over, premultiply
from gvm_core.post.foreground import estimate_foreground
from gvm_core.post.light import tone_mapped
from gvm_core.post.refine import RefineSettings, refine
from gvm_core.post.resize import resize
from gvm_core.post.views import view
from gvm_core.synthesis.scene import Frame, draw_frames

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "web" / "samples" / "gvm_sample_walker.mp4"
SHOWN = 8  # of its frames
EDGE, GAP = 240, 6
LONG_HAIR, CURLS, TWO_PEOPLE, YELLOW = 12, 4, 3, 7  # seeds of drawn clips

Row = list[Tensor]


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    given = parser.parse_args().folder
    for name, make in (PICTURES | THUMBNAILS).items():
        usual, widest = (ROOT / "web" / "docs" / "pictures", 1300) if name in PICTURES else (ROOT / "workflows", 480)
        file, picture = (given or usual) / f"{name}.jpg", sheet(make())
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.thumbnail((widest, widest))
        picture.save(file, quality=85, optimize=True)
        print(file, flush=True)


def sheet(tiles: Row) -> Image.Image:
    """Put pictures ``[3, H, W]`` or mattes ``[1, H, W]`` side by side, each `EDGE` pixels high."""
    gap = torch.full((3, EDGE, GAP), 0.5)
    scaled = [fitted(tile.expand(3, -1, -1)) for tile in tiles]
    row = torch.cat([part for tile in scaled for part in (gap, tile)][1:], dim=2)
    return Image.fromarray((row * 255).round().byte().movedim(0, -1).numpy())


def fitted(tile: Tensor) -> Tensor:
    """Scale a picture to the height of a row."""
    size = (EDGE, round(tile.shape[2] * EDGE / tile.shape[1]))
    if tile.shape[1] >= EDGE:
        return resize(tile[None], size)[0].clamp(0, 1)
    return torch.nn.functional.interpolate(tile[None], size)[0]  # latents: show each as a square


def drawn(seed: int, frames: int = 1) -> list[Frame]:
    """Frames of a drawn clip, twice as large as they are shown."""
    return list(draw_frames(seed, (2 * EDGE, 2 * EDGE), frames))


def plain(*colour: float) -> Tensor:
    """A picture of one colour."""
    return torch.tensor(colour)[:, None, None].expand(3, 2 * EDGE, 2 * EDGE)


def over_checker(colour: Tensor, alpha: Tensor) -> Tensor:
    """A subject over a checkerboard."""
    return over(colour, alpha, checker(*alpha.shape[-2:], square=32))


@cache
def sample() -> Tensor:
    """The sample with a real person, ``[T, 3, H, W]``."""
    with open_frames(SAMPLE) as reader:
        return torch.stack(list(reader))


@cache
def sample_mattes() -> Tensor:
    """Its mattes by the bundled model, ``[T, 1, H, W]``."""
    return MattingPipeline(load_model(), host=TorchHost("cpu")).matte(sample())


def matte() -> Row:
    """GVM Matte: the frame, the matte, the subject over a checkerboard."""
    frames, alpha = sample(), sample_mattes()
    return [frames[SHOWN], alpha[SHOWN], over_checker(frames[SHOWN], alpha[SHOWN])]


def matte_video() -> Row:
    """GVM Matte Video: frames of a clip, and their mattes."""
    frames, alpha = sample(), sample_mattes()
    at = torch.linspace(0, len(frames) - 1, 5).round().long()
    return [
        torch.cat([pair, matte.expand(3, -1, -1)], dim=1) for pair, matte in zip(frames[at], alpha[at], strict=True)
    ]


def stages() -> Row:
    """The three stages: the frame, its latents, the latents of its matte, the matte."""
    frames = sample()[SHOWN:]
    pipeline = MattingPipeline(load_model(), host=TorchHost("cpu"))
    _, clips = pipeline.fit(frames)
    images = next(pipeline.encode(clips))
    mattes = next(pipeline.denoise([images]))
    return [
        frames[0],
        colours(images.data[0]),
        colours(mattes.data[0]),
        next(pipeline.decode([mattes])).data[0].clamp(0, 1),
    ]


def colours(latents: Tensor) -> Tensor:
    """The first three channels of latents ``[C, h, w]`` as colours."""
    shown = latents[:3].float()
    low, high = shown.amin(dim=(1, 2), keepdim=True), shown.amax(dim=(1, 2), keepdim=True)
    return (shown - low) / (high - low).clamp(min=1e-6)


def refine_matte() -> Row:
    """GVM Refine Matte: a matte with haze and specks in false colours, and the same cleaned."""
    (frame,) = drawn(LONG_HAIR)
    random = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    haze = torch.nn.functional.interpolate(random, frame.alpha.shape[1:], mode="bicubic").clamp(0, 1)
    alpha, specks = frame.alpha[None], (haze > 0.98).float()
    rough = alpha * (1 - 0.08 * haze) + (1 - alpha) * (0.08 * haze + 0.6 * specks)
    clean = refine(rough, None, RefineSettings(clean_black=0.09, clean_white=0.09, despeckle=500))
    return [rough[0], view("status", frame.image[None], rough)[0], view("status", frame.image[None], clean)[0]]


def combine_mattes() -> Row:
    """GVM Combine Mattes: the frame, its matte, a garbage mask, the combined matte."""
    (frame,) = drawn(TWO_PEOPLE)
    garbage = torch.zeros_like(frame.alpha)
    garbage[..., frame.alpha.shape[2] // 2 :] = 1
    kept = combine(frame.alpha[None], garbage=garbage[None])[0]
    return [frame.image, frame.alpha, garbage, kept]


def one_person() -> Row:
    """The template with SAM 3.1: two people, and the one that was chosen."""
    frame, kept = drawn(TWO_PEOPLE)[0], combine_mattes()[-1]
    return [frame.image, over_checker(frame.foreground, kept)]


def foreground() -> Row:
    """GVM Foreground: a screen, the frame and the subject's own colours over blue."""
    (frame,) = drawn(CURLS)
    screen, blue = plain(0.1, 0.75, 0.2), plain(0.05, 0.1, 0.3)
    image = over(frame.foreground, frame.alpha, screen)
    own = estimate_foreground(image[None], frame.alpha[None])[0]
    return [image, over(image, frame.alpha, blue), over(own, frame.alpha, blue)]


def composite() -> Row:
    """GVM Composite: a checkerboard, a colour, another picture, and the same with light wrap."""
    (frame,) = drawn(CURLS)
    plate = drawn(YELLOW)[0].background
    put = over(frame.foreground, frame.alpha, plate)
    wrapped = light_wrap(put[None], frame.alpha[None], plate[None], radius=32, strength=1.0)[0]
    return [
        over_checker(frame.foreground, frame.alpha),
        over(frame.foreground, frame.alpha, plain(0.0, 0.69, 0.25)),
        put,
        wrapped,
    ]


def preview_matte() -> Row:
    """GVM Preview Matte: over, matte, status, edges, difference."""
    before, frame = drawn(LONG_HAIR, 2)
    names = ("over", "matte", "status", "edges", "difference")
    return [view(name, frame.image[None], frame.alpha[None], before.alpha[None])[0] for name in names]


def save_matte() -> Row:
    """GVM Save Matte: the matte alone, and the subject with alpha, straight and premultiplied."""
    (frame,) = drawn(LONG_HAIR)
    return [frame.alpha, frame.foreground, premultiply(frame.foreground, frame.alpha)]


def load_clip() -> Row:
    """GVM Load Clip: a bright file whose light goes above white, and the copy that the network sees."""
    (frame,) = drawn(CURLS)
    light = 4 * srgb_to_linear(frame.image)
    return [light.clamp(0, 1), tone_mapped(light)]


def load_clips() -> Row:
    """GVM Load Clips: the clips of a folder, one after the other."""
    return [drawn(seed)[0].image for seed in (LONG_HAIR, CURLS, TWO_PEOPLE)]


def synthetic_clip() -> Row:
    """GVM Synthetic Clip: the frame, its exact matte, the foreground, the background."""
    (frame,) = drawn(CURLS)
    return [frame.image, frame.alpha, frame.foreground, frame.background]


def compare_mattes() -> Row:
    """GVM Compare Mattes: its chart, for a matte that is moved by a growing number of pixels."""
    truth = torch.stack([frame.alpha for frame in drawn(CURLS, 12)])
    moved = torch.stack([frame.roll(index // 3, dims=2) for index, frame in enumerate(truth)])
    scorer = MatteScorer()
    scorer.add(moved, truth)
    score, curves = scorer.score().as_dict(), scorer.per_frame()
    chart = runpy.run_path(str(ROOT / "nodes" / "chart.py"))["chart"]  # the other nodes need ComfyUI
    names = {"mad": "MAD", "mse": "MSE", "grad": "Grad", "conn": "Conn", "dtssd": "dtSSD"}
    return [chart({shown: (score[name], curves[name]) for name, shown in names.items()}).movedim(-1, 0)]


PICTURES: dict[str, Callable[[], Row]] = {
    "GVMCombineMattes": combine_mattes,
    "GVMCompareMattes": compare_mattes,
    "GVMComposite": composite,
    "GVMForeground": foreground,
    "GVMLoadClip": load_clip,
    "GVMLoadClips": load_clips,
    "GVMMatte": matte,
    "GVMMatteVideo": matte_video,
    "GVMPreviewMatte": preview_matte,
    "GVMRefineMatte": refine_matte,
    "GVMSaveMatte": save_matte,
    "GVMSyntheticClip": synthetic_clip,
    "stages": stages,
}

THUMBNAILS: dict[str, Callable[[], Row]] = {"one_person_sam3": one_person}

if __name__ == "__main__":
    main()
