"""Texts against the live nodes: what a user loses here is help that says what the nodes do."""

import os
import re

import pytest
from texts import ENGLISH, LANGUAGES, LOCALES, locale, page, table_of, written

COUNTLESS = 2**31 - 1  # a limit that no page needs to state
INSTALLED = {("GVMLoadModel", "model"), ("GVMLoadModel", "lora")}  # choices that depend on what is there
REWRITE = "GVM_REWRITE=1 GVM_INSIDE=english python run.py test tests/comfy/test_inside.py"


@pytest.fixture(scope="module")
def schemas(pack, node_list):
    return {node_id: pack.nodes[node_id].GET_SCHEMA() for node_id in node_list}


def english(schemas):
    """The English locale: what the nodes say themselves."""
    return {
        node_id: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {
                entry.id: {"name": entry.display_name or entry.id, "tooltip": entry.tooltip} for entry in schema.inputs
            },
            "outputs": {
                str(index): {"name": entry.display_name or entry.io_type, "tooltip": entry.tooltip}
                for index, entry in enumerate(schema.outputs)
            },
        }
        for node_id, schema in schemas.items()
    }


def test_the_english_locale_says_what_the_nodes_say(schemas):
    """With GVM_REWRITE in the environment, it is written anew instead."""
    path, wanted = LOCALES / ENGLISH / "nodeDefs.json", written(english(schemas))
    if os.environ.get("GVM_REWRITE"):
        path.write_text(wanted, encoding="utf-8", newline="\n")
    assert path.read_text(encoding="utf-8") == wanted, f"the nodes have changed. Run: {REWRITE}"
    assert {schema.category for schema in schemas.values()} == set(locale(ENGLISH, "main")["nodeCategories"])
    for node_id, schema in schemas.items():
        for entry in (*schema.inputs, *schema.outputs):
            assert entry.tooltip, f"{node_id}: {entry.id} has no tooltip"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_choice_that_a_tooltip_explains_has_the_name_that_the_list_shows(schemas, language):
    """The frontend does not translate the choices of a list."""
    texts, explained = locale(language), 0
    for node_id, schema in schemas.items():
        for entry in schema.inputs:
            for choice in getattr(entry, "options", None) or []:
                word = re.escape(choice)
                if re.search(rf"(?<![\w-]){word}(:| \(default\)|')|Default {word}\b", entry.tooltip):
                    assert choice in texts[node_id]["inputs"][entry.id]["tooltip"], (node_id, entry.id, choice)
                    explained += 1
    assert explained > 50


def test_a_help_page_names_every_input_and_output_in_order_with_its_default_and_range(schemas):
    for node_id, schema in schemas.items():
        text = page(node_id)
        rows = table_of(text, "input, default")
        for entry, row in zip(schema.inputs, rows, strict=True):
            name, _, default = row[0].partition("<br>")
            assert name == f"**{entry.id}**", node_id
            assert default == default_of(entry), f"{node_id}: the page says {default!r} of {entry.id}"
            assert row[1], f"{node_id}: the page does not say what {entry.id} does"
        named = [f"**{entry.display_name}**" for entry in schema.outputs]
        assert [row[0] for row in table_of(text, "output")] == named, node_id


def default_of(entry):
    """What a help page says of an input's default: a number with its range, a word, or whether it is optional."""
    default = getattr(entry, "default", None)
    if not hasattr(entry, "default"):
        return "optional" if entry.optional else ""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, str):
        return f"`{default}`" if default else "empty"
    return f"{default:g}" if entry.max >= COUNTLESS else f"{default:g} ({entry.min:g}…{plain(entry.max)})"


def plain(number):
    return f"{number:f}".rstrip("0").rstrip(".") if isinstance(number, float) else str(number)


def test_a_help_page_names_every_choice_of_a_list(schemas):
    for node_id, schema in schemas.items():
        for entry in schema.inputs:
            if (node_id, entry.id) not in INSTALLED:
                for choice in getattr(entry, "options", None) or []:
                    assert f"`{choice}`" in page(node_id), f"{node_id}: {entry.id} has the choice {choice!r}"
