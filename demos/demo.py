"""What ``python run.py demo`` runs: the bundled model on the sample clip of a man on a bridge.

Writes matte, composite and a contact sheet to ``output/demo``.
"""

from __future__ import annotations

from pathlib import Path

import av
import torch
from PIL import Image
from torch import Tensor

from gvm_core.cli import main as command
from gvm_core.media import open_frames
from gvm_core.post.composite import checker, over
from gvm_core.post.foreground import estimate_foreground
from gvm_core.post.resize import resize

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "web" / "samples" / "gvm_sample_bridge.mp4"
LAST, RATE = 35, 24  # a second and a half: with the installation, it takes less than four minutes on two cores
SHEET_ROWS, SHEET_EDGE = 4, 180
GREEN = torch.tensor([0.0, 0.694, 0.251])[:, None, None]


def main() -> int:
    """Matte the clip, and write pictures to look at."""
    out = ROOT / "output" / "demo"
    out.mkdir(parents=True, exist_ok=True)
    matte, composite, sheet = out / "matte.mkv", out / "composite.mp4", out / "contact_sheet.png"
    if code := command(["matte", str(CLIP), str(matte), "--model", "small", "--frames", f"0-{LAST}", "--overwrite"]):
        return code
    with open_frames(CLIP, last=LAST) as reader:
        frames = torch.stack(list(reader))
    with open_frames(matte) as reader:
        alpha = torch.stack(list(reader))[:, :1]
    subject = estimate_foreground(frames, alpha)
    write_video(composite, over(subject, alpha, GREEN))
    behind = checker(*frames.shape[-2:], square=frames.shape[-1] // 40)
    rows = [
        torch.cat([frames[at], alpha[at].expand(3, -1, -1), over(subject[at], alpha[at], behind)], dim=-1)
        for at in torch.linspace(0, len(frames) - 1, SHEET_ROWS).round().long().tolist()
    ]
    width = round(SHEET_EDGE * rows[0].shape[-1] / rows[0].shape[-2])
    save(torch.cat(list(resize(torch.stack(rows), (SHEET_EDGE, width))), dim=-2), sheet)
    print(f"\nLook at\n  {sheet}  frame | matte | over a checkerboard\n  {matte}\n  {composite}")
    return 0


def write_video(path: Path, pictures: Tensor) -> None:
    """Write ``[T, 3, H, W]`` in 0..1 as a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16"})
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[-2:], "yuv420p"
        for picture in (pictures.clamp(0, 1).movedim(1, -1) * 255).round().byte().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def save(picture: Tensor, path: Path) -> None:
    """Write ``[3, H, W]`` in 0..1 as a PNG."""
    Image.fromarray((picture.clamp(0, 1).movedim(0, -1) * 255).round().byte().numpy()).save(path)


if __name__ == "__main__":
    raise SystemExit(main())
