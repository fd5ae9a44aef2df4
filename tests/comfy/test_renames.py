"""Renamed nodes: what a user loses here is every workflow that was saved before the node had its name of today."""

from __future__ import annotations

import json
import re

import pytest
from archive import ROOT, unpack
from comfy_env import RefusedError, Server, open_page

NONE = "RENAMES: tuple[Rename, ...] = ()\n"
MADE_UP = 'RENAMES = (Rename("GVMDrawClip", "GVMSyntheticClip", {"tier": "difficulty", "height": "rows"}),)\n'
PROMPT = {
    "1": {
        "class_type": "GVMDrawClip",
        "inputs": {"seed": 3, "difficulty": "easy", "frames": 2, "width": 64, "rows": 48},
        "_meta": {"title": "an old node"},
    },
    "2": {"class_type": "MaskPreview", "inputs": {"mask": ["1", 1]}, "_meta": {"title": "its mask"}},
}
WORKFLOW = {
    "nodes": [
        {"id": 1, "type": "GVMDrawClip", "pos": [50, 50], "widgets_values": [3, "fixed", "hard", 2, 64, 48],
         "outputs": [{"name": "images", "type": "IMAGE"}, {"name": "mask", "type": "MASK", "links": [1]}]},
        {"id": 2, "type": "MaskPreview", "pos": [450, 50], "inputs": [{"name": "mask", "type": "MASK", "link": 1}]},
    ],
    "links": [[1, 1, 1, 2, 0, "MASK"]], "version": 0.4,
}  # fmt: skip

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def server(comfyui, comfy_python, tmp_path_factory):
    """A ComfyUI with a pack that has renamed a node."""
    pack = unpack(tmp_path_factory.mktemp("pack") / "ComfyUI-GVM")
    table = pack / "nodes" / "renames.py"
    text = table.read_text(encoding="utf-8")
    assert NONE in text
    table.write_text(text.replace(NONE, MADE_UP), encoding="utf-8")
    with Server(comfyui, comfy_python, tmp_path_factory.mktemp("base"), {"ComfyUI-GVM": pack}) as started:
        yield started


def test_a_renamed_node_costs_no_node_and_no_warning(server):
    assert set(json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))) <= set(server.get("/object_info"))
    lines = [line for line in server.log.splitlines() if re.search("gvm", line, re.IGNORECASE)]
    assert not [line for line in lines if re.search("warn|error|fail", line, re.IGNORECASE)], lines


def test_a_prompt_with_a_node_of_an_earlier_release_runs(server):
    try:
        known = server.get("/node_replacements")
    except RefusedError:
        with pytest.raises(RefusedError) as refused:  # as every node that an old ComfyUI does not know
            server.prompt(PROMPT)
        assert refused.value.status == 400 and "GVMDrawClip" in json.dumps(refused.value.answer)
        return
    (told,) = known["GVMDrawClip"]
    assert told["old_widget_ids"] == ["seed", "control_after_generate", "difficulty", "frames", "width", "rows"]
    shown = server.run(PROMPT)["2"]["images"]
    assert len(shown) == 2, "two frames of its second output"


@pytest.mark.browser
def test_the_page_puts_the_node_of_today_in_place_of_the_old_one(server, browse):
    try:
        server.get("/node_replacements")
    except RefusedError:
        pytest.skip("ComfyUI before 0.14 replaces no nodes")
    with browse(server) as page:
        open_page(page, server.url)
        page.evaluate("workflow => window.app.loadGraphData(workflow, true, true, 'old.json')", WORKFLOW)
        page.get_by_text("View details").click(timeout=30_000)
        page.get_by_role("button", name="Replace Node").click(timeout=30_000)
        page.wait_for_function("window.app.graph.nodes.some(node => node.type === 'GVMSyntheticClip')", timeout=30_000)
        sent = page.evaluate("window.app.graphToPrompt().then(prompt => prompt.output)")
    assert sent["1"]["inputs"] == {"seed": 3, "tier": "hard", "frames": 2, "width": 64, "height": 48}
    assert sent["2"]["inputs"] == {"mask": ["1", 1]}
