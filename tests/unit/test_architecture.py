"""The shape of the code: what a user loses here is start-up time, a safe install, or the core outside ComfyUI."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "gvm_core"
FILES = sorted(CORE.rglob("*.py"))
ORDER = [
    {"errors", "version", "progress", "atomic", "tables"}, {"lock", "region"}, {"frames"}, {"windows"}, {"settings"}, {"host"}, {"execution"}, {"models", "post", "media", "sampling", "metrics"},
    {"pipeline", "finishing"}, {"follow"}, {"runs"}, {"synthesis"}, {"datasets"}, {"evaluation", "doctor"}, {"training"}, {"cli"}, {"__main__", "__init__"},
]  # fmt: skip
LEVELS = {name: level for level, names in enumerate(ORDER) for name in names}
SIBLINGS = {("media", "post"), ("host", "models")}  # sRGB curves; ComfyHost holds a MattingModel


def imports(path):
    """``(level, module)`` of every import statement in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_imports_point_down(path):
    here = path.relative_to(CORE).with_suffix("").parts
    for level, module, names in imports(path):
        if level == 0:
            assert not module.startswith("gvm_core"), "imports inside the package are relative"
            continue
        base = here[:-1][: len(here) - level]
        targets = [(*base, *module.split("."))] if module else [(*base, name) for name in names]
        for target in targets:
            mine, theirs = LEVELS[here[0]], LEVELS[target[0]]
            allowed = theirs < mine or target[0] == here[0] or (here[0], target[0]) in SIBLINGS
            assert allowed, f"{'/'.join(here)} imports {'/'.join(target)}"


@pytest.mark.parametrize("part", ["gvm_core/evaluation", "nodes"])
def test_nothing_that_scores_or_serves_users_needs_training(part):
    for path in sorted((ROOT / part).rglob("*.py")):
        for _, module, names in imports(path):
            assert "training" not in [*module.split("."), *names], f"{path.name} imports from {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_only_one_core_file_knows_comfyui_and_only_the_optional_sampler_knows_diffusers(path):
    roots = {module.split(".")[0] for level, module, _ in imports(path) if level == 0}
    if path != CORE / "host" / "comfy.py":
        assert not roots & {"comfy", "comfy_api", "folder_paths", "nodes"}
    if path != CORE / "sampling.py":
        assert "diffusers" not in roots


def test_importing_the_core_loads_neither_diffusers_nor_av_and_touches_nothing():
    code = (
        "import sys, os; before = set(os.listdir('.')); import gvm_core, gvm_core.media, gvm_core.cli, gvm_core.models.download;"
        "assert set(os.listdir('.')) == before;"
        "print([m for m in ('diffusers', 'av', 'transformers', 'PIL', 'huggingface_hub', 'filelock') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_pack_imports_outside_comfyui_without_a_word():
    code = "import importlib.util as u; s = u.spec_from_file_location('pack', '__init__.py', "
    code += "submodule_search_locations=['.']); m = u.module_from_spec(s); s.loader.exec_module(m); print(dir(m))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "comfy_entrypoint" not in done.stdout and not done.stderr


def test_requirements_are_lower_bounds_that_fight_nobody():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.strip()]
    banned = {"torch", "torchvision", "torchaudio", "opencv-python", "peft", "transformers", "accelerate", "diffusers"}
    for line in lines:
        name, _, bound = line.partition(">=")
        assert not set("=<>!~ ;") & set(bound), line
        assert name not in banned
    declared = re.search(r"^dependencies = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert json.loads(declared[1]) == ["torch", *lines]
