"""Runs inside a real ComfyUI's process, started by ``tests/comfy/test_inside.py``; never by itself."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
from pathlib import Path

import pytest
import torch

if "GVM_TEST_BASE" not in os.environ:
    collect_ignore_glob = ["*"]
else:
    TESTS = Path(__file__).parents[2]
    PACK = TESTS.parent
    BASE = Path(os.environ["GVM_TEST_BASE"])
    sys.argv = ["main.py", "--cpu", "--base-directory", str(BASE)]

    import comfy.options

    comfy.options.enable_args_parsing()
    # As main.py does, before nodes puts comfy/, which has a utils.py, on the path.
    importlib.import_module("utils.extra_config")
    import folder_paths
    import nodes


class Records(logging.Handler):
    """Everything that is logged, kept."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append((record.levelno, record.getMessage()))


@pytest.fixture(scope="session")
def pack():
    """The pack, loaded as ComfyUI loads it, in a models folder the user's yaml named first."""
    elsewhere = BASE / "elsewhere"  # with models in it
    folder_paths.add_model_folder_path("gvm", str(elsewhere))

    records = Records()
    logging.getLogger().addHandler(records)
    before = set(nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(nodes.load_custom_node(str(PACK)))
    logging.getLogger().removeHandler(records)
    ours = {name: nodes.NODE_CLASS_MAPPINGS[name] for name in set(nodes.NODE_CLASS_MAPPINGS) - before}
    warnings = [line for level, line in records.lines if level >= logging.WARNING]
    module = sys.modules[next(iter(ours.values())).__module__.rpartition(".nodes.")[0] or "?"]
    return type("Pack", (), {"nodes": ours, "warnings": warnings, "elsewhere": elsewhere, "module": module.__name__})


@pytest.fixture(scope="session")
def node_list():
    """What the pack promises the Manager."""
    return json.loads((PACK / "node_list.json").read_text())


@pytest.fixture(scope="session")
def executed(pack):
    """Execute a node as ComfyUI does: a fresh clone of its class, defaults for what is not given, inference mode."""
    from comfy_api.latest import io

    def execute(node_id, **given):
        kind = pack.nodes[node_id]
        inputs = {i.id: i.default for i in kind.GET_SCHEMA().inputs if getattr(i, "default", None) is not None}
        clone = kind.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: "1"}})
        with torch.inference_mode():
            return clone.EXECUTE_NORMALIZED(**{**inputs, **given})

    return execute


@pytest.fixture(scope="session")
def run(executed):
    """Execute a node, and give what comes out of its sockets."""

    def execute(node_id, **given):
        outputs = executed(node_id, **given).result
        return outputs[0] if len(outputs) == 1 else outputs

    return execute


@pytest.fixture(scope="session")
def tiny(run):
    """A small random model, hosted by ComfyUI."""
    return run("GVMLoadModel", model="tiny")


@pytest.fixture(scope="session")
def core(pack):
    """A module of the pack's core by its name, as the pack itself imported it."""
    return lambda name: importlib.import_module(f"{pack.module}.gvm_core.{name}")


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A film of 44 frames with sound."""
    from support import write_film

    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", [1001 * i for i in range(44)])
