"""Second layer: a real ComfyUI server, driven over HTTP as its page drives it, oldest and newest release."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from comfy_env import RefusedError, Server, workflow_to_prompt
from texts import ENGLISH, LANGUAGES, locale
from texts import page as help_page

from gvm_core.runs.parts import FRAMES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NEEDS_SAM = "one_person_sam3"  # and a model that is not bundled
NETWORKS = ("GVMMatte", "GVMMatteVideo", "GVMDenoise")
CLIPS = {"LoadVideo", "GVMSyntheticClip"}

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def server(comfyui, comfy_python, tmp_path_factory):
    with Server(comfyui, comfy_python, tmp_path_factory.mktemp("base"), {"ComfyUI-GVM": ROOT}) as started:
        for sample in (ROOT / "web" / "samples").iterdir():
            started.upload(sample)  # what the pack's script does when a bundled workflow is opened
        yield started


def test_the_server_starts_with_the_pack_and_no_complaint(server):
    assert not re.search(r"IMPORT FAILED|Cannot import|Traceback", server.log)
    lines = [line for line in server.log.splitlines() if re.search(r"gvm", line, re.IGNORECASE)]
    assert not [line for line in lines if re.search(r"warn|error|fail", line, re.IGNORECASE)], lines


def test_every_node_is_listed_with_tooltips(server):
    listed = server.get("/object_info")
    for node_id in json.loads((ROOT / "node_list.json").read_text()):
        info = listed[node_id]
        assert info["category"] == "GVM" and info["python_module"] == "custom_nodes.ComfyUI-GVM"
        inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
        assert all(spec[1].get("tooltip") for spec in inputs.values()), node_id


def test_the_workflows_are_offered_as_templates_and_their_samples_are_served(server):
    offered = server.get("/workflow_templates")["ComfyUI-GVM"]
    assert set(offered) == {path.stem for path in WORKFLOWS}
    for path in WORKFLOWS:
        assert server.get(f"/api/workflow_templates/ComfyUI-GVM/{path.stem}.json")["nodes"]
    assert "/extensions/ComfyUI-GVM/js/gvm.js" in server.get("/extensions")
    assert server.get("/extensions/ComfyUI-GVM/samples/gvm_sample_walker.mp4")


def test_names_tooltips_and_help_are_served_in_every_language(server):
    served, pages = server.get("/i18n"), "/extensions/ComfyUI-GVM/docs"
    for language in (ENGLISH, *LANGUAGES):
        assert served[language] == locale(language, "main") | {"nodeDefs": locale(language)}
        for node_id in locale(language):
            name = f"{node_id}.md" if language == ENGLISH else f"{node_id}/{language}.md"
            assert server.get(f"{pages}/{name}").decode() == help_page(node_id, language)


@pytest.mark.parametrize("path", [path for path in WORKFLOWS if path.stem != NEEDS_SAM], ids=lambda p: p.stem)
def test_a_bundled_workflow_runs_shows_progress_and_previews_and_is_cached_the_second_time(server, path):
    prompt = workflow_to_prompt(json.loads(path.read_text(encoding="utf-8")), server.get("/object_info"))
    kinds = {content["class_type"]: node for node, content in prompt.items()}
    for content in prompt.values():
        if "seed" in content["inputs"]:  # changes no matte, but ComfyUI does not take one from another workflow's run
            content["inputs"]["seed"] = 1 + WORKFLOWS.index(path)
    matte = next(kinds[kind] for kind in (*NETWORKS, "GVMRefineMatte") if kind in kinds)
    with server.events() as events:
        first = server.prompt(prompt, events.client_id)
        events.wait("execution_success", timeout=180, prompt_id=first)
        progress = [m for m in events.messages if m["type"] == "progress" and m["data"].get("node") == matte]
        least = 8 if kinds.keys() & CLIPS else 1
        assert progress and progress[-1]["data"]["value"] == progress[-1]["data"]["max"] >= least
        if kinds.keys() & NETWORKS:
            assert events.previews and is_picture(events.previews[-1].image)
        assert server.history(first)["status"]["status_str"] == "success"

        again = server.prompt(prompt, events.client_id)
        events.wait("execution_success", timeout=60, prompt_id=again)
        cached = events.wait("execution_cached", prompt_id=again)["data"]["nodes"]
        assert matte in cached
    assert any(server.history(first)["outputs"].values())


def test_a_workflow_that_was_saved_with_the_models_earlier_name_runs(server):
    workflow = (ROOT / "workflows" / "matte_image_batch.json").read_text(encoding="utf-8").replace('"small"', '"demo"')
    prompt = workflow_to_prompt(json.loads(workflow), server.get("/object_info"))
    (loader,) = (content["inputs"] for content in prompt.values() if content["class_type"] == "GVMLoadModel")
    assert loader["model"] == "demo"
    finished(server, server.prompt(prompt))
    loader["model"] = "gone"
    with pytest.raises(RefusedError) as refused:
        server.prompt(prompt)
    assert "there is no model 'gone'" in json.dumps(refused.value.answer)


def test_the_workflow_with_sam_lacks_nothing_but_its_model(server):
    known = server.get("/object_info")
    if "SAM3_VideoTrack" not in known:
        pytest.skip("this ComfyUI has no SAM3 nodes: the workflow one_person_sam3 was NOT tested on it")
    workflow = json.loads((ROOT / "workflows" / f"{NEEDS_SAM}.json").read_text(encoding="utf-8"))
    prompt = workflow_to_prompt(workflow, known)
    with pytest.raises(RefusedError) as refused:
        server.prompt(prompt)
    errors = [error for node in refused.value.answer["node_errors"].values() for error in node["errors"]]
    assert [(error["type"], error["extra_info"]["input_name"]) for error in errors] == [
        ("value_not_in_list", "ckpt_name")
    ]


def test_a_folder_of_clips_is_matted_though_one_is_broken(server):
    folder = server.base / "input" / "clips"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4"):
        (folder / name).write_bytes((ROOT / "web" / "samples" / "gvm_sample_green.mp4").read_bytes())
    (folder / "b.mp4").write_bytes(b"no video")
    known = server.get("/object_info")["GVMMatteVideo"]["input"]
    widgets = (known["required"] | known["optional"]).items()
    defaults = {name: spec[1]["default"] for name, spec in widgets if "default" in spec[1]}
    prompt = {
        "1": {"class_type": "GVMLoadClips", "inputs": {"folder": "clips"}},
        "2": {"class_type": "GVMLoadModel", "inputs": long_prompt()["3"]["inputs"]},
        "3": {
            "class_type": "GVMMatteVideo",
            "inputs": defaults | {
                "model": ["2", 0], "video": ["1", 0], "filename_prefix": ["1", 1], "last_frame": 3, "if_it_fails": "go on",
                "format": "H.264 (.mp4)",
            },
        },
        "4": {"class_type": "SaveVideo", "inputs": {"video": ["3", 0], "filename_prefix": "again", "format": "auto", "codec": "auto"}},
    }  # fmt: skip
    with server.events() as events:
        outputs = finished(server, server.prompt(prompt, events.client_id))
        assert not [message for message in events.messages if message["type"] == "execution_error"]
        assert re.search(r"a\.mp4: .*a_00001_\.mp4\nb\.mp4 failed: .+\nc\.mp4: .*c_00001_\.mp4", events.texts[-1])
        assert len(outputs["3"]["text"]) == 3 and len(outputs["3"]["video"]) == 4 == 2 * len(outputs["4"]["images"])
        assert "GVM Matte Video: b.mp4 failed" in server.log

        (folder / "b.mp4").write_bytes((folder / "a.mp4").read_bytes())
        assert len(finished(server, server.prompt(prompt, events.client_id))["4"]["images"]) == 3
        again = server.prompt(prompt, events.client_id)
        finished(server, again)
        assert "3" in events.wait("execution_cached", prompt_id=again)["data"]["nodes"], (
            "all is well, so nothing is done"
        )


def finished(server, prompt_id):
    """The outputs of a prompt, when it has ended well."""
    record = server.history(prompt_id, timeout=240)
    assert record["status"]["status_str"] == "success", json.dumps(record["status"]["messages"])
    return record["outputs"]


def is_picture(content):
    from PIL import Image

    return Image.open(io.BytesIO(content)).size[0] > 16


def long_video(server, prefix, sample="gvm_sample_walker.mp4"):
    """The template for long videos, with this name for its files, and the id of its GVM Matte Video."""
    path = ROOT / "workflows" / "matte_long_video.json"
    prompt = workflow_to_prompt(json.loads(path.read_text(encoding="utf-8")), server.get("/object_info"))
    nodes = {content["class_type"]: node for node, content in prompt.items()}
    prompt[nodes["LoadVideo"]]["inputs"]["file"] = sample
    prompt[nodes["GVMMatteVideo"]]["inputs"]["filename_prefix"] = prefix
    return prompt, nodes["GVMMatteVideo"]


def test_a_long_video_shows_time_left_and_its_preview_on_the_node(server):
    prompt, node = long_video(server, "shown/take")
    with server.events() as events:
        prompt_id = server.prompt(prompt, events.client_id)
        events.wait("execution_success", timeout=180, prompt_id=prompt_id)
    assert any(re.search(r"frames/s  .* left", text) for text in events.texts), events.texts
    outputs = server.history(prompt_id)["outputs"][node]
    listed = [(each["filename"], each["subfolder"], each["type"]) for each in outputs["video"]]
    assert listed == [("take_00001_preview.mp4", "shown", "output"), ("take_00001_.mov", "shown", "output")]
    assert {path.name for path in (server.base / "output" / "shown").glob("take*")} == {
        "take_00001_.mov",
        "take_00001_preview.mp4",
    }
    jobs = known_jobs(server)
    shown = [job["preview_output"]["filename"] for job in jobs if job["id"] == prompt_id]
    assert shown == ["take_00001_preview.mp4"] or not jobs, "ComfyUI lists no file"
    review = json.loads(outputs["gvm_review"][0])
    assert review["frames"] == 24 and server.get(f"/view?filename={review['filename']}&type=temp")


def known_jobs(server):
    """What ComfyUI's panel of results is made of; nothing for a release that does not have it."""
    try:
        return server.get("/api/jobs")["jobs"]
    except RefusedError:
        return []


