"""The pack as the Comfy Registry gets it: what a user loses here is a node, a sample, or the pack's page in the Manager."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile

import pytest
from archive import ROOT, commit, outside_git, packed_files, unpack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, COMFY = PYPROJECT["project"], PYPROJECT["tool"]["comfy"]
REPOSITORY = PROJECT["urls"]["Repository"]
NEEDED = {
    "__init__.py",
    "gvm_core",
    "nodes",
    "subgraphs",
    "web",
    "workflows",
    "node_list.json",
    "pyproject.toml",
    "requirements.txt",
}
WANTED = {"README.md", "CHANGELOG.md", "LICENSE", "THIRD_PARTY.md", "locales"}
LARGEST = 45_000_000


# ------------------------------------------------------------------------------------------------ its entry


def test_the_registry_accepts_the_name_and_the_version():
    name = PROJECT["name"]
    assert re.fullmatch(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*", name) and len(name) < 100
    assert "comfyui" not in name
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["description"] and COMFY["PublisherId"] and COMFY["DisplayName"]


def test_the_manager_calls_the_pack_unsupported_nowhere():
    """Its page compares these with the user's machine. A list of cards would leave out processors and cards without a name."""
    listed = [each for each in PROJECT["classifiers"] if each.startswith(("Operating System", "Environment"))]
    assert listed == ["Operating System :: OS Independent"]
    assert re.fullmatch(r">=\d+\.\d+\.\d+", COMFY["requires-comfyui"]), "an upper bound would shut out new releases"


@pytest.mark.skipif(os.name == "nt", reason="the workflow runs on Linux")
def test_only_the_tag_of_this_version_is_published():
    workflow = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    (check,) = re.findall(r"^ +run: (.+)$", workflow, re.MULTILINE)
    for tag, right in ((f"v{PROJECT['version']}", True), ("v0.0.0", False), ("v0", False)):
        variables = outside_git() | {"GITHUB_REF_NAME": tag}
        done = subprocess.run(["bash", "-ec", check], cwd=ROOT, env=variables, capture_output=True)
        assert (done.returncode == 0) == right, tag


def test_the_readme_states_the_versions_that_the_registry_gets():
    versions = f"ComfyUI {COMFY['requires-comfyui'][2:]} or later and Python {PROJECT['requires-python'][2:]} or later"
    assert versions in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("field", "size"), [("Icon", (400, 400)), ("Banner", (1260, 540))])
def test_the_pictures_of_the_managers_list_are_in_the_repository(field, size):
    place = REPOSITORY.replace("github.com", "raw.githubusercontent.com") + "/main/"
    assert COMFY[field].startswith(place)
    picture = ROOT / COMFY[field].removeprefix(place)
    content = picture.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">2I", content[16:24]) == size
    assert picture.with_suffix(".svg").is_file(), "the drawing it was made from"


# ------------------------------------------------------------------------------------------------ its files


def test_the_archive_holds_all_that_the_pack_needs_and_nothing_else():
    files = packed_files()
    top = {name.partition("/")[0] for name in files}
    assert top >= NEEDED
    assert top <= NEEDED | WANTED, "list it in .comfyignore, or here if users need it"
    for folder in ("gvm_core", "nodes", "subgraphs", "web", "workflows", "locales"):
        there = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.*") if path.is_file()}
        assert {name for name in there if not name.endswith(".pyc")} == {n for n in files if n.startswith(folder + "/")}
    assert not [name for name in files if re.search(r"(^|/)(test_|conftest|bench_|__pycache__|\.)", name)]


@pytest.mark.slow
def test_a_pack_from_the_archive_has_its_model_and_mattes(tmp_path):
    pack = unpack(tmp_path / "pack")
    matte = tmp_path / "matte.mkv"
    command = [sys.executable, "-m", "gvm_core", "matte", "web/samples/gvm_sample_walker.mp4", matte, "--frames", "0-1"]
    done = subprocess.run([*command, "--device", "cpu"], cwd=pack, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert matte.stat().st_size > 1000


def test_what_users_read_in_comfyui_names_no_file_that_the_archive_lacks():
    left_out = r"\b(docs|tests|demos|benchmarks)/\w|\brun\.py\b"
    for name in packed_files():
        if name.endswith((".json", ".md", ".py")) and name.startswith(
            ("web/docs", "workflows", "subgraphs", "locales", "nodes")
        ):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(left_out, re.sub(r"https://\S+", "", text)), name
            for page in re.findall(rf"{REPOSITORY}/blob/main/([\w./-]+)", text):
                assert (ROOT / page).is_file(), f"{name}: {page}"


def test_nothing_in_the_archive_runs_text_or_installs_packages():
    """The Registry refuses eval and exec, and pip in a subprocess. Only the report of the machine asks a program: nvidia-smi."""
    for name in packed_files():
        if name.endswith(".py"):
            programs = set()
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("eval", "exec", "__import__"), f"{name}:{node.lineno}"
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    programs |= {getattr(node, "module", None), *(alias.name for alias in node.names)}
                if isinstance(node, ast.Constant):
                    programs.add(node.value)
            assert "pip" not in programs, name
            assert "subprocess" not in programs or name == "gvm_core/doctor/devices.py", name


def test_the_managers_search_for_missing_nodes_knows_every_node():
    listed = json.loads((ROOT / "node_list.json").read_text(encoding="utf-8"))
    sources = "".join((ROOT / name).read_text(encoding="utf-8") for name in packed_files() if name.startswith("nodes/"))
    assert set(listed) == set(re.findall(r'node_id="(\w+)"', sources))


# ------------------------------------------------------------------------------------------------ its tool


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """What comfy-cli says of the pack, and the names and the size of its archive."""
    comfy = os.environ.get("COMFY_CLI") or shutil.which("comfy")
    if comfy is None:
        pytest.skip(
            "NO COMFY-CLI FOUND: set COMFY_CLI to its command, or install it. Publishing to the Registry was NOT tested."
        )
    folder = commit(tmp_path_factory.mktemp("checkout"))
    home = {"HOME": str(folder.parent), "XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config")), "DO_NOT_TRACK": "1"}

    def call(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, env=outside_git() | home, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = call(comfy, "--skip-prompt", "--no-enable-telemetry", "node", "validate")
    call(comfy, "--skip-prompt", "--no-enable-telemetry", "node", "pack")
    with zipfile.ZipFile(folder / "node.zip") as archive:
        return said, sorted(archive.namelist()), (folder / "node.zip").stat().st_size


@pytest.mark.slow
def test_comfy_cli_finds_nothing_to_warn_of(packed):
    said, _, _ = packed
    assert "All validation checks passed" in said
    assert not re.search(r"warning|error|invalid", said, re.IGNORECASE), said


@pytest.mark.slow
def test_comfy_cli_packs_the_same_files_and_no_more_than_a_download_may_weigh(packed):
    _, names, size = packed
    assert names == packed_files()
    assert size < LARGEST
