"""First layer: the pack in a real ComfyUI's process, oldest and newest release."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from comfy_env import variables
from support import write_tiny_model

INSIDE = Path(__file__).parent / "inside"

pytestmark = pytest.mark.comfy


def test_the_nodes_work_in_comfyuis_own_process(comfyui, comfy_python, tmp_path):
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (tmp_path / name).mkdir()
    write_tiny_model(tmp_path / "elsewhere" / "tiny")
    write_tiny_model(tmp_path / "elsewhere" / "half", dtype=torch.float16)
    command = [str(comfy_python), "-m", "pytest", "-q", "-c", str(INSIDE / "pytest.ini"), str(INSIDE)]
    command += ["-k", os.environ["GVM_INSIDE"]] if os.environ.get("GVM_INSIDE") else []
    environment = {**variables(), "GVM_TEST_BASE": str(tmp_path)}
    done = subprocess.run(command, cwd=comfyui, env=environment, capture_output=True, text=True, timeout=3600)
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
