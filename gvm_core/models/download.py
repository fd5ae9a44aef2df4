"""Download the released weights: show size and licence, resume, verify, and rename each file when it is complete.

The download uses huggingface_hub's `http_get`. Its `hf_hub_download` restarts a stopped file in newer versions, and
reports no progress in older ones. huggingface_hub's mirrors (``HF_ENDPOINT``), tokens, proxies and ``HF_HUB_OFFLINE``
work as usual.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import DownloadError
from ..lock import locked

log = logging.getLogger(__name__)

FOLDERS = ("unet", "vae", "scheduler")
SUFFIXES = {".json", ".safetensors", ".pt"}
BLOCK = 1 << 18
ATTEMPTS = 4
PAUSE, TIMEOUT, PATIENCE = 0.5, 30.0, 1.0
"""Seconds: pause between attempts, wait for the hub's answer, wait for another process's lock."""
BAR = "huggingface_hub.http_get"
AGENT = "ComfyUI-GVM"


@dataclass(frozen=True, slots=True)
class Release:
    """Weights that somebody else published.

    Attributes:
        repo: The repository on the hub.
        size: Rough number of bytes, shown before any network request.
        notice: What the user should know about the licence before the download.
        revision: The commit to download. None takes the newest, while no commit is known to be the release.
    """

    repo: str
    size: int
    notice: str
    revision: str | None = None


GVM = Release(
    repo="geyongtao/gvm",
    size=6_500_000_000,
    notice=(
        "The GVM weights are not ours and not under this project's licence. Their authors publish the code for "
        "academic use under BSD-2-Clause and ask commercial users to contact them. We know of no licence statement "
        "for the weights. They were trained from Stable Video Diffusion, whose Stability AI Community License has "
        "terms for derivatives, and on data sets for research only. Check that your use is allowed."
    ),
)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a release, with its expected size and digest.

    Attributes:
        path: Relative to the model folder, with forward slashes.
        revision: The commit at which the file was listed and is downloaded.
        size: Bytes.
        sha256: Digest of the content, for large files.
        git_sha1: Digest as git computes it, for small files.
    """

    path: str
    revision: str
    size: int
    sha256: str | None
    git_sha1: str | None


Progress = Callable[[int, int], None]
"""Called with the bytes done and the total bytes. It may raise to stop the download, which can be resumed later."""


def fetch_release(release: Release, folder: Path, progress: Progress | None = None) -> Path:
    """Download a release into ``folder``. Files that are already there and correct are kept.

    Args:
        release: What to download.
        folder: The model folder to fill.
        progress: Called with the progress every few megabytes.

    Returns:
        ``folder``, now a model that `load_model` takes.

    Raises:
        DownloadError: If the network is off or fails, the disk is too small, or a file has the wrong content.
    """
    progress = progress or (lambda _done, _total: None)
    files = list_files(release, folder)
    total = sum(file.size for file in files)
    waits = False
    while True:
        with locked(folder, PATIENCE) as mine:
            if mine:
                fetch_missing(release, files, folder, progress)
                return folder
        if not waits:
            log.info("another process is downloading %s into %s; waiting for it", release.repo, folder)
        waits = True
        progress(0, total)


def fetch_missing(release: Release, files: list[RemoteFile], folder: Path, progress: Progress) -> None:
    """Download the ``files`` that are missing or wrong in ``folder``."""
    total = sum(file.size for file in files)
    done, missing = 0, []
    for file in files:
        if is_whole(folder / file.path, file, lambda now, before=done: progress(before + now, total)):
            done += file.size
        else:
            missing.append(file)
    check_space(folder, missing)
    for file in sorted(missing, key=lambda file: file.path.endswith(".json")):
        fetch_file(release, file, folder, lambda now, before=done: progress(before + now, total))
        done += file.size
        progress(done, total)


