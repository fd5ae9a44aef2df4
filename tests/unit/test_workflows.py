"""The bundled workflows: what a user loses here is the first minute."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
TITLE = 30
APART = 10  # pixels
IN_ROWS = {"green_screen_hint", "one_person_sam3"}  # too long for one row: its texts would be too small to read
SAMPLES = {path.name for path in (ROOT / "web" / "samples").iterdir()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_wired_soundly_and_uses_samples_the_pack_ships(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, output, target, slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][output]["links"] and nodes[source]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][slot]["link"] == link and nodes[target]["inputs"][slot]["type"] == kind
    loaders = ("LoadImage", "LoadVideo", "GVMLoadClip")
    files = [node["widgets_values"][0] for node in nodes.values() if node["type"] in loaders]
    drawn = any(node["type"] == "GVMSyntheticClip" for node in nodes.values())
    assert (files or drawn) and set(files) <= SAMPLES
    assert all(name in (ROOT / "web" / "js" / "samples.js").read_text() for name in files)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_can_be_read_from_left_to_right_and_says_what_to_do(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert any(node["type"] == "MarkdownNote" and "Press Run" in "".join(node["widgets_values"]).replace("press", "Press")
               for node in nodes.values())  # fmt: skip
    for _, source, _, target, _, _ in workflow["links"]:
        one, other = box_of(nodes[source]), box_of(nodes[target])
        next_row = path.stem in IN_ROWS and one[3] < other[1]
        assert one[2] <= other[0] or next_row, (source, target)
    for one, other in combinations(nodes.values(), 2):
        assert not overlap(box_of(one), box_of(other)), (one["type"], other["type"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_groups_and_notes_of_a_workflow_keep_a_distance(path):
    workflow = json.loads(path.read_text(encoding="utf-8"))
    notes = [box_of(node) for node in workflow["nodes"] if node["type"] == "MarkdownNote"]
    groups = [(left, top, left + width, top + height) for left, top, width, height in
              (group["bounding"] for group in workflow["groups"])]  # fmt: skip
    for one, other in combinations(groups + notes, 2):
        wider = (other[0] - APART, other[1] - APART, other[2] + APART, other[3] + APART)
        assert not overlap(one, wider), (one, other)


def box_of(node):
    """Left, top, right and bottom of a node with its title."""
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE, left + width, top + height


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_names_the_place_of_every_model_that_comes_from_elsewhere(path):
    """With this, ComfyUI offers to download what is missing."""
    for node in json.loads(path.read_text(encoding="utf-8"))["nodes"]:
        if node["type"] != "CheckpointLoaderSimple":
            continue
        (model,) = node["properties"]["models"]
        assert model["name"] == node["widgets_values"][0] == model["url"].rpartition("/")[2]
        assert model["directory"] == "checkpoints" and model["url"].startswith("https://huggingface.co/Comfy-Org/")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_has_a_thumbnail_and_its_place_in_the_documentation(path):
    """``GVM_REWRITE=1 python run.py test tests/comfy/test_browser.py -k template`` takes the pictures anew."""
    page = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    assert f"### {path.stem}\n" in page and f"](templates/{path.stem}.jpg)" in page
    for picture, widest in ((path.with_suffix(".jpg"), 480), (ROOT / "docs" / "templates" / f"{path.stem}.jpg", 1200)):
        assert min(Image.open(picture).size) > 100 and max(Image.open(picture).size) <= widest
        assert picture.stat().st_size < 150_000


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda p: p.stem)
def test_a_blueprint_is_wired_soundly_and_shows_widgets_that_exist(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    (outer,), (subgraph,) = content["nodes"], content["definitions"]["subgraphs"]
    assert (
        outer["type"] == subgraph["id"] and outer["title"] == subgraph["name"] == path.stem and subgraph["description"]
    )
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    sources, targets = dict(nodes), dict(nodes)
    sources[-10] = {"outputs": [{**each, "links": each["linkIds"]} for each in subgraph["inputs"]]}
    targets[-20] = {"inputs": [{**each, "link": each["linkIds"][0]} for each in subgraph["outputs"]]}
    for link in subgraph["links"]:
        output = sources[link["origin_id"]]["outputs"][link["origin_slot"]]
        into = targets[link["target_id"]]["inputs"][link["target_slot"]]
        assert link["id"] in output["links"] and into["link"] == link["id"]
        assert link["type"] == output["type"] == into["type"]
    for side in ("inputs", "outputs"):
        assert [(each["name"], each["type"]) for each in outer[side]] == [
            (each["name"], each["type"]) for each in subgraph[side]
        ]
    texts = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    for node, widget in outer["properties"]["proxyWidgets"]:
        assert widget in texts[nodes[int(node)]["type"]]["inputs"]


def test_the_listed_nodes_are_the_ones_in_the_code():
    listed = json.loads((ROOT / "node_list.json").read_text())
    code = "".join(path.read_text() for path in (ROOT / "nodes").glob("*.py"))
    for node_id in listed:
        assert f'node_id="{node_id}"' in code
    assert code.count('node_id="') == len(listed)


def test_samples_are_small():
    assert sum((ROOT / "web" / "samples" / name).stat().st_size for name in SAMPLES) < 1_000_000
