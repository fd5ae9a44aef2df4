"""Fetching weights: what a user loses here is hours of download, or trust in the file."""

import os
import subprocess
import sys
from collections import namedtuple

import pytest
from hub import HubServer

from gvm_core import load_model
from gvm_core.errors import DownloadError
from gvm_core.models import download
from gvm_core.models.download import GVM, Release, fetch_release, list_files

RELEASE = Release("someone/tiny", 1000, "notice")
LARGE = "unet/diffusion_pytorch_model.safetensors"
STEP = 10 * 2**20
"""The hub's client passes on so many bytes at once."""


@pytest.fixture
def hub(tiny_folder, monkeypatch):
    files = {p.relative_to(tiny_folder).as_posix(): p.read_bytes() for p in tiny_folder.rglob("*") if p.is_file()}
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE", 0.01)
    with HubServer({**files, "README.md": b"x", "unet/model.bin": b"x", "unet/deep/x.json": b"{}"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def asked_for(hub):
    """Files and ranges that were fetched, wherever they lay."""
    seen = [(path.split("/resolve/")[-1].partition("/")[2], span) for path, span, _ in hub.seen if "/resolve/" in path]
    return [(name, span) for name, span in seen if not (hub.store and name.endswith(".safetensors"))] + [
        (path.removeprefix("/store/").split("?")[0], span) for path, span, _ in hub.store.seen
    ]


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_fetched_model_loads_and_progress_reaches_the_end(hub, tmp_path):
    marks = []
    fetch_release(RELEASE, tmp_path / "gvm", lambda done, total: marks.append((done, total)))
    assert load_model(tmp_path / "gvm").config.scheduler
    assert marks == sorted(marks) and marks[-1][0] == marks[-1][1] > 0
    assert files_in(tmp_path / "gvm") == {file.path for file in list_files(RELEASE, tmp_path / "gvm")}
    assert [path.name for path in tmp_path.iterdir()] == ["gvm"], "neither a lock nor a cache stays"
    assert not any(path.is_dir() and path.name[0] == "." for path in (tmp_path / "gvm").iterdir())


def test_every_file_is_fetched_at_the_commit_that_was_listed(hub, tmp_path):
    assert {file.revision for file in list_files(RELEASE, tmp_path / "gvm")} == {hub.commit}
    fetch_release(RELEASE, tmp_path / "gvm")
    fetched = [path for path, _, _ in hub.seen if "/resolve/" in path]
    assert fetched and all(path.startswith(f"/someone/tiny/resolve/{hub.commit}/") for path in fetched)
    list_files(Release("someone/tiny", 1000, "notice", revision="abc"), tmp_path)
    assert hub.seen[-1][0].startswith("/api/models/someone/tiny/revision/abc?")


def test_a_cut_connection_is_taken_up_where_it_broke(hub, tmp_path):
    hub.cut_after = [2 * STEP + 5, 100]
    fetch_release(RELEASE, tmp_path / "gvm")
    spans = [span for name, span in asked_for(hub) if name == LARGE]
    assert spans[0] is None and f"bytes={2 * STEP}-" in spans[1:]
    assert (tmp_path / "gvm" / LARGE).read_bytes() == hub.files[LARGE]


def test_a_connection_that_breaks_again_and_again_is_an_error_and_goes_on_the_next_time(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.cut_after = [STEP + 5] + [7] * 20
    with pytest.raises(DownloadError, match=r"(?s)model\.safetensors could not be downloaded.*run it again to resume"):
        fetch_release(RELEASE, tmp_path / "gvm")
    assert (tmp_path / "gvm" / f"{LARGE}.part").stat().st_size == STEP
    hub.cut_after.clear(), hub.store.seen.clear()
    fetch_release(RELEASE, tmp_path / "gvm")
    assert (LARGE, f"bytes={STEP}-") in asked_for(hub)
    assert (tmp_path / "gvm" / LARGE).read_bytes() == hub.files[LARGE]


def test_a_stopped_download_goes_on_and_what_is_there_is_not_fetched_again(hub, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        fetch_release(RELEASE, tmp_path / "gvm", stop)
    whole = files_in(tmp_path / "gvm")
    assert f"{LARGE}.part" in whole and [path.name for path in tmp_path.iterdir()] == ["gvm"]
    size = (tmp_path / "gvm" / f"{LARGE}.part").stat().st_size
    assert 0 < size < len(hub.files[LARGE])
    hub.seen.clear(), hub.store.seen.clear()
    fetch_release(RELEASE, tmp_path / "gvm")
    asked = dict(asked_for(hub))
    assert asked[LARGE] == f"bytes={size}-"
    assert asked.keys() == {file.path for file in list_files(RELEASE, tmp_path / "gvm")} - whole
    hub.seen.clear(), hub.store.seen.clear()
    fetch_release(RELEASE, tmp_path / "gvm")
    assert asked_for(hub) == []


@pytest.mark.parametrize("longer", [b"", b"more"])
def test_what_an_earlier_version_left_in_part_is_not_taken_for_this_one(hub, tmp_path, longer):
    name = "vae/diffusion_pytorch_model.safetensors"
    (tmp_path / "gvm" / "vae").mkdir(parents=True)
    (tmp_path / "gvm" / f"{name}.part").write_bytes(bytes(len(hub.files[name])) + longer)
    if not longer:
        with pytest.raises(DownloadError, match="wrong size or digest"):
            fetch_release(RELEASE, tmp_path / "gvm")
    fetch_release(RELEASE, tmp_path / "gvm")
    load_model(tmp_path / "gvm")


@pytest.mark.parametrize("name", ["vae/diffusion_pytorch_model.safetensors", "vae/config.json"])
@pytest.mark.parametrize("wrong", [lambda it: it[:-1] + b"\0", lambda it: it[:-1], lambda it: it + b"\0"])
def test_a_file_that_is_not_what_was_promised_never_gets_its_name(hub, tmp_path, name, wrong, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.files[name] = wrong(hub.files[name])
    with pytest.raises(DownloadError, match="wrong size or digest"):
        fetch_release(RELEASE, tmp_path / "gvm")
    assert not (tmp_path / "gvm" / name).exists() and not (tmp_path / "gvm" / f"{name}.part").exists()


def test_a_file_the_hub_lacks_is_named_with_what_to_do(hub, tmp_path):
    del hub.files["vae/config.json"]
    with pytest.raises(DownloadError, match=r"(?s)vae/config\.json could not be downloaded.*by hand"):
        fetch_release(RELEASE, tmp_path / "gvm")


def test_offline_means_no_request_at_all(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        fetch_release(RELEASE, tmp_path / "gvm")
    assert hub.seen == []


def test_an_unreachable_hub_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(DownloadError, match=r"online\?.*cannot be listed") as raised:
        fetch_release(RELEASE, tmp_path / "gvm")
    assert f"scheduler/ of {RELEASE.repo} into {tmp_path / 'gvm'}." in str(raised.value), "where to put them by hand"


def test_a_mirror_that_is_named_late_is_used(hub, tmp_path, monkeypatch):
    list_files(RELEASE, tmp_path / "gvm")  # huggingface_hub is imported by now
    with HubServer(hub.files) as mirror:
        monkeypatch.setenv("HF_ENDPOINT", mirror.url.rstrip("/"))
        hub.seen.clear()
        fetch_release(RELEASE, tmp_path / "gvm")
        assert mirror.seen and hub.seen == []


def test_the_users_proxy_is_gone_through(hub, tmp_path):
    code = (
        "import sys; from pathlib import Path; from gvm_core.models.download import Release, list_files;"
        "print(len(list_files(Release('someone/tiny', 1, ''), Path('gvm'))))"
    )
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY"), hub.url) | {"no_proxy": "", "NO_PROXY": ""}
    environment = {**os.environ, **proxy, "HF_ENDPOINT": "http://hub.invalid", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert any(path.startswith("http://hub.invalid/api/models/someone/tiny") for path, _, _ in hub.seen)


def test_a_full_disk_is_noticed_before_the_download(hub, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("gvm_core.models.download.shutil.disk_usage", lambda _: usage(1, 1, 10))
    with pytest.raises(DownloadError, match="GB free"):
        fetch_release(RELEASE, tmp_path / "gvm")
    assert asked_for(hub) == [] and not (tmp_path / "gvm").exists()


FETCH = """
import sys
from pathlib import Path
from gvm_core.models.download import Release, fetch_release
told = []
fetch_release(Release("someone/tiny", 1000, "notice"), Path(sys.argv[1]), lambda *marks: told.append(marks))
print(told[-1][0] == told[-1][1])
"""


@pytest.mark.slow
def test_two_processes_that_fetch_into_one_folder_both_end_with_the_whole_model(hub, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FETCH, str(tmp_path / "gvm")]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [each.communicate(timeout=120)[0] for each in both] == ["True\n"] * 2
    load_model(tmp_path / "gvm")
    assert files_in(tmp_path / "gvm") == {file.path for file in list_files(RELEASE, tmp_path / "gvm")}
    assert len([name for name, _ in asked_for(hub) if name == LARGE]) == 1, "one of them waited"
    assert [path.name for path in tmp_path.iterdir()] == ["gvm"]


def test_who_waits_for_another_process_can_be_stopped(hub, tmp_path, monkeypatch):
    def stop(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "PATIENCE", 0.1)
    with download.locked(tmp_path / "gvm"), pytest.raises(KeyboardInterrupt):
        fetch_release(RELEASE, tmp_path / "gvm", stop)


def test_nothing_is_drawn_and_the_hubs_own_bars_are_as_they_were(hub, tmp_path, capfd):
    from huggingface_hub.utils import are_progress_bars_disabled

    before = are_progress_bars_disabled(download.BAR)
    fetch_release(RELEASE, tmp_path / "gvm")
    assert "%" not in capfd.readouterr().err
    assert are_progress_bars_disabled(download.BAR) is before


def test_a_listing_cannot_write_outside_its_folder(hub, tmp_path):
    hub.claims["../evil.json"] = hub.claims["unet/../evil.json"] = b"{}"
    assert not [f for f in list_files(RELEASE, tmp_path / "gvm") if ".." in f.path]


def test_the_token_is_sent_to_the_hub_and_not_to_where_that_sends_us_on(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch_release(RELEASE, tmp_path / "gvm")
    assert {token for _, _, token in hub.seen} == {"Bearer secret"}
    assert hub.store.seen and {token for _, _, token in hub.store.seen} == {None}


def test_the_user_sees_size_and_licence_before_anything_is_fetched(hub, tmp_path, capsys, monkeypatch):
    from gvm_core.cli import main

    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert main(["fetch", "--to", str(tmp_path / "gvm")]) == 1
    shown = capsys.readouterr()
    assert "6.5 GB" in shown.out and "Stability AI Community License" in shown.out and "--yes" in shown.err
    assert hub.seen == [] and not (tmp_path / "gvm").exists()


def test_the_command_shows_how_far_it_is_and_no_address_of_a_store(hub, tmp_path):
    """In a process of its own: what is logged depends on what has set up logging before."""
    command = [sys.executable, "-m", "gvm_core", "fetch", "--yes", "--to", str(tmp_path / "gvm")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr and "B/s]" in done.stderr and "signature" not in done.stderr
    assert "Stability AI Community License" in done.stdout and done.stdout.rstrip().endswith(
        f"--model {tmp_path / 'gvm'}"
    )


def test_the_real_release_is_what_we_think():
    assert GVM.repo == "geyongtao/gvm" and GVM.size > 6e9
