"""What ``python run.py demo`` runs: the bundled model on drawn clips new to it, and on a real person.

Writes matte, composite and a contact sheet to ``output/demo``, and prints the error against the true mattes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gvm_core import MatteSettings, MattingPipeline, TorchHost, load_model
from gvm_core.cli import main as command
from gvm_core.evaluation.cases import synthetic_cases
from gvm_core.media import open_frames
from gvm_core.post.composite import checker, over

ROOT = Path(__file__).resolve().parents[1]
CLIPS, FRAMES, SIZE = 16, 16, 128
MAX_MAD = 0.03  # the bundled model's mean MAD over the clips is below this
SHEET_EDGE = 192


def main() -> int:
    """Matte the clips, measure the error, and write pictures to look at."""
    out = ROOT / "output" / "demo"
    out.mkdir(parents=True, exist_ok=True)
    pipeline = MattingPipeline(load_model("demo"), MatteSettings(), TorchHost("cpu"))
    rows, errors, constant = [], [], []
    for number, case in enumerate(synthetic_cases(("easy", "medium"), CLIPS // 2, 0, SIZE, FRAMES)):
        image, truth = (torch.stack(layer) for layer in zip(*case.open(), strict=True))
        alpha = pipeline.matte(image)
        errors.append(float((alpha - truth).abs().mean()))
        constant.append(float((truth.mean() - truth).abs().mean()))
        if number % 3 == 0:
            rows.append(picture_row(image[FRAMES // 2], alpha[FRAMES // 2], truth[FRAMES // 2]))
        print(f"clip {number + 1:2d} of {CLIPS}, {case.group:6}: MAD {errors[-1]:.4f}", flush=True)

    person = ROOT / "web" / "samples" / "gvm_sample_walker.mp4"
    matte, composite = out / "matte.mkv", out / "composite.mp4"
    if code := command(["matte", str(person), str(matte), "--model", "demo", "--overwrite"]):
        return code
    with open_frames(person) as reader:
        frames = torch.stack(list(reader))
    with open_frames(matte) as reader:
        alpha = torch.stack(list(reader))[:, :1]
    write_composite(composite, frames, alpha)
    middle = len(frames) // 2
    rows.append(picture_row(frames[middle], alpha[middle], None))
    save(torch.cat(rows, dim=1), out / "contact_sheet.png")

    mad = sum(errors) / CLIPS
    print(
        f"\nMAD against the truth, {CLIPS} unseen easy and medium clips of {FRAMES} frames at {SIZE} px: {mad:.4f} "
        f"(a constant answer: {sum(constant) / CLIPS:.2f})\n\nLook at\n"
        f"  {out / 'contact_sheet.png'}  frame | matte | over a checkerboard | truth; last row a real person\n"
        f"  {matte}\n  {composite}\n\nThe demo model is a demonstration, trained on drawings; it is not for production."
    )
    if mad > MAX_MAD:
        print(f"\nThe MAD should be below {MAX_MAD}. So the model or the code has changed since the model was trained.")
        return 1
    return 0


def picture_row(image: Tensor, alpha: Tensor, truth: Tensor | None) -> Tensor:
    """Frame, matte, composite and truth side by side, ``[3, E, 4E]``."""
    behind = checker(*image.shape[-2:], square=max(image.shape[-1] // 16, 1))
    last = torch.full_like(image, 0.5) if truth is None else truth.expand_as(image)
    cells = torch.stack([image, alpha.expand_as(image), over(image, alpha, behind), last])
    return torch.cat(list(torch.nn.functional.interpolate(cells, (SHEET_EDGE, SHEET_EDGE), mode="bicubic")), dim=-1)


def write_composite(path: Path, frames: Tensor, alpha: Tensor) -> None:
    """Write the subject over screen green, as a video."""
    import av

    green = torch.tensor([0.0, 0.694, 0.251])[:, None, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "16"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[-2:], "yuv420p"
        for picture in (over(frames, alpha, green).clamp(0, 1).movedim(1, -1) * 255).round().byte().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def save(picture: Tensor, path: Path) -> None:
    """Write ``[3, H, W]`` in 0..1 as a PNG."""
    Image.fromarray((picture.clamp(0, 1).movedim(0, -1) * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    raise SystemExit(main())
