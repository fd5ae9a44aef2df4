"""The README: whatever it says, a fresh clone does. `test_docs.py` checks its links and commands with those of all pages."""

import json
import re
import runpy
from pathlib import Path

import pytest
from support import moving_clip, write_picture, write_video

from gvm_core.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
TIERS, UNITS = ("easy", "medium", "hard"), ("MiB", "GiB", "s")


def stored(name):
    """The rows of a file in ``benchmarks/results``."""
    lines = (ROOT / "benchmarks" / "results" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def first_cells(header):
    """What stands between backticks in the first column of the table with this header."""
    rows = README.split(f"| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    clip = Path(re.search(r"web/samples/[a-z_]+\.mp4", README)[0])
    assert (ROOT / clip).is_file()
    (tmp_path / clip).parent.mkdir(parents=True)
    write_video(tmp_path / clip, moving_clip(3, 40, 56))  # smaller
    monkeypatch.chdir(tmp_path)
    code = [block for kind, block in BLOCKS if kind == "python"]
    assert code
    for block in code:
        Path("example.py").write_text(block, encoding="utf-8")
        runpy.run_path("example.py")
    assert capsys.readouterr().out.startswith("0 tensor(")


@pytest.mark.slow
def test_the_first_commands_of_the_readme_make_mattes(tmp_path, monkeypatch):
    write_video(tmp_path / "IN.mp4", moving_clip(3, 40, 56))
    write_picture(tmp_path / "face.jpg", moving_clip(1, 40, 56)[0], "yuvj444p")
    monkeypatch.chdir(tmp_path)
    assert main(["matte", "IN.mp4", "OUT.mov", "--preview", "OVER.mp4"]) == 0
    assert main(["matte", "face.jpg", "matte.png", "--subject", "cutout.png"]) == 0
    assert {"OUT.mov", "OVER.mp4", "matte.png", "cutout.png"} <= {path.name for path in tmp_path.iterdir()}


def test_the_table_of_nodes_names_every_node_in_order():
    assert first_cells("node") == list(json.loads((ROOT / "node_list.json").read_text(encoding="utf-8")))


def test_the_table_of_templates_names_every_template():
    named = first_cells("template")
    assert sorted(named) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))


def test_the_readme_begins_with_a_picture():
    title, _, rest = README.partition("\n")
    assert title.startswith("# ") and re.sub(r"<!--.*?-->", "", rest, flags=re.DOTALL).lstrip().startswith(
        ("<img", "![")
    )


def test_no_number_of_the_readme_was_invented():
    """What the table of memory and speed says was measured is in ``benchmarks/results``, rounded."""
    table = README.split("| what | measured |", 1)[1].split("\n\n", 1)[0]
    cells = [row.split("|")[2] for row in table.splitlines()[2:]]
    found = {unit: [n for cell in cells if unit in cell.split() for n in re.findall(r"[\d.]+", cell)] for unit in UNITS}
    times = [row[tier]["ms"][how] for row in stored("foreground") for tier in TIERS for how in ("alone", "window")]
    known = {
        "MiB": {f"{row['peak_mib']:.0f}" for row in stored("length") if "peak_mib" in row},
        "GiB": {f"{row['peak_gib']:.1f}" for row in stored("activations")},
        "s": {f"{each / 1000:.2f}" for each in times},
    }
    for unit, numbers in found.items():
        assert numbers and set(numbers) <= known[unit], (unit, set(numbers) - known[unit])
