"""Fetching weights: what a user loses here is hours of download, or trust in the file."""

import pytest
from hub import HubServer

from gvm_core import load_model
from gvm_core.errors import DownloadError
from gvm_core.models.download import GVM, Release, fetch_release, list_files

RELEASE = Release("someone/tiny", 1000, "notice")


@pytest.fixture
def hub(tiny_folder, monkeypatch):
    files = {str(p.relative_to(tiny_folder)): p.read_bytes() for p in tiny_folder.rglob("*") if p.is_file()}
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with HubServer({**files, "README.md": b"x", "unet/model.bin": b"x", "unet/deep/x.json": b"{}"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_a_fetched_model_loads_and_progress_reaches_the_end(hub, tmp_path):
    marks = []
    fetch_release(RELEASE, tmp_path / "gvm", lambda done, total: marks.append((done, total)))
    assert load_model(tmp_path / "gvm").config.scheduler
    assert marks == sorted(marks) and marks[-1][0] == marks[-1][1] > 0
    names = {str(p.relative_to(tmp_path / "gvm")) for p in (tmp_path / "gvm").rglob("*") if p.is_file()}
    assert names == {f.path for f in list_files(RELEASE)}
    assert not any("README" in name or name.endswith(".part") for name in names)


def test_a_cut_connection_is_taken_up_where_it_broke(hub, tmp_path):
    hub.cut_after = [100_000, 50_000]
    fetch_release(RELEASE, tmp_path / "gvm")
    assert any(asked and asked != "bytes=0-" for _, asked, _ in hub.seen)
    load_model(tmp_path / "gvm")


def test_a_stopped_download_goes_on_and_what_is_there_is_not_fetched_again(hub, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        fetch_release(RELEASE, tmp_path / "gvm", stop)
    whole = {p.relative_to(tmp_path / "gvm").as_posix() for p in (tmp_path / "gvm").rglob("*") if p.is_file()}
    (part,) = [name for name in whole if name.endswith(".part")]
    size = (tmp_path / "gvm" / part).stat().st_size
    hub.seen.clear()
    fetch_release(RELEASE, tmp_path / "gvm")
    asked = {path.split("/resolve/main/")[-1]: span for path, span, _ in hub.seen if "/resolve/" in path}
    assert asked[part.removesuffix(".part")] == f"bytes={size}-"
    assert asked.keys() == {file.path for file in list_files(RELEASE)} - whole
    hub.seen.clear()
    fetch_release(RELEASE, tmp_path / "gvm")
    assert [path for path, _, _ in hub.seen if "/resolve/" in path] == []


def test_a_file_that_is_not_what_was_promised_never_gets_its_name(hub, tmp_path):
    name = "vae/diffusion_pytorch_model.safetensors"
    hub.files[name] = hub.files[name][:-1] + b"\0"
    with pytest.raises(DownloadError, match="wrong digest"):
        fetch_release(RELEASE, tmp_path / "gvm")
    assert not (tmp_path / "gvm" / name).exists() and not (tmp_path / "gvm" / f"{name}.part").exists()


def test_a_file_the_hub_lacks_is_named_with_what_to_do(hub, tmp_path):
    del hub.files["vae/config.json"]
    with pytest.raises(DownloadError, match=r"vae/config\.json could not be fetched.*by hand"):
        fetch_release(RELEASE, tmp_path / "gvm")


def test_offline_means_no_request_at_all(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        fetch_release(RELEASE, tmp_path / "gvm")
    assert hub.seen == []


def test_an_unreachable_hub_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(DownloadError, match="cannot list the files"):
        fetch_release(RELEASE, tmp_path / "gvm")


def test_a_full_disk_is_noticed_before_the_download(hub, tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("gvm_core.models.download.shutil.disk_usage", lambda _: usage(1, 1, 10))
    with pytest.raises(DownloadError, match="GB free"):
        fetch_release(RELEASE, tmp_path / "gvm")


def test_a_listing_cannot_write_outside_its_folder(hub, tmp_path):
    hub.claims["../evil.json"] = hub.claims["unet/../evil.json"] = b"{}"
    assert not [f for f in list_files(RELEASE) if ".." in f.path]


def test_the_token_is_sent_to_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    list_files(RELEASE)
    assert hub.seen[-1][2] == "Bearer secret"


def test_the_user_sees_size_and_licence_before_anything_is_fetched(hub, tmp_path, capsys, monkeypatch):
    from gvm_core.cli import main

    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert main(["fetch", "--to", str(tmp_path / "gvm")]) == 1
    shown = capsys.readouterr()
    assert "6.5 GB" in shown.out and "Stability AI Community License" in shown.out and "--yes" in shown.err
    assert hub.seen == [] and not (tmp_path / "gvm").exists()


def test_the_real_release_is_what_we_think():
    assert GVM.repo == "geyongtao/gvm" and GVM.size > 6e9
