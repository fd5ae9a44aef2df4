"""Fetch the released weights: what they are and cost first, then resumable, verified, renamed when whole.

The hub's own client is not used here: how it reports progress, stops and resumes differs between the versions people
have, and the file must be checked against its digest before it gets its name. ``HF_ENDPOINT`` (a mirror),
``HF_HUB_OFFLINE`` and ``HF_TOKEN`` are honoured, and so are the usual proxy variables.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import DownloadError

log = logging.getLogger(__name__)

FOLDERS = ("unet", "vae", "scheduler")
SUFFIXES = {".json", ".safetensors", ".pt"}
BLOCK = 1 << 18
ATTEMPTS = 4
PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Release:
    """Weights that somebody else published.

    Attributes:
        repo: Their place on the hub.
        size: Roughly how many bytes, to say before anything is asked of the network.
        notice: What the user should know of their licence before fetching them.
    """

    repo: str
    size: int
    notice: str


GVM = Release(
    repo="geyongtao/gvm",
    size=6_500_000_000,
    notice=(
        "The GVM weights are not ours and not under this project's licence. Their authors publish the code for "
        "academic use under BSD-2-Clause and ask commercial users to contact them; for the weights no licence "
        "statement is known to us. They were trained from Stable Video Diffusion, whose Stability AI Community "
        "License has terms for derivatives, and on data sets for research only. Check that your use is allowed."
    ),
)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a release, with what it must turn out to be.

    Attributes:
        path: Relative to the model folder, with forward slashes.
        size: Bytes.
        sha256: Digest of the content, for large files.
        git_sha1: Digest as git computes it, for small ones.
    """

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all; raising from it stops the download, which can be resumed."""


def fetch_release(release: Release, folder: Path, progress: Progress | None = None) -> Path:
    """Bring a release into ``folder``, leaving files alone that are there already and right.

    Args:
        release: What to fetch.
        folder: The model folder to fill.
        progress: Told how far things are, several times a second.

    Returns:
        ``folder``, now a model that `load_model` takes.

    Raises:
        DownloadError: If the network is off or fails, the disk is too small, or a file is not what it should be.
    """
    progress = progress or (lambda _done, _total: None)
    files = list_files(release)
    total = sum(file.size for file in files)
    done, missing = 0, []
    for file in files:
        if is_whole(folder / file.path, file, lambda now, before=done: progress(before + now, total)):
            done += file.size
        else:
            missing.append(file)
    check_space(folder, missing)
    for file in sorted(missing, key=lambda file: file.path.endswith(".json")):
        fetch_file(release, file, folder / file.path, lambda now, before=done: progress(before + now, total))
        done += file.size
        progress(done, total)
    return folder


def list_files(release: Release) -> list[RemoteFile]:
    """What the release consists of, from the hub's listing."""
    url = f"{endpoint()}/api/models/{release.repo}/tree/main?recursive=true"
    try:
        with request(url) as response:
            entries: list[dict[str, Any]] = json.load(response)
    except (OSError, ValueError) as error:
        raise DownloadError(f"cannot list the files of {release.repo} at {url}: {error}. {by_hand(release)}") from error
    files = []
    for entry in entries:
        path = PurePosixPath(entry["path"])
        wanted = len(path.parts) == 2 and path.parts[0] in FOLDERS and path.suffix in SUFFIXES
        if entry["type"] == "file" and wanted and ".." not in path.parts:
            large = entry.get("lfs") or {}
            digest = None if large else entry.get("oid")
            files.append(RemoteFile(str(path), large.get("size", entry["size"]), large.get("oid"), digest))
    if not any(file.path.startswith("unet/") and file.path.endswith(".safetensors") for file in files):
        raise DownloadError(f"{release.repo} at {url} lists no UNet weights. {by_hand(release)}")
    return files


def fetch_file(release: Release, file: RemoteFile, target: Path, progress: Callable[[int], None]) -> None:
    """Fetch one file to ``target.part``, going on where an earlier attempt stopped; check it; rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    url = f"{endpoint()}/{release.repo}/resolve/main/{file.path}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            receive(url, part, file.size, progress)
            break
        except (urllib.error.URLError, TimeoutError, ConnectionError, OSError) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            if final or attempt == ATTEMPTS:
                raise DownloadError(
                    f"{url} could not be fetched: {error}. What arrived is kept; run it again to go on. "
                    f"{by_hand(release)}"
                ) from error
            log.warning("%s: %s; trying again", url, error)
            time.sleep(PAUSE * attempt)
    if not is_whole(part, file, lambda _: progress(file.size)):
        part.unlink()
        raise DownloadError(f"{url} arrived, but is not the file its publisher lists (wrong digest); it was deleted")
    part.replace(target)


def receive(url: str, part: Path, size: int, progress: Callable[[int], None]) -> None:
    """Append what is missing of ``url`` to ``part``."""
    have = part.stat().st_size if part.exists() else 0
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    with request(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        resumed = have > 0 and response.status == 206
        have = have if resumed else 0
        with part.open("ab" if resumed else "wb") as out:
            while block := response.read(BLOCK):
                out.write(block)
                have += len(block)
                progress(have)
    if have < size:
        raise ConnectionError(f"the connection ended after {have:,} of {size:,} bytes")


def is_whole(path: Path, file: RemoteFile, progress: Callable[[int], None]) -> bool:
    """Whether ``path`` has the size and digest that ``file`` should have; reading gigabytes takes its time, too."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is None and file.git_sha1 is None:
        return True
    digest = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
            progress(content.tell())
    return digest.hexdigest() == (file.sha256 or file.git_sha1)


def check_space(folder: Path, missing: list[RemoteFile]) -> None:
    """Raise `DownloadError` if the disk under ``folder`` cannot take what of ``missing`` is not there in part."""
    parts = [folder / f"{file.path}.part" for file in missing]
    wanted = sum(file.size for file in missing) - sum(part.stat().st_size for part in parts if part.exists())
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < wanted:
        raise DownloadError(f"{folder} has {free / 1e9:.1f} GB free; the weights need {wanted / 1e9:.1f} GB")


def request(url: str, headers: dict[str, str] | None = None) -> Any:
    """Open ``url``, or raise at once where the user has asked to stay offline."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise DownloadError(f"HF_HUB_OFFLINE is set, so {url} is not fetched")
    query = urllib.request.Request(url, headers={"User-Agent": "ComfyUI-GVM", **(headers or {})})
    if token := os.environ.get("HF_TOKEN"):
        query.add_unredirected_header("Authorization", f"Bearer {token}")  # never to where the hub redirects
    return urllib.request.urlopen(query, timeout=30)


def endpoint() -> str:
    """The hub, or the mirror that ``HF_ENDPOINT`` names."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def by_hand(release: Release) -> str:
    """What to do where the download cannot work."""
    return (
        f"To bring the weights by hand, put unet/, vae/ and scheduler/ of {release.repo} into a folder and choose that; "
        "a mirror can be named in HF_ENDPOINT."
    )