def list_files(release: Release, folder: Path) -> list[RemoteFile]:
    """The files of the release at one commit, as the hub lists them. Error messages name ``folder``, where they belong."""
    from huggingface_hub import HfApi

    hub = HfApi(endpoint=endpoint(), library_name=AGENT)
    place, advice = f"{release.repo} at {hub.endpoint}", by_hand(release, folder)
    if is_offline():
        raise DownloadError(f"HF_HUB_OFFLINE is set, so {place} cannot be downloaded. Unset it. {advice}")
    try:
        listed = hub.model_info(release.repo, revision=release.revision, files_metadata=True, timeout=TIMEOUT)
    except (*network_errors(), ValueError, KeyError) as error:
        online = "" if getattr(error, "response", None) is not None else "Is this computer online? "
        raise DownloadError(f"{online}The files of {place} cannot be listed: {error}. {advice}") from error
    files = []
    for entry in listed.siblings or []:
        path, large = PurePosixPath(entry.rfilename), entry.lfs
        size = large.size if large else entry.size
        wanted = len(path.parts) == 2 and path.parts[0] in FOLDERS and path.suffix in SUFFIXES
        if wanted and ".." not in path.parts:
            if listed.sha is None or size is None:
                raise DownloadError(f"{place} does not list its commit or a file's size. {advice}")
            digests = (large.sha256, None) if large else (None, entry.blob_id)
            files.append(RemoteFile(str(path), listed.sha, size, *digests))
    if not any(file.path.startswith("unet/") and file.path.endswith(".safetensors") for file in files):
        raise DownloadError(f"{place} lists no UNet weights. {advice}")
    return files


def fetch_file(release: Release, file: RemoteFile, folder: Path, progress: Callable[[int], None]) -> None:
    """Download one file to a ``.part``, resuming an earlier attempt. Check it, then rename it."""
    from huggingface_hub import hf_hub_url

    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    url = hf_hub_url(release.repo, file.path, revision=file.revision, endpoint=endpoint())
    for attempt in range(1, ATTEMPTS + 1):
        try:
            receive(url, part, file.size, progress)
            break
        except network_errors() as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status == 416 or (part.exists() and part.stat().st_size > file.size):
                break  # the part has the wrong size: the check below raises
            if attempt == ATTEMPTS or (status is not None and status < 500 and status != 429):
                raise DownloadError(
                    f"{url} could not be downloaded: {error}. The finished part is kept; run it again to resume. "
                    f"{by_hand(release, folder)}"
                ) from error
            log.warning("%s: %s; trying again", url, error)
            time.sleep(PAUSE * attempt)
    if not is_whole(part, file, lambda _: progress(file.size)):
        part.unlink()
        raise DownloadError(
            f"{url} is not the file that its publisher lists: wrong size or digest. It was deleted; run it again."
        )
    part.replace(target)


def receive(url: str, part: Path, size: int, progress: Callable[[int], None]) -> None:
    """Append the missing bytes of ``url`` to ``part``."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(library_name=AGENT), "Accept-Encoding": "identity"}
    with CountedFile(part, progress) as content, no_bar():
        if (have := content.tell()) > size:
            content.seek(0)
            have = content.truncate()
        http_get(url, content, resume_size=have, headers=headers, expected_size=size)


class CountedFile(io.BufferedWriter):
    """A file to append to, which reports its length after every block.

    Args:
        path: Path of the file.
        progress: Called with the length; it may raise to stop the download.
    """

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(str(path), "ab"))
        self.progress = progress

    def write(self, block: bytes) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Append ``block``."""
        written = super().write(block)
        self.progress(self.tell())
        return written


@contextmanager
def no_bar() -> Iterator[None]:
    """Hide huggingface_hub's progress bar of a single file: the caller shows the progress of all files."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled(BAR):
        yield
        return
    disable_progress_bars(BAR)
    try:
        yield
    finally:
        enable_progress_bars(BAR)


def network_errors() -> tuple[type[BaseException], ...]:
    """The errors a request can raise. The base classes of huggingface_hub's errors differ between its versions."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *HfHubHTTPError.__bases__)


def is_whole(path: Path, file: RemoteFile, progress: Callable[[int], None]) -> bool:
    """Whether ``path`` has the size and digest of ``file``. Reports progress, as reading gigabytes takes time."""
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
    """Raise `DownloadError` if the disk of ``folder`` has too little space for the rest of the ``missing`` files."""
    parts = [folder / f"{file.path}.part" for file in missing]
    wanted = sum(file.size for file in missing) - sum(part.stat().st_size for part in parts if part.exists())
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < wanted:
        raise DownloadError(f"{folder} has {free / 1e9:.1f} GB free; the weights need {wanted / 1e9:.1f} GB")


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` is set now. huggingface_hub reads it only once, when it is imported."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def endpoint() -> str | None:
    """The mirror in ``HF_ENDPOINT`` now; None for the hub itself."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def by_hand(release: Release, folder: Path) -> str:
    """What the user can do if the download cannot work."""
    return (
        f"To install the weights by hand, put unet/, vae/ and scheduler/ of {release.repo} into {folder}. "
        "To use a mirror, set HF_ENDPOINT."
    )
