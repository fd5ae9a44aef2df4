"""The pages: what a user loses here is a link that leads somewhere, and a command that works as it is written."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from gvm_core.cli import COMMANDS, parser
from gvm_core.version import __version__

ROOT = Path(__file__).parents[2]
TOP = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "THIRD_PARTY.md", "benchmarks/README.md")
]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
HELP = sorted((ROOT / "web" / "docs").rglob("*.md"))
PAGES = [*TOP, *DOCS, *HELP]
INDEX = ROOT / "docs" / "index.md"
CODE = [
    ROOT / "run.py",
    *(
        path
        for folder in ("gvm_core", "nodes", "demos", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.*py"))
    ),
    *sorted((ROOT / "web" / "js").rglob("*.js")),
    *sorted((ROOT / "locales").rglob("*.json")),
    *sorted((ROOT / "workflows").rglob("*.json")),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")  # may go on in the next line
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|\b(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]: *(\S+)", re.MULTILINE)
HELP_FOLDER = ROOT / "web" / "docs"
EXTERNAL = re.compile(r"[a-z]+:")
PLACEHOLDER = re.compile(r"#\w+#|<\w+>")  # what a render queue replaces by a number
OTHERS = {"--dry-run", "--enable-manager", "--lowvram", "--novram", "--quick"}  # options of pip, ComfyUI and run.py


def name(path):
    return path.relative_to(ROOT).as_posix()


def without_code(text):
    """The page without anything that stands in code."""
    return SPAN.sub("", FENCED.sub("", text))


def links(path):
    """``(file, anchor)`` of every link and picture of a page that leads into this repository.

    ComfyUI looks for the pictures of a help page in ``web/docs``, whatever its language.
    """
    folder = HELP_FOLDER if path.is_relative_to(HELP_FOLDER) else path.parent
    for match in LINK.finditer(without_code(path.read_text(encoding="utf-8"))):
        target = next(filter(None, match.groups()))
        if not EXTERNAL.match(target):
            file, _, anchor = target.partition("#")
            yield (folder / file).resolve() if file else path, anchor


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    found = []
    for heading in re.findall(r"^#+ +(.+?)\s*$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return found


def spans(text):
    """What stands between single backticks, on one line."""
    return [" ".join(span.split()) for span in SPAN.findall(FENCED.sub("", text))]


def commands(text):
    """Every ``gvm`` command with arguments, once without and once with what stands in brackets."""
    lines = [
        line for kind, block in FENCED.findall(text) if not kind for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += [span for span in spans(text) if "|" not in span]
    for line in lines:
        command = PLACEHOLDER.sub("0", re.split(r"  #| && ", line)[0].strip())
        if found := re.search(r"(?:^|^\w+=\S+ )gvm (.*)|\bpython -m gvm_core (.*)|\blaunch -m gvm_core (.*)", command):
            arguments = next(filter(None, found.groups()), "")
            if " " in arguments:
                yield re.sub(r"\[[^\]]*\]", "", arguments)
                yield arguments.replace("[", "").replace("]", "")


def options_of(command):
    """Every option of a command's parser and of the parsers below it."""
    for action in command._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from options_of(each)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_and_picture_of_a_page_is_there(path):
    for file, anchor in links(path):
        assert file.is_relative_to(ROOT), f"{file} is outside of the repository"
        assert file.exists(), f"{name(path)} leads to {name(file)}, which is not there"
        if anchor:
            assert anchor in anchors(file), f"{name(file)} has no heading #{anchor}; it has {', '.join(anchors(file))}"


def test_the_help_pages_lead_to_nothing_that_comfyui_does_not_serve():
    for path in HELP:
        for file, _ in links(path):
            assert file.is_relative_to(ROOT / "web"), f"{name(path)} leads to {name(file)}, but only web is served"


def test_every_page_can_be_reached_from_the_index():
    reached, waiting = set(), [INDEX]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting += {file for file, _ in links(page) if file.suffix == ".md" and file.exists()} - reached
    assert not [name(path) for path in {*DOCS, *TOP} - reached]


def test_the_readme_leads_to_the_index():
    assert INDEX in {file for file, _ in links(ROOT / "README.md")}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_command_of_a_page_is_understood(path):
    text = path.read_text(encoding="utf-8")
    for arguments in commands(text):
        options = parser().parse_args(shlex.split(arguments))
        assert callable(options.run), arguments
    for span in spans(text):
        if re.fullmatch(r"gvm [\w| ]+", span) and (len(span.split()) == 2 or "|" in span):
            assert set(span.removeprefix("gvm ").split(" | ")) <= set(COMMANDS), span


def test_the_page_of_the_command_line_has_a_line_for_every_command():
    text = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `gvm (\w+)` \|", text, re.MULTILINE)) == set(COMMANDS)


def test_every_option_that_a_page_names_exists():
    known = {*options_of(parser()), *OTHERS}
    for path in (path for path in PAGES if path.parent.name != "benchmarks"):  # its scripts have their own
        for span in spans(path.read_text(encoding="utf-8")):
            if found := re.match(r"--[a-z][\w-]*", span):
                assert found[0] in known, f"{name(path)} names {span}"


def test_the_options_for_single_clips_in_the_folder_page_are_understood():
    text = (ROOT / "docs" / "folder.md").read_text(encoding="utf-8")
    tables = [json.loads(block) for kind, block in FENCED.findall(text) if kind == "json"]
    assert tables
    for clip in (clip for table in tables for clip in table.values()):
        words = [f"--{key}" if value is True else f"--{key}={value}" for key, value in clip.items()]
        parser().parse_args(["matte", "IN", "OUT", *words])


def test_every_file_that_a_page_names_exists():
    for path in PAGES:
        for span in spans(path.read_text(encoding="utf-8")):
            if re.fullmatch(r"(?:[\w.]+/)+[\w.]+\.(?:py|mjs|md)", span):
                places = (ROOT / span, ROOT / "gvm_core" / span, path.parent / span)
                assert any(place.is_file() for place in places), f"{name(path)} names {span}"


def test_the_file_tree_names_what_is_there():
    blocks = FENCED.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    tree = next(block for _, block in blocks if "← start here" in block)
    for line in tree.splitlines():
        if line.startswith("    "):  # goes on with what the line before says
            continue
        column = re.split(r"\s{2,}", line.strip())[0]
        for each in re.findall(r"[\w.]+(?:\.py|/)", column):
            assert any((ROOT / folder / each).exists() for folder in ("", "gvm_core")), each


def test_every_page_that_the_code_names_exists():
    for path in CODE:
        for page, anchor in re.findall(r"\b((?:web/)?docs/[\w/]+\.md)(?:#([\w-]+))?", path.read_text(encoding="utf-8")):
            assert (ROOT / page).is_file(), f"{name(path)} names {page}"
            assert not anchor or anchor in anchors(ROOT / page), f"{name(path)} names {page}#{anchor}"


def test_third_party_names_every_package_that_is_asked_for():
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.search(r"^dependencies = .*?^\[tool", declared, re.DOTALL | re.MULTILINE)[0]
    asked = {each.lower() for each in re.findall(r"(?<!= )\"([A-Za-z][\w-]*)(?=[=><;\"])", lists)}
    named = set(re.findall(r"[a-z][\w-]*", (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").lower()))
    assert len(asked) > 20 and not asked - named


def test_third_party_says_where_every_sample_comes_from():
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert not [path.name for path in (ROOT / "web" / "samples").iterdir() if path.name not in text]


def test_a_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == __version__