def long_prompt():
    """A matte that takes many seconds: the portrait, repeated."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "gvm_sample_portrait.jpg"}},
        "2": {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 160}},
        "3": {
            "class_type": "GVMLoadModel",
            "inputs": {"model": "small", "precision": "auto", "lora_strength": 1.0, "download": False},
        },
        "4": {
            "class_type": "GVMMatte",
            "inputs": {
                "model": ["3", 0], "images": ["2", 0], "window": 8, "overlap": 2, "resolution": "as suits the model",
                "short_edge": 720, "max_edge": 1024, "noise": "zeros", "steps": 1, "seed": 0,
            },
        },
        "5": {"class_type": "MaskToImage", "inputs": {"mask": ["4", 0]}},
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }  # fmt: skip


def test_cancel_ends_a_run_within_a_window(server):
    with server.events() as events:
        prompt_id = server.prompt(long_prompt(), events.client_id)
        done = lambda: max(m["data"]["value"] for m in events.messages if m["type"] == "progress")  # noqa: E731
        first = events.wait("progress", timeout=120, node="4")
        before = done()
        server.post("/interrupt")
        events.wait("execution_interrupted", timeout=120, prompt_id=prompt_id)
        windows = (done() - before) / (4 * 8)  # each frame counts four times: encoded, denoised, decoded, finished
        assert windows <= 2, "the window on its way, and the one that was finished meanwhile"
        assert done() < first["data"]["max"] // 2
    assert server.history(prompt_id)["status"]["status_str"] == "error"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"content": "both"}, "connect GVM Foreground to images"),
        ({"content": "subject with alpha", "format": "H.264 (.mp4)", "images": ["2", 0]}, "has no alpha"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_minutes_of_matting(server, settings, reason):
    given = {
        "mask": ["4", 0], "filename_prefix": "refused/a", "format": "ProRes 4444 (.mov)", "alpha": "as usual",
        "light": "as usual", "compression": "zip", "first_number": 1001, "fps": 24.0,
    }  # fmt: skip
    prompt = long_prompt() | {"7": {"class_type": "GVMSaveMatte", "inputs": given | settings}}
    with server.events() as events:
        prompt_id = server.prompt(prompt, events.client_id)
        error = events.wait("execution_error", timeout=120, prompt_id=prompt_id)["data"]
        ran = [message["data"].get("node") for message in events.messages if message["type"] == "executing"]
    assert error["node_id"] == "7" and reason in error["exception_message"]
    assert "4" not in ran, "the matte was made for nothing"


def test_a_cancelled_long_video_says_on_its_node_what_is_kept(server):
    prompt, node = long_video(server, "cancelled/take", "gvm_sample_bridge.mp4")
    prompt[node]["inputs"] |= {"window": 4, "overlap": 0}
    with server.events() as events:
        prompt_id = server.prompt(prompt, events.client_id)
        bar = lambda: [m["data"]["value"] for m in events.messages if m["type"] == "progress"]  # noqa: E731
        server.wait_for(lambda: max(bar(), default=0) > FRAMES + 1, 180, "a finished part")
        server.post("/interrupt")
        events.wait("execution_interrupted", timeout=120, prompt_id=prompt_id)
        assert events.texts[-1] == f"stopped: {FRAMES} of 44 frames are kept. Run again to continue."
        again = server.prompt(prompt, events.client_id)
        events.wait("execution_success", timeout=180, prompt_id=again)
        assert events.texts[-1] == "output/cancelled/take_00001_preview.mp4\noutput/cancelled/take_00001_.mov"


def test_values_out_of_range_are_refused_by_name(server):
    prompt = long_prompt()
    prompt["4"]["inputs"] |= {"window": 0}
    with pytest.raises(RefusedError) as refused:
        server.prompt(prompt)
    assert refused.value.status == 400 and "window" in json.dumps(refused.value.answer)


def test_an_impossible_overlap_fails_with_a_sentence_a_user_understands(server):
    prompt = long_prompt()
    prompt["4"]["inputs"] |= {"window": 4, "overlap": 4}
    with server.events() as events:
        prompt_id = server.prompt(prompt, events.client_id)
        error = events.wait("execution_error", timeout=120, prompt_id=prompt_id)["data"]
    assert "smaller than the window's length (4)" in error["exception_message"]
