"""The Registry's archive in a real ComfyUI: what a user loses here is whatever a clone has and the archive lacks."""

from __future__ import annotations

import json
import re

import pytest
from archive import ROOT, unpack
from comfy_env import OLDEST, Server, find_comfyui, releases, workflow_to_prompt

NAME = "generative-video-matting"  # the folder in which the Manager unpacks it
NODES = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def server(comfyui, comfy_python, tmp_path_factory):
    pack = unpack(tmp_path_factory.mktemp("pack") / NAME)
    with Server(comfyui, comfy_python, tmp_path_factory.mktemp("base"), {NAME: pack}) as started:
        yield started


def test_the_oldest_release_is_the_one_that_the_registry_gets():
    folder = releases(find_comfyui())[OLDEST] if find_comfyui() else None
    if folder is None:
        pytest.skip(f"NO COMFYUI {OLDEST} FOUND: whether it is the oldest that is stated was NOT tested.")
    assert f'"{OLDEST}"' in (folder / "comfyui_version.py").read_text(encoding="utf-8")


def test_the_archive_gives_every_node_with_its_page_and_no_complaint(server):
    known = server.get("/object_info")
    for node_id in NODES:
        assert known[node_id]["python_module"] == f"custom_nodes.{NAME}"
        assert server.get(f"/extensions/{NAME}/docs/{node_id}.md")
    assert not re.search(r"IMPORT FAILED|Cannot import|Traceback", server.log)


def test_a_template_of_the_archive_runs_with_its_sample_and_the_bundled_model(server):
    offered = server.get("/workflow_templates")[NAME]
    assert set(offered) == {path.stem for path in (ROOT / "workflows").glob("*.json")}
    assert f"/extensions/{NAME}/js/gvm.js" in server.get("/extensions")
    for sample in (ROOT / "web" / "samples").iterdir():
        assert server.get(f"/extensions/{NAME}/samples/{sample.name}")
        server.upload(sample)  # as the script does when a template is opened
    workflow = server.get(f"/api/workflow_templates/{NAME}/matte_video.json")
    assert any(server.run(workflow_to_prompt(workflow, server.get("/object_info")), timeout=300).values())
