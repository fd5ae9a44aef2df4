"""The bundled workflows: what a user loses here is the first minute."""

import json
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TITLE = 30
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
        assert nodes[source]["pos"][0] + nodes[source]["size"][0] <= nodes[target]["pos"][0], (source, target)
    for one, other in combinations(nodes.values(), 2):
        assert not overlap(box_of(one), box_of(other)), (one["type"], other["type"])


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


def test_the_listed_nodes_are_the_ones_in_the_code():
    listed = json.loads((ROOT / "node_list.json").read_text())
    code = "".join(path.read_text() for path in (ROOT / "nodes").glob("*.py"))
    for node_id in listed:
        assert f'node_id="{node_id}"' in code
    assert code.count('node_id="') == len(listed)


def test_samples_are_small():
    assert sum((ROOT / "web" / "samples" / name).stat().st_size for name in SAMPLES) < 1_000_000
